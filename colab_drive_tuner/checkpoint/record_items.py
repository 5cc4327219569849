"""Items: the contents of records, as self-delimiting msgpack arrays.

An item is `[kind, tid, k, info, document]`. The document, encoded by the codec, stays opaque here,
so a chain can be folded and a snapshot joined without decoding any document.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

import msgpack

from colab_drive_tuner.checkpoint.recorded_settings import check_settings
from colab_drive_tuner.errors import NewerFormatError, SearchDamagedError
from colab_drive_tuner.journal.chain.fields import decoding, one_of, sha256_hex, typed, whole
from colab_drive_tuner.journal.chain.record import PLAIN, check_lengths, unpack

VERSION = 1
"""Format version of claims, items and snapshots; all versions up to it must load."""

MAX_TID = 2**62
"""Largest trial number, such that later ones still fit 64 bits."""
MAX_DEATHS = 10_000
"""Upper limit of the workers that died of one trial in one session."""
Tid = int | str | float
"""A trial's id: hyperopt uses numbers; documents inserted by users may have other ids."""

MAX_OPERATIONS = 16
"""Operation codes of Optuna's journal are below this number."""
LARGEST_LINE = 1 << 20
"""Upper limit, in bytes, of a line of Optuna's journal."""
INLINE_LIMIT = 16 * 1024
"""Size, in bytes, above which an encoded attachment is stored in a separate file."""


class ItemKind(StrEnum):
    """Kind of an item."""

    QUEUED = "queued"
    START = "start"
    END = "end"
    SETTINGS = "settings"
    ATTACHMENT = "attachment"
    LOG = "log"


class TrialEnd(StrEnum):
    """How a trial ended."""

    DONE = "done"
    """With a result."""
    CAUGHT = "caught"
    """With an error that was caught."""
    RAISED = "raised"
    """With an error that ended the run; the trial is run again."""
    GIVEN_UP = "given up"
    """Given up because it killed too many runtimes."""


REAL_ENDS = (TrialEnd.DONE, TrialEnd.CAUGHT)


class Item(NamedTuple):
    """A decoded, validated item; fields that its kind does not use have their defaults."""

    kind: ItemKind
    tid: Tid = -1
    k: int | None = None
    """Number of the algorithm's call that suggested the trial; None if it was not suggested."""
    document: bytes = b""
    """The encoded trial document, or the encoded value of an attachment."""
    next_tid: int = 0
    """Number of the next new trial."""
    progress: int = 0
    """Starts: the progress from which a backup can resume the trial."""
    deaths: int = 0
    """Starts: number of workers of this session that have died of the trial."""
    pending: tuple[int, ...] = ()
    """Earlier trials that had not ended when the algorithm suggested this one."""
    how: TrialEnd | None = None
    """Ends: how the trial ended."""
    loss: float | None = None
    """Ends: the loss, if it counts for the best one (status ok, not NaN)."""
    model: bool = False
    """Ends: whether the result held a model."""
    pruned: bool = False
    """Ends: whether a pruner ended the trial early."""
    name: str = ""
    """Attachments: hyperopt's name."""
    is_set: bool = False
    """Attachments: True if it was set, False if it was deleted."""
    sha: str = ""
    """Attachments: sha256 of the separate file with the value; empty: `document` is the value."""
    settings: Mapping[str, Any] | None = None
    """Settings: the changed ones. Lines of Optuna's journal: their position."""


def pack_item(
    kind: ItemKind,
    tid: Any = -1,
    k: int | None = None,
    document: bytes = b"",
    *,
    settings: Mapping[str, Any] | None = None,
    **facts: Any,
) -> bytes:
    """Encode an item; `facts` are fields of `Item`, of which defaults are omitted if optional."""
    info = settings
    if info is None:
        defaults, needed = Item._field_defaults, _NEEDED.get(kind, frozenset())
        info = {
            _KEYS[name]: value
            for name, value in facts.items()
            if value != defaults[name] or _KEYS[name] in needed
        }
    tid = tid if type(tid) in (int, str, float) else int(tid)  # numpy's integers
    packed: bytes = msgpack.packb([kind, tid, k, info, document])
    return packed


def read_items(payload: bytes, what: str) -> list[Item]:
    """Decode the items of a record's payload; raise `SearchDamagedError` naming `what`."""
    with decoding(what):
        return [item_from(fields) for fields in unpack_values(payload)]


def unpack_values(content: bytes) -> Iterator[Any]:
    """Yield the msgpack values in the content; raise ValueError if the last one is truncated."""
    check_lengths(content)
    unpacker = msgpack.Unpacker(**PLAIN, max_buffer_size=max(len(content), 1))
    unpacker.feed(content)
    end = 0
    for value in unpacker:
        end = unpacker.tell()  # after the loop, it would include the bytes not decoded
        yield value
    if end != len(content):
        raise ValueError("it ends in the middle of an entry")


def item_from(fields: Any) -> Item:
    """Validate an unpacked item; raises KeyError, TypeError or ValueError."""
    if type(fields) is not list or len(fields) < 5:
        raise ValueError(f"{fields!r:.60} is not an entry")
    kind, tid, k, info, document = fields[:5]
    kind = one_of(ItemKind, kind)
    if type(info) is not dict or type(document) is not bytes:
        raise TypeError(f"entry {fields!r:.60} has wrong fields")
    if kind is ItemKind.SETTINGS:
        return Item(kind, settings=check_settings(info))
    if kind is ItemKind.LOG:
        check_line(document)
        return Item(kind, document=document, settings=check_place(info))
    if absent := _NEEDED.get(kind, frozenset()) - info.keys():
        raise KeyError(min(absent))
    facts = {}
    for key, value in info.items():
        if key in _FACTS:
            name, check = _FACTS[key]
            facts[name] = check(value)
    if kind is ItemKind.ATTACHMENT:
        return Item(kind, document=document, **facts)
    return Item(kind, check_tid(tid), None if k is None else whole(k), document, **facts)


# Validation of fields: each function returns the value, or raises TypeError or ValueError.


def check_tid(value: Any) -> Tid:
    """Check a trial's id, which must be comparable with other ids."""
    number = type(value) is int and abs(value) <= MAX_TID
    if number or type(value) is str or (type(value) is float and math.isfinite(value)):
        tid: Tid = value
        return tid
    raise ValueError(f"{value!r:.60} is not a trial's id")


def check_pending(value: Any) -> tuple[int, ...]:
    """Check a list of trial numbers; return a tuple."""
    tids: list[Any] = typed(value, list)
    # There may be hundreds for each trial, so they are checked one by one only in case of doubt.
    usual = {int}.issuperset(map(type, tids)) and min(tids, default=0) >= 0
    if not usual or max(tids, default=0) > MAX_TID:
        for tid in tids:
            whole(tid, MAX_TID)
    return tuple(tids)


def check_loss(value: Any) -> float | None:
    """Check a loss that can be compared with others, or None."""
    if value is None or (type(value) is float and not math.isnan(value)):
        loss: float | None = value
        return loss
    raise ValueError(f"{value!r:.60} is not a loss")


def check_place(info: dict[str, Any]) -> dict[str, Any]:
    """Check the position of a line of Optuna's journal; may also raise KeyError."""
    typed(info["session"], str)
    whole(info["at"])
    sha256_hex(info["base"])
    return info


def check_line(line: Any) -> dict[str, Any]:
    """Return the operation encoded in a line of Optuna's journal."""
    if len(typed(line, bytes)) > LARGEST_LINE:
        raise ValueError(f"a line of {len(line)} bytes is not an operation of a study")
    operation = typed(json.loads(line), dict)
    if not 0 <= whole(operation.get("op_code")) < MAX_OPERATIONS:
        raise ValueError(f"{line!r:.60} is not an operation of a study")
    typed(operation.get("worker_id"), str)
    return operation


_FACTS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "next": ("next_tid", partial(whole, most=MAX_TID)),
    "progress": ("progress", whole),
    "deaths": ("deaths", partial(whole, most=MAX_DEATHS)),
    "pending": ("pending", check_pending),
    "how": ("how", partial(one_of, TrialEnd)),
    "loss": ("loss", check_loss),
    "model": ("model", partial(typed, kind=bool)),
    "pruned": ("pruned", partial(typed, kind=bool)),
    "name": ("name", partial(typed, kind=str)),
    "set": ("is_set", partial(typed, kind=bool)),
    "sha": ("sha", sha256_hex),
}
"""By key in an item's info: the field of `Item` and the check of its value."""
_KEYS = {name: key for key, (name, _) in _FACTS.items()}
_NEEDED = {ItemKind.END: frozenset({"how"}), ItemKind.ATTACHMENT: frozenset({"name", "set"})}


def settings_item(settings: Mapping[str, Any]) -> bytes:
    """Encode a change of settings by the owner."""
    return pack_item(ItemKind.SETTINGS, settings=settings)


def attachment_item(name: str, value: bytes | None) -> tuple[bytes, list[bytes]]:
    """Encode that an attachment was set to `value`, which is encoded already, or deleted (None).

    Return the item, and the values to store in separate files: a large one is only named by sha256.
    """
    pack = partial(pack_item, ItemKind.ATTACHMENT, name=name, is_set=value is not None)
    if value is None or len(value) <= INLINE_LIMIT:
        return pack(document=value or b""), []
    return pack(sha=hashlib.sha256(value).hexdigest()), [value]


def claim_payload(settings: Mapping[str, Any], queued: Iterable[bytes] = ()) -> bytes:
    """Encode the payload of a claim or reset: settings and inherited unfinished trials."""
    body = {"v": VERSION, "settings": dict(settings), "trials": b"".join(queued)}
    packed: bytes = msgpack.packb(body)
    return packed


def read_claim(payload: bytes, what: str) -> tuple[dict[str, Any], list[Item]]:
    """Decode the settings and inherited trials of a claim; an empty payload has none."""
    if not payload:
        return {}, []
    body = unpack_map(payload, what)
    with decoding(what):
        settings, queued = check_settings(body["settings"]), typed(body["trials"], bytes)
    return settings, read_items(queued, what)


def unpack_map(payload: bytes, what: str) -> dict[str, Any]:
    """Decode a versioned map; raise `SearchDamagedError` naming `what`."""
    return check_map(unpack(payload, what), what)


def check_map(body: Any, what: str) -> dict[str, Any]:
    """Check that the body is a map of a known version; raise `SearchDamagedError` naming `what`."""
    if not isinstance(body, dict) or type(body.get("v")) is not int:
        raise SearchDamagedError(f"{what} holds no versioned map.")
    if body["v"] > VERSION:
        raise NewerFormatError(f"{what} was written by a newer version: upgrade colab-drive-tuner.")
    return body
