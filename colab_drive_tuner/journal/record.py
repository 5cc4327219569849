"""Records and snapshots as bytes: framed, checksummed, decoded without trust.

A file is the magic `CDT`, a format digit, the sha256 of the body, and the body: a msgpack map. The
sha256 of the whole file is the record's identity: the next record names it as `prev`.
"""

import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgpack

from colab_drive_tuner.errors import SearchDamagedError

MAGIC = b"CDT1"
T = TypeVar("T")
KINDS = ("claim", "trials", "release", "reset", "moved")
_HEADER = len(MAGIC) + hashlib.sha256().digest_size


class NewerFormatError(SearchDamagedError):
    """Not damaged: written by a later version of this package."""


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
    kind: str
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
    reason: str = ""
    """Claims: how the owner before ended ("new", "released", "dead", "stale", "takeover")."""
    claimant: Claimant | None = None
    """Claims: who."""
    careful: float = 0.0
    """Claims: for how many seconds of training the owner must go carefully."""
    target: str = ""
    """Moved: the folder in which the search goes on."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Trials: the ids of the files that hold large values of its items, by their sha256."""


@dataclass(frozen=True)
class Frozen:
    """The bytes of a record, fixed before they are first sent: a retry sends these very bytes."""

    record: Record
    content: bytes


def freeze(
    *,
    pos: int,
    kind: str,
    owner: str,
    prev: str,
    more: Sequence[str] = (),
    payload: bytes = b"",
    reason: str = "",
    claimant: Claimant | None = None,
    careful: float = 0.0,
    target: str = "",
    files: Mapping[str, str] | None = None,
) -> Frozen:
    """Fix a record's bytes, with a fresh nonce so that no two sessions ever write equal ones."""
    at = time.time()
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
            f"{what} has a format that this version does not know: upgrade colab-drive-tuner."
        )
    body = content[_HEADER:]
    if hashlib.sha256(body).digest() != content[len(MAGIC) : _HEADER]:
        raise SearchDamagedError(f"{what} was cut or altered: its checksum does not match.")
    try:
        # Lengths inside the body cannot exceed the body itself: a crafted one fails here.
        unpacked = msgpack.unpackb(body, raw=False, strict_map_key=True)
    except (ValueError, RecursionError) as error:
        raise SearchDamagedError(f"{what} cannot be decoded: {error}") from error
    if not isinstance(unpacked, dict):
        raise SearchDamagedError(f"{what} cannot be decoded: it holds no map.")
    return unpacked


def decode_record(content: bytes, what: str) -> Record:
    """Read a record from a file's bytes, or raise `SearchDamagedError` naming `what`."""
    body = unframe(content, what)
    try:
        claimant = body.get("claimant")
        record = Record(
            pos=_typed(body["pos"], int),
            kind=_typed(body["kind"], str),
            owner=_typed(body["owner"], str),
            prev=_typed(body["prev"], str),
            more=tuple(_typed(entry_id, str) for entry_id in body.get("more", ())),
            payload=_typed(body["payload"], bytes),
            at=_typed(body["at"], float),
            sha=hashlib.sha256(content).hexdigest(),
            reason=_typed(body.get("reason", ""), str),
            claimant=None if claimant is None else decode_claimant(claimant),
            careful=_typed(body.get("careful", 0.0), float),
            target=_typed(body.get("target", ""), str),
            files={
                _typed(sha, str): _typed(entry_id, str)
                for sha, entry_id in _typed(body.get("files", {}), dict).items()
            },
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SearchDamagedError(f"{what} lacks a field or has a wrong one: {error}") from error
    if record.kind not in KINDS or (record.kind == "claim") != (record.claimant is not None):
        raise SearchDamagedError(f"{what} is of a kind that cannot be ({record.kind!r}).")
    return record


def decode_claimant(fields: Any) -> Claimant:
    """Read a claimant; raises KeyError or TypeError where a field is missing or wrong."""
    return Claimant(
        machine=_typed(fields["machine"], str),
        pid=_typed(fields["pid"], int),
        host=_typed(fields["host"], str),
        account=_typed(fields["account"], str),
        runtime=_typed(fields["runtime"], str),
    )


def _typed(value: Any, kind: type[T]) -> T:
    if type(value) is not kind:
        raise TypeError(f"{value!r:.60} should be of type {kind.__name__}")
    return value
