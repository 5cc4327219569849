"""Write a rebuilt search to a new folder, which finally replaces the old one.

Until its chain has been read back, the new folder has the kind `repairing`, so no session takes it
for the search or for a duplicate of it. Then it becomes the search and the old folder is archived.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import attachment_item
from colab_drive_tuner.errors import (
    NotFoundError,
    RefusedError,
    SearchDamagedError,
    StoreError,
    UnavailableError,
)
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.journal.chain.chain import Head, end_chain
from colab_drive_tuner.journal.folder.creation import make_search_folder
from colab_drive_tuner.journal.folder.properties import (
    FolderKind,
    Property,
    SearchFolder,
    free_name,
)
from colab_drive_tuner.local_files import scratch_folder
from colab_drive_tuner.search.trials.logbook import rules
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.training.file_copier import FileCopier
from colab_drive_tuner.troubleshoot.repair.rebuild import RebuiltHistory, load_attachments
from colab_drive_tuner.troubleshoot.repair.salvage import SalvagedFolder

_PATIENCE = 180.0
"""Seconds for which requests to a store that does not answer are retried."""


def write_chain(
    store: Store, name: str, built: RebuiltHistory, settings: Mapping[str, Any]
) -> SearchFolder:
    """Write the history as a new chain (claim, attachments, release) and verify it."""
    folder = make_search_folder(store, name, FolderKind.REPAIRING)
    attachments = load_attachments(built, store)
    with scratch_folder() as spool:
        journal = Journal(store, name, rules(), folder=folder, spool_folder=spool)
        journal.claim(lambda _: built.history.consolidated_claim(settings), notify=lambda _: None)
        try:
            for key, value in attachments.items():
                item, large = attachment_item(key, value)
                journal.append(item, attachments=large)
            if not journal.flush(_PATIENCE) and journal.trouble is not None:
                raise journal.trouble
        except BaseException:  # also after an interrupt: end the journal's threads
            journal.close(0.0)
            raise
        journal.close(_PATIENCE)
    written = Journal(store, name, rules(), folder=folder)
    written.refresh()
    if written.holder() is not None:
        raise UnavailableError(
            f"The rebuilt search {name!r} could not be released, so it did not replace the old "
            f"one: repair it again."
        )
    if (
        _comparable(written.state) != _comparable(built.history)
        or written.state.attachments.keys() != attachments.keys()
    ):
        raise SearchDamagedError(
            f"The rebuilt search {name!r} differs when read back, so it did not replace the old "
            f"one; please report it."
        )
    return folder


def _comparable(history: History) -> list[Any]:
    return [
        history.next_tid,
        history.study.lines,
        [(e.tid, e.k, e.document, e.end, e.loss, e.model) for e in history.trials.values()],
    ]


def copy_files(
    store: Store, old: str, new: SearchFolder, unfinished: set[int], epochs: set[str]
) -> list[str]:
    """Copy the best models and the backups of unfinished trials; return messages about failures.

    Only files of the rebuilt history are copied: those of `epochs`. If it is empty, all models and
    no backups are copied.
    """
    troubles: list[str] = []
    epoch = hashlib.sha256(store.read(new.first)).hexdigest()
    copier = FileCopier(store, store, old, new.id, troubles)
    with contextlib.suppress(NotFoundError):
        copier.models(lambda before: epoch if not epochs or before in {"", *epochs} else None)
        for before in sorted(epochs):
            copier.backups(unfinished, before, epoch)
    return troubles


def end_old_chain(store: Store, name: str, salvaged: SalvagedFolder, target: str) -> list[str]:
    """End the old chain with a `moved` record, which stops an owner that wakes up; return notes.

    Nobody continues a chain whose next record is refused for good: the search belongs to another
    account, which has released it or died, or an unreadable file has that id.
    """
    if not salvaged.records or not salvaged.next_id or salvaged.ended:
        return []
    newest = salvaged.records.get(salvaged.end - 1)
    head = Head(salvaged.end, newest.sha if newest else "", (salvaged.next_id,))
    try:
        if end_chain(store, head, salvaged.folder.records or salvaged.folder.id, target):
            return []
    except UnavailableError:
        raise
    except RefusedError as error:  # this account may not write, or has no room: its owner may
        return [f"The old chain could not be closed: {error}"]
    except StoreError:
        return []
    if not salvaged.owns(store, salvaged.next_id):
        return ["The old chain could not be closed: its next id was used elsewhere."]
    raise SearchDamagedError(
        f"Search {name!r} was written to while it was repaired: repair it again."
    )


def replace_folders(store: Store, name: str, new: str, old: Iterable[SearchFolder]) -> None:
    """Mark the new folder as the search, then archive the old ones, which give up its name.

    In this order a folder is marked as the search at any moment. While there are two, the old one
    takes precedence, but cannot be claimed, so no session ends the new one as a duplicate.
    """
    store.set_properties(new, {Property.KIND: FolderKind.SEARCH})
    for folder in old:
        store.set_properties(folder.id, {Property.KIND: FolderKind.ARCHIVED})
        free_name(store, folder, name)
