"""Small files that are each kept twice, so that damage to one is mended by the other."""

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from colab_drive_tuner.errors import RefusedError
from colab_drive_tuner.local_files import sync_folder
from colab_drive_tuner.store.folder import disk

Value = TypeVar("Value")


class TwoCopies(Generic[Value]):
    """The files of one kind, `<home>/<kind>/<key>`, each with its copy below `<home>/copies`.

    The copy is written when its original is on the disk for good, and is not waited for: where
    there is a copy, there was an original. Both are separate files, so that no write reaches both.
    """

    def __init__(self, home: Path, kind: str, decode: Callable[[bytes, str], Value | None]) -> None:
        self._home, self._decode = home, decode
        self.folder = home / kind
        self._copies = home / "copies" / kind
        self._places = [f"{folder}{os.sep}" for folder in (self.folder, self._copies)]

    def path(self, key: str) -> Path:
        """The original's place."""
        return self.folder / key

    def __iter__(self) -> Iterator[str]:
        """Each key that there is a file for."""
        found = {*disk.names(self.folder), *disk.names(self._copies)}
        return (key for key in sorted(found) if not key.startswith("."))

    def has(self, key: str) -> bool:
        """Whether there is a file for the key, whatever it says."""
        return any(os.path.lexists(place + key) for place in self._places)

    def read(self, key: str) -> Value | None:
        """What is kept under the key; None: nothing. Raises `ChecksumError` where both are bad."""
        path = self.path(key)
        content = _read(path)
        value = None if content is None else self._decode(content, key)
        if value is not None:
            return value
        copy = self.read_copy(key)
        if copy is None:
            if content is None:
                return None
            raise disk.damaged(path)
        value = self._decode(copy, key)
        if value is None:
            raise disk.damaged(*([] if content is None else [path]), self._copies / key)
        # A folder that can only be read is read all the same.
        with contextlib.suppress(OSError), self._aside(copy) as temporary:
            disk.make_folders(self._home, self.folder.name)
            if content is None:
                os.link(temporary, path)  # nobody else's, should it come back at this moment
            else:
                temporary.replace(path)
            sync_folder(self.folder)
        return value

    def read_copy(self, key: str) -> bytes | None:
        """The bytes of the copy alone."""
        return _read(self._copies / key)

    def write(self, key: str, content: bytes) -> None:
        """Replace what is kept under the key; the original is on the disk when this returns."""
        disk.make_folders(self._home, self.folder.name)
        with self._aside(content) as temporary:
            temporary.replace(self.path(key))
        sync_folder(self.folder)
        self.write_copy(key, content)

    def rewrite(self, key: str, content: bytes) -> None:
        """As `write`; at no moment do original and copy say different things."""
        disk.discard(self._copies / key)
        with contextlib.suppress(FileNotFoundError):  # no copy was ever written
            sync_folder(self._copies)
        self.write(key, content)

    def write_copy(self, key: str, content: bytes) -> None:
        """Write the copy, without waiting for the disk."""
        path = disk.make_folders(self._home, "copies", self.folder.name) / key
        with contextlib.suppress(FileExistsError):  # of two who write at once, the other one's
            path.unlink(missing_ok=True)  # in its place may be a link
            disk.write_new(path, content)

    @contextlib.contextmanager
    def _aside(self, content: bytes) -> Iterator[Path]:
        temporary = self._home / f"new-{uuid.uuid4().hex}"
        try:
            disk.write(temporary, content)
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    """The bytes of one copy; none where something else, which is not read, lies in its place."""
    try:
        return disk.read_small(path)
    except RefusedError:
        return b""
