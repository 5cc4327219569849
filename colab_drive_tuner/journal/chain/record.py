"""Records and snapshots as bytes: framed, checksummed, decoded without trust.

A file is the magic `CDT`, a format digit, the sha256 of the body, and the body: a msgpack map. The
sha256 of the whole file is the record's identity: the next record names it as `prev`.
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
    sha256_hex,
    typed,
)

MAGIC = b"CDT1"
PLAIN: Mapping[str, Any] = {"raw": False, "strict_map_key": False, "timestamp": 1}
"""How msgpack reads values; a timestamp, which no record has, as a number: of its own kind anybody
can make a million that hash alike, and as keys of a map they take quadratic time."""
_LITTLE = 1 << 13
_HEADER = len(MAGIC) + hashlib.sha256().digest_size


class RecordKind(StrEnum):
    """What a record says."""

    CLAIM = "claim"
    TRIALS = "trials"
    RELEASE = "release"
    RESET = "reset"
    MOVED = "moved"


class ClaimReason(StrEnum):
    """How the owner before a claim ended."""

    NEW = "new"
    """There was none."""
    ANEW = "anew"
    """There was none in this chain, which was begun on purpose beside another of its name."""
    REBUILT = "rebuilt"
    """There was none in this chain, which `repair` or a copy writes."""
    RELEASED = "released"
    """By itself."""
    DEAD = "dead"
    """Its process is certainly gone."""
    STALE = "stale"
    """Its lease has run out."""
    TAKEOVER = "takeover"
    """Perhaps not: the search was taken from it."""


DEATHS = (ClaimReason.DEAD, ClaimReason.STALE)


@dataclass(frozen=True)
class Claimant:
    """Who claimed a search, so that others can say so and judge whether it still lives."""

    machine: str
    """The random id of the machine's state folder: its spool lies there."""
    pid: int
    host: str
    account: str
    runtime: str
    """Where it runs, in words for people."""


def _sha_or_empty(value: Any) -> str:
    return "" if value == "" else sha256_hex(value)


def _files(value: Any) -> dict[str, str]:
    return {sha256_hex(sha): file_id(one) for sha, one in typed(value, dict).items()}


@dataclass(frozen=True)
class Record:
    """One link of the chain."""

    pos: int
    kind: RecordKind
    owner: str
    """The session that wrote it: a fresh random id for every claim."""
    prev: Annotated[str, _sha_or_empty]
    """sha256 of the record before it; empty for record 0."""
    more: Annotated[tuple[str, ...], file_ids] = ()
    """Ids that follow those known so far."""
    payload: bytes = b""
    at: float = 0.0
    """The writer's clock, for people only: nothing is decided by it."""
    sha: str = ""
    """Its own, once it is encoded."""
    reason: ClaimReason | None = None
    """Claims: how the owner before ended."""
    claimant: Claimant | None = None
    """Claims: who."""
    search: str = ""
    """Claims: the search's name at that time; empty where it is not known."""
    home: str = ""
    """Claims: the id of the folder in which searches lay at that time."""
    careful: Annotated[float, duration] = 0.0
    """Claims: for how many seconds of training the owner must go carefully."""
    target: str = ""
    """Moved: the folder in which the search goes on."""
    files: Annotated[Mapping[str, str], _files] = field(default_factory=dict)
    """Trials, resets: the ids of the files that hold large values of their items, by sha256."""


_ALWAYS = frozenset({"pos", "owner", "prev", "payload"})
"""The fields of a record that are written whatever they are; others where they say something."""


@dataclass(frozen=True)
class EncodedRecord:
    """The bytes of a record, fixed before they are first sent: a retry sends these very bytes."""

    record: Record
    content: bytes


def encode_record(record: Record) -> EncodedRecord:
    """Fix a record's bytes, with a fresh nonce so that no two sessions ever write equal ones.

    One without a time gets the present one.
    """
    at = record.at or time.time()
    body = {name: value for name, value in vars(record).items() if value or name in _ALWAYS}
    content = frame(body | {"at": at, "nonce": secrets.token_bytes(16)})
    return EncodedRecord(replace(record, at=at, sha=hashlib.sha256(content).hexdigest()), content)


def frame(body: Mapping[str, Any]) -> bytes:
    """The bytes of a file with this body; a dataclass in it is the map of its fields."""
    packer = msgpack.Packer(autoreset=False, default=vars)
    packer.pack(body)
    packed = packer.getbuffer()
    return b"".join((MAGIC, hashlib.sha256(packed).digest(), packed))


def is_whole(content: bytes) -> bool:
    """Whether these are the bytes of a file that `frame` made."""
    digest = hashlib.sha256(content[_HEADER:]).digest()
    return content.startswith(MAGIC) and digest == content[len(MAGIC) : _HEADER]


def unframe(content: bytes, what: str) -> dict[str, Any]:
    """The body of a file, or `SearchDamagedError` saying what is wrong with `what`."""
    if not content.startswith(MAGIC[:3]):
        raise SearchDamagedError(f"{what} is not a file of ours, or was cut or overwritten.")
    if content[:4] != MAGIC:
        raise NewerFormatError(
            f"{what} was written by a newer version, in a format that this one does not know: "
            f"upgrade colab-drive-tuner."
        )
    body = content[_HEADER:]
    if hashlib.sha256(body).digest() != content[len(MAGIC) : _HEADER]:
        raise SearchDamagedError(f"{what} was cut or altered: its checksum does not match.")
    unpacked = unpack(body, what)
    if not isinstance(unpacked, dict):
        raise SearchDamagedError(f"{what} cannot be decoded: it holds no map.")
    return unpacked


def unpack(data: bytes, what: str) -> Any:
    """The one msgpack value in the data, of plain kinds; `SearchDamagedError` for anything else."""
    with decoding(what):
        check_claims(data)
        return msgpack.unpackb(data, **PLAIN)


def check_claims(data: bytes | memoryview) -> None:
    """Raise unless what the headers in the data claim to hold is there.

    msgpack makes room for a list as long as its header says: many of them, one in another, would
    take far more memory than the data. In little data no header can claim much.
    """
    if len(data) < _LITTLE:
        return
    place = 0

    def read(size: int) -> bytes:  # `feed` would copy all of it at once
        nonlocal place
        place += size
        return bytes(data[place - size : place])

    unpacker = msgpack.Unpacker(SimpleNamespace(read=read), max_buffer_size=len(data))
    while unpacker.tell() < len(data):
        unpacker.skip()


def split_items(payload: bytes, what: str = "A record") -> list[bytes]:
    """The items of a "trials" record: each is one msgpack value."""
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
    """Read a record from a file's bytes, or raise `SearchDamagedError` naming `what`."""
    body = unframe(content, what)
    try:
        if absent := {"payload", "at"} - body.keys():
            raise KeyError(min(absent))
        record = load(Record, body | {"sha": hashlib.sha256(content).hexdigest()})
        if (record.kind == RecordKind.CLAIM) != (record.claimant is not None):
            raise ValueError("only a claim has a claimant")
    except (KeyError, TypeError, ValueError) as error:
        raise SearchDamagedError(f"{what} lacks a field or has a wrong one: {error}") from error
    return record
