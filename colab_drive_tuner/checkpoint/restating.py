"""A whole history as the entries of one record, with which a chain or a history begins anew."""

from collections.abc import Mapping
from typing import Any

from colab_drive_tuner.checkpoint.entries import Beside
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.items import (
    ItemKind,
    attachment_item,
    claim_payload,
    pack_item,
)


def restated_trials(history: History, settings: Mapping[str, Any]) -> bytes:
    """The payload of a claim that names all trials of a history and how they ended."""
    return claim_payload(history.settings | dict(settings), _trials(history))


def restated(history: History) -> tuple[bytes, dict[str, str]]:
    """The payload of a reset that says all of a history, and its files (see `Record.files`)."""
    items, files = _trials(history), dict[str, str]()
    for name, value in history.attachments.items():
        if isinstance(value, Beside):
            items.append(
                pack_item(ItemKind.ATTACHMENT, {"name": name, "set": True, "sha": value.sha})
            )
            files[value.sha] = value.id
        else:
            items.append(attachment_item(name, value))
    return claim_payload(history.settings, items), files


def _trials(history: History) -> list[bytes]:
    items = []
    for entry in history.trials.values():
        info: dict[str, Any] = {"next": history.next_tid}
        if entry.end is not None:
            info |= {"how": entry.end} | ({"model": True} if entry.model else {})
            info |= {} if entry.loss is None else {"loss": entry.loss}
        if entry.pending:
            info["pending"] = list(entry.pending)
        kind = ItemKind.QUEUED if entry.end is None else ItemKind.END
        items.append(pack_item(kind, info, entry.document, entry.tid, entry.k))
    return items
