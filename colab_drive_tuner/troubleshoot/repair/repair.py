"""Rebuilds a search that cannot go on: from what is readable, in a new chain that takes its name.

For a chain with a missing or altered record, one that belongs to another account, and one whose
next record is refused. The old folder keeps every file as it is; only when the new chain has been
written and read back are the folders' marks changed, last of all, so that a repair that is cut off
has changed nothing.
"""

from dataclasses import dataclass

from colab_drive_tuner.errors import (
    AccountMismatchError,
    NewerFormatError,
    SearchBusyError,
    SearchDamagedError,
    SearchError,
    SearchFolderError,
    SearchNotFoundError,
    StoreError,
    UnavailableError,
)
from colab_drive_tuner.journal.folder.duplicate_folders import is_another_search, two_searches
from colab_drive_tuner.journal.folder.lookup import (
    KIND,
    SearchFolder,
    check_name,
    described,
    find_folder,
    is_search,
)
from colab_drive_tuner.journal.folder.moved_folders import find_unmarked
from colab_drive_tuner.journal.folder.reindex import damaged_entries, reindex_search
from colab_drive_tuner.journal.recovery import former_spools
from colab_drive_tuner.journal.spool.notes import KnownFolder
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.search.spec.settings import SearchSettings, require_usable, unusable_settings
from colab_drive_tuner.search.trials.logbook import Logbook
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.text import visible
from colab_drive_tuner.troubleshoot.repair.chain_writer import (
    copy_files,
    fence,
    switch,
    write_chain,
)
from colab_drive_tuner.troubleshoot.repair.rebuild import (
    Rebuilt,
    complete_documents,
    offer_pickle,
    offer_records,
    offer_spooled,
    rebuild,
)
from colab_drive_tuner.troubleshoot.repair.salvage import Evidence, collect, trashed_files
from colab_drive_tuner.troubleshoot.repair.search_check import (
    lost_trials,
    name_sources,
    read_pickles,
)

LIFE_OF_A_RUNTIME = 24 * 3600.0
"""No Colab runtime lives longer: a claim older than that cannot be woken up again."""
_NEVER = 2**31


@dataclass(frozen=True)
class Repair:
    """What `repair` did and found."""

    name: str
    reason: str
    """Why the search could not go on in its folder; empty: it can."""
    trials: int = 0
    done: int = 0
    again: tuple[str, ...] = ()
    """Trials that are run (again) when the search goes on."""
    lost: tuple[str, ...] = ()
    """What is known to be lost, in sentences."""
    sources: tuple[str, ...] = ()
    """Where what is there came from."""
    notes: tuple[str, ...] = ()
    old: str = ""
    """The old folder's link or path."""
    new: str = ""

    def __str__(self) -> str:
        if not self.reason and self.notes:
            done = visible("; ".join(self.notes))
            return f"Search {self.name!r} goes on in its folder, of which {done}."
        if not self.reason:
            return f"Search {self.name!r} is whole and can be written: there is nothing to repair."
        lines = [
            f"Search {self.name!r} goes on in a new folder: {self.new}",
            f"  because     {self.reason}",
            f"  recovered   {self.trials} trials, {self.done} of them with a result",
            *(f"  from        {source}" for source in self.sources),
            *([f"  runs again  {', '.join(self.again)}"] if self.again else []),
            *(f"  lost        {loss}" for loss in self.lost or ("nothing that is known of",)),
            *(f"  note        {note}" for note in self.notes),
            f"  old folder  {self.old} (as it was)" if self.old else "",
        ]
        return "\n".join(visible(line) for line in lines if line)


@dataclass(frozen=True)
class _Found:
    """The folder that bears, or bore, the search's name."""

    folder: SearchFolder
    reason: str = ""
    """Why the search cannot go on, where its folder alone says so."""
    in_trash: bool = False


def repair(store: Store, name: str) -> Repair:
    """Rebuild the search in a new chain if it cannot go on as it is; say what was recovered.

    What a newer version of this package wrote is left to it (`NewerFormatError`), and two searches
    of one name are left alone (`SearchFolderError`).
    Raises `SearchNotFoundError` where nothing of it is left, `SearchBusyError` while a runtime
    holds it, `AccountMismatchError` while it is another account's and was not released.
    """
    check_name(name)
    store = store.for_search(name)
    notes = [
        f"the index was made anew, from {reindex_search(store, entry)} records that fit together"
        for entry in damaged_entries(store, name)
    ]
    found = _find(store, name)
    reason = _reason(store, name, found)
    if not reason:
        return Repair(name, "", notes=tuple(notes))
    spool = Spool(store.location, name)
    if not spool.acquire():
        raise spool.busy()
    try:
        return _rebuild(store, name, found, reason, spool)
    finally:
        spool.release()


def _find(store: Store, name: str) -> _Found:
    folder = find_folder(store, name)
    if folder is not None:
        return _Found(folder)
    if (unmarked := find_unmarked(store, name)) is not None:
        reason = f"somebody altered the property {KIND} of its folder, which marks it as a search"
        return _Found(described(unmarked), reason)
    trashed = [
        entry for entry in store.list_trash(store.root) if entry.name == name and is_search(entry)
    ]
    if not trashed:
        raise SearchNotFoundError(
            f"There is no search {name!r} in {store.url(store.root)}, nor in its trash: "
            f"{store.command('status')} lists those there are."
        )
    newest = described(max(trashed, key=lambda entry: entry.created))
    return _Found(newest, "its folder lies in the trash", in_trash=True)


def _reason(store: Store, name: str, found: _Found) -> str:
    """Why the search cannot go on, found out by doing what any session does: claim and release."""
    if found.reason:
        return found.reason
    trashed = trashed_files(store, found.folder)
    try:
        evidence = collect(store, found.folder)  # first: a record that is written now is no loss
        evidence.require_known_format()
        if count := evidence.count(trashed):
            return f"{count} of its records lie in the trash, from which they will vanish"
        book = Logbook(store, name, max_attempts=_NEVER)
        if not book.journal.exists:
            return "its first record is missing"
        if lost := lost_trials(store, evidence, book.history):
            return lost
        if incomplete := complete_documents(book.history):
            return f"{incomplete} of its trials do not name every parameter, so TPE fails on them"
        book.history.check()
        require_usable(book.history.settings)
        book.claim(
            SearchSettings(seeded=False, runs=False), on_busy="error", notify=lambda text: None
        )
        book.close(timeout=60.0)
    except (SearchBusyError, SearchFolderError, UnavailableError):
        raise
    except SearchDamagedError as error:
        if isinstance(error, NewerFormatError) and not evidence.newer:
            raise  # what a record holds; a record's own format may be damage, see `salvage`
        return str(error.__cause__ or error)  # without the advice to do what is being done
    except (SearchError, StoreError) as error:
        return str(error)
    return ""


def _rebuild(store: Store, name: str, found: _Found, reason: str, spool: Spool) -> Repair:
    evidence = collect(store, found.folder)
    evidence.require_known_format()
    _require_free(store, name, evidence, spool)
    rivals = [_read_rival(store, name, found.folder, one) for one in found.folder.duplicates]
    built = rebuild(evidence)
    pickles = read_pickles(store, evidence.folder)
    if not (built.records or built.through or pickles):
        raise _nothing_left(name, evidence)
    for rival in rivals:
        offer_records(built, rival, f"the folder {store.url(rival.folder.id)}")
    with former_spools(store, spool, evidence.folder.first) as former:
        for one in (spool, *former):
            anyway = one is spool and not built.epochs
            for leftover in one.leftovers():
                if anyway or leftover.epoch in built.epochs:
                    offer_spooled(built, leftover.items)
    for content in pickles:
        offer_pickle(built, content)
    if not built.history.settings and not built.history.trials:
        raise _nothing_left(name, evidence)
    if completed := complete_documents(built.history):
        built.notes.append(f"{completed} trials now name the parameters that they did not use.")
    for key, error in unusable_settings(built.history.settings).items():
        del built.history.settings[key]
        built.notes.append(str(error.__cause__))
    settings = {
        "generation": int(built.history.settings.get("generation", 1)) + 1,
        "from": found.folder.id,
    }
    chain = write_chain(store, name, built, settings, found.folder.id)
    unfinished = {e.tid for e in built.history.unfinished if isinstance(e.tid, int)}
    notes = [
        *evidence.unreadable,
        *built.notes,
        *copy_files(store, found.folder.id, chain, unfinished, built.epochs),
    ]
    if not found.in_trash:
        notes += fence(store, name, evidence, chain.id)
    switch(store, chain.id, [] if found.in_trash else [found.folder, *found.folder.duplicates])
    spool.note_folder(KnownFolder(chain.id, chain.first))
    return Repair(
        name=name,
        reason=reason,
        trials=len(built.history.trials),
        done=built.history.done,
        again=tuple(str(entry.tid) for entry in built.history.unfinished),
        lost=tuple(_losses(built)),
        sources=tuple(name_sources(built)),
        notes=tuple(dict.fromkeys(notes)),
        old="" if found.in_trash else store.url(found.folder.id),
        new=store.url(chain.id),
    )


def _read_rival(store: Store, name: str, folder: SearchFolder, rival: SearchFolder) -> Evidence:
    """What is readable of another folder of the name; raises where it is another search's."""
    evidence = collect(store, rival)
    evidence.require_known_format()
    moved = any(found.record.target == folder.id for found in evidence.records.values())
    if not moved and is_another_search(store, folder, rival):
        raise two_searches(store, name, folder, rival)
    return evidence


def _nothing_left(name: str, evidence: Evidence) -> SearchNotFoundError:
    why = " ".join(evidence.unreadable)
    return SearchNotFoundError(
        f"Nothing of search {name!r} is readable any more"
        f"{f' ({why}) Undo what was done there' if why else ''}: "
        f"{'else ' if why else ''}begin it again under another name."
    )


def _require_free(store: Store, name: str, evidence: Evidence, spool: Spool) -> None:
    """Raise while somebody may be writing, or may wake up and write as another account."""
    holder = evidence.holder(store)
    if holder is None:
        return
    if not holder.stale and not spool.knows(holder.owner):
        raise SearchBusyError(
            f"Search {name!r} is held by {holder}. Stop it there, or wait until it has not been "
            f"seen for 90 s, and repair it then."
        )
    if holder.claimant.account != store.account and holder.age < LIFE_OF_A_RUNTIME:
        raise AccountMismatchError(
            f"Search {name!r} was not released by {holder}. Let its owner run it once more and "
            f"stop it, or repair it a day after it was last seen."
        )


def _losses(built: Rebuilt) -> list[str]:
    history, losses = built.history, []
    if built.lost_records:
        shown = ", ".join(map(str, built.lost_records[:12]))
        more = len(built.lost_records) - 12
        losses.append(f"the records {shown}" + (f" and {more} more" if more > 0 else ""))
    tids = {tid for tid in history.trials if isinstance(tid, int)}
    gone = sorted(set(range(min(history.next_tid, 10**6))) - tids)
    if gone and built.lost_records:
        losses.append(f"every trace of the trials {', '.join(map(str, gone[:12]))}")
    if "rstate" not in history.settings:
        losses.append(
            "the random state: pass the seed= that the search was created with, or a new one is "
            "drawn when it goes on"
        )
    return losses
