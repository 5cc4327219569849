"""Spool files: checksummed entries, flushed to the disk before what they hold is first sent.

Each file says to which history and session it belongs, and each item bears its number in the
session, so that a reader knows what is missing. A torn last entry is what a kill leaves; anything
else that cannot be read is damage, and is told from it.
"""

import contextlib
import hashlib
import logging
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import msgpack

from colab_drive_tuner.local_files import sync_folder

_DIGEST = 16
_LENGTH = struct.Struct("<I")
_HEADER, _BESIDE, _ITEM = b"h", b"b", b"i"
"""The first byte of an entry: what it holds."""
_NUMBERS = struct.Struct("<QI")
"""What stands before an item: its number, and how many of the entries before it belong to it."""
_BEFORE_ITEM = len(_ITEM) + _NUMBERS.size
_TOGETHER = 8
"""Entries that are written by one call: few enough to be joined in memory that is used again."""

log = logging.getLogger(__name__)

Spooled = tuple[bytes, Sequence[bytes]]
"""An item, and the large values beside it."""


@dataclass
class SpoolSession:
    """The numbers that one session gives to its files and items."""

    number: int
    """Higher than that of every session before it in this spool."""
    next_item: int = 1
    next_file: int = 1


@dataclass(frozen=True)
class Leftover:
    """A spool file that an earlier session could not see acknowledged."""

    path: Path
    session: int
    """The session's number; 0 where the file does not say."""
    epoch: str
    """The epoch of the chain (see `Head.epoch`) in which its items were made."""
    numbered: tuple[tuple[int, Spooled], ...]
    """What can be read of it: items with their numbers in the session."""
    damage: str = ""
    """What of it cannot be read; empty: all of it can, but for what a kill tore."""

    @property
    def items(self) -> tuple[Spooled, ...]:
        """The items that can be read."""
        return tuple(item for _, item in self.numbered)

    @property
    def order(self) -> tuple[int, int, str]:
        """What sorts files: session and first item, wherever the files were moved or copied."""
        return self.session, self.numbered[0][0] if self.numbered else 0, self.path.name


class Segment:
    """A spool file that is being written; the items of one record, or of an outage so far."""

    def __init__(self, path: Path, epoch: str, session: SpoolSession) -> None:
        self.path, self._session = path, session
        self.usable = True
        """Whether it can be added to: not any more once the disk has failed."""
        self._holds_items = False
        self._file = path.open("xb", buffering=0)
        try:
            self._write(b"".join(_entry(_HEADER, msgpack.packb([epoch, session.number]))))
            sync_folder(path.parent)
        except OSError:
            self._abandon(0)
            with contextlib.suppress(OSError):  # an empty file is no harm
                path.unlink()
            raise

    def add(self, items: Sequence[Spooled]) -> None:
        """Write the items, and the values beside them, and flush them to the disk.

        Where the disk fails (OSError), none of them counts as written, and the file is closed.
        """
        end = self._file.tell()
        try:
            entries = list(self._entries(items))
            for start in range(0, len(entries), _TOGETHER):
                self._write(b"".join(chain.from_iterable(entries[start : start + _TOGETHER])))
            os.fsync(self._file.fileno())
        except OSError:
            self._abandon(end)
            raise
        self._session.next_item += len(items)
        self._holds_items = True

    def _entries(self, items: Iterable[Spooled]) -> Iterator[tuple[bytes, ...]]:
        for number, (item, attachments) in enumerate(items, self._session.next_item):
            for value in attachments:
                yield _entry(_BESIDE, value)
            yield _entry(_ITEM + _NUMBERS.pack(number, len(attachments)), item)

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:  # a disk that is almost full takes a part
            left = left[self._file.write(left) :]

    def _abandon(self, end: int) -> None:
        """Close the file; after a failed flush nobody knows what of it reached the disk."""
        self.usable = False
        with contextlib.suppress(OSError):  # a reader passes over a torn entry
            self._file.truncate(end)
        self._file.close()

    def close(self) -> None:
        """Close the file and leave it there."""
        self._file.close()

    def acknowledge(self) -> None:
        """Its items are in the chain: the file only says which of the session's come next."""
        self.close()
        try:
            if self._holds_items:
                self.path.replace(self.path.with_name(acknowledged_name(self._session.number)))
            else:
                self.path.unlink()
        except OSError as error:  # the next session sees that they are in the chain
            log.warning("The spool file %s cannot be put away: %s", self.path, error)


def acknowledged_name(session: int) -> str:
    """The name of the file whose items are the last of a session that the chain acknowledged."""
    return f"{session:06d}.acknowledged"


def read_segment(path: Path) -> Leftover:
    """What a spool file holds; whatever is wrong with it, this returns."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Leftover(path, 0, "", (), f"it cannot be read ({error.strerror})")
    contents, damaged = _contents(data)
    header = contents[0] if contents else None
    session, epoch = _header(header)
    if contents and not session:
        return Leftover(path, 0, "", (), "its first entry, the header, is damaged")
    numbered: list[tuple[int, Spooled]] = []
    attachments: list[bytes] = []
    for content in contents[1:]:
        if content is not None and content.startswith(_BESIDE):
            attachments.append(content[1:])
            continue
        if content is not None and content.startswith(_ITEM) and len(content) > _BEFORE_ITEM:
            number, values = _NUMBERS.unpack_from(content, 1)
            if values == len(attachments):  # else one of them is damaged
                numbered.append((number, (content[_BEFORE_ITEM:], tuple(attachments))))
        attachments = []
    damage = f"{damaged} of its entries are damaged" if damaged else ""
    return Leftover(path, session, epoch, tuple(numbered), damage)


def _header(content: bytes | None) -> tuple[int, str]:
    """Session and epoch; session 0 where these are no header's bytes."""
    if content is None or not content.startswith(_HEADER):
        return 0, ""
    try:
        epoch, session = msgpack.unpackb(content[1:])
        return int(session), str(epoch)
    except (ValueError, TypeError):
        return 0, ""


def _entry(*content: bytes) -> tuple[bytes, ...]:
    """The parts of an entry: length, digest, content."""
    digest = hashlib.sha256()
    for part in content:
        digest.update(part)
    return _LENGTH.pack(sum(map(len, content))), digest.digest()[:_DIGEST], *content


def _contents(data: bytes) -> tuple[list[bytes | None], int]:
    """The entries up to a torn one, None in place of each damaged one; how many of those."""
    found: list[bytes | None] = []
    offset = 0
    while offset + _LENGTH.size + _DIGEST <= len(data):
        (length,) = _LENGTH.unpack_from(data, offset)
        start = offset + _LENGTH.size + _DIGEST
        content = data[start : start + length]
        if len(content) < length or not length:
            break  # torn; or zeros, which a power cut leaves
        whole = hashlib.sha256(content).digest()[:_DIGEST] == data[offset + _LENGTH.size : start]
        found.append(content if whole else None)
        offset = start + length
    return found, found.count(None)
