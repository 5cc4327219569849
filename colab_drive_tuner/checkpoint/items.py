"""What one trial adds to a chain, as bytes: a self-delimiting msgpack array around its document.

`[kind, tid, k, info, document]`: the document is encoded by the codec and stays opaque here, so
that a chain can be folded, and a snapshot joined, without decoding a single document.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgpack

from colab_drive_tuner.errors import SearchDamagedError
from colab_drive_tuner.journal.record import NewerFormatError

VERSION = 1
"""The format of claims, items and snapshots; every version up to it must load."""

QUEUED, START, END, SETTINGS, ATTACHMENT = "queued", "start", "end", "settings", "attachment"
Tid = int | str | float
"""hyperopt numbers trials; documents that people insert may bear other ids."""

KINDS = (QUEUED, START, END, SETTINGS, ATTACHMENT)

DONE, CAUGHT, RAISED, GIVEN_UP = "done", "caught", "raised", "given up"
ENDS = (DONE, CAUGHT, RAISED, GIVEN_UP)
"""How a trial ended: with a result; with an error that was caught; with an error that ended the run
(it is tried again); given up, because it killed too many runtimes."""
REAL_ENDS = (DONE, CAUGHT)
LARGE = 16 * 1024
"""Bytes above which an encoded attachment gets a file of its own."""


@dataclass(frozen=True)
class Item:
    """One entry of a record."""

    kind: str
    tid: Tid = -1
    k: int | None = None
    """Which call of the algorithm suggested the trial; None: none did."""
    info: Mapping[str, Any] | None = None
    """Small plain facts; an end has `how`, `loss` where there is one, `model` where it had one."""
    document: bytes = b""
    """The encoded trial document, or the encoded value of an attachment."""

    def pack(self) -> bytes:
        """The item's bytes."""
        tid = self.tid if type(self.tid) in (int, str, float) else int(self.tid)  # numpy's integers
        fields = [self.kind, tid, self.k, self.info or {}, self.document]
        packed: bytes = msgpack.packb(fields, use_bin_type=True)
        return packed


def read_items(payload: bytes, what: str) -> Iterator[Item]:
    """The items of a record's payload; raises `SearchDamagedError` naming `what` it read."""
    unpacker = msgpack.Unpacker(
        raw=False, strict_map_key=False, max_buffer_size=max(len(payload), 1)
    )
    unpacker.feed(payload)
    try:
        for fields in unpacker:
            yield item_from(fields, what)
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise SearchDamagedError(f"{what} cannot be decoded: {error!r:.200}.") from error
    if unpacker.tell() != len(payload):
        raise SearchDamagedError(f"{what} ends in the middle of an entry.")


def item_from(fields: Any, what: str) -> Item:
    """Check what msgpack made of an item."""
    if not isinstance(fields, list) or len(fields) < 5:
        raise SearchDamagedError(f"{what} holds something that is no entry: {fields!r:.60}.")
    kind, tid, k, info, document = fields[:5]
    right = (
        kind in KINDS
        and type(tid) in (int, str, float)
        and (k is None or type(k) is int)
        and isinstance(info, dict)
        and isinstance(document, bytes)
        and (kind != END or info.get("how") in ENDS)
    )
    if not right:
        raise SearchDamagedError(f"{what} holds an entry with wrong fields: {fields[:3]!r:.60}.")
    return Item(kind, tid, k, info, document)


def queued_item(document: bytes, tid: Tid, *, k: int | None, next_tid: int) -> bytes:
    """A trial is named: its parameters are settled, it has not started."""
    return Item(QUEUED, tid, k, {"next": next_tid}, document).pack()


def start_item(
    document: bytes, tid: Tid, *, k: int | None, next_tid: int, progress: int = 0
) -> bytes:
    """A trial starts; `progress` is how far a backup lets it go on."""
    info = {"next": next_tid} | ({"progress": progress} if progress else {})
    return Item(START, tid, k, info, document).pack()


def end_item(
    document: bytes,
    tid: Tid,
    *,
    k: int | None,
    how: str,
    loss: float | None = None,
    model: bool = False,
) -> bytes:
    """A trial ended; `loss` where it counts for the best (status ok, not NaN)."""
    info: dict[str, Any] = {"how": how}
    if loss is not None:
        info["loss"] = loss
    if model:
        info["model"] = True
    return Item(END, tid, k, info, document).pack()


def settings_item(settings: Mapping[str, Any]) -> bytes:
    """Settings changed while the search is held."""
    return Item(SETTINGS, info=settings).pack()


def attachment_item(name: str, value: bytes | None) -> bytes:
    """An attachment was set (`value` encoded), or deleted (None).

    One that is large is named by its sha256, and lies in a file beside the chain.
    """
    info: dict[str, Any] = {"name": name, "set": value is not None}
    if value is not None and len(value) > LARGE:
        info["sha"] = hashlib.sha256(value).hexdigest()
        value = None
    return Item(ATTACHMENT, info=info, document=value or b"").pack()


def claim_payload(settings: Mapping[str, Any], queued: Iterable[bytes] = ()) -> bytes:
    """What a claim or a reset says: the settings, and the unfinished trials that it inherits."""
    body = {"v": VERSION, "settings": dict(settings), "trials": b"".join(queued)}
    packed: bytes = msgpack.packb(body, use_bin_type=True)
    return packed


def read_claim(payload: bytes, what: str) -> tuple[dict[str, Any], list[Item]]:
    """The settings and inherited trials of a claim; an empty payload says nothing."""
    if not payload:
        return {}, []
    body = unpack_map(payload, what)
    settings, queued = body.get("settings"), body.get("trials")
    if not isinstance(settings, dict) or not isinstance(queued, bytes):
        raise SearchDamagedError(f"{what} lacks settings or trials.")
    return settings, list(read_items(queued, what))


def unpack_map(payload: bytes, what: str) -> dict[str, Any]:
    """A versioned map, or `SearchDamagedError` naming `what` it should have been."""
    try:
        body = msgpack.unpackb(payload, raw=False, strict_map_key=False)
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise SearchDamagedError(f"{what} cannot be decoded: {error!r:.200}.") from error
    if not isinstance(body, dict) or type(body.get("v")) is not int:
        raise SearchDamagedError(f"{what} holds no versioned map.")
    if body["v"] > VERSION:
        raise NewerFormatError(f"{what} was written by a newer version: upgrade colab-drive-tuner.")
    return body
