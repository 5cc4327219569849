"""Drive search queries, and the paths, ids and links that users paste as a folder."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_drive_tuner.drive.account_and_search import query, quoted
from colab_drive_tuner.drive.folders import FolderId, parse_folder
from colab_drive_tuner.errors import UsageError


@given(st.text())
def test_quoting_can_be_undone(text):
    """For any name the literal ends where it should, and unescaping gives the name."""
    literal = quoted(text)
    body = literal[1:-1]
    assert re.fullmatch(r"(?s)(?:[^'\\]|\\.)*", body)
    assert re.sub(r"(?s)\\(.)", r"\1", body) == text


def test_query_excludes_the_trash_and_joins_conditions():
    """Conditions are joined by `and`, alternatives by `or` in parentheses."""
    q = query(name="it's", parent="abc", mime_types=["a/b", "c/d"])
    assert q == (
        "'abc' in parents and trashed = false and name = 'it\\'s' "
        "and (mimeType = 'a/b' or mimeType = 'c/d')"
    )
    assert query() == "trashed = false"
    marked = query(properties={"key": "it's"}, trashed=None)
    assert marked == "properties has { key='key' and value='it\\'s' }"


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Colab Drive Tuner", ("Colab Drive Tuner",)),
        ("a/b/c", ("a", "b", "c")),
        ("/a//b/", ("a", "b")),
        ("My Drive/a", ("a",)),
        ("", ()),
        ("/", ()),
        ("it's 🙂\\", ("it's 🙂\\",)),
        (
            "https://drive.google.com/drive/folders/1AbC_d-EfGhIjKlMnOpQrStUvWxYz?usp=sharing",
            FolderId("1AbC_d-EfGhIjKlMnOpQrStUvWxYz", certain=True),
        ),
        (
            "https://drive.google.com/drive/u/1/folders/1AbC_d-EfGhIjKlMnOpQrStUvWxYz",
            FolderId("1AbC_d-EfGhIjKlMnOpQrStUvWxYz", certain=True),
        ),
        (
            "https://drive.google.com/open?id=1AbC_d-EfGhIjKlMnOpQrStUvWxYz&x=1",
            FolderId("1AbC_d-EfGhIjKlMnOpQrStUvWxYz", certain=True),
        ),
        ("https://drive.google.com/drive/u/0/my-drive", ()),
        (
            "drive.google.com/drive/folders/1AbC_d-EfGhIjKlMnOpQrStUvWxYz",
            FolderId("1AbC_d-EfGhIjKlMnOpQrStUvWxYz", certain=True),
        ),
        ("/content/drive/MyDrive/a b/c", ("a b", "c")),
        ("/content/drive/My Drive/a", ("a",)),
        ("content/drive/a", ("content", "drive", "a")),
        (
            "1AbC_d-EfGhIjKlMnOpQrStUvWxYz",
            FolderId("1AbC_d-EfGhIjKlMnOpQrStUvWxYz", certain=False),
        ),
        ("averylongfoldernamewithoutanydigit", ("averylongfoldernamewithoutanydigit",)),
    ],
)
def test_folder_in_every_form(text, meaning):
    """Paths, links and ids are parsed as a user means them."""
    assert parse_folder(text) == meaning


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/drive/folders/1AbC_d-EfGhIjKlMnOpQrStUvWxYz",
        "https://drive.google.com.evil.org/drive/folders/1AbC_d-EfGhIjKlMnOpQrStUvWxYz",
        "https://drive.google.com/drive/recent",
        "drive.google.com/drive/recent",
        "/content/drive/Shareddrives/team/a",
        "/content/drive",
        "a/../b",
        "a/\x00b",
        "https://[drive.google.com/drive/folders/1AbC_d-EfGhIjKlMnOpQrStUvWxYz",
        "\ud800",
        5,
        None,
        b"a",
    ],
)
def test_what_is_no_folder_is_refused(text):
    """A link to another page, and names that no folder should have, are refused."""
    with pytest.raises(UsageError, match=r"folder=|in Google Drive"):
        parse_folder(text)
