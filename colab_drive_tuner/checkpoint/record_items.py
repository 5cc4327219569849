"""Entries that trials add to a chain, as bytes: self-delimiting msgpack arrays around documents.

`[kind, tid, k, info, document]`: the document is encoded by the codec and stays opaque here, so
that a chain can be folded, and a snapshot joined, without decoding a single document.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

import msgpack

from colab_drive_tuner.checkpoint.codec.plain_data import is_exact
from colab_drive_tuner.errors import NewerFormatError, SearchDamagedError
from colab_drive_tuner.journal.chain.fields import decoding, one_of, sha256_hex, typed, whole
from colab_drive_tuner.journal.chain.record import PLAIN, check_lengths, unpack

VERSION = 1
"""The format of claims, items and snapshots; every version up to it must load."""

MAX_TID = 2**62
"""What no number of a trial exceeds: with those of later trials it fits 64 bits."""
MAX_DEATHS = 10_000
"""What no count of workers that died of one trial in one session exceeds."""
Tid = int | str | float
"""hyperopt numbers trials; documents that people insert may bear other ids."""

STOPPED, EARLY_STOP = "stopped", "early_stop"
"""Settings: why the search was stopped before all its trials; the state of its early-stop function.
"""
RESTARTED = "restarted"
"""Whether the last run began the search again."""
MAX_OPERATIONS = 16
"""Operation codes of Optuna's journal are below this."""
LARGEST_LINE = 1 << 20
"""Bytes of a line of a study's log."""
INLINE_LIMIT = 16 * 1024
"""Bytes above which an encoded attachment gets a file of its own."""


class ItemKind(StrEnum):
    """What an item records."""

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
    """With an error that ended the run: it is tried again."""
    GIVEN_UP = "given up"
    """It killed too many runtimes."""


REAL_ENDS = (TrialEnd.DONE, TrialEnd.CAUGHT)


class Item(NamedTuple):
    """One entry of a record, as its fields were checked; what a kind lacks has its default."""

    kind: ItemKind
    tid: Tid = -1
    k: int | None = None
    """Which call of the algorithm suggested the trial; None: none did."""
    document: bytes = b""
    """The encoded trial document, or the encoded value of an attachment."""
    next_tid: int = 0
    """The number that the next trial gets."""
    progress: int = 0
    """Starts: how far a backup lets it go on."""
    deaths: int = 0
    """Starts: how many workers of this session died of the trial before."""
    pending: tuple[int, ...] = ()
    """The trials named before it that had not ended when the algorithm suggested it."""
    how: TrialEnd | None = None
    """Ends: how."""
    loss: float | None = None
    """Ends: the loss where it counts for the best (status ok, not NaN)."""
    model: bool = False
    """Ends: whether the result held a model."""
    pruned: bool = False
    """Ends: whether a pruner ended the trial early."""
    name: str = ""
    """Attachments: hyperopt's name."""
    is_set: bool = False
    """Attachments: whether it was set; else it was deleted."""
    sha: str = ""
    """Attachments: the sha256 of the file that holds the value; empty: `document` is the value."""
    settings: Mapping[str, Any] | None = None
    """Settings: those that changed. Lines of a study's log: their place."""


def pack_item(
    kind: ItemKind,
    tid: Any = -1,
    k: int | None = None,
    document: bytes = b"",
    *,
    settings: Mapping[str, Any] | None = None,
    **facts: Any,
) -> bytes:
    """The bytes of an item; of `facts`, fields of `Item`, defaults are left out where they may."""
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
    """The items of a record's payload; raises `SearchDamagedError` naming `what` it read."""
    with decoding(what):
        return [item_from(fields) for fields in unpack_values(payload)]


def unpack_values(content: bytes) -> Iterator[Any]:
    """The msgpack values in the content, one by one; ValueError where the last one is cut."""
    check_lengths(content)
    unpacker = msgpack.Unpacker(**PLAIN, max_buffer_size=max(len(content), 1))
    unpacker.feed(content)
    end = 0
    for value in unpacker:
        end = unpacker.tell()  # after the loop it counts what it could not decode, too
        yield value
    if end != len(content):
        raise ValueError("it ends in the middle of an entry")


def item_from(fields: Any) -> Item:
    """Check what msgpack made of an item; raises KeyError, TypeError or ValueError."""
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


# Fields: each function returns the value, or raises TypeError or ValueError, which names it.


def check_tid(value: Any) -> Tid:
    """A trial's id: what can be told from every other one."""
    number = type(value) is int and abs(value) <= MAX_TID
    if number or type(value) is str or (type(value) is float and math.isfinite(value)):
        tid: Tid = value
        return tid
    raise ValueError(f"{value!r:.60} is not a trial's id")


def check_pending(value: Any) -> tuple[int, ...]:
    """Numbers of trials."""
    tids: list[Any] = typed(value, list)
    # There may be hundreds for each trial: they are gone through only where one may be wrong.
    usual = {int}.issuperset(map(type, tids)) and min(tids, default=0) >= 0
    if not usual or max(tids, default=0) > MAX_TID:
        for tid in tids:
            whole(tid, MAX_TID)
    return tuple(tids)


def check_loss(value: Any) -> float | None:
    """A loss that can be compared with others, or none."""
    if value is None or (type(value) is float and not math.isnan(value)):
        loss: float | None = value
        return loss
    raise ValueError(f"{value!r:.60} is not a loss")


def check_place(info: dict[str, Any]) -> dict[str, Any]:
    """The facts of a line; raises KeyError, TypeError or ValueError where one is wrong."""
    typed(info["session"], str)
    whole(info["at"])
    sha256_hex(info["base"])
    return info


def check_line(line: Any) -> dict[str, Any]:
    """The operation that a line holds; raises TypeError or ValueError for anything else."""
    if len(typed(line, bytes)) > LARGEST_LINE:
        raise ValueError(f"a line of {len(line)} bytes is not an operation of a study")
    operation = typed(json.loads(line), dict)
    if not 0 <= whole(operation.get("op_code")) < MAX_OPERATIONS:
        raise ValueError(f"{line!r:.60} is not an operation of a study")
    typed(operation.get("worker_id"), str)
    return operation


def check_settings(value: Any) -> dict[str, Any]:
    """The settings of a search: those that are known here are of the right type, others plain."""
    settings = typed(value, dict)
    for key, setting in settings.items():
        typed(key, str)
        kind = _SETTINGS.get(key)
        if kind is int:
            whole(setting, 2**64 - 1)
        elif kind is not None:
            typed(setting, kind)
        if key == OUTAGE:
            check_outage(setting)
        if setting is not None:
            for name, its_kind in _MAPS.get(key, {}).items():
                typed(typed(setting, dict)[name], its_kind)
    if not is_exact(settings):
        raise ValueError("the settings nest too deeply")
    return settings


def check_outage(value: Any) -> list[float]:
    """From when to when the store did not answer."""
    began, ended = typed(value, list)
    return [typed(began, float), typed(ended, float)]


OUTAGE = "outage"
FROM_SEARCH = "from_search"
"""The search whose trials this one began with; each of them says so, too."""
_SETTINGS: dict[str, type] = {
    OUTAGE: list,
    "rstate": bytes,
    "seed": int,
    "max_evals": int,
    "generation": int,
    "algo": str,
    "space": str,
    "model": str,
    "source": bytes,
    "data": str,
    "pruner": str,
    "from": str,
    FROM_SEARCH: str,
    "restarted": bool,
}
_MAPS: dict[str, dict[str, type]] = {
    STOPPED: {"why": str, "rules": str, "rules_after": str, "max_evals": int},
    EARLY_STOP: {"by": str, "arguments": bytes, "ended": int},
}
"""Settings that are maps, and their fields; None where they were taken back."""


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
"""By key in an item's map of facts: the field, and the check of its value."""
_KEYS = {name: key for key, (name, _) in _FACTS.items()}
_NEEDED = {ItemKind.END: frozenset({"how"}), ItemKind.ATTACHMENT: frozenset({"name", "set"})}


def settings_item(settings: Mapping[str, Any]) -> bytes:
    """Settings changed while the search is held."""
    return pack_item(ItemKind.SETTINGS, settings=settings)


def attachment_item(name: str, value: bytes | None) -> bytes:
    """An attachment was set (`value` encoded), or deleted (None).

    One that is large is named by its sha256, and lies in a file beside the chain.
    """
    sha, is_set = "", value is not None
    if value is not None and len(value) > INLINE_LIMIT:
        sha, value = hashlib.sha256(value).hexdigest(), None
    content = value or b""
    return pack_item(ItemKind.ATTACHMENT, document=content, name=name, is_set=is_set, sha=sha)


def claim_payload(settings: Mapping[str, Any], queued: Iterable[bytes] = ()) -> bytes:
    """What a claim or a reset says: the settings, and the unfinished trials that it inherits."""
    body = {"v": VERSION, "settings": dict(settings), "trials": b"".join(queued)}
    packed: bytes = msgpack.packb(body)
    return packed


def read_claim(payload: bytes, what: str) -> tuple[dict[str, Any], list[Item]]:
    """The settings and inherited trials of a claim; an empty payload says nothing."""
    if not payload:
        return {}, []
    body = unpack_map(payload, what)
    with decoding(what):
        settings, queued = check_settings(body["settings"]), typed(body["trials"], bytes)
    return settings, read_items(queued, what)


def unpack_map(payload: bytes, what: str) -> dict[str, Any]:
    """A versioned map, or `SearchDamagedError` naming `what` it should have been."""
    return check_map(unpack(payload, what), what)


def check_map(body: Any, what: str) -> dict[str, Any]:
    """A versioned map, or `SearchDamagedError` naming `what` it should have been."""
    if not isinstance(body, dict) or type(body.get("v")) is not int:
        raise SearchDamagedError(f"{what} holds no versioned map.")
    if body["v"] > VERSION:
        raise NewerFormatError(f"{what} was written by a newer version: upgrade colab-drive-tuner.")
    return body
