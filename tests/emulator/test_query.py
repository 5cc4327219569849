"""The query language of files.list: "Search query terms and operators"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_drive_tuner.emulator.errors import ApiError
from colab_drive_tuner.emulator.queries.query import Chain, Not, Term, parse
from tests.emulator.raw_client import FOLDER

MALFORMED = [
    "modifiedTime > '2012-W23-1'",
    "modifiedTime > '20120604T120000'",
    "name",
    "name =",
    "name = 'a",
    "name = a",
    "name == 'a'",
    "name = 'a' and",
    "name = 'a' name = 'b'",
    "(name = 'a'",
    "name = 'a')",
    "()",
    "and",
    "not",
    "name in 'a'",
    "title = 'a'",
    "nonsense = 'a'",
    "fullText = 'a'",
    "parents != 'a'",
    "parents in a",
    "'a' = parents",
    "'a' in name",
    "'a' in",
    "trashed = 'true'",
    "trashed > true",
    "trashed = maybe",
    "mimeType < 'a'",
    "modifiedTime > 'yesterday'",
    "modifiedTime > '2020-13-01T00:00:00'",
    "modifiedTime contains '2020'",
    "properties has 'a'",
    "properties has { key='a' }",
    "properties has { key='a' and value='b' and colour='c' }",
    "properties = 'a'",
    "visibility = 'somebody'",
    "name = 'it's'",
    "name & 'a'",
    "drop table files",
]


@pytest.mark.parametrize("q", MALFORMED)
def test_a_malformed_query_is_a_400_at_q(me, q):
    """A malformed query is a 400 `invalid` at `q`, never an empty or a full list."""
    answer = me("GET", "/drive/v3/files", params={"q": q})
    assert answer.status_code == 400, q
    error = answer.json()["error"]["errors"][0]
    assert (error["reason"], error["location"]) == ("invalid", "q")


def test_names_are_compared_without_case(me):
    """`=` ignores case, as on the live service, so clients must compare names themselves."""
    me.create("Hello")
    me.create("hello")
    me.create("Hello there")
    assert sorted(me.names("name = 'HELLO'")) == ["Hello", "hello"]
    assert me.names("name != 'hello'") == ["Hello there"]


def test_contains_matches_prefixes_of_words(me):
    """`name contains` matches the beginning of a word, never its middle."""
    me.create("HelloWorld.ipynb")
    me.create("My notes_final")
    assert me.names("name contains 'hello'") == ["HelloWorld.ipynb"]
    assert me.names("name contains 'World'") == []
    assert me.names("name contains '.ipynb'") == ["HelloWorld.ipynb"]
    assert me.names("name contains 'fin'") == ["My notes_final"]
    assert me.names("name contains 'my no'") == ["My notes_final"]


@pytest.mark.parametrize("symbol", ["📁", "+", "(", "%"])
def test_text_without_a_word_is_found_as_it_is(me, symbol):
    """A symbol finds the files that have it, not every file; nothing finds every file."""
    me.create("plain")
    me.upload(b"x", name=f"a {symbol} b", type="text/plain")
    for field in ("name", "fullText"):
        found = me.get("files", q=f"{field} contains '{symbol}'")["files"]
        assert [one["name"] for one in found] == [f"a {symbol} b"]
    assert len(me.names("name contains ''")) == 2


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("it's", r"it\'s"),
        ("back\\slash", r"back\\slash"),
        (r"both\'", r"both\\\'"),
        ('double "quotes"', 'double "quotes"'),
        ("emoji 🦆", "emoji 🦆"),
        ("per%cent & plus+", "per%cent & plus+"),
    ],
)
def test_names_are_escaped_with_backslashes(me, name, escaped):
    r"""In a query `\` is written `\\` and `'` is written `\'`."""
    me.create(name)
    me.create("another")
    assert me.names(f"name = '{escaped}'") == [name]


def test_spacing_and_quotes_are_free(me):
    """A query may have any spacing, parentheses and double quotes."""
    me.create("a")
    for q in ("name='a'", "  name  =  'a'  ", "name='a'and trashed=false", 'name = "a"',
              "(name='a')", "((name='a')and(trashed=false))", "name\n=\t'a'"):  # fmt: skip
        assert me.names(q) == ["a"], q


def test_and_and_or_are_evaluated_from_left_to_right(me):
    """Neither binds tighter, as documented; parentheses group and `not` negates."""
    for name in ("a", "b", "c"):
        me.create(name, starred=name == "c")
    assert me.names("name = 'a' or name = 'c' and starred = true") == ["c"]
    assert me.names("name = 'a' and starred = true or name = 'c'") == ["c"]
    assert me.names("name = 'a' or (name = 'c' and starred = true)") == ["a", "c"]
    assert me.names("(name = 'a' or name = 'c') and starred = true") == ["c"]
    assert me.names("not name = 'a'") == ["b", "c"]
    assert me.names("not (name = 'a' or name = 'b')") == ["c"]
    assert me.names("not not name = 'a'") == ["a"]


def test_parents_select_a_folder(me):
    """`'id' in parents` selects a folder, `root` is an alias, and an unknown folder is a 404."""
    folder = me.folder("folder")
    me.create("inside", parents=[folder])
    assert me.names(f"'{folder}' in parents") == ["inside"]
    assert me.names("'root' in parents") == ["folder"]
    answer = me("GET", "/drive/v3/files", params={"q": "'nowhere' in parents"})
    assert answer.status_code == 404
    # The live service names no file here.
    assert answer.json()["error"]["message"] == "File not found: ."


def test_a_collection_may_be_on_the_left(me):
    """`parents in 'x'` and `parents = 'x'` mean the documented `'x' in parents`."""
    folder = me.folder("f")
    me.create("in", parents=[folder])
    for q in (f"'{folder}' in parents", f"parents in '{folder}'", f"parents='{folder}'"):
        assert me.names(q) == ["in"]
    assert me.names("owners in 'me' and not parents in 'root'") == ["in"]
    refused = me.refusal("GET", "/drive/v3/files", params={"q": "parents in 'nowhere'"})
    assert refused == (404, "notFound")


def test_no_file_has_a_label(me):
    """The term `labels` is known and matches no file."""
    me.create("here")
    assert me.names("'labels/abc' in labels") == []
    assert me.names("not 'labels/abc' in labels") == ["here"]


def test_types_and_dates_select(me):
    """`mimeType` takes =, != and contains; times take all comparisons, in UTC by default."""
    me.folder("f")
    me.upload(b"", name="picture", type="image/png")
    me.create("old", modifiedTime="2012-06-04T12:00:00Z")
    assert me.names(f"mimeType = '{FOLDER}'") == ["f"]
    assert me.names("mimeType contains 'image/'") == ["picture"]
    assert me.names(f"mimeType != '{FOLDER}' and not mimeType contains 'image/'") == ["old"]
    assert me.names("modifiedTime < '2012-06-05'") == ["old"]
    assert me.names("modifiedTime = '2012-06-04T12:00:00'") == ["old"]
    assert me.names("modifiedTime >= '2012-06-04T14:00:01+02:00'") == ["f", "picture"]
    assert me.names("createdTime > '2030-01-01T00:00:00'") == []


def test_properties_are_found_by_key_and_value(me, person):
    """`properties has` finds public properties, `appProperties has` those of the same client."""
    me.create("public", properties={"k": "it's"})
    me.create("private", appProperties={"k": "v"})
    assert me.names(r"properties has { key='k' and value='it\'s' }") == ["public"]
    assert me.names("properties has {key='k' and value='v'}") == []
    private = "appProperties has { key='k' and value='v' }"
    assert me.names(private) == ["private"]
    assert person(me.account, client="another").names(private) == []


def test_owners_writers_readers_and_shared_with_me(me, person):
    """Roles are found by address or `me`; `sharedWithMe` needs no comparison."""
    other = person()
    me.create("mine")
    shared = other.create("theirs")["id"]
    other.share(shared, me)
    assert me.names("'me' in owners") == ["mine"]
    assert me.names(f"'{other.account}' in owners") == ["theirs"]
    assert me.names(f"'{me.account}' in readers") == ["mine", "theirs"]
    assert me.names("'me' in writers") == ["mine"]
    assert me.names("sharedWithMe") == ["theirs"]
    assert me.names("sharedWithMe and name contains 'their'") == ["theirs"]
    assert me.names("sharedWithMe != false") == ["theirs"]
    assert me.names("'me' in owners") == ["mine"]


@pytest.mark.parametrize("version", ["v2", "v3"])
@pytest.mark.parametrize(
    "q", ["sharedWithMe = false", "sharedWithMe=false and trashed = false", "sharedWithMe != true",
          "not sharedWithMe", "not (sharedWithMe = true)"],
)  # fmt: skip
def test_a_query_for_files_not_shared_with_me_is_refused(me, version, q):
    """Asking for files not shared with me is a 400, as on the live service."""
    me.create("mine")
    assert me.refusal("GET", f"/drive/{version}/files", params={"q": q}) == (400, "invalid")


def test_visibility_and_shortcuts_are_found(me):
    """`visibility` is the widest permission; shortcuts are found by their target."""
    public = me.create("public")["id"]
    me.share(public, "", type="anyone")
    details = {"targetId": public}
    me.create("cut", mimeType="application/vnd.google-apps.shortcut", shortcutDetails=details)
    assert me.names("visibility = 'anyoneWithLink'") == ["public"]
    assert me.names("visibility = 'limited'") == ["cut"]
    assert me.names(f"shortcutDetails.targetId = '{public}'") == ["cut"]


def test_full_text_searches_names_descriptions_and_text(me):
    """`fullText` matches whole words, and phrases in double quotes; sorting is refused."""
    me.upload(b"the quick brown fox", name="story", type="text/plain")
    me.create("plain", description="a brown bear")

    def found(text):
        q = f"fullText contains '{text}'"
        return sorted(one["name"] for one in me.get("files", q=q)["files"])

    assert found("brown") == ["plain", "story"]
    assert found("quick fox") == ["story"]
    assert found('"quick brown"') == ["story"]
    assert found('"quick fox"') == []
    sorted_ = {"q": "fullText contains 'x'", "orderBy": "name"}
    assert me("GET", "/drive/v3/files", params=sorted_).status_code == 400


def test_long_and_deep_queries_are_answered(me):
    """Thousands of alternatives are evaluated; thousands of parentheses are a 400."""
    me.create("here")
    long = " or ".join(["name = 'x'"] * 3000 + ["name = 'here'"])
    assert me.names(long) == ["here"]
    mixed = " or ".join(["name = 'here' and trashed = true"] * 1000 + ["name = 'here'"])
    assert me.names(mixed) == ["here"]
    for deep in ("(" * 5000 + "name = 'here'" + ")" * 5000, "not " * 500 + "name = 'here'"):
        assert me("GET", "/drive/v3/files", params={"q": deep}).status_code == 400


@given(st.text())
def test_every_string_survives_escaping(text):
    """Any name, escaped, parses to a term with exactly that name."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    assert parse(f"name='{escaped}'") == Term("name", "=", text)


@given(st.text(alphabet="name='\\ ()andortis{}<>!", max_size=40))
def test_a_query_parses_or_is_refused(text):
    """Any text either parses or is a 400."""
    try:
        found = parse(text)
    except ApiError as error:
        found = error.status
    assert found in {None, 400} or isinstance(found, Term | Chain | Not)
