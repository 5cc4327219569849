"""A whole history consolidated into one claim or reset, from which a chain or history restarts."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import ItemKind, claim_payload, pack_item
from colab_drive_tuner.checkpoint.trials_and_sessions import AttachmentFile


def consolidated_claim(history: History, settings: Mapping[str, Any]) -> bytes:
    """Return the payload of a claim with all trials of a history and how they ended."""
    return claim_payload(history.settings | dict(settings), _trial_items(history))


def consolidated_reset(history: History) -> tuple[bytes, dict[str, str]]:
    """Return the payload of a reset with a whole history, and its files (`Record.files`)."""
    items, files = _trial_items(history), dict[str, str]()
    for name, value in history.attachments.items():
        attachment = partial(pack_item, ItemKind.ATTACHMENT, name=name, is_set=True)
        if isinstance(value, AttachmentFile):
            items.append(attachment(sha=value.sha))
            files[value.sha] = value.id
        else:
            items.append(attachment(document=value))
    return claim_payload(history.settings, items), files


def _trial_items(history: History) -> list[bytes]:
    return [
        pack_item(
            ItemKind.QUEUED if entry.end is None else ItemKind.END,
            entry.tid,
            entry.k,
            entry.document,
            next_tid=history.next_tid,
            pending=entry.pending,
            how=entry.end,
            loss=entry.loss,
            model=entry.model,
            pruned=entry.pruned,
        )
        for entry in history.trials.values()
    ]
