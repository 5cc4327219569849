"""Writes a rebuilt search as a new chain and, last of all, gives it the name.

The new folder is marked as a repair in the making until its chain has been read back, so nobody
takes it for the search, or for a rival that lost. The old folder then becomes an archived one.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from colab_drive_tuner.checkpoint.consolidate import consolidated_claim
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import INLINE_LIMIT, attachment_item
from colab_drive_tuner.errors import NotFoundError, SearchDamagedError, StoreError, UnavailableError
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.journal.chain.chain import Head, end_chain
from colab_drive_tuner.journal.folder.creation import make_search_folder
from colab_drive_tuner.journal.folder.lookup import KIND, FolderKind, SearchFolder
from colab_drive_tuner.local_files import scratch_folder
from colab_drive_tuner.search.trials.logbook import rules
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.training.copying import FileCopier
from colab_drive_tuner.troubleshoot.repair.rebuild import Rebuilt, load_attachments
from colab_drive_tuner.troubleshoot.repair.salvage import Evidence

_PATIENCE = 180.0
"""For how many seconds a store that does not answer is asked again."""


def write_chain(
    store: Store, name: str, built: Rebuilt, settings: Mapping[str, Any], old: str
) -> SearchFolder:
    """Write the history as a chain of a claim, the attachments and a release, and read it back."""
    folder = make_search_folder(store, name, FolderKind.REPAIRING, cdt_from=old)
    attachments = load_attachments(built, store)
    with scratch_folder() as spool:
        journal = Journal(store, name, rules(), folder=folder, spool_folder=spool)
        journal.claim(lambda _: consolidated_claim(built.history, settings), notify=lambda _: None)
        try:
            for key, value in attachments.items():
                large = [value] if len(value) > INLINE_LIMIT else []
                journal.append(attachment_item(key, value), attachments=large)
            if not journal.flush(_PATIENCE) and journal.trouble is not None:
                raise journal.trouble
        except BaseException:  # an interrupt, too, ends its threads
            journal.close(0.0)
            raise
        journal.close(_PATIENCE)
    back = Journal(store, name, rules(), folder=folder)
    back.refresh()
    if back.holder() is not None:
        raise UnavailableError(
            f"The rebuilt search {name!r} could not be released, so the old one was left in its "
            f"place: repair it again."
        )
    if (
        _contents(back.state) != _contents(built.history)
        or back.state.attachments.keys() != attachments.keys()
    ):
        raise SearchDamagedError(
            f"The rebuilt search {name!r} reads back differently, so the old one was left in its "
            f"place; please report it."
        )
    return folder


def _contents(history: History) -> list[Any]:
    return [
        history.next_tid,
        [(e.tid, e.k, e.document, e.end, e.loss, e.model) for e in history.trials.values()],
    ]


def copy_files(
    store: Store, old: str, new: SearchFolder, unfinished: set[int], epochs: set[str]
) -> list[str]:
    """Copy the best models and the backups of unfinished trials; return what went wrong.

    Only those of the history that was rebuilt, which `epochs` name; where that is not known, all
    models.
    """
    troubles: list[str] = []
    epoch = hashlib.sha256(store.read(new.first)).hexdigest()
    copier = FileCopier(store, store, old, new.id, troubles)
    with contextlib.suppress(NotFoundError):
        copier.models(lambda before: epoch if not epochs or before in {"", *epochs} else None)
        for before in sorted(epochs):
            copier.backups(unfinished, before, epoch)
    return troubles


def fence(store: Store, name: str, evidence: Evidence, target: str) -> list[str]:
    """End the old chain with `moved`, so that an owner who wakes up learns it; return notes.

    Where its next record cannot be written, its owner cannot write it either.
    """
    if not evidence.records or not evidence.next_id or evidence.ended:
        return []
    newest = evidence.records.get(evidence.top - 1)
    head = Head(evidence.top, newest.record.sha if newest else "", (evidence.next_id,))
    try:
        if end_chain(store, head, evidence.folder.records or evidence.folder.id, target):
            return []
    except NotFoundError:
        return []  # something is there that nobody can read, so nobody can go on behind it
    except UnavailableError:
        raise
    except StoreError as error:
        return [f"The old chain could not be closed: {error}"]
    if not evidence.owns(store, evidence.next_id):
        return ["The old chain could not be closed: its next id was used elsewhere."]
    raise SearchDamagedError(
        f"Search {name!r} was written to while it was repaired: repair it again."
    )


def switch(store: Store, new: str, old: Iterable[SearchFolder]) -> None:
    """Give the new folder the name, then take it from the old ones; only marks are changed.

    In this order there is a folder of that name at any moment; and while there are two, the old
    one, which comes first, cannot be claimed, so it cannot end the new one as a rival either.
    """
    store.set_properties(new, {KIND: FolderKind.SEARCH})
    for folder in old:
        store.set_properties(folder.id, {KIND: FolderKind.ARCHIVED})
