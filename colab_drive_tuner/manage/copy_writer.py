"""The writing of a search's copy: all of it, or nothing that anybody takes for a search.

It is made in a folder of another name, marked as a copy in the making. Its first record comes last,
when all else has been read back; then, in one step, the folder gets the search's name and mark. So
a copy that is cut off is not a search: the same call begins again, and `clean` finds what is left.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from colab_drive_tuner.checkpoint.entries import Beside
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.errors import (
    NotFoundError,
    QuotaError,
    SearchBusyError,
    SearchDamagedError,
    StoreError,
    UsageError,
)
from colab_drive_tuner.journal.chain.chain import Head, read_on, record_name
from colab_drive_tuner.journal.chain.record import EncodedRecord, Record
from colab_drive_tuner.journal.folder.creation import ensure_records_folder, make_search_folder
from colab_drive_tuner.journal.folder.lookup import (
    EXPORT_NAME,
    KIND,
    FolderKind,
    SearchFolder,
    find_folder,
    name_marks,
)
from colab_drive_tuner.journal.snapshot import save_snapshot
from colab_drive_tuner.machine import machine_id
from colab_drive_tuner.manage.chain_copy import copy_chain, ids_needed, joined, require_equal
from colab_drive_tuner.manage.exclusive_access import Held, Notify, own_folder
from colab_drive_tuner.progress_line import progress_bar
from colab_drive_tuner.rerun.runs import FOLDER as RUNS
from colab_drive_tuner.rerun.runs import RUN_MARKS, run_files
from colab_drive_tuner.search.trials.trials_pickle import TrialsExport
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.training.artifacts import FOLDER as BACKUPS
from colab_drive_tuner.training.copying import FileCopier, backup_files, model_files, scratch_file
from colab_drive_tuner.training.models.best_models import FOLDER as BEST
from colab_drive_tuner.troubleshoot.clean.unfinished_copies import (
    FROM,
    MAKER,
    copying_name,
    is_abandoned,
    name_of_copy,
)

_OURS = {"records", "index", BEST, BACKUPS, RUNS, EXPORT_NAME}
_AT_ONCE = 8


@dataclass
class _Content:
    """All that is copied."""

    groups: list[list[Record]]
    """The records, those together that the copy joins."""
    head: Head
    runs: list[Entry]
    size: int
    """Bytes of all files."""


def write_copy(original: Held, target: Store, name: str, notify: Notify) -> str:
    """Copy the search to `target` as `name`, which is free there; return its link or path."""
    content = _read(original)
    _require_room(target, content.size)
    _put_abandoned_away(original, target, name)
    marks = {FROM: original.folder.first, MAKER: machine_id()}
    unfinished = copying_name(name, secrets.token_hex(4))
    folder = make_search_folder(target, unfinished, FolderKind.COPYING, **marks)
    try:
        put_first_record = _fill(original, content, target, folder, name, notify)
        _require_unchanged(original, content)
        put_first_record()
        target.rename(folder.id, name, {KIND: FolderKind.SEARCH} | name_marks(target, name))
        _require_alone(target, name, folder.first)
    except BaseException as error:  # an interrupt, too, leaves no half copy
        with suppress(StoreError):
            target.trash(folder.id)
        if isinstance(error, KeyboardInterrupt):
            notify(
                f"Stopped: search {original.name!r} is as it was; what was copied of it lies in "
                f"the trash, {target.trash_location}."
            )
        raise
    _tell_of_strangers(original, notify)
    return target.url(folder.id)


def _read(original: Held) -> _Content:
    """READ the whole chain, and look for all else; raises where anything of it is damaged."""
    view, name = original.view, original.name
    records: list[Record] = []
    try:
        folder = own_folder(view, name)
        original.history.check()
        head = read_on(view, Head(0, "", (folder.first,)), records.append, name)
        told = History()
        for record in records:
            told.apply(record)
        require_equal(told, original.history, name)
    except SearchDamagedError as error:
        raise SearchDamagedError(
            f"{error} Nothing was copied: let {view.command('repair', name)} "
            f"rebuild the search from what is readable, and copy it then."
        ) from error
    runs = [entry for entry in run_files(view, name) if RUN_MARKS[0] in entry.properties]
    kept = [*view.list(folder.records), *model_files(view, folder.id), *runs]
    size = sum(entry.size for entry in (*kept, *backup_files(view, folder.id)))
    return _Content(joined(records), head, runs, size)


def _require_room(target: Store, size: int) -> None:
    free = target.free_space()
    if free is not None and size > free:
        raise QuotaError(
            f"{target.url(target.root)} has {free / 1e6:.1f} MB left, and the search takes "
            f"{size / 1e6:.1f} MB; nothing was copied."
        )


def _put_abandoned_away(original: Held, target: Store, name: str) -> None:
    """Put what an earlier call left, which was cut off, into the trash."""
    with suppress(NotFoundError):  # no store yet
        for entry in target.list(target.root):
            ours = (FolderKind.COPYING, original.folder.first)
            if (entry.properties.get(KIND), entry.properties.get(FROM)) == ours:
                if name_of_copy(entry) == name and is_abandoned(target, entry, locked=True):
                    target.trash(entry.id)


def _fill(
    original: Held,
    content: _Content,
    target: Store,
    folder: SearchFolder,
    name: str,
    notify: Notify,
) -> Callable[[], None]:
    """Write and read back all but the first record; return what writes that."""
    journal = original.book.journal
    copier = FileCopier(original.view, target, original.folder.id, folder.id)
    ensure_records_folder(target, folder)
    chain = copy_chain(
        content.groups,
        [folder.first, *target.reserve(ids_needed(content.groups) - 1)],
        _copy_attachments(original, content, copier, folder, notify),
        target.account,
        search=name,
        home=target.root,
        holder=original.owner,
        reason=original.reason,
    )
    require_equal(chain.history, original.history, original.name)

    def put(encoded: EncodedRecord, marks: Mapping[str, str] | None = None) -> None:
        copier.create(
            encoded.content,
            name=record_name(encoded.record.pos),
            parent=folder.records,
            properties=marks,
            entry_id=chain.ids[encoded.record.pos],
        )

    first, *others = chain.records
    with (
        ThreadPoolExecutor(_AT_ONCE, "cdt-copy") as pool,
        progress_bar(f"Copying {original.name}", " records") as seen,
    ):
        for count, _ in enumerate(pool.map(put, others), 1):
            if seen is not None:
                seen(count, len(others))
    copier.models(lambda epoch: chain.epochs.get(epoch, epoch))
    unfinished = {e.tid for e in chain.history.unfinished if isinstance(e.tid, int)}
    copier.backups(unfinished, journal.epoch, chain.epochs[journal.epoch])
    if content.runs:
        home = copier.home(RUNS)
        with scratch_file() as path:
            for entry in content.runs:
                copier.file(entry, path, home, {}, keep=RUN_MARKS)
    if chain.history.trials:  # a study of Optuna's has none
        exported = TrialsExport()(chain.history)
        copier.create(exported, name=EXPORT_NAME, parent=folder.id, entry_id=folder.export)
    save_snapshot(target, folder, chain.head, chain.history.dump())
    copier.verify()

    def put_first() -> None:
        copier.written.clear()
        put(first, name_marks(target, name))
        copier.verify()

    return put_first


def _copy_attachments(
    original: Held, content: _Content, copier: FileCopier, folder: SearchFolder, notify: Notify
) -> dict[str, str]:
    """Copy the files of large attachments; return the copies' ids by the originals'.

    One that the original has lost keeps its name in the copy, and is lost there, too.
    """
    files = {
        entry_id: sha
        for group in content.groups
        for record in group
        for sha, entry_id in record.files.items()
    }
    lost, copies = set(), dict(zip(files, copier.target.reserve(len(files)), strict=True))
    for entry_id, sha in files.items():
        with suppress(NotFoundError):
            value = original.book.journal.read_file(entry_id)
            if hashlib.sha256(value).hexdigest() == sha:
                name = f"attachment-{sha[:16]}.cdt"
                parent = folder.records
                copier.create(value, name=name, parent=parent, entry_id=copies[entry_id])
                continue
        lost.add(sha)
    for name, stored in original.history.attachments.items():
        if isinstance(stored, Beside) and stored.sha in lost:
            notify(
                f"Attachment {name!r} of search {original.name!r} is lost or damaged there, so the "
                f"copy lacks it, too."
            )
    return copies


def _require_unchanged(original: Held, content: _Content) -> None:
    """Raise where somebody has gone on with the original, at this or any other machine."""
    with suppress(NotFoundError):
        original.view.read_unverified(content.head.ids[0])
        raise SearchBusyError(
            f"Search {original.name!r} was run while it was copied, so no copy was made: try again "
            f"once that run has stopped."
        )


def _require_alone(target: Store, name: str, first: str) -> None:
    """Raise where a search of that name was begun in the target at the same moment."""
    found = find_folder(target, name)
    if found is not None and found.first != first:
        raise UsageError(
            f"A search {name!r} was begun in {target.url(target.root)} at this moment, so no copy "
            f"was made: choose another name."
        )


def _tell_of_strangers(original: Held, notify: Notify) -> None:
    """Name what lies in the search's folder and is not part of the search."""
    view, folder = original.view, original.folder
    listed = [entry.name for entry in view.list(folder.id)]
    if view.local_path is not None:
        listed = [path.name for path in Path(view.url(folder.id)).iterdir()]
    if strangers := sorted(name for name in {*listed} - _OURS if not name.startswith(".")):
        notify(
            f"Not copied, since it is not part of search {original.name!r}: {', '.join(strangers)}."
        )
