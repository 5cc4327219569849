"""Read-only access to searches in a store: status, records and data, without claiming anything.

It works without hyperopt.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.replay_filter import wanted
from colab_drive_tuner.errors import (
    ColabDriveTunerError,
    SearchError,
    SearchNameError,
    SearchNotFoundError,
)
from colab_drive_tuner.journal import Journal, PayloadRules
from colab_drive_tuner.journal.chain.chain import parallel_readers
from colab_drive_tuner.journal.folder.moved_folders import missing_search_error
from colab_drive_tuner.journal.folder.properties import is_search
from colab_drive_tuner.journal.lease import Holder
from colab_drive_tuner.journal.spool.spool import has_died
from colab_drive_tuner.machine import is_this_machine
from colab_drive_tuner.progress_bars import progress_bar
from colab_drive_tuner.search.results.optuna_studies import running_now, study_data
from colab_drive_tuner.search.results.search_data import SearchData, search_data
from colab_drive_tuner.search.trial_documents import TrialState, seconds_of
from colab_drive_tuner.search.trials.search_status import (
    RunningNow,
    SearchStatus,
    TrialFacts,
    status_of_trials,
)
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.protocol import LIST_LAG_SECONDS, Store
from colab_drive_tuner.text import text_of

_AT_ONCE = 4
"""Number of searches read at once: Drive's answers take most of the time."""
MISNAMED = "its folder has a name that no search can have: rename it to the name that it had"
"""Problem of a search whose folder was renamed by hand."""
EMPTY = (
    "it has no records: they were deleted, or the runtime that created its folder died before it "
    "recorded anything. `repair` looks for remains; `clean` lists the folder if there are none"
)
"""Problem of a search that consists of a folder only."""


def open_journal(store: Store, name: str) -> Journal:
    """Open a search's journal for reading; raise `missing_search_error` if it does not exist."""
    journal = Journal.open(store, name, PayloadRules(History, History.load, wanted))
    if not journal.exists:
        raise missing_search_error(store, name)
    return journal


def read_history(store: Store, name: str) -> History:
    """Return the history of a search from its acknowledged records."""
    history: History = open_journal(store, name).state
    return history


def read_status(store: Store | Path | str, name: str) -> SearchStatus:
    """Read the status of a search, without writing or taking a lock.

    Args:
        store: Store of the search, or an argument of `open_store`.
        name: The search's name.

    Raises:
        SearchNotFoundError: There is no search of that name.
        SearchDamagedError: The search cannot be read.
        SearchFolderError: Two searches have that name, or its folder was renamed, moved or trashed
            by hand.
    """
    store = open_store(store)
    journal = open_journal(store, name)
    journal.require_single()
    return status_of(store, name, journal)


def status_of(store: Store, name: str, journal: Journal) -> SearchStatus:
    """Return the status of a search, computed from its journal."""
    history, holder = journal.state, journal.holder()
    status = replace(
        history_status(history, name=name),
        holder=holder,
        dead_here=holder is not None and _died_here(holder),
        url=store.url(journal.folder) if journal.folder else "",
    )
    return replace(status, running=_running(history)) if status.held else status


def history_status(history: History, *, name: str) -> SearchStatus:
    """Return the status of a search or study from its records, without its session and place."""
    more: dict[str, Any] = {"recovered": history.deaths, "sessions": history.sessions}
    if history.study.lines:
        return status_of_studies(history.study.lines, name=name, **more)
    return status_of_trials(
        name,
        trials=[
            TrialFacts(entry.tid, entry.loss, entry.end is not None, entry.pruned)
            for entry in history.trials.values()
        ],
        settings=history.settings,
        unfinished=bool(history.unfinished),
        done=history.done,
        **more,
    )


def _running(history: History) -> tuple[RunningNow, ...]:
    """Return the trials that the current session is running, and their workers."""
    if history.study.lines:
        return running_now(history)
    running = []
    for entry in history.unfinished:
        if history.owner in entry.attempts:
            document = entry.decoded()
            since = seconds_of(document["book_time"])
            worker = "" if document["owner"] is None else text_of(document["owner"])
            running.append(RunningNow(entry.tid, worker, since, len(entry.attempts)))
    return tuple(running)


def status_of_studies(lines: Iterable[bytes], *, name: str, **more: Any) -> SearchStatus:
    """Return the status of Optuna studies from their log; `more` are further fields."""
    data = study_data(name, lines)
    best = next(iter(data.best(1)), None)
    return SearchStatus(
        name,
        done=sum(trial.state.ended for trial in data.trials),
        best_loss=best.loss if best else None,
        best_tid=best.tid if best else None,
        trials=len(data.trials),
        failed=sum(trial.state is TrialState.ERROR for trial in data.trials),
        pruned=sum(trial.pruned for trial in data.trials),
        study=True,
        **more,
    )


@dataclass(frozen=True)
class ReadSearch:
    """Status, data and records of a search, read from its store."""

    status: SearchStatus
    data: SearchData
    history: History


def read_search(store: Store, name: str) -> ReadSearch:
    """Read a whole search, without claiming or writing anything.

    Parameters have their labels as names and choices are indices, because the space is code, which
    is not stored.
    """
    journal = open_journal(store, name)
    journal.require_single()
    history: History = journal.state
    if history.study.lines:
        data = study_data(name, history.study.lines, history.timeline)
    else:
        documents = [entry.decoded() for entry in history.trials.values()]
        data = search_data(name, documents, None, history.timeline)
    status = status_of(store, name, journal)
    if status.held and status.holder is not None:
        data = replace(data, seen=status.holder.last_sign)
    return ReadSearch(status, data, history)


class SearchList(list[SearchStatus]):
    """List of searches and their status; a notebook shows it as a table with progress bars."""

    def _repr_html_(self) -> str:
        from colab_drive_tuner.search.results.notebook_cards import searches_card

        return searches_card((search, "") for search in self)

    def __repr__(self) -> str:
        return "\n".join(map(str, self)) or "No searches yet."


def list_searches(store: Store | Path | str) -> SearchList:
    """Read the status of every search, in order of their names.

    Args:
        store: Store of the searches, or an argument of `open_store`.

    Returns:
        The status of each search; if a search cannot be read, its status has a `problem`.
    """
    store = open_store(store)
    created = {entry.name: entry.created for entry in store.list(store.root) if is_search(entry)}
    found = SearchList()
    with (
        parallel_readers("cdt-list", _AT_ONCE) as readers,
        progress_bar("Reading the searches", " searches") as seen,
    ):
        statuses = readers.map(lambda name: _listed(store, name, created[name]), sorted(created))
        for done, status in enumerate(statuses, 1):
            if status is not None:
                found.append(status)
            if seen is not None:
                seen(done, len(created))
    return found


def _listed(store: Store, name: str, created: float) -> SearchStatus | None:
    """Return the status of a search, or why it cannot be read; None if it is just beginning."""
    try:
        return read_status(store, name)
    except SearchNotFoundError:
        # In a new folder, the first record may not be visible yet.
        lagging = store.now() - created <= LIST_LAG_SECONDS
        return None if lagging else SearchStatus(name, problem=EMPTY)
    except SearchNameError:
        return SearchStatus(name, problem=MISNAMED)
    except ColabDriveTunerError as error:
        return SearchStatus(name, problem=str(error))


def _died_here(holder: Holder) -> bool:
    """Return whether the holder was a process of this machine and its lock is free."""
    with suppress(SearchError):  # unknown: `doctor` reports the reason
        return is_this_machine(holder.claimant.machine) and has_died(holder.owner)
    return False
