"""Records and snapshots as bytes: framed, checksummed, decoded without trust.

A file is the magic `CDT`, a format digit, the sha256 of the body, and the body: a msgpack map. The
sha256 of the whole file is the record's identity: the next record names it as `prev`.
"""

import contextlib
import hashlib
import re
import secrets
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import SimpleNamespace
from typing import Any, TypeVar

import msgpack

from colab_drive_tuner.errors import NewerFormatError, SearchDamagedError

MAGIC = b"CDT1"
T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
MOST = 2**64 - 1
"""What a count cannot exceed."""
FILE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SHA = re.compile(r"[0-9a-f]{64}")
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


@dataclass(frozen=True)
class Record:
    """One link of the chain."""

    pos: int
    kind: RecordKind
    owner: str
    """The session that wrote it: a fresh random id for every claim."""
    prev: str
    """sha256 of the record before it; empty for record 0."""
    more: tuple[str, ...]
    """Ids that follow those known so far."""
    payload: bytes
    at: float
    """The writer's clock, for people only: nothing is decided by it."""
    sha: str
    reason: ClaimReason | None = None
    """Claims: how the owner before ended."""
    claimant: Claimant | None = None
    """Claims: who."""
    search: str = ""
    """Claims: the search's name at that time; empty where it is not known."""
    home: str = ""
    """Claims: the id of the folder in which searches lay at that time."""
    careful: float = 0.0
    """Claims: for how many seconds of training the owner must go carefully."""
    target: str = ""
    """Moved: the folder in which the search goes on."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Trials, resets: the ids of the files that hold large values of their items, by sha256."""


@dataclass(frozen=True)
class Frozen:
    """The bytes of a record, fixed before they are first sent: a retry sends these very bytes."""

    record: Record
    content: bytes


def freeze(
    *,
    pos: int,
    kind: RecordKind,
    owner: str,
    prev: str,
    more: Sequence[str] = (),
    payload: bytes = b"",
    reason: ClaimReason | None = None,
    claimant: Claimant | None = None,
    search: str = "",
    home: str = "",
    careful: float = 0.0,
    target: str = "",
    files: Mapping[str, str] | None = None,
    at: float | None = None,
) -> Frozen:
    """Fix a record's bytes, with a fresh nonce so that no two sessions ever write equal ones.

    `at` is the time of a record that is written anew; None: now.
    """
    at = time.time() if at is None else at
    body: dict[str, Any] = {
        "pos": pos,
        "kind": kind,
        "owner": owner,
        "nonce": secrets.token_bytes(16),
        "prev": prev,
        "at": at,
        "payload": payload,
    }
    if more:
        body["more"] = list(more)
    if target:
        body["target"] = target
    if files:
        body["files"] = dict(files)
    if claimant is not None:
        body |= {"reason": reason, "claimant": vars(claimant), "careful": careful}
        body |= {"search": search, "home": home}
    content = frame(body)
    record = Record(
        pos=pos,
        kind=kind,
        owner=owner,
        prev=prev,
        more=tuple(more),
        payload=payload,
        at=at,
        sha=hashlib.sha256(content).hexdigest(),
        reason=reason,
        claimant=claimant,
        search=search,
        home=home,
        careful=careful,
        target=target,
        files=dict(files or {}),
    )
    return Frozen(record, content)


def frame(body: Mapping[str, Any]) -> bytes:
    """The bytes of a file with this body."""
    packer = msgpack.Packer(autoreset=False)
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
        return msgpack.unpackb(data, raw=False, strict_map_key=False)


@contextlib.contextmanager
def decoding(what: str) -> Iterator[None]:
    """Turn whatever strange bytes make msgpack, zlib or a check raise into `SearchDamagedError`."""
    try:
        yield
    except (
        KeyError,
        ValueError,
        TypeError,  # a list or a map as a map's key
        OverflowError,
        RecursionError,
        MemoryError,
        msgpack.UnpackException,
        zlib.error,
    ) as error:
        raise SearchDamagedError(f"{what} cannot be decoded: {error!r:.200}.") from error


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
        claimant = body.get("claimant")
        record = Record(
            pos=whole(body["pos"]),
            kind=one_of(RecordKind, body["kind"]),
            owner=typed(body["owner"], str),
            prev="" if body["prev"] == "" else sha256_hex(body["prev"]),
            more=ids(body.get("more", [])),
            payload=typed(body["payload"], bytes),
            at=typed(body["at"], float),
            sha=hashlib.sha256(content).hexdigest(),
            reason=one_of(ClaimReason, body["reason"]) if "reason" in body else None,
            claimant=None if claimant is None else decode_claimant(claimant),
            search=typed(body.get("search", ""), str),
            home=typed(body.get("home", ""), str),
            careful=duration(body.get("careful", 0.0)),
            target=typed(body.get("target", ""), str),
            files={
                sha256_hex(sha): file_id(entry_id)
                for sha, entry_id in typed(body.get("files", {}), dict).items()
            },
        )
        if (record.kind == RecordKind.CLAIM) != (record.claimant is not None):
            raise ValueError("only a claim has a claimant")
    except (KeyError, TypeError, ValueError) as error:
        raise SearchDamagedError(f"{what} lacks a field or has a wrong one: {error}") from error
    return record


def decode_claimant(fields: Any) -> Claimant:
    """Read a claimant; raises KeyError, TypeError or ValueError where a field is wrong."""
    typed(fields, dict)
    return Claimant(
        machine=typed(fields["machine"], str),
        pid=whole(fields["pid"]),
        host=typed(fields["host"], str),
        account=typed(fields["account"], str),
        runtime=typed(fields["runtime"], str),
    )


# Fields: each function returns the value, or raises TypeError or ValueError, which names it.


def typed(value: Any, kind: type[T]) -> T:
    """A value of exactly this type."""
    if type(value) is not kind:
        raise TypeError(f"{value!r:.60} should be of type {kind.__name__}")
    return value


def whole(value: Any, most: int = MOST) -> int:
    """An integer from 0."""
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r:.60} should be an integer from 0 to {most}")
    return value


def duration(value: Any) -> float:
    """Finite seconds, 0 or more."""
    if type(value) is not float or not 0 <= value <= MOST:
        raise ValueError(f"{value!r:.60} should be a number of seconds")
    return value


def file_id(value: Any) -> str:
    """A text that can be a file's id in a store."""
    if type(value) is not str or not FILE_ID.fullmatch(value):
        raise ValueError(f"{value!r:.60} is not a file's id")
    return value


def ids(value: Any) -> tuple[str, ...]:
    """A list of file ids."""
    return tuple(map(file_id, typed(value, list)))


def sha256_hex(value: Any) -> str:
    """A sha256, in hexadecimal digits."""
    if type(value) is not str or not _SHA.fullmatch(value):
        raise ValueError(f"{value!r:.60} is not a sha256")
    return value


def one_of(kind: type[E], value: Any) -> E:
    """A member of an enum, by its text."""
    if type(value) is not str or value not in list(kind):
        raise ValueError(f"{value!r:.60} is unknown here")
    return kind(value)
