"""Repair of a search that cannot be continued: its readable content is rebuilt in a new folder.

This applies to a chain with a missing or altered record, one that belongs to another account, and
one whose next record is refused. The old folder's files are not changed. The folders' marks change
last, after the new chain has been written and read back, so an interrupted repair has no effect.
"""

from contextlib import suppress
from dataclasses import dataclass

from colab_drive_tuner.errors import (
    AccountMismatchError,
    NewerFormatError,
    NotFoundError,
    SearchBusyError,
    SearchDamagedError,
    SearchError,
    SearchFolderError,
    SearchNotFoundError,
    StoreError,
    UnavailableError,
)
from colab_drive_tuner.journal.folder.creation import is_another_search, two_searches_error
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.journal.folder.moved_folders import find_unmarked, missing_search_error
from colab_drive_tuner.journal.folder.properties import (
    FolderKind,
    Property,
    SearchFolder,
    check_name,
    free_name,
    is_search,
    search_folder,
)
from colab_drive_tuner.journal.folder.reindex import damaged_entries, reindex_search
from colab_drive_tuner.journal.spool.notes import KnownFolder
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.journal.spool_replay import former_spools
from colab_drive_tuner.runtime import COLAB_MOST_HOURS
from colab_drive_tuner.search.results.read_search import history_status
from colab_drive_tuner.search.spec.settings import unusable_settings
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.text import first_of, visible
from colab_drive_tuner.troubleshoot.repair.chain_writer import (
    copy_files,
    end_old_chain,
    replace_folders,
    write_chain,
)
from colab_drive_tuner.troubleshoot.repair.rebuild import (
    RebuiltHistory,
    add_pickled,
    add_records,
    add_spooled,
    complete_documents,
    rebuild,
)
from colab_drive_tuner.troubleshoot.repair.salvage import SalvagedFolder, salvage_folder
from colab_drive_tuner.troubleshoot.repair.search_check import (
    SearchCheck,
    claim_and_release,
    describe_sources,
    read_pickles,
)

_RUNTIME_SECONDS = COLAB_MOST_HOURS * 3600
"""Longest lifetime of a Colab runtime: the owner of an older claim cannot wake up again."""


@dataclass(frozen=True)
class Repair:
    """Report of a repair."""

    name: str
    reason: str
    """Why the search could not be continued in its folder; empty if it can."""
    trials: int = 0
    done: int = 0
    again: tuple[str, ...] = ()
    """Trials that will run, or run again, when the search continues."""
    lost: tuple[str, ...] = ()
    """Known losses, as text."""
    sources: tuple[str, ...] = ()
    """Sources of the recovered content, as text."""
    notes: tuple[str, ...] = ()
    old: str = ""
    """The old folder's link or path."""
    new: str = ""

    def __str__(self) -> str:
        if not self.reason and self.notes:
            done = visible("; ".join(self.notes))
            return f"Search {self.name!r} continues in its folder: {done}."
        if not self.reason:
            return f"Search {self.name!r} is intact and writable: there is nothing to repair."
        lines = [
            f"Search {self.name!r} continues in a new folder: {self.new}",
            f"  because     {self.reason}",
            f"  recovered   {self.trials} trials, {self.done} of them with a result",
            *(f"  from        {source}" for source in self.sources),
            *([f"  runs again  {', '.join(self.again)}"] if self.again else []),
            *(f"  lost        {loss}" for loss in self.lost or ("nothing known",)),
            *(f"  note        {note}" for note in self.notes),
            f"  old folder  {self.old} (unchanged)" if self.old else "",
        ]
        return "\n".join(visible(line) for line in lines if line)


@dataclass(frozen=True)
class _FoundFolder:
    """The folder that has, or had, the search's name."""

    folder: SearchFolder
    reason: str = ""
    """Why the search cannot be continued, if the folder alone shows it."""
    in_trash: bool = False


def repair(store: Store, name: str) -> Repair:
    """Rebuild the search in a new folder if it cannot be continued; report what was recovered."""
    check_name(name)
    store = store.for_search(name)
    notes = [
        f"its index was rebuilt from {reindex_search(store, entry)} consistent records"
        for entry in damaged_entries(store, name)
    ]
    found = _find_folder(store, name)
    reason = _why_unusable(store, name, found)
    if not reason:
        return Repair(name, "", notes=tuple(notes))
    with Spool(store.location, name).locked() as spool:
        return _rebuild(store, name, found, reason, spool)


def _find_folder(store: Store, name: str) -> _FoundFolder:
    folder = find_folder(store, name)
    if folder is not None:
        return _FoundFolder(folder)
    altered = find_unmarked(store, name)
    trashed = [
        entry for entry in store.list_trash(store.root) if entry.name == name and is_search(entry)
    ]
    # The result of an interrupted repair is the last choice: it may be incomplete.
    unfinished = (
        altered is not None and altered.properties.get(Property.KIND) == FolderKind.REPAIRING
    )
    if altered is not None and not (unfinished and trashed):
        reason = (
            f"the property {Property.KIND} of its folder, which marks it as a search, was altered"
        )
        return _FoundFolder(search_folder(altered), reason)
    if not trashed:
        raise missing_search_error(store, name)
    newest = search_folder(max(trashed, key=lambda entry: entry.created))
    return _FoundFolder(newest, "its folder is in the trash", in_trash=True)


def _why_unusable(store: Store, name: str, found: _FoundFolder) -> str:
    """Return why the search cannot be continued; empty if claiming and releasing it works."""
    if found.reason:
        return found.reason
    check = SearchCheck(store, name)
    try:
        check.salvaged.require_known_format()
        if trashed := check.salvaged.trashed:
            return f"{trashed} of its records are in the trash, which will be emptied"
        if check.damage:
            return check.damage
        claim_and_release(store, name)
    except (SearchBusyError, SearchFolderError, UnavailableError):
        raise
    except SearchNotFoundError:
        return "its first record is missing"
    except SearchDamagedError as error:
        if isinstance(error, NewerFormatError) and not check.salvaged.newer:
            raise  # newer content of a record; a record's own format may be damage, see `salvage`
        return str(error.__cause__ or error)  # without the advice to run repair
    except (SearchError, StoreError) as error:
        if isinstance(error.__cause__, PermissionError):
            raise  # another user's files: the search is intact for whoever may write to them
        return str(error)
    return ""


def _rebuild(store: Store, name: str, found: _FoundFolder, reason: str, spool: Spool) -> Repair:
    salvaged = salvage_folder(store, found.folder)
    salvaged.require_known_format()
    _require_unheld(store, name, salvaged, spool)
    built = _rebuild_history(store, name, found.folder, salvaged, spool)
    status = history_status(built.history, name=name)
    settings = {
        "generation": int(built.history.settings.get("generation", 1)) + 1,
        "from": found.folder.id,
    }
    chain = write_chain(store, name, built, settings)
    unfinished = {e.tid for e in built.history.unfinished if isinstance(e.tid, int)}
    notes = [
        *salvaged.unreadable,
        *built.notes,
        *copy_files(store, found.folder.id, chain, unfinished, built.epochs),
    ]
    _require_unchanged_name(store, name, found)
    if not found.in_trash:
        notes += end_old_chain(store, name, salvaged, chain.id)
    old = [] if found.in_trash else [found.folder, *found.folder.duplicates]
    replace_folders(store, name, chain.id, old)
    if found.in_trash:
        with suppress(NotFoundError):  # a local trash cannot be changed
            free_name(store, found.folder, name)
    spool.note_folder(KnownFolder(chain.id, chain.first))
    return Repair(
        name=name,
        reason=reason,
        trials=status.trials,
        done=status.done,
        again=tuple(str(entry.tid) for entry in built.history.unfinished),
        lost=tuple(_losses(built)),
        sources=tuple(describe_sources(built)),
        notes=tuple(dict.fromkeys(notes)),
        old="" if found.in_trash else store.url(found.folder.id),
        new=store.url(chain.id),
    )


def _require_unchanged_name(store: Store, name: str, found: _FoundFolder) -> None:
    """Raise if another folder has the name by now, or the search has another name."""
    current = find_folder(store, name)
    if (current and current.id) != (None if found.reason else found.folder.id):
        raise SearchFolderError(
            f"Search {name!r} was created, renamed or removed while it was repaired, so nothing "
            f"was changed: look at {store.command('list')}, then repair it again if it is needed."
        )


def _rebuild_history(
    store: Store, name: str, folder: SearchFolder, salvaged: SalvagedFolder, spool: Spool
) -> RebuiltHistory:
    """Rebuild the history from the folder, its duplicates, this machine's spools and trials.pkl."""
    duplicates = [
        _salvage_duplicate(store, name, folder, duplicate) for duplicate in folder.duplicates
    ]
    built = rebuild(salvaged)
    pickles = read_pickles(store, salvaged.folder)
    if not (built.records or built.covered or pickles):
        raise _nothing_left(name, salvaged)
    for duplicate in duplicates:
        add_records(built, duplicate, f"the folder {store.url(duplicate.folder.id)}")
    with former_spools(store, spool, salvaged.folder.first) as former:
        for source in (spool, *former):
            any_epoch = source is spool and not built.epochs
            for leftover in source.earlier_files():
                if any_epoch or leftover.epoch in built.epochs:
                    add_spooled(built, leftover.items)
    for content in pickles:
        add_pickled(built, content)
    if not built.history.settings and not built.history.trials:
        raise _nothing_left(name, salvaged)
    if completed := complete_documents(built.history):
        built.notes.append(f"{completed} trials now name the parameters that they did not use.")
    for key, error in unusable_settings(built.history.settings).items():
        del built.history.settings[key]
        built.notes.append(str(error.__cause__))
    return built


def _salvage_duplicate(
    store: Store, name: str, folder: SearchFolder, duplicate: SearchFolder
) -> SalvagedFolder:
    """Read a duplicate folder; raise `SearchFolderError` if it belongs to another search."""
    salvaged = salvage_folder(store, duplicate)
    salvaged.require_known_format()
    moved = any(record.target == folder.id for record in salvaged.records.values())
    if not moved and is_another_search(store, folder, duplicate):
        raise two_searches_error(store, name, folder, duplicate)
    return salvaged


def _nothing_left(name: str, salvaged: SalvagedFolder) -> SearchNotFoundError:
    why = " ".join(salvaged.unreadable)
    first = f" ({why}) Undo the change there: otherwise" if why else ":"
    return SearchNotFoundError(
        f"Nothing of search {name!r} is readable{first} start it again under another name."
    )


def _require_unheld(store: Store, name: str, salvaged: SalvagedFolder, spool: Spool) -> None:
    """Raise if a session may be writing, or may wake up and write as another account."""
    holder = salvaged.holder(store)
    if holder is None:
        return
    if not holder.stale and not spool.has_claimed(holder.owner):
        raise SearchBusyError(
            f"Search {name!r} is held by {holder}. Stop it there, or wait until it has not been "
            f"seen for 90 s, then repair it."
        )
    if holder.claimant.account != store.account and holder.age < _RUNTIME_SECONDS:
        raise AccountMismatchError(
            f"Search {name!r} was not released by {holder}. Let its owner run it again and "
            f"stop it, or repair it a day after it was last seen."
        )


def _losses(built: RebuiltHistory) -> list[str]:
    history, losses = built.history, []
    if built.lost_records:
        losses.append(f"the records {first_of(built.lost_records)}")
    tids = {tid for tid in history.trials if isinstance(tid, int)}
    gone = sorted(set(range(min(history.next_tid, 10**6))) - tids)
    if gone and built.lost_records:
        losses.append(f"all data of the trials {first_of(gone)}")
    if history.study.lines:
        if built.lost_records:
            losses.append("the study's changes in them, and later ones that follow from these")
    elif "rstate" not in history.settings:
        losses.append(
            "the random state: pass the seed= that the search was created with, or a new one is "
            "drawn when the search continues"
        )
    return losses
