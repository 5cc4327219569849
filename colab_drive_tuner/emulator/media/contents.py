"""Contents on disk: received in chunks, hashed while receiving, moved into place when complete.

Memory use does not depend on the size. Hashing and writing run in a thread, so that large transfers
do not block other calls.
"""

import asyncio
import hashlib
import secrets
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..state.database import Database

PIECE = 2**20


@dataclass(frozen=True)
class Received:
    """A completely received content in the incoming folder."""

    path: Path
    size: int
    md5: str
    sha1: str
    sha256: str

    def keep(self, database: Database) -> str:
        """Move it to the contents folder; return its name there."""
        blob = self.path.name
        self.path.rename(database.blobs / blob)
        return blob

    def discard(self) -> None:
        """Delete it."""
        self.path.unlink(missing_ok=True)


class Sink:
    """An incoming file that is appended to; reopened, it continues at its end."""

    def __init__(self, path: Path, *, cut_at: int | None = None) -> None:
        self.path = path
        self.size = 0
        """Bytes received so far, also those that are not written yet."""
        self._sums = [hashlib.md5(), hashlib.sha1(), hashlib.sha256()]  # noqa: S324 Drive's own
        if path.exists():
            with path.open("r+b") as known:
                if cut_at is not None:
                    known.truncate(cut_at)
                while piece := known.read(PIECE):
                    self._hash(piece)
                self.size = known.tell()
        self._file = path.open("ab", buffering=0)
        self._waiting = bytearray()

    @property
    def md5(self) -> str:
        """The checksum of what is written so far."""
        return self._sums[0].hexdigest()

    def _hash(self, piece: bytes | bytearray) -> None:
        for checksum in self._sums:
            checksum.update(piece)

    def _write(self, piece: bytes | bytearray) -> None:
        left = memoryview(piece)
        while left:  # a nearly full disk accepts a part
            left = left[self._file.write(left) :]
        self._hash(piece)

    async def write(self, chunk: bytes) -> None:
        """Append data; small chunks are buffered."""
        self._waiting += chunk
        self.size += len(chunk)
        if len(self._waiting) >= PIECE:
            await self.flush()

    async def flush(self) -> None:
        """Write the buffer to disk."""
        piece, self._waiting = self._waiting, bytearray()
        if len(piece) < 65536:
            self._write(piece)
        else:
            await asyncio.to_thread(self._write, piece)

    async def finish(self) -> Received:
        """Close the file and return the received content."""
        await self.flush()
        self._file.close()
        md5, sha1, sha256 = (checksum.hexdigest() for checksum in self._sums)
        return Received(self.path, self.size, md5, sha1, sha256)

    def close(self) -> None:
        """Close the file and keep it, with all bytes that were received."""
        self._write(self._waiting)
        self._file.close()

    def discard(self) -> None:
        """Close and delete the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)


async def receive(database: Database, chunks: AsyncIterator[bytes]) -> Received:
    """Receive a whole content; if the client disconnects, delete the partial file."""
    sink = Sink(database.incoming / secrets.token_hex(16))
    try:
        async for chunk in chunks:
            await sink.write(chunk)
        return await sink.finish()
    except BaseException:  # also if the request is cancelled
        sink.discard()
        raise


def copied(database: Database, revision: Mapping[str, Any]) -> Received:
    """Receive the content of a revision: as a hard link, or a copy if the disk has none."""
    path, source = database.incoming / secrets.token_hex(16), database.blobs / revision["blob"]
    try:
        path.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, path)
    sums = (revision[name] for name in ("md5", "sha1", "sha256"))
    return Received(path, int(revision["size"]), *sums)
