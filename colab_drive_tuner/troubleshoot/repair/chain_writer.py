"""Writes a rebuilt search as a new chain and, last of all, gives it the name.

The new folder is marked as a repair in the making until its chain has been read back, so nobody
takes it for the search, or for a rival that lost. The old folder then becomes an archived one.
"""

import contextlib
import hashlib
import itertools
import os
import secrets
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.items import LARGE, attachment_item
from colab_drive_tuner.errors import (
    IdTakenError,
    NotFoundError,
    SearchDamagedError,
    StoreError,
    UnavailableError,
)
from colab_drive_tuner.journal.chain import Head, create, read_on
from colab_drive_tuner.journal.folder import (
    EXPORT,
    FIRST,
    KIND,
    RECORDS,
    SEARCH,
    SearchFolder,
    ensure_records_folder,
)
from colab_drive_tuner.journal.record import Claimant, freeze
from colab_drive_tuner.journal.writer import ID_BLOCK
from colab_drive_tuner.machine import machine_id
from colab_drive_tuner.runtime import place
from colab_drive_tuner.search.trials_export import TrialsExport
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.training.artifacts import StoreArtifacts
from colab_drive_tuner.training.folders import EPOCH, find_folders, make_folder
from colab_drive_tuner.training.models.best_models import FOLDER as BEST
from colab_drive_tuner.troubleshoot.repair.rebuild import Rebuilt, load_attachments
from colab_drive_tuner.troubleshoot.repair.salvage import Evidence

ARCHIVED, REPAIRING = "archived", "repairing"
"""Kinds of folders (see `folder.KIND`) that bear a search's name and are not the search."""


def write_chain(
    store: Store, name: str, built: Rebuilt, settings: Mapping[str, Any], old: str
) -> SearchFolder:
    """Write the history as a chain of a claim, the attachments and a release, and read it back."""
    own, first, records, export = store.reserve(4)
    marks = {KIND: REPAIRING, FIRST: first, RECORDS: records, EXPORT: export, "cdt_from": old}
    made = store.create(own, None, name=name, parent=store.root, properties=marks)
    folder = SearchFolder(own, made.created, first, records, export, "")
    ensure_records_folder(store, folder)
    owner = secrets.token_hex(16)
    claim = freeze(
        pos=0,
        kind="claim",
        owner=owner,
        prev="",
        more=store.reserve(ID_BLOCK),
        payload=built.payload(settings),
        reason="new",
        claimant=Claimant(machine_id(), os.getpid(), socket.gethostname(), store.account, place()),
    )
    create(store, claim, first, records)
    attachments = load_attachments(built, store)
    values = freeze(
        pos=1,
        kind="trials",
        owner=owner,
        prev=claim.record.sha,
        payload=b"".join(attachment_item(key, value) for key, value in attachments.items()),
        files=_put_beside(store, records, attachments.values()),
    )
    create(store, values, claim.record.more[0], records)
    release = freeze(pos=2, kind="release", owner=owner, prev=values.record.sha)
    create(store, release, claim.record.more[1], records)
    back = History()
    read_on(store, Head(0, "", (first,)), back.apply, name)
    if _told(back) != _told(built.history) or back.attachments.keys() != attachments.keys():
        raise SearchDamagedError(
            f"The rebuilt search {name!r} reads back differently, so the old one was left in its "
            f"place; please report it."
        )
    store.create(export, TrialsExport()(back), name="trials.pkl", parent=own)
    return folder


def _put_beside(store: Store, records: str, values: Iterable[bytes]) -> dict[str, str]:
    """Create a file for each large attachment; return their ids by sha256."""
    files: dict[str, str] = {}
    for value in values:
        sha = hashlib.sha256(value).hexdigest()
        if len(value) > LARGE and sha not in files:
            (files[sha],) = store.reserve(1)
            store.create(files[sha], value, name=f"attachment-{sha[:16]}.cdt", parent=records)
    return files


def _told(history: History) -> list[Any]:
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
    with tempfile.TemporaryDirectory(prefix=f"colab-drive-tuner-{os.getpid()}-") as scratch:
        path = Path(scratch) / "copy.part"
        with contextlib.suppress(NotFoundError):
            home = ""
            for entry in _files(store, old, BEST):
                if epochs and entry.properties.get(EPOCH, "") not in {"", *epochs}:
                    continue
                with _noting(entry.name, troubles):
                    store.fetch(entry.id, path)
                    home = home or make_folder(store, new.id, BEST).id
                    store.create(
                        store.reserve(1)[0],
                        path,
                        name=entry.name,
                        parent=home,
                        properties={**entry.properties, EPOCH: epoch},
                    )
            for tid, before in itertools.product(sorted(unfinished), sorted(epochs)):
                backups = StoreArtifacts(store, old, tid, epoch=before)
                for name in backups.names():
                    with _noting(f"backup {name} of trial {tid}", troubles):
                        if backups.get(name, path):
                            StoreArtifacts(store, new.id, tid, epoch=epoch).put(name, path)
    return troubles


def _files(store: Store, old: str, folder: str) -> Iterator[Any]:
    for home in find_folders(store, old, folder):
        yield from (entry for entry in store.list(home) if not entry.is_folder)


@contextlib.contextmanager
def _noting(what: str, troubles: list[str]) -> Iterator[None]:
    try:
        yield
    except UnavailableError:
        raise
    except StoreError as error:
        troubles.append(f"{what} could not be copied: {error}")


def fence(store: Store, name: str, evidence: Evidence, target: str) -> list[str]:
    """End the old chain with `moved`, so that an owner who wakes up learns it; return notes.

    Where its next record cannot be written, its owner cannot write it either.
    """
    if not evidence.records or not evidence.next_id:
        return []
    top = evidence.top
    newest = evidence.records.get(top - 1)
    frozen = freeze(
        pos=top,
        kind="moved",
        owner=secrets.token_hex(16),
        prev="" if newest is None else newest.record.sha,
        more=store.reserve(1),
        target=target,
    )
    where = evidence.folder.records or evidence.folder.id
    try:
        store.create(evidence.next_id, frozen.content, name=f"record-{top:06d}.cdt", parent=where)
    except IdTakenError:
        with contextlib.suppress(NotFoundError):
            if not evidence.owns(store, evidence.next_id):
                return ["The old chain could not be closed: its next id was used elsewhere."]
            if store.read_trashed(evidence.next_id) != frozen.content:
                raise SearchDamagedError(
                    f"Search {name!r} was written to while it was repaired: repair it again."
                ) from None
    except UnavailableError:
        raise
    except StoreError as error:
        return [f"The old chain could not be closed: {error}"]
    return []


def switch(store: Store, new: str, old: Iterable[SearchFolder]) -> None:
    """Give the new folder the name, then take it from the old ones; only marks are changed.

    In this order there is a folder of that name at any moment; and while there are two, the old
    one, which comes first, cannot be claimed, so it cannot end the new one as a rival either.
    """
    store.set_properties(new, {KIND: SEARCH})
    for folder in old:
        store.set_properties(folder.id, {KIND: ARCHIVED})
