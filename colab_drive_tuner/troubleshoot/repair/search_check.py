"""Check of one search for doctor and repair, including trials that are known to be lost.

A chain whose newest records are gone looks intact, only shorter. Records after a gap, snapshots and
trials.pkl reveal the loss.
"""

import contextlib
from dataclasses import dataclass
from functools import cached_property

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.trials_and_sessions import AttachmentFile
from colab_drive_tuner.errors import ChecksumError, NotFoundError, RefusedError, SearchDamagedError
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.journal.chain.record import RecordKind
from colab_drive_tuner.journal.folder.lookup import exists, find_folder
from colab_drive_tuner.journal.folder.properties import EXPORT_NAME, SearchFolder
from colab_drive_tuner.search.results.read_search import open_journal, status_of
from colab_drive_tuner.search.spec.settings import SearchSettings, unusable_settings
from colab_drive_tuner.search.trials.logbook import Logbook
from colab_drive_tuner.search.trials.search_status import SearchStatus
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.text import first_of
from colab_drive_tuner.troubleshoot.repair.rebuild import (
    RebuiltHistory,
    add_pickled,
    complete_documents,
    is_export,
    rebuild,
)
from colab_drive_tuner.troubleshoot.repair.salvage import SalvagedFolder, salvage_folder


@dataclass
class SearchCheck:
    """A search that is checked; each property is read from the store once."""

    store: Store
    """The store, scoped to this search."""
    name: str
    folders: int = 1
    """Number of folders with this name."""

    @property
    def repair_command(self) -> str:
        """The command line that repairs it."""
        return self.store.command("repair", self.name)

    @cached_property
    def folder(self) -> SearchFolder | None:
        """The folder with this name; None if it is no longer listed."""
        return find_folder(self.store, self.name)

    @cached_property
    def journal(self) -> Journal:
        """The search's journal, for reading only; raises like `open_journal`."""
        return open_journal(self.store, self.name)

    @property
    def history(self) -> History:
        """The state replayed from the acknowledged records."""
        history: History = self.journal.state
        return history

    @cached_property
    def status(self) -> SearchStatus:
        """The search's status."""
        return status_of(self.store, self.name, self.journal)

    @cached_property
    def salvaged(self) -> SalvagedFolder:
        """Everything that can be read in the search's folder."""
        if self.folder is None:
            raise NotFoundError(f"There is no folder of search {self.name!r} any more.")
        return salvage_folder(self.store, self.folder)

    @cached_property
    def damage(self) -> str:
        """Why the search cannot continue, as far as reading shows; empty if nothing is wrong.

        Raises `SearchDamagedError` if a record or setting cannot be used.
        """
        incomplete = complete_documents(self.history)
        for error in unusable_settings(self.history.settings).values():
            raise error
        salvaged = self.salvaged
        self.journal.refresh()  # records written since are not missing
        whole = not salvaged.missing and salvaged.next_id == self.journal.next_id
        if lost := _lost_trials(self.store, salvaged, self.history, whole=whole):
            return lost
        if incomplete:
            return f"{incomplete} of its trials do not name every parameter, so TPE fails on them"
        if gone := self._lost_attachments():
            return f"{len(gone)} of its attachments were deleted, such as {gone[0]!r}"
        return ""

    def _lost_attachments(self) -> list[str]:
        """Return the names of attachments whose file is gone."""
        attachments = self.history.attachments.items()
        files = {name: file.id for name, file in attachments if isinstance(file, AttachmentFile)}
        records = self.store.list(self.folder.records) if files and self.folder is not None else []
        listed = {entry.id for entry in records}
        return [
            name
            for name, entry_id in files.items()
            if entry_id not in listed and not exists(self.store, entry_id)  # listings lag
        ]

    @property
    def size(self) -> int:
        """Size in bytes of the files in the search's folder and its direct subfolders."""
        try:
            entries = self.store.list(self.folder.id) if self.folder is not None else []
        except SearchDamagedError:
            return 0
        folders = [entry for entry in entries if entry.is_folder]
        below = [file for folder in folders for file in self.store.list(folder.id)]
        return sum(entry.size for entry in [*entries, *below])


def _lost_trials(store: Store, salvaged: SalvagedFolder, readable: History, *, whole: bool) -> str:
    """Describe what is known to be missing from the readable history; empty if nothing is.

    `whole`: whether it holds all records that were found.
    """
    restarted = any(record.kind == RecordKind.RESET for record in salvaged.records.values())
    # After a restart, trials.pkl may predate it.
    pickles = [] if restarted else read_pickles(store, salvaged.folder)
    # A state that was read from a snapshot needs a witness: the records themselves, or trials.pkl.
    witnessed = pickles or not salvaged.snapshots
    if whole and witnessed and all(is_export(readable, content) for content in pickles):
        return ""
    built = rebuild(salvaged)
    for content in pickles:
        add_pickled(built, content)
    known, present = len(built.history.trials), len(readable.trials)
    ended = built.history.done
    sources = ", ".join(describe_sources(built))
    if known > present:
        return f"{known} trials are known to have existed ({sources}), {present} are readable"
    if known == present and ended > readable.done:
        return (
            f"{ended} trials are known to have ended ({sources}), but only {readable.done} ends "
            f"are readable"
        )
    if missing := salvaged.missing:
        covered = "" if built.lost_records else " and only covered by a snapshot"
        return f"its records {first_of(missing)} are missing{covered}"
    return ""


def read_pickles(store: Store, folder: SearchFolder) -> list[bytes]:
    """Return each readable trials.pkl of the folder, including the trash, newest first."""
    entries: list[Entry] = []
    with contextlib.suppress(NotFoundError):
        entries += store.list(folder.id, name=EXPORT_NAME)
    entries += [entry for entry in store.list_trash(folder.id) if entry.name == EXPORT_NAME]
    ids = [entry.id for entry in sorted(entries, key=lambda entry: -entry.created)]
    found = []
    for entry_id in dict.fromkeys([*ids, *filter(None, [folder.export])]):
        with contextlib.suppress(NotFoundError, RefusedError, ChecksumError):
            found.append(store.read_trashed(entry_id))
    return found


def describe_sources(built: RebuiltHistory) -> list[str]:
    """Return text descriptions of the sources of a rebuilt history."""
    sources = [f"{built.records} records"] if built.records else []
    if built.covered:
        sources.append(f"a snapshot of the first {built.covered} records")
    return sources + [f"{source}: {count} trials" for source, count in built.added.items()]


def claim_and_release(store: Store, name: str) -> None:
    """Claim the search, which records spooled results and merges duplicate folders; release it."""
    book = Logbook(store, name)
    book.claim(SearchSettings(seeded=False, runs=False), on_busy="error", notify=lambda text: None)
    book.close(timeout=60.0)
