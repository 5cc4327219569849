"""The local copy of a notebook downloaded from Drive."""

import errno
import json
import os
import resource
from hashlib import sha256
from pathlib import Path

import pytest

from colab_drive_tuner.errors import NotebookError
from colab_drive_tuner.machine import process_start_time
from colab_drive_tuner.notebook import cells, local_copy
from colab_drive_tuner.notebook.local_copy import (
    CopyMarker,
    copy_markers,
    is_ours,
    write_copy,
)
from tests.fakes.bare_machine import bare_machine  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("bare_machine")


def notebook(*sources):
    """Return the bytes of a notebook with these code cells."""
    cells = [{"cell_type": "code", "source": source} for source in sources]
    return json.dumps({"cells": cells, "nbformat": 4}).encode()


def test_an_unedited_copy_is_replaced():
    """The second download of a notebook leaves one file, with the new content."""
    path = Path("x.ipynb").absolute()
    assert write_copy(path, notebook("1"), "id") is None
    assert is_ours(path)
    assert write_copy(path, notebook("2"), "id") is None
    assert path.read_bytes() == notebook("2")
    assert list(Path().iterdir()) == [Path("x.ipynb")]


@pytest.mark.parametrize("ours_before", [False, True])
def test_a_users_file_is_renamed_and_not_changed(ours_before):
    """The user's own file, or an edited copy, is moved to an unused name."""
    path = Path("x.ipynb").absolute()
    if ours_before:
        write_copy(path, notebook("1"), "id")
    path.write_bytes(b"my edits")
    Path("x (kept).ipynb").write_bytes(b"another file of theirs")
    aside = write_copy(path, notebook("2"), "id")
    assert aside == path.with_name("x (kept 2).ipynb")
    assert aside.read_bytes() == b"my edits"
    assert Path("x (kept).ipynb").read_bytes() == b"another file of theirs"
    assert path.read_bytes() == notebook("2")


def test_a_users_file_with_the_same_content_stays_theirs():
    """A user's file that equals the download is not touched and remains the user's."""
    path = Path("x.ipynb").absolute()
    path.write_bytes(notebook("1"))
    before = path.stat()
    assert write_copy(path, notebook("1"), "id") is None
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert not is_ours(path)
    assert write_copy(path, notebook("2"), "id") == path.with_name("x (kept).ipynb")


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_moved_and_never_written_through(tmp_path, exists):
    """The file to which a user's symlink points keeps its content."""
    target = tmp_path / "elsewhere.ipynb"
    if exists:
        target.write_bytes(b"theirs")
    path = Path("x.ipynb").absolute()
    path.symlink_to(target)
    aside = write_copy(path, notebook("1"), "id")
    assert target.exists() == exists
    assert not exists or target.read_bytes() == b"theirs"
    assert aside.readlink() == target
    assert not path.is_symlink()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"<html>", b"\xff\xfe", b"[1]", b"{}", b'{"cells": {}}'),
        *(b"[" * 10**5, b'{"cells": [7]}', b'{"cells": ' + b"9" * 9999 + b"}"),
    ],
)
def test_an_invalid_notebook_replaces_nothing(content):
    """Content without a list of cells raises NotebookError, and the existing file stays."""
    path = Path("x.ipynb").absolute()
    path.write_bytes(b"theirs")
    with pytest.raises(NotebookError, match=r"'x.ipynb' is not a notebook"):
        write_copy(path, content, "id")
    assert path.read_bytes() == b"theirs"
    assert list(Path().iterdir()) == [Path("x.ipynb")]


def test_a_folder_in_the_place_of_the_copy_is_an_error_that_names_it():
    """A folder `x.ipynb` is not moved."""
    Path("x.ipynb").mkdir()
    with pytest.raises(NotebookError, match=r"x.ipynb is a folder"):
        write_copy(Path("x.ipynb").absolute(), notebook("1"), "id")


def test_a_directory_that_cannot_be_written_to_is_an_error_that_names_it():
    """The error about a read-only directory names it; /proc takes no files, even from root."""
    with pytest.raises(NotebookError, match=r"cannot be written to /proc/x.ipynb"):
        write_copy(Path("/proc/x.ipynb"), notebook("1"), "id")


def test_on_a_full_disk_the_users_file_stays_in_its_place():
    """It is renamed only if the copy takes its place, since the error says nothing else."""
    path = Path("x.ipynb").absolute()
    path.write_bytes(b"theirs")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(NotebookError, match="cannot be written to"):
            write_copy(path, notebook("1"), "id")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"theirs"
    assert list(Path().iterdir()) == [Path("x.ipynb")]


def test_a_users_file_that_cannot_be_renamed_leaves_no_empty_file(monkeypatch):
    """Such as an immutable one: the name that was reserved for it is free again."""

    def refuse(path, target):
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path), None, str(target))

    path = Path("x.ipynb").absolute()
    path.write_bytes(b"theirs")
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(NotebookError, match="Operation not permitted"):
        write_copy(path, notebook("1"), "id")
    assert list(Path().iterdir()) == [Path("x.ipynb")]


def test_without_a_state_folder_copies_count_as_the_users(monkeypatch):
    """With a read-only home the download works, but the next one renames the copy."""
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    path = Path("x.ipynb").absolute()
    assert write_copy(path, notebook("1"), "id") is None
    assert not is_ours(path)
    assert write_copy(path, notebook("2"), "id") == path.with_name("x (kept).ipynb")


def test_the_marker_records_the_copys_process():
    """A marker tells `clean` whether a run still uses the copy, although process ids are reused."""
    path = Path("x.ipynb").absolute()
    write_copy(path, notebook("1"), "id")
    (marker,) = copy_markers()
    assert (marker.path, marker.source) == (str(path), "id")
    assert marker.sha256 == sha256(notebook("1")).hexdigest()
    assert marker.intact
    assert marker.in_use
    assert not CopyMarker(marker.path, marker.sha256, "id", os.getpid(), "another start").in_use
    assert process_start_time(2**22 + 1) is None
    path.write_bytes(b"changed")
    assert not marker.intact


def test_two_directories_have_separate_markers(monkeypatch, tmp_path):
    """A file of the same name in another directory does not count as a copy."""
    write_copy(Path("x.ipynb").absolute(), notebook("1"), "id")
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.ipynb").write_bytes(notebook("1"))
    assert not is_ours(other / "x.ipynb")
    monkeypatch.chdir(other)
    assert write_copy(other / "x.ipynb", notebook("2"), "id") == other / "x (kept).ipynb"


def test_a_file_too_large_to_be_a_notebook_replaces_nothing(monkeypatch):
    """The error about a notebook that is too large gives the limit and the remedy."""
    monkeypatch.setattr(cells, "MAX_BYTES", 1 << 20)
    content = json.dumps({"cells": [], "text": "x" * (1 << 20)}).encode()
    with pytest.raises(NotebookError, match=r"it is larger than 1 MiB: clear its outputs"):
        write_copy(Path("x.ipynb").absolute(), content, "id")
    assert not Path("x.ipynb").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"path": 5},
        {"path": "a\0b"},
        {"sha256": None},
        {"source": []},
        {"pid": "../../1"},
        {"pid": 1.5},
        {"started": 0},
        {"at": "now"},
        {"more": 1},
    ],
)
def test_an_invalid_marker_is_ignored(changes):
    """With a damaged marker the copy counts as the user's, and nothing fails."""
    path = Path("x.ipynb").absolute()
    write_copy(path, notebook(), "id")
    (marker,) = local_copy._markers_folder().glob("*.json")
    whole = json.loads(marker.read_bytes())
    marker.write_text(json.dumps(whole | changes))
    assert not is_ours(path)
    assert list(copy_markers()) == []
    for content in (b"", b"[]", b"[" * 10**5, b"\xff"):
        marker.write_bytes(content)
        assert list(copy_markers()) == []
