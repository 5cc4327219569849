"""One search as doctor and repair look at it, and how many trials are known to have existed.

A chain whose newest records are gone looks whole, only shorter. What knows better are records that
lie behind a gap, snapshots, and trials.pkl.
"""

import contextlib
from dataclasses import dataclass
from functools import cached_property

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.errors import NotFoundError, RefusedError, SearchDamagedError
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.journal.chain.record import RecordKind
from colab_drive_tuner.journal.folder.lookup import EXPORT_NAME, SearchFolder, find_folder
from colab_drive_tuner.search.results.read_search import open_journal, status_of
from colab_drive_tuner.search.trials.search_status import SearchStatus
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.troubleshoot.repair.rebuild import Rebuilt, offer_pickle, rebuild
from colab_drive_tuner.troubleshoot.repair.salvage import Evidence, collect, trashed_files


@dataclass
class SearchCheck:
    """One search that is looked at: each question is asked of the store once."""

    root: Store
    name: str
    folders: int = 1
    """How many folders bear its name."""

    @cached_property
    def store(self) -> Store:
        """The store, for whoever works in this search."""
        return self.root.for_search(self.name)

    @cached_property
    def folder(self) -> SearchFolder | None:
        """The folder that bears its name; None: none is listed any more."""
        return find_folder(self.store, self.name)

    @cached_property
    def journal(self) -> Journal:
        """Its journal, only for reading; raises as `open_journal` does."""
        return open_journal(self.store, self.name)

    @property
    def history(self) -> History:
        """What its acknowledged records say."""
        history: History = self.journal.state
        return history

    @cached_property
    def status(self) -> SearchStatus:
        """How far it is."""
        return status_of(self.store, self.name, self.journal)

    @cached_property
    def evidence(self) -> Evidence:
        """Everything of it that can be read; `folder` must be there."""
        if self.folder is None:
            raise NotFoundError(f"There is no folder of search {self.name!r} any more.")
        return collect(self.store, self.folder)

    @property
    def trashed(self) -> int:
        """How many of its records lie in the trash: Drive still reads them, for 30 days."""
        there = set() if self.folder is None else trashed_files(self.store, self.folder)
        return self.evidence.count(there) if there else 0

    @property
    def lost(self) -> str:
        """What is known to be missing, in words; empty: nothing."""
        if self.folder is None:
            return ""
        evidence = self.evidence
        self.journal.refresh()  # what was written meanwhile is not missing
        return lost_trials(self.store, evidence, self.history)

    @property
    def size(self) -> int:
        """Bytes in its folder, two floors down."""
        try:
            entries = self.store.list(self.folder.id) if self.folder is not None else []
        except SearchDamagedError:
            return 0
        below = [one for entry in entries if entry.is_folder for one in self.store.list(entry.id)]
        return sum(entry.size for entry in [*entries, *below])


def lost_trials(store: Store, evidence: Evidence, readable: History) -> str:
    """What is known to be missing from the history that readers see, in words; empty: nothing.

    The evidence must have been collected before the history was read.
    """
    built = rebuild(evidence)
    restarted = any(found.record.kind == RecordKind.RESET for found in evidence.records.values())
    if not restarted:  # else trials.pkl may be from before
        for content in read_pickles(store, evidence.folder):
            offer_pickle(built, content)
    known, there = len(built.history.trials), len(readable.trials)
    ended = built.history.done
    sources = ", ".join(name_sources(built))
    if known > there:
        return f"{known} trials are known to have existed ({sources}), {there} are readable"
    if known == there and ended > readable.done:
        return (
            f"{ended} trials are known to have ended ({sources}), of {readable.done} the end is "
            f"readable"
        )
    gone = sorted(set(range(evidence.top)) - evidence.records.keys())
    if gone:
        shown = ", ".join(map(str, gone[:12])) + (", ..." if len(gone) > 12 else "")
        return f"of its records {shown} are gone, and only a snapshot stands for them"
    return ""


def read_pickles(store: Store, folder: SearchFolder) -> list[bytes]:
    """Each trials.pkl of the folder that can be read, trash included, newest first."""
    entries: list[Entry] = []
    with contextlib.suppress(NotFoundError):
        entries += store.list(folder.id, name=EXPORT_NAME)
    entries += [entry for entry in store.list_trash(folder.id) if entry.name == EXPORT_NAME]
    ids = [entry.id for entry in sorted(entries, key=lambda entry: -entry.created)]
    found = []
    for entry_id in dict.fromkeys([*ids, *filter(None, [folder.export])]):
        with contextlib.suppress(NotFoundError, RefusedError):
            found.append(store.read_trashed(entry_id))
    return found


def name_sources(built: Rebuilt) -> list[str]:
    """What a history was put together from, in words."""
    sources = [f"{built.records} records"] if built.records else []
    if built.through:
        sources.append(f"a snapshot that stands for the first {built.through} records")
    return sources + [f"{source}: {count} trials" for source, count in built.added.items()]
