"""Probes of each search: whether its chain is whole, who holds it, and what waits for it here."""

from collections.abc import Iterator
from functools import partial

from colab_drive_tuner.checkpoint.replay_filter import wanted
from colab_drive_tuner.errors import (
    ColabDriveTunerError,
    SearchDamagedError,
    SearchError,
    SearchFolderError,
    SearchNameError,
    SearchNotFoundError,
    UnavailableError,
    UsageError,
)
from colab_drive_tuner.journal.folder.duplicate_folders import require_single
from colab_drive_tuner.journal.folder.file_ownership import owned_ids
from colab_drive_tuner.journal.folder.marked_folders import holds_records
from colab_drive_tuner.journal.recovery import former_spools
from colab_drive_tuner.journal.spool.segment import Leftover
from colab_drive_tuner.journal.spool.spool import Spool, idle_leftovers
from colab_drive_tuner.search.results.read_search import MISNAMED
from colab_drive_tuner.search.spec.settings import require_usable
from colab_drive_tuner.store.protocol import NO_ROOT, Entry
from colab_drive_tuner.troubleshoot.doctor.context import CheckContext, Finding, Level, Part
from colab_drive_tuner.troubleshoot.repair.search_check import SearchCheck


def searches(context: CheckContext) -> Iterator[Finding | Part]:
    """Each search, within a time limit of its own."""
    if context.existing_store is None:
        where = f" at {context.store.url(NO_ROOT)}" if context.needs_account else ""
        yield Finding(Level.OK, f"none yet: there is no store{where}.")
    elif not context.searches:
        yield Finding(Level.OK, "none yet.")
    for folder in context.unmarked_folders:
        yield Part(f"folder {folder.name!r}", partial(_unmarked, folder=folder))
    for search in context.searches:
        yield Part(f"search {search.name!r}", partial(examine_search, search=search))


def examine_search(_context: CheckContext, search: SearchCheck) -> Iterator[Finding]:
    """What its records say, and whether more is known to have been there than can be read."""
    if search.folders > 1:
        yield from _duplicates(search)
    try:
        yield _chain(search)
    except UnavailableError:
        raise
    except ColabDriveTunerError as error:
        yield Finding(Level.PROBLEM, f"it cannot be looked at: {error}")
    try:
        lost = search.lost
    except (SearchError, UsageError):
        return  # the chain cannot be read: that has been said
    if lost:
        yield Finding(Level.PROBLEM, f"{lost}.", f"Run {_repair(search)}.")


def _duplicates(search: SearchCheck) -> Iterator[Finding]:
    """Whether the folders of one name hold one search, which two runtimes made at once, or more."""
    try:
        if search.folder is not None:
            folder = owned_ids(search.store, search.folder).folder
            require_single(search.store, search.name, folder)
    except SearchFolderError as error:
        yield Finding(Level.PROBLEM, str(error))
    except SearchDamagedError:
        return  # that is said of its chain
    else:
        advice = "`colab-drive-tuner clean` shows them, and merges what can be merged."
        yield Finding(Level.WARNING, f"{search.folders} folders bear its name.", advice)


def _unmarked(context: CheckContext, folder: Entry) -> Iterator[Finding]:
    """Whether a folder of which no property says that it is a search holds one's records."""
    if holds_records(context.store, folder):
        text = "it holds the records of a search, and no property of it says that it is one."
        advice = "Under the search's name, `colab-drive-tuner repair NAME` brings it back."
        yield Finding(Level.WARNING, text, advice)


def _chain(search: SearchCheck) -> Finding:
    """Whether its chain is whole, who holds it, what waits on this machine."""
    repair = _repair(search)
    try:
        status = search.status
        search.history.check()
        require_usable(search.history.settings)
    except SearchDamagedError as error:
        if error.__cause__ is None:  # then the error itself says what to do
            return Finding(Level.PROBLEM, str(error))
        return Finding(Level.PROBLEM, str(error.__cause__), f"Run {repair}.")
    except SearchNotFoundError:
        return _without_first(search)
    except SearchNameError:
        return Finding(Level.PROBLEM, f"{MISNAMED}.", "In Drive's own pages you can rename it.")
    except ColabDriveTunerError as error:
        return Finding(Level.PROBLEM, f"its chain cannot be read: {error}")
    sessions = "1 session" if status.sessions == 1 else f"{status.sessions} sessions"
    text = f"{status.progress} trials in {sessions}, whole"
    if status.held:
        text += f", held by {status.holder}"
    elif status.holder is not None:
        text += f", interrupted: last held by {status.holder}"
    if trashed := search.trashed:
        text += f"; {trashed} of its records lie in the trash, which Drive empties after 30 days."
        return Finding(Level.WARNING, text, f"Restore them there, or run {repair}.")
    if search.folder is not None and (foreign := owned_ids(search.store, search.folder).foreign):
        text += f"; {next(iter(foreign.values()))}"
        return Finding(Level.WARNING, text, "The next run makes it anew in the search's folder.")
    if waiting := _waiting(search):
        advice = "Run the search again on this machine: it records them."
        return Finding(Level.WARNING, f"{text}; {waiting} results wait in the spool.", advice)
    account = search.store.account
    if status.holder and status.holder.claimant.account != account and not status.held:
        advice = f"Sign in as its owner, or run {repair} a day after it was last seen."
        return Finding(Level.WARNING, f"{text}.", advice)
    return Finding(Level.OK, f"{text}.")


def _repair(search: SearchCheck) -> str:
    return search.store.command("repair", search.name)


def _without_first(search: SearchCheck) -> Finding:
    """A folder whose first record is not there: new, or damaged, by what else lies in it."""
    if search.folder is not None:
        found = search.evidence
        written = search.folder.hint or found.records or found.snapshots or found.unreadable
        if written or search.store.list(search.folder.id, name="trials.pkl"):
            return Finding(Level.PROBLEM, "its first record is missing.", f"Run {_repair(search)}.")
    return Finding(Level.OK, "it has been made, and nothing is recorded yet.")


def _waiting(search: SearchCheck) -> int:
    """How many entries of earlier sessions on this machine are not recorded."""
    try:
        leftovers = idle_leftovers(search.store.location, search.name) or []
        leftovers += _left_under_other_names(search)
    except SearchError:
        return 0  # the state folder's own line says why
    return sum(wanted(search.history, item) for left in leftovers for item, _ in left.items)


def _left_under_other_names(search: SearchCheck) -> list[Leftover]:
    """What waits here from when the search's folder had another name."""
    if search.folder is None:
        return []
    spool = Spool(search.store.location, search.name)
    with former_spools(search.store, spool, search.folder.first) as former:
        return [left for one in former for left in one.leftovers()]
