"""Probes of each search: intact records, holder, duplicate folders, results spooled here."""

from collections.abc import Iterator
from functools import partial

from colab_drive_tuner.checkpoint.replay_filter import wanted
from colab_drive_tuner.errors import (
    SearchDamagedError,
    SearchError,
    SearchFolderError,
    SearchNameError,
    SearchNotFoundError,
)
from colab_drive_tuner.journal.folder.creation import require_single
from colab_drive_tuner.journal.folder.file_ownership import owned_ids
from colab_drive_tuner.journal.folder.lookup import holds_records
from colab_drive_tuner.journal.folder.properties import EXPORT_NAME
from colab_drive_tuner.journal.spool.spool import Spool, idle_spool_files
from colab_drive_tuner.journal.spool_replay import former_spools
from colab_drive_tuner.search.results.read_search import MISNAMED
from colab_drive_tuner.store.protocol import NO_ROOT, Entry
from colab_drive_tuner.troubleshoot.doctor.context import CheckContext, Finding, Level, SubProbe
from colab_drive_tuner.troubleshoot.repair.search_check import SearchCheck


def searches(context: CheckContext) -> Iterator[Finding | SubProbe]:
    """Yield a sub-probe for each search and for each folder without a known kind."""
    context.require_account()
    if context.existing_store is None:
        where = f" at {context.store.url(NO_ROOT)}" if context.needs_account else ""
        yield Finding(Level.OK, f"none yet: there is no store{where}.")
    elif not context.searches:
        yield Finding(Level.OK, "none yet.")
    for folder in context.unmarked_folders:
        yield SubProbe(f"folder {folder.name!r}", partial(_check_unmarked_folder, folder=folder))
    for search in context.searches:
        yield SubProbe(f"search {search.name!r}", partial(examine_search, search=search))


def examine_search(context: CheckContext, search: SearchCheck) -> Iterator[Finding]:
    """Report the state of the search's records, and whether several folders have its name."""
    if search.folders > 1:
        yield from _check_duplicates(search)
    yield _check_chain(context, search)


def _check_duplicates(search: SearchCheck) -> Iterator[Finding]:
    """Report whether the folders hold one search, created twice at once, or several searches."""
    try:
        if search.folder is not None:
            folder = owned_ids(search.store, search.folder).folder
            require_single(search.store, search.name, folder)
    except SearchFolderError as error:
        yield Finding(Level.PROBLEM, str(error))
    except SearchDamagedError:
        return  # reported with its chain
    else:
        advice = "`colab-drive-tuner clean` lists them, and merges those that can be merged."
        yield Finding(Level.WARNING, f"{search.folders} folders have its name.", advice)


def _check_unmarked_folder(context: CheckContext, folder: Entry) -> Iterator[Finding]:
    """Report a folder that holds a search's records but is not marked as a search."""
    if holds_records(context.store, folder):
        text = "it holds the records of a search, but no property marks it as one."
        advice = "Under the search's name, `colab-drive-tuner repair NAME` restores it."
        yield Finding(Level.WARNING, text, advice)


def _check_chain(context: CheckContext, search: SearchCheck) -> Finding:
    """Report whether the chain is intact, who holds it, and results spooled on this machine."""
    repair = search.repair_command
    try:
        status = search.status
        if search.damage:
            return Finding(Level.PROBLEM, f"{search.damage}.", f"Run {repair}.")
    except SearchDamagedError as error:
        if error.__cause__ is None:  # then the message includes the advice
            return Finding(Level.PROBLEM, str(error))
        return Finding(Level.PROBLEM, str(error.__cause__), f"Run {repair}.")
    except SearchNotFoundError:
        return _check_without_records(search)
    except SearchNameError:
        return Finding(Level.PROBLEM, f"{MISNAMED}.")
    sessions = "1 session" if status.sessions == 1 else f"{status.sessions} sessions"
    text = f"{status.progress} trials in {sessions}, intact"
    if status.held:
        text += f", held by {status.holder}"
    elif status.holder is not None:
        text += f", interrupted: last held by {status.holder}"
    if trashed := search.salvaged.trashed:
        text += f"; {trashed} of its records are in the trash ({search.store.trash_location})."
        return Finding(Level.WARNING, text, f"Restore them there, or run {repair}.")
    if search.salvaged.foreign:
        text += f"; {search.salvaged.foreign[0]}"
        return Finding(Level.WARNING, text, "The next run creates it again in the search's folder.")
    if spooled := _count_spooled(context, search):
        advice = "Run the search again on this machine to record them."
        return Finding(
            Level.WARNING, f"{text}; {spooled} results are spooled on this machine.", advice
        )
    account = search.store.account
    if status.holder and status.holder.claimant.account != account and not status.held:
        advice = f"Sign in as its owner, or run {repair} a day after it was last seen."
        return Finding(Level.WARNING, f"{text}.", advice)
    return Finding(Level.OK, f"{text}.")


def _check_without_records(search: SearchCheck) -> Finding:
    """Report a folder without a first record: it is new, or damaged if it holds other files."""
    if search.folder is not None:
        found, first = search.salvaged, search.folder.first
        written = search.folder.hint or found.records or found.snapshots or found.unreadable
        used = bool(first) and search.store.is_used(first)
        if written or used or search.store.list(search.folder.id, name=EXPORT_NAME):
            return Finding(
                Level.PROBLEM, "its first record is missing.", f"Run {search.repair_command}."
            )
    return Finding(Level.OK, "its folder exists, and nothing is recorded yet.")


def _count_spooled(context: CheckContext, search: SearchCheck) -> int:
    """Count entries spooled here by earlier sessions, under any name, that are not recorded."""
    store, name, folder = search.store, search.name, search.folder
    try:
        first = folder.first if folder is not None else None
        if not any(spooled == name or known == first for spooled, known in context.spooled):
            return 0
        files = idle_spool_files(store.location, name) or []
        if folder is not None:
            with former_spools(store, Spool(store.location, name), folder.first) as former:
                files += [file for spool in former for file in spool.earlier_files()]
    except SearchError:
        return 0  # reported by the probe of the state folder
    return sum(wanted(search.history, item) for file in files for item, _ in file.items)
