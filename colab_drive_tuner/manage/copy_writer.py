"""Atomic copy of a search: the target gets the complete search or no search at all.

The copy is written to a folder with a temporary name and the kind `copying`. Its first record is
written last, after everything else has been read back. Then one request gives the folder the
search's name and kind. An interrupted copy is therefore never taken for a search: repeating the
call starts over, and `clean` lists the remains.
"""

import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from colab_drive_tuner.checkpoint.trials_and_sessions import AttachmentFile
from colab_drive_tuner.errors import (
    NotFoundError,
    QuotaError,
    SearchBusyError,
    SearchDamagedError,
    StoreError,
)
from colab_drive_tuner.journal.chain.chain import Head, read_on, save_snapshot
from colab_drive_tuner.journal.chain.record import Record, attachment_name, record_name
from colab_drive_tuner.journal.folder.creation import (
    BACKUPS,
    BEST_MODELS,
    RUNS,
    ensure_records_folder,
    list_subfolder,
    make_search_folder,
)
from colab_drive_tuner.journal.folder.properties import (
    EXPORT_NAME,
    FolderKind,
    Property,
    SearchFolder,
    name_marks,
    search_folder,
)
from colab_drive_tuner.local_files import sha256_of
from colab_drive_tuner.machine import machine_id
from colab_drive_tuner.manage.chain_copy import ChainCopy, copy_chain, require_equal
from colab_drive_tuner.manage.exclusive_access import HeldSearch, Notify, require_own_folder
from colab_drive_tuner.manage.naming import require_sole
from colab_drive_tuner.progress_bars import progress_bar
from colab_drive_tuner.rerun.runs import RUN_PROPERTIES, run_files
from colab_drive_tuner.search.trials.attachments import TrialsExport
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.training.file_copier import FileCopier, model_files, scratch_file
from colab_drive_tuner.troubleshoot.clean.removal import trash_and_free
from colab_drive_tuner.troubleshoot.clean.search_leftovers import (
    FROM,
    MAKER,
    copying_name,
    is_abandoned,
    name_of_copy,
)

_SEARCH_FILES = {"records", "index", BEST_MODELS, BACKUPS, RUNS, EXPORT_NAME}
_PARALLEL_WRITES = 8
_BEGAN = RUN_PROPERTIES[0]


def write_copy(original: HeldSearch, target: Store, name: str, notify: Notify) -> str:
    """Copy the search to `target` under the unused `name`; return the copy's link or path."""
    records, store = _read_records(original), original.search_store
    runs = [entry for entry in run_files(store, original.name) if _BEGAN in entry.properties]
    _require_room(original, target, runs)
    _trash_abandoned_copies(original, target, name)
    marks = {FROM: original.folder.first, MAKER: machine_id()}
    temporary_name = copying_name(name, secrets.token_hex(4))
    folder = make_search_folder(target, temporary_name, FolderKind.COPYING, **marks)
    copier = FileCopier(store, target, original.folder.id, folder.id)
    try:
        _UnfinishedCopy(original, target, folder, name, copier, notify).complete(records, runs)
    except BaseException as error:  # also after an interrupt: leave no partial copy
        left = "; `colab-drive-tuner clean` lists the partial copy"
        with suppress(StoreError):
            left = f"; the partial copy is in the trash, {trash_and_free(target, folder, name)}"
        if isinstance(error, KeyboardInterrupt):
            notify(f"Stopped: search {original.name!r} is unchanged{left}.")
        raise
    _notify_of_other_files(original, notify)
    return target.url(folder.id)


def _read_records(original: HeldSearch) -> list[Record]:
    """Read the whole chain; raise if anything is damaged."""
    store, name = original.search_store, original.name
    records: list[Record] = []
    try:
        folder = require_own_folder(store, name)
        original.history.check()
        read_on(store, Head(0, "", (folder.first,)), records.append, name)
    except SearchDamagedError as error:
        raise SearchDamagedError(
            f"{error} Nothing was copied: rebuild the search from its readable files with "
            f"{store.command('repair', name)}, then copy it."
        ) from error
    return records


def _require_room(original: HeldSearch, target: Store, runs: Sequence[Entry]) -> None:
    store, folder, free = original.search_store, original.folder, target.free_space()
    files = [*store.list(folder.records), *model_files(store, folder.id), *runs]
    size = sum(entry.size for entry in (*files, *list_subfolder(store, folder.id, BACKUPS)))
    if free is not None and size > free:
        raise QuotaError(
            f"{target.url(target.root)} has {free / 1e6:.1f} MB left, but the search takes "
            f"{size / 1e6:.1f} MB; nothing was copied."
        )


def _trash_abandoned_copies(original: HeldSearch, target: Store, name: str) -> None:
    """Move the partial copies of earlier, interrupted calls to the trash."""
    with suppress(NotFoundError):  # the store does not exist yet
        for entry in target.list(target.root):
            marks = (entry.properties.get(Property.KIND), entry.properties.get(FROM))
            if marks == (FolderKind.COPYING, original.folder.first) and name_of_copy(entry) == name:
                if is_abandoned(target, entry, locked=True):
                    trash_and_free(target, search_folder(entry), name)


@dataclass(frozen=True)
class _UnfinishedCopy:
    """A copy whose folder has a temporary name."""

    original: HeldSearch
    target: Store
    folder: SearchFolder
    name: str
    copier: FileCopier
    notify: Notify

    def complete(self, records: Sequence[Record], runs: Sequence[Entry]) -> None:
        """Copy everything, read it back, and give the folder its name."""
        original, target, name = self.original, self.target, self.name
        ensure_records_folder(target, self.folder)
        files = self._copy_attachments(records)
        chain = copy_chain(original, records, files, target, self.folder, name)
        require_equal(chain.history, original.history, original.name)
        self._write_later_records(chain)
        self._write_other_files(chain, runs)
        self.copier.verify()
        if original.is_continued():
            raise SearchBusyError(
                f"Search {original.name!r} was run while it was copied, so no copy was made: try "
                f"again after that run has stopped."
            )
        self.copier.written.clear()
        self._write_record(chain, 0, name_marks(target, name))
        self.copier.verify()
        marks = {Property.KIND: FolderKind.SEARCH} | name_marks(target, name)
        target.rename(self.folder.id, name, marks)
        require_sole(target, self.folder, name)

    def _write_later_records(self, chain: ChainCopy) -> None:
        """Write all records but the first."""
        write, later = partial(self._write_record, chain), range(1, len(chain.records))
        with (
            ThreadPoolExecutor(_PARALLEL_WRITES, "cdt-copy") as pool,
            progress_bar(f"Copying {self.original.name}", " records") as progress,
        ):
            for count, _ in enumerate(pool.map(write, later), 1):
                if progress is not None:
                    progress(count, len(later))

    def _write_record(
        self, chain: ChainCopy, pos: int, marks: Mapping[str, str] | None = None
    ) -> None:
        self.copier.create(
            chain.records[pos].content,
            name=record_name(pos),
            parent=self.folder.records,
            properties=marks,
            entry_id=chain.ids[pos],
        )

    def _write_other_files(self, chain: ChainCopy, runs: Sequence[Entry]) -> None:
        """Copy models, runs and the present history's backups; write trials.pkl and a snapshot."""
        copier, epoch = self.copier, self.original.book.journal.epoch
        copier.models(lambda before: chain.epochs.get(before, before))
        unfinished = {e.tid for e in chain.history.unfinished if isinstance(e.tid, int)}
        copier.backups(unfinished, epoch, chain.epochs[epoch])
        if runs:
            home = copier.target_folder(RUNS)
            with scratch_file() as path:
                for entry in runs:
                    copier.file(entry, path, home, {}, keep=RUN_PROPERTIES)
        if chain.history.trials:  # an Optuna study has none
            exported, folder = TrialsExport()(chain.history), self.folder
            copier.create(exported, name=EXPORT_NAME, parent=folder.id, entry_id=folder.export)
        save_snapshot(self.target, self.folder, chain.head, chain.history.dump())

    def _copy_attachments(self, records: Sequence[Record]) -> dict[str, str]:
        """Copy the files of large attachments; return a map from original to copied file ids.

        An attachment whose file is lost in the original stays listed in the copy, without a file.
        """
        journal, parent = self.original.book.journal, self.folder.records
        files = {entry_id: sha for record in records for sha, entry_id in record.files.items()}
        lost, copies = set(), dict(zip(files, self.target.reserve(len(files)), strict=True))
        for entry_id, sha in files.items():
            with suppress(NotFoundError):
                value = journal.read_file(entry_id)
                if sha256_of(value) == sha:
                    name = attachment_name(sha)
                    self.copier.create(value, name=name, parent=parent, entry_id=copies[entry_id])
                    continue
            lost.add(sha)
        for name, stored in self.original.history.attachments.items():
            if isinstance(stored, AttachmentFile) and stored.sha in lost:
                self.notify(
                    f"Attachment {name!r} of search {self.original.name!r} is lost or damaged, so "
                    f"the copy lacks it too."
                )
        return copies


def _notify_of_other_files(original: HeldSearch, notify: Notify) -> None:
    """Name the files in the search's folder that are not part of the search."""
    store, folder = original.search_store, original.folder
    names = store.names_in(folder.id) - _SEARCH_FILES
    if others := sorted(name for name in names if not name.startswith(".")):
        notify(
            f"Not copied, since it is not part of search {original.name!r}: {', '.join(others)}."
        )
