"""Small files that are stored twice, so that a damaged file is restored from its mirror."""

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


class MirroredFiles(Generic[Value]):
    """The files of one kind, `<home>/<kind>/<key>`, each with a copy in `<home>/copies`.

    The copy is written once the original is durable, and is not itself synced: if there is a copy,
    there was an original. Both are separate files, so that no write affects both.
    """

    def __init__(self, home: Path, kind: str, decode: Callable[[bytes, str], Value | None]) -> None:
        self._home, self._decode = home, decode
        self.folder = home / kind
        self._copies = home / "copies" / kind
        self._places = [f"{folder}{os.sep}" for folder in (self.folder, self._copies)]

    def path(self, key: str) -> Path:
        """Return the path of the original."""
        return self.folder / key

    def __iter__(self) -> Iterator[str]:
        """Yield each key with an original or a copy."""
        found = {*disk.list_names(self.folder), *disk.list_names(self._copies)}
        return (key for key in sorted(found) if not key.startswith("."))

    def has(self, key: str) -> bool:
        """Return whether there is a file for the key, valid or not."""
        return any(os.path.lexists(place + key) for place in self._places)

    def read(self, key: str) -> Value | None:
        """Return the value, None if there is none; `ChecksumError` if both files are damaged."""
        path = self.path(key)
        content = _read(path)
        value = None if content is None else self._decode(content, key)
        if value is not None:
            return value
        copy = self.read_copy(key)
        if copy is None:
            if content is None:
                return None
            raise disk.damaged_error(path)
        value = self._decode(copy, key)
        if value is None:
            raise disk.damaged_error(*([] if content is None else [path]), self._copies / key)
        # Errors are ignored: a read-only folder can still be read.
        with contextlib.suppress(OSError), self._aside(copy) as temporary:
            disk.ensure_folders(self._home, self.folder.name)
            if content is None:
                os.link(temporary, path)  # never overwrites one that is restored concurrently
            else:
                temporary.replace(path)
            sync_folder(self.folder)
        return value

    def read_copy(self, key: str) -> bytes | None:
        """Return the bytes of the copy."""
        return _read(self._copies / key)

    def write(self, key: str, content: bytes) -> None:
        """Replace the value; the original is durable when this returns."""
        disk.ensure_folders(self._home, self.folder.name)
        with self._aside(content) as temporary:
            temporary.replace(self.path(key))
        sync_folder(self.folder)
        self.write_copy(key, content)

    def rewrite(self, key: str, content: bytes) -> None:
        """Like `write`, but original and copy never have different contents."""
        disk.remove(self._copies / key)
        with contextlib.suppress(FileNotFoundError):  # no copy was ever written
            sync_folder(self._copies)
        self.write(key, content)

    def write_copy(self, key: str, content: bytes) -> None:
        """Write the copy, without syncing it."""
        path = disk.ensure_folders(self._home, "copies", self.folder.name) / key
        with contextlib.suppress(FileExistsError):  # written concurrently
            path.unlink(missing_ok=True)  # it could be a symbolic link
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
    """Return the bytes of one file; empty, which is invalid, if it is not a plain file."""
    try:
        return disk.read_small(path)
    except RefusedError:
        return b""
