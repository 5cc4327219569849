"""Byte format of records and snapshots: framed, checksummed, decoded as untrusted input.

A file consists of the magic `CDT`, a format digit, the sha256 of the body, and the body: a msgpack
map. The sha256 of the whole file identifies the record: the next record names it as `prev`.
"""

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import SimpleNamespace
from typing import Annotated, Any

import msgpack

from colab_drive_tuner.errors import NewerFormatError, SearchDamagedError
from colab_drive_tuner.journal.chain.fields import (
    decoding,
    duration,
    file_id,
    file_ids,
    load,
    moment,
    sha256_hex,
    typed,
)

MAGIC = b"CDT1"
PLAIN: Mapping[str, Any] = {"raw": False, "strict_map_key": False, "timestamp": 1}
"""Options for unpacking. Records have no timestamps; a foreign one is read as a number, because
msgpack's own timestamps can be crafted to collide as keys of a map, which takes quadratic time."""
_UNCHECKED_BYTES = 1 << 13
_HEADER = len(MAGIC) + hashlib.sha256().digest_size


class RecordKind(StrEnum):
    """Kind of a record."""

    CLAIM = "claim"
    TRIALS = "trials"
    RELEASE = "release"
    RESET = "reset"
    MOVED = "moved"


class ClaimReason(StrEnum):
    """How the previous owner ended, as stated by a claim."""

    NEW = "new"
    """There was no previous owner."""
    ANEW = "anew"
    """None in this chain, which was begun deliberately although a search of this name existed."""
    REBUILT = "rebuilt"
    """None in this chain, which was written by `repair` or `copy`."""
    RELEASED = "released"
    """It released the search."""
    DEAD = "dead"
    """Its process is certainly gone."""
    STALE = "stale"
    """Its lease expired."""
    TAKEOVER = "takeover"
    """It may still be alive: the search was taken over."""


DEATHS = (ClaimReason.DEAD, ClaimReason.STALE)


@dataclass(frozen=True)
class Claimant:
    """The process that claimed a search."""

    machine: str
    """Random id of the machine's state folder, which holds its spool."""
    pid: int
    host: str
    account: str
    runtime: str
    """Description of the runtime, for display."""


def _sha_or_empty(value: Any) -> str:
    return "" if value == "" else sha256_hex(value)


def _files(value: Any) -> dict[str, str]:
    return {sha256_hex(sha): file_id(entry_id) for sha, entry_id in typed(value, dict).items()}


@dataclass(frozen=True)
class Record:
    """One link of the chain."""

    pos: int
    kind: RecordKind
    owner: str
    """Session that wrote it: a new random id for every claim."""
    prev: Annotated[str, _sha_or_empty]
    """sha256 of the previous record; empty for record 0."""
    more: Annotated[tuple[str, ...], file_ids] = ()
    """Further ids, following those known so far."""
    payload: bytes = b""
    at: Annotated[float, moment] = 0.0
    """Time by the writer's clock, for display only."""
    sha: str = ""
    """sha256 of this record, once it is encoded or decoded."""
    reason: ClaimReason | None = None
    """Claims: how the previous owner ended."""
    claimant: Claimant | None = None
    """Claims: the claiming process."""
    search: str = ""
    """Claims: the search's name at that time; empty if unknown."""
    home: str = ""
    """Claims: id of the folder that held all searches at that time."""
    careful: Annotated[float, duration] = 0.0
    """Claims: seconds of training that the owner's careful start lasts, at most."""
    target: str = ""
    """Moved: the folder in which the search continues."""
    files: Annotated[Mapping[str, str], _files] = field(default_factory=dict)
    """Trials, resets: ids of the files with large values of their items, by sha256."""
    content: bytes = field(default=b"", repr=False)
    """Its bytes, once it is encoded, fixed before the first send: a retry sends the same bytes."""


_ALWAYS = frozenset({"pos", "owner", "prev", "payload"})
"""Fields that are always written; other fields only if they are not empty."""


def encode_record(record: Record) -> Record:
    """Return the record with its bytes; a record without a time gets the current one.

    A random nonce makes sure that no two sessions ever write equal bytes.
    """
    record = replace(record, at=record.at or time.time(), sha="", content=b"")
    body = {name: value for name, value in vars(record).items() if value or name in _ALWAYS}
    content = frame(body | {"nonce": secrets.token_bytes(16)})
    return replace(record, sha=hashlib.sha256(content).hexdigest(), content=content)


def record_name(pos: int) -> str:
    """Return the visible name of a record's file."""
    return f"record-{pos:06d}.cdt"


def attachment_name(sha: str) -> str:
    """Return the file name of an attachment whose content has this sha256."""
    return f"attachment-{sha[:16]}.cdt"


def frame(body: Mapping[str, Any]) -> bytes:
    """Return the bytes of a file with this body; a dataclass is written as a map of its fields."""
    packer = msgpack.Packer(autoreset=False, default=vars)
    packer.pack(body)
    packed = packer.getbuffer()
    return b"".join((MAGIC, hashlib.sha256(packed).digest(), packed))


def is_whole(content: bytes) -> bool:
    """Whether the content is a complete file made by `frame`."""
    digest = hashlib.sha256(content[_HEADER:]).digest()
    return content.startswith(MAGIC) and digest == content[len(MAGIC) : _HEADER]


def unframe(content: bytes, what: str) -> dict[str, Any]:
    """Return the body of a file; raise `SearchDamagedError` stating what is wrong with `what`."""
    if not content.startswith(MAGIC[:3]):
        raise SearchDamagedError(
            f"{what} is not a file of colab-drive-tuner, or was truncated or overwritten."
        )
    if content[:4] != MAGIC:
        raise NewerFormatError(
            f"{what} was written by a newer version, in a format that this version does not know: "
            f"upgrade colab-drive-tuner."
        )
    body = content[_HEADER:]
    if hashlib.sha256(body).digest() != content[len(MAGIC) : _HEADER]:
        raise SearchDamagedError(f"{what} was truncated or altered: its checksum does not match.")
    unpacked = unpack(body, what)
    if not isinstance(unpacked, dict):
        raise SearchDamagedError(f"{what} cannot be decoded: it holds no map.")
    return unpacked


def unpack(data: bytes, what: str) -> Any:
    """Decode a single msgpack value of plain types; raise `SearchDamagedError` for other data."""
    with decoding(what):
        check_lengths(data)
        return msgpack.unpackb(data, **PLAIN)


def check_lengths(data: bytes | memoryview) -> None:
    """Raise unless the data really contains what the headers of its lists and maps claim.

    msgpack allocates a list of the length given in its header, so many nested lists could take far
    more memory than the data. Small data cannot claim much and is not checked.
    """
    if len(data) < _UNCHECKED_BYTES:
        return
    position = 0

    def read(size: int) -> bytes:  # `feed` would copy everything at once
        nonlocal position
        position += size
        return bytes(data[position - size : position])

    unpacker = msgpack.Unpacker(SimpleNamespace(read=read), max_buffer_size=len(data))
    while unpacker.tell() < len(data):
        unpacker.skip()


def split_items(payload: bytes, what: str = "A record") -> list[bytes]:
    """Return the items of a "trials" record, each a msgpack value."""
    items, start = [], 0
    with decoding(what):
        unpacker = msgpack.Unpacker(raw=False, max_buffer_size=len(payload) or 1)
        unpacker.feed(payload)
        while start < len(payload):
            unpacker.skip()
            items.append(payload[start : unpacker.tell()])
            start = unpacker.tell()
    return items


def decode_record(content: bytes, what: str) -> Record:
    """Decode a record from a file's bytes; raise `SearchDamagedError` naming `what`."""
    body = unframe(content, what)
    try:
        if absent := {"payload", "at"} - body.keys():
            raise KeyError(min(absent))
        sha = hashlib.sha256(content).hexdigest()
        record = load(Record, body | {"sha": sha, "content": b""})
        if (record.kind == RecordKind.CLAIM) != (record.claimant is not None):
            raise ValueError("only a claim has a claimant")
    except (KeyError, TypeError, ValueError) as error:
        raise SearchDamagedError(f"{what} lacks a field or has a wrong one: {error}.") from error
    return record
