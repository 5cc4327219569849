"""papermill handler of `drive://` paths, which reads and writes notebooks in Google Drive.

`drive://Folder/nb.ipynb` is a path in My Drive; `drive://id/ID` names a file by its id. papermill
writes the whole notebook before and after every cell, so writes are throttled: within an interval
only the latest version is uploaded, in the background, and the last one when the process ends.
"""

import atexit
import contextlib
import threading
import time
from typing import TYPE_CHECKING

from colab_drive_tuner.errors import (
    AmbiguousNotebookError,
    ColabDriveTunerError,
    NotebookError,
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
    """Handler of `drive://` paths, with the interface that papermill expects."""

    def __init__(self, pause: float = _PAUSE_SECONDS) -> None:
        self._pause = pause
        self._client: DriveClient | None = None
        self._ids: dict[str, str] = {}
        self._pending: dict[str, bytes] = {}
        self._timer: threading.Timer | None = None
        self._failed: ColabDriveTunerError | None = None
        self._last = 0.0
        self._lock = threading.RLock()
        self._sending = threading.Lock()

    def read(self, path: str) -> str:
        """Return the notebook's text; raise `NotebookNotFoundError` or `AmbiguousNotebookError`."""
        self.flush()
        found = self._find(path)
        if found is None:
            raise NotebookNotFoundError(
                f"There is no notebook {path} in Google Drive: check the path."
            )
        try:
            return self._drive().download(found).decode("utf-8")
        except UnicodeDecodeError:
            raise NotebookError(f"{path} is not a notebook: it is not text in UTF-8.") from None

    def write(self, buf: str, path: str) -> None:
        """Schedule an upload of the notebook, in place of an earlier version not yet uploaded.

        Raises the error of an earlier upload that Drive refused. An upload that could not reach
        Drive is repeated with the next one, or when the process ends.
        """
        with self._lock:
            self._raise_refusal()
            self._pending[path] = buf.encode("utf-8")
            if self._timer is None:
                atexit.unregister(self.flush)
                atexit.register(self.flush)
                wait = max(0.0, self._last + self._pause - time.monotonic())
                self._timer = threading.Timer(wait, self._send_later)
                self._timer.daemon = True
                self._timer.start()

    def listdir(self, path: str) -> list[str]:
        """List the paths of the notebooks in a folder."""
        folder = self._drive().folder(path.removeprefix(SCHEME) or "My Drive", create=False)
        names = [file.name for file in self._drive().list_folder(folder.id)]
        return [f"{path.rstrip('/')}/{name}" for name in names if name.endswith(".ipynb")]

    def pretty_path(self, path: str) -> str:
        """Return the path for display."""
        return path

    def flush(self) -> None:
        """Upload pending notebooks now; raise at the end if Drive has refused one since the last.

        A refused notebook is no longer pending, so that it does not stop others again.
        """
        self._send_pending()
        self._raise_refusal()

    def _raise_refusal(self) -> None:
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed

    def _send_pending(self) -> None:
        with self._sending:
            with self._lock:
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
                pending = dict(self._pending)
            for path, content in pending.items():
                try:
                    self._send(path, content)
                except UnavailableError:
                    raise  # still pending
                except ColabDriveTunerError as error:
                    self._failed = error
                with self._lock:
                    if self._pending.get(path) is content:  # otherwise a newer version is pending
                        del self._pending[path]
            self._last = time.monotonic()

    def _send_later(self) -> None:
        with contextlib.suppress(UnavailableError):  # still pending
            self._send_pending()

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
            except FileNotFoundError:  # the package's NotFoundError is one
                return None
            files = [file for file in drive.list_folder(parent.id, name) if not file.is_folder]
            if len(files) > 1:
                ids = ", ".join(f"{SCHEME}id/{file.id}" for file in files)
                raise AmbiguousNotebookError(f"{len(files)} files match {path}; choose one: {ids}.")
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
"""The handler that the entry point `papermill.io` registers."""
