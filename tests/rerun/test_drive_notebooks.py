"""Notebooks at `drive://` paths: real papermill, a real kernel, the emulator's Drive."""

import threading
from pathlib import Path

import pytest

from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.emulator import DriveEmulator
from colab_drive_tuner.errors import (
    AmbiguousNotebookError,
    NotebookNotFoundError,
    UnavailableError,
)
from colab_drive_tuner.rerun.drive_notebooks import DriveHandler
from tests.processes import run_python
from tests.rerun import programs


def test_papermill_reads_a_notebook_from_drive_and_writes_it_there(
    tmp_path: Path, drive_emulator: DriveEmulator
) -> None:
    """The entry point alone makes papermill use Drive; its last write is uploaded."""
    drive = DriveClient.connect()
    nb = programs.notebook(tmp_path / "nb.ipynb", *[f"print({n})" for n in range(6)])
    lab = drive.folder("Lab", create=True)
    drive.create_file("nb.ipynb", nb, parent=lab.id)
    papermill = ("-m", "papermill", "--language", "python", "--kernel", "python3")
    run_python(*papermill, "drive://Lab/nb.ipynb", "drive://Out/done.ipynb")
    (made,) = drive.find("done.ipynb")
    done = tmp_path / "done.ipynb"
    done.write_bytes(drive.download(made.id))
    assert [programs.printed(done, n) for n in range(6)] == [f"{n}\n" for n in range(6)]
    assert made.mime_type == "application/vnd.google.colaboratory"


def test_writes_within_the_pause_are_uploaded_once(drive_emulator: DriveEmulator) -> None:
    """Writes within the pause are uploaded once, and reading uploads them first."""
    handler = DriveHandler(pause=3600)
    handler.write("first", "drive://a/nb.ipynb")
    handler.flush()
    drive = DriveClient.connect()
    (file,) = drive.find("nb.ipynb")
    for n in range(20):
        handler.write(f"later {n}", "drive://a/nb.ipynb")
    assert drive.download(file.id) == b"first"
    assert handler.read("drive://a/nb.ipynb") == "later 19"
    assert drive.download(file.id) == b"later 19"
    assert handler.listdir("drive://a") == ["drive://a/nb.ipynb"]
    assert handler.read(f"drive://id/{file.id}") == "later 19"


def test_a_missing_or_ambiguous_notebook_is_an_error(drive_emulator: DriveEmulator) -> None:
    """A missing file or folder, and two files of one name, are errors that name the path."""
    drive, handler = DriveClient.connect(), DriveHandler()
    for missing in ("drive://nb.ipynb", "drive://No/such/nb.ipynb"):
        with pytest.raises(NotebookNotFoundError, match="There is no notebook drive://"):
            handler.read(missing)
    root = drive.folder("My Drive").id
    ids = [drive.create_file("nb.ipynb", b"{}", parent=root).id for _ in range(2)]
    with pytest.raises(AmbiguousNotebookError, match=f"drive://id/{ids[0]}"):
        handler.read("drive://nb.ipynb")


def test_a_write_that_failed_in_an_outage_is_repeated(drive_emulator: DriveEmulator) -> None:
    """In an outage nothing is raised or lost: the write is repeated at the end at the latest."""
    tried = threading.Event()

    class Away(DriveHandler):
        """A handler for which Drive does not answer the first time."""

        def _send(self, path: str, content: bytes) -> None:
            if not tried.is_set():
                tried.set()
                raise UnavailableError("Drive does not answer.")
            super()._send(path, content)

    handler = Away(pause=0)
    handler.write("whole", "drive://nb.ipynb")
    assert tried.wait(200)
    handler.flush()
    (file,) = DriveClient.connect().find("nb.ipynb")
    assert DriveClient.connect().download(file.id) == b"whole"


def test_a_write_that_drive_refuses_raises_at_the_next(
    drive_emulator: DriveEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of a background upload is raised by the next write."""
    handler = DriveHandler(pause=0)
    monkeypatch.setenv("DRIVE_EMULATOR_TOKEN", "nobody")
    handler.write("one", "drive://nb.ipynb")
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(200)
    with pytest.raises(PermissionError):
        handler.write("two", "drive://nb.ipynb")


def test_a_notebook_that_drive_refuses_stops_no_other(drive_emulator: DriveEmulator) -> None:
    """Others are uploaded, and after the error was raised once they can be read again."""
    drive, handler = DriveClient.connect(), DriveHandler(pause=3600)
    root = drive.folder("My Drive").id
    for _ in range(2):
        drive.create_file("twice.ipynb", b"{}", parent=root)
    handler.write("refused", "drive://twice.ipynb")
    handler.write("good", "drive://nb.ipynb")
    with pytest.raises(AmbiguousNotebookError):
        handler.read("drive://nb.ipynb")
    assert handler.read("drive://nb.ipynb") == "good"
