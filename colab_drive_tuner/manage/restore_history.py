"""List the histories that a search keeps, and restore one of them.

A restart starts a new history in the same chain and keeps the old one. `restore_search` also starts
a new history, with the content of a kept one; the present history is kept like those before it.
"""

from dataclasses import dataclass
from pathlib import Path

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.recorded_settings import RESTARTED
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.journal.chain.chain import HISTORY_DIGITS, Head, read_on
from colab_drive_tuner.journal.chain.record import Record, RecordKind
from colab_drive_tuner.manage.exclusive_access import Notify, hold, require_own_folder
from colab_drive_tuner.search.results.read_search import history_status, open_journal
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.training.file_copier import FileCopier


@dataclass(frozen=True)
class SearchHistory:
    """One history of a search: the present one, or one kept by a restart."""

    id: str
    """The id to pass to `restore_search`."""
    begun: float
    """Start time in seconds since 1970, by the clock of the machine that started it."""
    trials: int
    """Number of trials, including unfinished ones."""
    done: int
    """Number of trials that count towards `max_evals`."""
    best_loss: float | None
    present: bool
    """Whether a run continues this history."""
    epoch: str
    """The checksum of its first record; `id` is its first digits."""

    def __repr__(self) -> str:
        best = "" if self.best_loss is None else f", best loss {self.best_loss:.6g}"
        return f"{self.id}: {self.trials} trials{best}{' (present)' if self.present else ''}"


def list_histories(store: Store | Path | str, name: str) -> list[SearchHistory]:
    """List the histories of a search, oldest first; the last one is the present one.

    Args:
        store: Store of the search, or an argument of `open_store`.
        name: The search's name.

    Raises:
        SearchNotFoundError: There is no search with that name.
        SearchFolderError: Its folder was renamed, moved or trashed by hand.
        SearchDamagedError: A record of the search is missing or altered.

    Example:
        >>> import colab_drive_tuner as cdt
        >>> cdt.list_histories("searches", "parabola")  # doctest: +SKIP
    """
    store = open_store(store)
    open_journal(store, name)  # raises if the search or its first record does not exist
    return [listed for listed, _ in _read_histories(store.for_search(name), name)]


def _read_histories(search_store: Store, name: str) -> list[tuple[SearchHistory, History]]:
    """Read the whole chain; return the summary and the replayed state of each history."""
    folder = require_own_folder(search_store, name)
    found: list[tuple[History, float, str]] = []

    def apply(record: Record) -> None:
        if record.pos == 0 or record.kind == RecordKind.RESET:
            found.append((History(), record.at, record.sha))
        found[-1][0].apply(record)

    read_on(search_store, Head(0, "", (folder.first,)), apply, name)
    listed = []
    for history, at, epoch in found:
        counted = history_status(history, name=name)
        is_present = history is found[-1][0]
        if counted.trials or is_present:
            summary = SearchHistory(
                id=epoch[:HISTORY_DIGITS],
                begun=at,
                trials=counted.trials,
                done=counted.done,
                best_loss=counted.best_loss,
                present=is_present,
                epoch=epoch,
            )
            listed.append((summary, history))
    return listed


def restore_search(
    store: Store | Path | str, name: str, history: str | None = None, *, notify: Notify = print
) -> SearchHistory:
    """Make a kept history the present one again, with its seed, trials and models.

    The present history is kept like the others; nothing is deleted.

    Args:
        store: Store of the search, or an argument of `open_store`.
        name: The search's name.
        history: The id of the history, or its first digits, as listed by `list_histories`; None:
            the history before the present one.
        notify: Called with each message for the user.

    Returns:
        The history that was restored.

    Raises:
        SearchNotFoundError: There is no search with that name.
        SearchFolderError: Its folder was renamed, moved or trashed by hand.
        SearchBusyError: A runtime holds the search.
        UsageError: The search has no such history, or only the present one.

    Example:
        >>> import colab_drive_tuner as cdt
        >>> cdt.restore_search("searches", "parabola")  # doctest: +SKIP
    """
    store = open_store(store)
    _choose(list_histories(store, name), name, history)  # before anything is written
    with hold(store, name, notify) as held:
        store, journal = held.search_store, held.book.journal
        found = _read_histories(store, name)
        if held.history.study.lines:
            raise UsageError(f"{name!r} is now an Optuna study, which cannot be replaced.")
        chosen = _choose([listed for listed, _ in found], name, history)
        state = next(state for listed, state in found if listed is chosen)
        state.settings.pop(RESTARTED, None)
        journal.reset(*state.consolidated_reset())
        copier = FileCopier(store, store, held.folder.id, held.folder.id)
        copier.models(lambda epoch: journal.epoch if epoch == chosen.epoch else None)
    return chosen


def _choose(histories: list[SearchHistory], name: str, wanted: str | None) -> SearchHistory:
    kept = [history for history in histories if not history.present]
    if not kept:
        raise UsageError(f"Search {name!r} was never restarted: it has only the present history.")
    if wanted is None:
        return kept[-1]
    prefix = wanted.strip()
    matches = [history for history in kept if prefix and history.epoch.startswith(prefix)]
    if len(matches) != 1:
        raise UsageError(
            f"Search {name!r} keeps {'several histories' if matches else 'no history'} {wanted!r}; "
            f"nothing was changed. It has {'; '.join(map(str, histories))}."
        )
    return matches[0]
