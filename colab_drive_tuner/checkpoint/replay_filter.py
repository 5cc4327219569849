"""Decision whether an item spooled by a dead session is still wanted by the chain (rule SPOOL)."""

from collections.abc import Mapping
from typing import Any

from colab_drive_tuner.checkpoint.document_schema import same_parameters
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import REAL_ENDS, Item, ItemKind, read_items
from colab_drive_tuner.checkpoint.recorded_settings import EARLY_STOP, FROM_SEARCH, STOPPED
from colab_drive_tuner.checkpoint.trials_and_sessions import RecordedTrial
from colab_drive_tuner.errors import SearchDamagedError
from colab_drive_tuner.journal.chain.fields import typed, whole


def wanted(history: History, item: bytes) -> bool:
    """Return whether the chain lacks a spooled item.

    Wanted items are:

    - the end of a trial without a real end, whose parameters are those named, if it was named; a
      real end supersedes a give-up;
    - the names of a batch of trials, if none of them is named;
    - the start of a trial that is not named;
    - the trials of another search that this one began with, if no trial is named;
    - the state of an early-stop function that has seen more trials than the recorded one.

    Raises `SearchDamagedError`, KeyError, TypeError or ValueError for an invalid item.
    """
    items = read_items(item, "A spooled entry")
    if not items:
        raise SearchDamagedError("A spooled entry is empty.")
    spooled = items[0]
    match spooled.kind:
        case ItemKind.QUEUED:
            return not any(one.tid in history.trials for one in items)
        case ItemKind.ATTACHMENT:
            ended = [f"ATTACH::{tid}::" for tid, e in history.trials.items() if e.end in REAL_ENDS]
            of_ended = spooled.name.startswith(tuple(ended))
            return spooled.name not in history.attachments and not of_ended
        case ItemKind.LOG:
            return history.study.wants(spooled)
        case ItemKind.SETTINGS if FROM_SEARCH in (spooled.settings or {}):
            return not history.trials
        case ItemKind.SETTINGS:
            return _has_seen_more(spooled.settings or {}, history.settings)
        case ItemKind.START:
            return spooled.tid not in history.trials
        case ItemKind.END:
            return _is_end_wanted(history.trials.get(spooled.tid), spooled)


def _is_end_wanted(entry: RecordedTrial | None, spooled: Item) -> bool:
    if entry is None:
        return True
    if entry.end in REAL_ENDS or (entry.end is not None and spooled.how not in REAL_ENDS):
        return False
    return same_parameters(entry.document, spooled.document, spooled.tid)


def _has_seen_more(spooled: Mapping[str, Any], recorded: Mapping[str, Any]) -> bool:
    """Return whether the spooled early-stop state has seen more trials than the recorded one."""
    if not {EARLY_STOP} <= spooled.keys() <= {EARLY_STOP, STOPPED}:
        return False
    (by, ended), state = _early_stop(spooled[EARLY_STOP]), recorded.get(EARLY_STOP)
    if state is None:
        return True
    before_by, before_ended = _early_stop(state)
    return ended > before_ended or (ended == before_ended and by != before_by)


def _early_stop(state: Any) -> tuple[str, int]:
    """Return the function to which a state belongs, and the number of trials it has seen."""
    typed(state["arguments"], bytes)
    return typed(state["by"], str), whole(state["ended"])
