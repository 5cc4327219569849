"""Spool files: checksummed entries, flushed to disk before their content is first sent.

The header of a file names its history and session, and each item has a number within its session,
so that a reader can detect missing items. A truncated last entry is normal after a kill; any other
unreadable entry is damage.
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
_HEADER, _ATTACHMENT, _ITEM = b"h", b"b", b"i"
"""First byte of an entry, its type: header, attachment, item."""
_NUMBERS = struct.Struct("<QI")
"""Prefix of an item: its number, and the number of preceding entries that are its attachments."""
_ITEM_START = len(_ITEM) + _NUMBERS.size
_ENTRIES_PER_WRITE = 8
"""Few enough that joining the entries reuses freed memory."""

log = logging.getLogger(__name__)

Spooled = tuple[bytes, Sequence[bytes]]
"""An item and its attachments, the large values stored separately."""


@dataclass
class SpoolSession:
    """Numbering of one session's files and items."""

    number: int
    """Higher than that of every earlier session in this spool."""
    next_item: int = 1
    next_file: int = 1


@dataclass(frozen=True)
class SpoolFile:
    """Spool file that an earlier session left without seeing its items acknowledged."""

    path: Path
    session: int
    """The session's number; 0 if it cannot be read."""
    epoch: str
    """Epoch of the chain (see `Head.epoch`) to which its items belong."""
    numbered: tuple[tuple[int, Spooled], ...]
    """The readable items with their numbers in the session."""
    damage: str = ""
    """Description of the unreadable part, apart from a truncated last entry; empty if none."""

    @property
    def items(self) -> tuple[Spooled, ...]:
        """The readable items."""
        return tuple(item for _, item in self.numbered)

    @property
    def order(self) -> tuple[int, int, str]:
        """Sort key: session and first item, independent of file names and times."""
        return self.session, self.numbered[0][0] if self.numbered else 0, self.path.name


class SpoolFileWriter:
    """Spool file being written, with the items of one record or of an outage so far."""

    def __init__(self, path: Path, epoch: str, session: SpoolSession) -> None:
        self.path, self._session = path, session
        self.usable = True
        """Whether items can be added; False once the disk has failed."""
        self._holds_items = False
        self._file = path.open("xb", buffering=0)
        try:
            self._write(b"".join(_entry(_HEADER, msgpack.packb([epoch, session.number]))))
            sync_folder(path.parent)
        except OSError:
            self._abandon(0)
            with contextlib.suppress(OSError):  # an empty file is harmless
                path.unlink()
            raise

    def add(self, items: Sequence[Spooled]) -> None:
        """Write the items and their attachments and flush them to disk.

        On OSError none of the items counts as written, and the file is closed.
        """
        end = self._file.tell()
        try:
            entries = list(self._entries(items))
            for start in range(0, len(entries), _ENTRIES_PER_WRITE):
                together = entries[start : start + _ENTRIES_PER_WRITE]
                self._write(b"".join(chain.from_iterable(together)))
            os.fsync(self._file.fileno())
        except OSError:
            self._abandon(end)
            raise
        self._session.next_item += len(items)
        self._holds_items = True

    def _entries(self, items: Iterable[Spooled]) -> Iterator[tuple[bytes, ...]]:
        for number, (item, attachments) in enumerate(items, self._session.next_item):
            for value in attachments:
                yield _entry(_ATTACHMENT, value)
            yield _entry(_ITEM + _NUMBERS.pack(number, len(attachments)), item)

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:  # a nearly full disk accepts a part
            left = left[self._file.write(left) :]

    def _abandon(self, end: int) -> None:
        """Close the file; after a failed flush its state on disk is unknown."""
        self.usable = False
        with contextlib.suppress(OSError):  # readers ignore a truncated last entry
            self._file.truncate(end)
        self._file.close()

    def close(self) -> None:
        """Close the file and keep it."""
        self._file.close()

    def acknowledge(self) -> None:
        """Rename the file, whose items are in the chain; it keeps the last item's number."""
        self.close()
        try:
            if self._holds_items:
                self.path.replace(self.path.with_name(acknowledged_name(self._session.number)))
            else:
                self.path.unlink()
        except OSError as error:  # the next session will find the items in the chain
            log.warning("The spool file %s cannot be removed: %s", self.path, error)


def acknowledged_name(session: int) -> str:
    """Return the name of the file with the last acknowledged items of a session."""
    return f"{session:06d}.acknowledged"


def read_spool_file(path: Path) -> SpoolFile:
    """Return the content of a spool file; damage never raises, but is described in the result."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return SpoolFile(path, 0, "", (), f"it cannot be read ({error.strerror})")
    contents, damaged = _contents(data)
    header = contents[0] if contents else None
    session, epoch = _header(header)
    if contents and not session:
        return SpoolFile(path, 0, "", (), "its first entry, the header, is damaged")
    numbered: list[tuple[int, Spooled]] = []
    attachments: list[bytes] = []
    for content in contents[1:]:
        if content is not None and content.startswith(_ATTACHMENT):
            attachments.append(content[1:])
            continue
        if content is not None and content.startswith(_ITEM) and len(content) > _ITEM_START:
            number, values = _NUMBERS.unpack_from(content, 1)
            if values == len(attachments):  # otherwise one of them is damaged
                numbered.append((number, (content[_ITEM_START:], tuple(attachments))))
        attachments = []
    damage = f"{damaged} of its entries are damaged" if damaged else ""
    return SpoolFile(path, session, epoch, tuple(numbered), damage)


def _header(content: bytes | None) -> tuple[int, str]:
    """Return session and epoch; session 0 if `content` is not a valid header."""
    if content is None or not content.startswith(_HEADER):
        return 0, ""
    try:
        epoch, session = msgpack.unpackb(content[1:])
        return int(session), str(epoch)
    except (ValueError, TypeError):
        return 0, ""


def _entry(*content: bytes) -> tuple[bytes, ...]:
    digest = hashlib.sha256()
    for part in content:
        digest.update(part)
    return _LENGTH.pack(sum(map(len, content))), digest.digest()[:_DIGEST], *content


def _contents(data: bytes) -> tuple[list[bytes | None], int]:
    """Return the entries before any truncated one, None for each damaged one, and their count."""
    found: list[bytes | None] = []
    offset = 0
    while offset + _LENGTH.size + _DIGEST <= len(data):
        (length,) = _LENGTH.unpack_from(data, offset)
        start = offset + _LENGTH.size + _DIGEST
        content = data[start : start + length]
        if len(content) < length or not length:
            break  # truncated, or zeros left by a power failure
        intact = hashlib.sha256(content).digest()[:_DIGEST] == data[offset + _LENGTH.size : start]
        found.append(content if intact else None)
        offset = start + length
    return found, found.count(None)
