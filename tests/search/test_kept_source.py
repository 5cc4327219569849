"""The objective's source that a search stores, and the diff shown when it changes."""

import zlib
from typing import Any

import pytest

from colab_drive_tuner.errors import SearchChangedWarning
from colab_drive_tuner.search.spec.fingerprints import (
    MOST_BYTES,
    digest,
    pack_source,
    text_difference,
    unpack_source,
)
from colab_drive_tuner.search.spec.settings import SearchSettings

LONG = "x" * (MOST_BYTES + 1)
BEFORE = "def model(x):\n    rate = 0.1\n    units = 'ä'\n    return x"


def kept(source: str) -> dict[str, Any]:
    """Return the settings of a search that was created with this source."""
    return SearchSettings(seed=1, source=source).claim("s", {})


def warned(stored: dict[str, Any], source: str) -> str:
    """Return the warning that is shown when the search continues with another source."""
    with pytest.warns(SearchChangedWarning, match="source of the model") as caught:
        SearchSettings(source=source).warn_of_changes("s", stored)
    return str(caught[0].message)


def test_the_warning_shows_the_changed_lines() -> None:
    """The diff is shown once; the next one compares with the newly stored source."""
    stored = kept(BEFORE)
    after = BEFORE.replace("0.1", "0.2")
    text = warned(stored, after)
    assert "\n  -     rate = 0.1\n  +     rate = 0.2\n" in text
    assert (
        "pass restart=True to resume_search; with fmin or minimize, call trials.delete_all()"
        in text
    )
    stored |= SearchSettings(source=after).claim("s", stored)
    SearchSettings(source=after).warn_of_changes("s", stored)
    assert "-     rate = 0.2\n" in warned(stored, after.replace("0.2", "0.3"))


def test_a_source_that_did_not_change_is_not_written_again() -> None:
    """A claim leaves out an unchanged source, so that the chain does not grow with each start."""
    stored = kept(BEFORE)
    assert "source" in stored
    assert "source" not in SearchSettings(source=BEFORE).claim("s", stored)


@pytest.mark.parametrize(
    "packed",
    {
        "none": None,
        "text": "a text",
        "no zlib": b"\x00" * 20,
        "torn": zlib.compress(BEFORE.encode())[:9],
        "another's": zlib.compress(b"def model(x): ..."),
        "no UTF-8": zlib.compress(b"\xff\xfe"),
        "a bomb": zlib.compress(bytes(100_000_000), 9),
    }.values(),
)
def test_a_stored_source_that_does_not_match_its_fingerprint_is_not_shown(packed: Any) -> None:
    """A forged source adds no text to the warning and does not stop the search."""
    assert unpack_source(packed, digest(BEFORE)) is None
    text = warned(kept(BEFORE) | {"source": packed}, "def model(x): pass")
    assert "has changed: earlier trials" in text
    assert "\n" not in text


@pytest.mark.parametrize("source", [LONG, "x\n" * 3000, "<names>"])
def test_a_long_source_is_not_kept(source: str) -> None:
    """A source that is too long, or only names, is not stored, and the warning has no diff."""
    assert pack_source(source) is None
    assert "has changed: earlier trials" in warned(kept(source), "def model(x): pass")
    for now in ("y\n" * 3000, "<names>"):
        assert "has changed: earlier trials" in warned(kept("def model(x): pass"), now)


def test_the_diff_is_short_and_escapes_control_characters() -> None:
    """The diff has at most 13 lines of limited length, with control characters escaped."""
    before = "\n".join(f"line {n}" for n in range(400))
    text = text_difference(before, before.replace("line", "row"))
    assert len(text.splitlines()) == 13
    assert text.splitlines()[-1] == "  ... and 788 more lines"
    assert max(map(len, text_difference("x" * 500, "y" * 500).splitlines())) <= 122
    assert "\\x1b[31m" in warned(kept("a = '\x1b[31m'"), "a = 1")
