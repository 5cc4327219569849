"""`drive://` for papermill: notebooks are read from Google Drive, and written there.

`drive://Folder/nb.ipynb` is a path in My Drive; `drive://id/ID` a file's id. papermill writes the
notebook anew before and after every cell: what it writes within a few seconds goes up once, in the
background, and the last of it when the process ends.
"""

import atexit
import threading
import time
from typing import TYPE_CHECKING

from colab_drive_tuner.errors import (
    AmbiguousNotebookError,
    ColabDriveTunerError,
    NotebookNotFoundError,
    UnavailableError,
    UsageError,
)

if TYPE_CHECKING:
    from colab_drive_tuner.drive import DriveClient

SCHEME = "drive://"
NOTEBOOK = "application/vnd.google.colaboratory"
_PAUSE_SECONDS = 10.0


class DriveHandler:
    """Handler of `drive://` paths, with the methods that papermill calls."""

    def __init__(self, pause: float = _PAUSE_SECONDS) -> None:
        self._pause = pause
        self._client: DriveClient | None = None
        self._ids: dict[str, str] = {}
        self._waiting: dict[str, bytes] = {}
        self._timer: threading.Timer | None = None
        self._failed: ColabDriveTunerError | None = None
        self._last = 0.0
        self._lock = threading.RLock()
        self._sending = threading.Lock()

    def read(self, path: str) -> str:
        """The notebook's text; raises `NotebookNotFoundError`, `AmbiguousNotebookError`."""
        self.flush()
        found = self._find(path)
        if found is None:
            raise NotebookNotFoundError(
                f"There is no notebook {path} in Google Drive: check the path."
            )
        return self._drive().download(found).decode("utf-8")

    def write(self, buf: str, path: str) -> None:
        """Keep the notebook: soon, and what came in between not at all.

        Raises where Drive has refused an earlier write. One that could not reach Drive is made good
        by the next, or when the process ends.
        """
        with self._lock:
            if self._failed is not None:
                failed, self._failed = self._failed, None
                self._waiting.clear()
                raise failed
            self._waiting[path] = buf.encode("utf-8")
            if self._timer is None:
                atexit.unregister(self.flush)
                atexit.register(self.flush)
                wait = max(0.0, self._last + self._pause - time.monotonic())
                self._timer = threading.Timer(wait, self._send_later)
                self._timer.daemon = True
                self._timer.start()

    def listdir(self, path: str) -> list[str]:
        """The paths of the notebooks in a folder."""
        folder = self._drive().folder(path.removeprefix(SCHEME) or "My Drive", create=False)
        names = [file.name for file in self._drive().list_folder(folder.id)]
        return [f"{path.rstrip('/')}/{name}" for name in names if name.endswith(".ipynb")]

    def pretty_path(self, path: str) -> str:
        """The path as people are shown it."""
        return path

    def flush(self) -> None:
        """Send what waits, now; raises where Drive refuses."""
        with self._sending:
            with self._lock:
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
                waiting = dict(self._waiting)
            for path, content in waiting.items():
                self._send(path, content)
                with self._lock:
                    if self._waiting.get(path) is content:  # else something newer waits by now
                        del self._waiting[path]
            self._last = time.monotonic()

    def _send_later(self) -> None:
        try:
            self.flush()
        except UnavailableError:
            return  # it still waits
        except ColabDriveTunerError as error:
            self._failed = error

    def _send(self, path: str, content: bytes) -> None:
        drive, found = self._drive(), self._find(path)
        if found is not None:
            drive.update_content(found, content, mime_type=NOTEBOOK)
            return
        folder, _, name = path.removeprefix(SCHEME).rpartition("/")
        parent = drive.folder(folder or "My Drive", create=True)
        made = drive.create_file(name, content, parent=parent.id, mime_type=NOTEBOOK)
        self._ids[path] = made.id

    def _find(self, path: str) -> str | None:
        inner = path.removeprefix(SCHEME)
        folder, _, name = inner.rpartition("/")
        if folder == "id":
            return name
        if not name:
            raise UsageError(f"{path} names no notebook: write {SCHEME}Folder/name.ipynb.")
        if path not in self._ids:
            drive = self._drive()
            try:
                parent = drive.folder(folder or "My Drive", create=False)
            except FileNotFoundError:  # one of ours
                return None
            files = [file for file in drive.list_folder(parent.id, name) if not file.is_folder]
            if len(files) > 1:
                ids = ", ".join(f"{SCHEME}id/{file.id}" for file in files)
                raise AmbiguousNotebookError(f"{len(files)} files are {path}; choose one: {ids}.")
            if not files:
                return None
            self._ids[path] = files[0].id
        return self._ids[path]

    def _drive(self) -> "DriveClient":
        if self._client is None:
            from colab_drive_tuner.drive import DriveClient

            self._client = DriveClient.connect(allow_prompt=False)
        return self._client


handler = DriveHandler()
"""The one that papermill is given by the entry point `papermill.io`."""
