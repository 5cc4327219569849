"""Fields, pagination, parameters and errors: the behaviour that all methods share."""

import gzip
import socket

import pytest


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ("id", {"id"}),
        ("id,name", {"id", "name"}),
        (" id , name ", {"id", "name"}),
        ("owners(emailAddress),id", {"owners", "id"}),
        ("owners/emailAddress", {"owners"}),
        ("capabilities(canEdit,canCopy)", {"capabilities"}),
        ("capabilities/canEdit,capabilities(canCopy)", {"capabilities"}),
        ("properties/anything", set()),
    ],
)
def test_fields_select_what_is_shown(me, fields, shown):
    """`fields` takes paths with /, selectors in parentheses and any spacing."""
    answer = me.get(f"files/{me.create()['id']}", fields=fields)
    assert set(answer) == shown
    if "owners" in answer:
        assert answer["owners"] == [{"emailAddress": me.account}]
    if "capabilities" in answer:
        assert answer["capabilities"] == {"canEdit": True, "canCopy": True}


@pytest.mark.parametrize(
    "fields",
    [
        "files(capabilities),files(capabilities/canEdit)",
        "files(capabilities/canEdit),files(capabilities)",
        "files/capabilities/canEdit,files(id,capabilities)",
    ],
)
def test_a_field_named_twice_has_its_widest_selection(me, fields):
    """A field that is selected whole and in part is shown whole, in any order and depth."""
    me.create()
    assert "canCopy" in me.get("files", fields=fields)["files"][0]["capabilities"]


def test_a_star_selects_everything_at_its_level(me):
    """`*` selects all fields, `files/*` all fields of each file."""
    me.create()
    assert {"kind", "incompleteSearch", "files"} <= set(me.get("files", fields="*"))
    listed = me.get("files", fields="files/*")
    assert set(listed) == {"files"}
    assert {"md5Checksum", "owners", "capabilities"} <= set(listed["files"][0])
    owners = [{"emailAddress": me.account}]
    assert me.get("files", fields="files/*/emailAddress")["files"][0]["owners"] == owners
    fields = "changes/*/owners/emailAddress"
    assert me.get("changes", pageToken=1, fields=fields)["changes"][0]["file"] == {"owners": owners}


@pytest.mark.parametrize(
    "fields", ["bogus", "files(bogus)", "files/bogus", "files(id", "files)", "files(", ",", "id",
               "files(id,,name)", "files(owners(bogus))", "files(id(x))", "items(id)"],
)  # fmt: skip
def test_fields_that_do_not_exist_are_refused(me, fields):
    """An unknown field, or a known one in another place, is a 400 invalidParameter."""
    refused = me.refusal("GET", "/drive/v3/files", params={"fields": fields})
    assert refused == (400, "invalidParameter")


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("POST", "v3/files", {"name": "made"}),
        ("POST", "v3/files/{id}/copy", {"name": "made"}),
        ("POST", "v3/files/{id}/permissions", {"type": "anyone", "role": "reader"}),
        ("POST", "v2/files/{id}/trash", {}),
        ("PATCH", "v3/files/{id}", {"starred": True}),
    ],
)
def test_a_call_with_unknown_fields_does_nothing(me, verb, path, body):
    """A call with unknown fields is refused before it changes anything."""
    file = me.create("here")["id"]
    where = f"/drive/{path.format(id=file)}"
    refused = me.refusal(verb, where, json=body, params={"fields": "nonsense"})
    assert refused == (400, "invalidParameter")
    assert me.names("trashed = false and starred = false") == ["here"]
    assert len(me.get(f"files/{file}/permissions")["permissions"]) == 1


def test_a_list_is_read_page_by_page(me):
    """`nextPageToken` leads through each file once, although files are created in between."""
    for number in range(5):
        me.create(f"f{number}")
    seen, token = [], None
    while True:
        more = {"pageToken": token} if token else {}
        page = me.get("files", pageSize=2, orderBy="name", **more)
        seen += [one["name"] for one in page["files"]]
        token = page.get("nextPageToken")
        if token is None:
            break
        me.create("a" + "a" * len(seen))  # sorts before everything seen
    assert seen == ["f0", "f1", "f2", "f3", "f4"]


@pytest.mark.parametrize("order", ["", "name", "name desc", "name_natural", "createdTime,name"])
def test_pages_lead_on_whatever_happens_to_the_files_shown(me, order):
    """Files of a page that are deleted or change leave no other one out of the next pages."""
    made = [me.create(f"f{number}")["id"] for number in range(12)]
    seen, token = [], None
    while True:
        more = {"pageToken": token} if token else {}
        page = me.get("files", pageSize=3, orderBy=order, **more)
        seen += [one["id"] for one in page["files"]]
        token = page.get("nextPageToken")
        if token is None:
            break
        gone, changed = (f"/drive/v3/files/{one}" for one in seen[-2:])
        me("DELETE", gone)
        assert me("PATCH", changed, json={"name": "a" if "desc" not in order else "z"}).ok
    assert sorted(seen) == sorted(made)


def test_pages_of_permissions_lead_on_when_those_shown_are_removed(me):
    """A program that removes each page of permissions before the next one finds them all."""
    file = me.create()["id"]
    path = f"/drive/v3/files/{file}/permissions"
    for number in range(6):
        me.share(file, f"u{number}@example.com")
    seen, token = 0, None
    while seen == 0 or token:
        more = {"pageToken": token} if token else {}
        page = me("GET", path, params={"pageSize": 2, **more}).json()
        seen, token = seen + len(page["permissions"]), page.get("nextPageToken")
        for one in page["permissions"]:
            me("DELETE", f"{path}/{one['id']}")
    assert seen == 7


def test_a_page_token_belongs_to_its_query(me):
    """A made-up page token, or one of another query, is a 400."""
    for _ in range(3):
        me.create()
    token = me.get("files", pageSize=1)["nextPageToken"]
    for wrong in ({"pageToken": "x"}, {"pageToken": token, "q": "trashed = false"}):
        assert me.refusal("GET", "/drive/v3/files", params=wrong) == (400, "invalid")


def test_natural_order_compares_numbers_of_any_length(me):
    """`name_natural` ignores leading zeros and takes a superscript for no digit."""
    names = ["f2", "f0010", "f" + "9" * 5000, "f²"]
    for name in reversed(names):
        me.create(name)
    listed = me.get("files", orderBy="name_natural")["files"]
    assert [one["name"] for one in listed] == names


def test_lists_are_sorted_by_several_keys(me):
    """`orderBy` takes several keys, `desc`, folders first, and natural numbers."""
    me.folder("z")
    for name in ("f10", "f2", "F1"):
        me.create(name)

    def order(by):
        return [one["name"] for one in me.get("files", orderBy=by)["files"]]

    assert order("folder,name") == ["z", "F1", "f10", "f2"]
    assert order("folder,name_natural desc") == ["z", "f10", "f2", "F1"]
    assert order("folder asc,name  asc") == order("folder,name")
    assert order("createdTime asc") == order("createdTime")
    assert order("createdTime") == ["z", "f10", "f2", "F1"]
    for wrong in (
        "nonsense",
        "name up",
        "name desc desc",
        "name asc desc",
        "name,,folder",
        "title",
    ):
        refused = me.refusal("GET", "/drive/v3/files", params={"orderBy": wrong})
        assert refused == (400, "invalid")


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        ("files?pageSize=0", (400, "invalidParameter")),
        ("files?pageSize=x", (400, "invalidParameter")),
        ("files?supportsAllDrives=maybe", (400, "invalidParameter")),
        ("files?corpora=nonsense", (400, "invalid")),
        ("files?spaces=nonsense", (400, "invalid")),
        ("changes?pageToken=1&spaces=nonsense", (400, "invalid")),
        ("changes?pageToken=1&spaces=appDataFolder", (403, "insufficientScopes")),
        ("files?maxResults=3", (400, "invalid")),
        ("files?bogus=1", (400, "invalid")),
        ("files/nowhere", (404, "notFound")),
        ("files/x/nonsense", (404, "notFound")),
        ("files?alt=xml", (400, "invalidParameter")),
        ("files?prettyPrint=maybe", (400, "invalidParameter")),
        ("files?fileId=x", (400, "invalid")),
        ("files/x/export", (400, "required")),
        ("nonsense", (404, "notFound")),
    ],
)
def test_invalid_parameters_and_paths_are_refused(me, path, refusal):
    """Unknown parameters, paths, ids and values get Google's status and reason."""
    assert me.refusal("GET", f"/drive/v3/{path}") == refusal


@pytest.mark.parametrize(
    "path",
    ["v3/files?pageSize=1001", "v3/changes?pageToken=1&pageSize=1001", "v3/drives?pageSize=101",
     "v3/teamdrives?pageSize=101", "v3/files/root/permissions?pageSize=101",
     "v2/files?maxResults=5000", "v2/files/root/children?maxResults=1001",
     "v2/changes?maxResults=1001", "v2/drives?maxResults=101", "v3/files?pageSize=2147483648"],
)  # fmt: skip
def test_page_sizes_above_the_maximum_are_refused(me, path):
    """A page size above the maximum is a 400 with the range, as on the live service.

    Newer descriptions promise that it is reduced instead.
    """
    answer = me("GET", f"/drive/{path}")
    error = answer.json()["error"]["errors"][0]
    assert (answer.status_code, error["reason"]) == (400, "invalidParameter")
    assert "must be within the range: [" in error["message"]
    largest = path.rpartition("=")[0] + ("=100" if "101" in path[-3:] else "=1000")
    assert me("GET", f"/drive/{largest}").status_code == 200


@pytest.mark.parametrize(("verb", "path"), [("PUT", "files/x"), ("DELETE", "files"),
                                            ("POST", "files/x"), ("PATCH", "about")])  # fmt: skip
def test_another_verb_is_a_405(me, verb, path):
    """A known path with another verb is a 405 httpMethodNotAllowed."""
    assert me.refusal(verb, f"/drive/v3/{path}") == (405, "httpMethodNotAllowed")


@pytest.mark.parametrize(
    ("verb", "path"),
    [("PUT", "v3/files/x"), ("PATCH", "v2/files/x"), ("PUT", "v3/files"), ("DELETE", "v3/files/x"),
     ("GET", "v3/files"), ("POST", "v3/files/x")],
)  # fmt: skip
def test_an_upload_with_another_verb_is_a_404(me, verb, path):
    """As on the live service, v3 updates content by PATCH only and v2 by PUT only."""
    where = f"/upload/drive/{path}?uploadType=media"
    assert me.refusal(verb, where, data=b"x") == (404, "notFound")


def test_content_is_served_at_the_download_path(me):
    """Content is served at /download/drive/v3, which Google's own clients use."""
    file = me.upload(b"content")["id"]
    assert me("GET", f"/download/drive/v3/files/{file}?alt=media").content == b"content"
    assert me("DELETE", f"/download/drive/v3/files/{file}").status_code == 404


def test_global_parameters_are_accepted(me):
    """Every method accepts alt, key, prettyPrint, quotaUser and the like."""
    more = {"alt": "json", "key": "k", "prettyPrint": "false", "quotaUser": "u", "$.xgafv": "1"}
    more["userIp"] = "192.0.2.1"
    assert me("GET", "/drive/v3/files", params=more).status_code == 200


def test_a_long_query_may_come_as_a_post(me):
    """A POST with X-HTTP-Method-Override: GET takes the query from its body."""
    me.create("here")
    long = "name = 'here' or " + " or ".join(["name = 'x'"] * 500)
    data, override = {"q": long, "fields": "files(name)"}, {"X-HTTP-Method-Override": "GET"}
    answer = me("POST", "/drive/v3/files", data=data, headers=override)
    assert answer.json() == {"files": [{"name": "here"}]}


def test_head_is_a_get_without_the_body(me):
    """HEAD has the Content-Length of a GET, for metadata and for content."""
    file = me.upload(b"hello", name="h")
    for path, length in (("?alt=media", "5"), ("?fields=name", "12")):
        answer = me("HEAD", f"/drive/v3/files/{file['id']}{path}")
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["Content-Length"] == length
    assert me("HEAD", "/drive/v3/files/nowhere").status_code == 404


def test_answers_are_gzipped_if_both_headers_ask(me):
    """An answer is gzipped if Accept-Encoding and User-Agent both say gzip."""
    me.create("here")
    for agent, encoding in (("my program (gzip)", "gzip"), ("my program", None)):
        headers = {"Accept-Encoding": "gzip", "User-Agent": agent}
        answer = me("GET", "/drive/v3/files?fields=files/name", headers=headers)
        assert answer.headers.get("Content-Encoding") == encoding
        assert answer.json() == {"files": [{"name": "here"}]}


def test_bodies_may_be_gzipped(me):
    """A body with Content-Encoding: gzip is unpacked; an invalid one is a 400."""
    packed = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    made = me("POST", "/drive/v3/files", data=gzip.compress(b'{"name": "zip"}'), headers=packed)
    assert made.json()["name"] == "zip"
    for wrong in (b"{}", gzip.compress(b'{"name": "zip"}')[:-9]):
        assert me("POST", "/drive/v3/files", data=wrong, headers=packed).status_code == 400
    members = gzip.compress(b'{"name": ') + gzip.compress(b'"two members"}')
    made = me("POST", "/drive/v3/files", data=members, headers=packed)
    assert made.json()["name"] == "two members"
    large = b"x" * 5_000_000
    where = "/upload/drive/v3/files?uploadType=media&fields=size"
    answer = me("POST", where, data=gzip.compress(large), headers=packed)
    assert answer.json() == {"size": "5000000"}


def test_every_answer_has_a_date(me):
    """Every answer has a Date header, refusals too."""
    for path in ("files", "files/nowhere"):
        assert me("GET", f"/drive/v3/{path}").headers["Date"].endswith("GMT")


def test_a_lone_surrogate_in_a_name_is_replaced(me):
    """Half an emoji in JSON becomes a question mark; a whole one is kept."""
    raw = b'{"name": "half \\ud83e, whole \\ud83e\\udd86"}'
    answer = me("POST", "/drive/v3/files", data=raw, headers={"Content-Type": "application/json"})
    assert answer.json()["name"] == "half ?, whole 🦆"


@pytest.mark.parametrize(
    "body", [b"null", b"[]", b'{"name": NaN}', b'{"name": 5}', b'{"parents": "x"}', b"\xff",
             b'{"properties": {"a": 1}}', b'{"modifiedTime": "x"}', b'{"id": 5}', b"{" * 5000],
)  # fmt: skip
def test_a_body_of_another_shape_is_a_400(me, body):
    """A body of another shape is a 400 and creates no file."""
    assert me("POST", "/drive/v3/files", data=body).status_code == 400
    assert me.names("") == []


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("POST", "v3/drives?requestId=r"),
        ("PATCH", "v3/files/root"),
        ("POST", "v3/files/root/permissions"),
        ("POST", "v2/files"),
    ],
)
def test_every_body_is_an_object(me, verb, path):
    """An array as a body is a 400."""
    assert me.refusal(verb, f"/drive/{path}", json=[1]) == (400, "badRequest")


def test_a_method_that_is_not_emulated_is_a_501(me):
    """A method that the emulator lacks is a 501 that names it."""
    approval = "files/root/approvals/a:b"
    for path, name in (
        ("files/root/watch", "files.watch"),
        (f"{approval}:cancel", "approvals.cancel"),
        (f"{approval}:reassign", "approvals.reassign"),
    ):
        answer = me("POST", f"/drive/v3/{path}", json={})
        assert answer.status_code == 501
        assert f"drive.{name}." in answer.text
    assert "drive.approvals.get." in me("GET", f"/drive/v3/{approval}").text
    assert me.refusal("POST", f"/drive/v3/{approval}:nothing", json={})[0] == 405


def test_an_id_may_have_percent_signs(me):
    """An encoded slash in a path belongs to the id."""
    answer = me("GET", "/drive/v3/files/a%2Fb")
    assert answer.json()["error"]["message"] == "File not found: a/b."


@pytest.mark.parametrize("call", ["POST /drive/v3/files", "PUT /drive/v2/files/x"])
def test_a_body_of_unsaid_length_is_a_411(emulator, call):
    """Google's front end refuses a POST or PUT without Content-Length, also with no body."""
    head = f"{call} HTTP/1.1\r\nHost: 127.0.0.1:{emulator.port}\r\n"
    lengths = {"": 411, "Content-Length: 0\r\n": 403, "Transfer-Encoding: chunked\r\n": 403}
    for length, status in lengths.items():
        with socket.create_connection(("127.0.0.1", emulator.port)) as wire:
            wire.sendall(f"{head}{length}\r\n0\r\n\r\n".encode())
            assert wire.recv(12) == f"HTTP/1.1 {status}".encode()
    assert 411 in [one["status"] for one in emulator.log]
