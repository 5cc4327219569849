"""Histories of a search: those that a restart left in its chain, and the way back to one.

A restart begins a new history in the same chain, so the old one is not lost. `restore_search`
begins another one that says all that the old one says; the present one is kept like those before.
"""

from dataclasses import dataclass, field
from pathlib import Path

from colab_drive_tuner.checkpoint.consolidate import restated
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.items import RESTARTED
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.journal.chain.chain import HISTORY_DIGITS, Head, read_on
from colab_drive_tuner.journal.chain.record import Record, RecordKind
from colab_drive_tuner.manage.exclusive_access import Notify, hold, own_folder
from colab_drive_tuner.search.results.read_search import open_journal
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.training.copying import FileCopier


@dataclass(frozen=True)
class SearchHistory:
    """One history of a search: the present one, or one that was kept when another began."""

    id: str
    """What `restore` calls it by."""
    begun: float
    """Seconds since 1970, by the clock of the machine that began it."""
    trials: int
    """All trials, unfinished ones included."""
    done: int
    """Trials that count towards `max_evals`."""
    best_loss: float | None
    present: bool
    """Whether it is the one that a run goes on with."""
    epoch: str = field(repr=False)
    """The checksum of its first record, with whose first digits its id is made."""

    def __str__(self) -> str:
        best = "" if self.best_loss is None else f", best loss {self.best_loss:.6g}"
        return f"{self.id}: {self.trials} trials{best}{' (present)' if self.present else ''}"


def list_histories(store: Store | Path | str, name: str) -> list[SearchHistory]:
    """List the histories of a search, the oldest first; the last one is the present one.

    Args:
        store: Where the search is kept: a store, or what `open_store` takes.
        name: The search's name.

    Raises:
        SearchNotFoundError: There is no search of that name.
        SearchDamagedError: A record of it is missing or altered.

    Example:
        >>> import colab_drive_tuner as cdt
        >>> cdt.list_histories("searches", "parabola")  # doctest: +SKIP
    """
    store = open_store(store)
    open_journal(store, name)  # raises where there is none
    return [one for one, _ in _read(store.for_search(name), name)]


def _read(view: Store, name: str) -> list[tuple[SearchHistory, History]]:
    """READ the whole chain; each history, and what its records say."""
    folder = own_folder(view, name)
    found: list[tuple[History, float, str]] = []

    def apply(record: Record) -> None:
        if record.pos == 0 or record.kind == RecordKind.RESET:
            found.append((History(), record.at, record.sha))
        found[-1][0].apply(record)

    read_on(view, Head(0, "", (folder.first,)), apply, name)
    return [
        (
            SearchHistory(
                id=epoch[:HISTORY_DIGITS],
                begun=at,
                trials=len(history.trials),
                done=history.done,
                best_loss=history.best_loss,
                present=history is found[-1][0],
                epoch=epoch,
            ),
            history,
        )
        for history, at, epoch in found
        if history.trials or history is found[-1][0]
    ]


def restore_search(
    store: Store | Path | str, name: str, history: str | None = None, *, notify: Notify = print
) -> SearchHistory:
    """Make a kept history of a search the present one again, with its seed, trials and models.

    The present history is kept as the others are; nothing is deleted.

    Args:
        store: Where the search is kept: a store, or what `open_store` takes.
        name: The search's name.
        history: The history's id, or its first digits, as `list_histories` has them; None: the one
            before the present one.
        notify: Called with each message for the user.

    Returns:
        The history that was restored.

    Raises:
        SearchNotFoundError: There is no search of that name.
        SearchBusyError: A runtime holds it.
        UsageError: It has no such history, or none but the present one.

    Example:
        >>> import colab_drive_tuner as cdt
        >>> cdt.restore_search("searches", "parabola")  # doctest: +SKIP
    """
    store = open_store(store)
    _choose(list_histories(store, name), name, history)  # before anything is written
    with hold(store, name, notify) as held:
        view, journal = held.view, held.book.journal
        found = _read(view, name)
        if held.history.study.lines:
            raise UsageError(f"{name!r} is a study of Optuna's by now: nothing can replace it.")
        chosen = _choose([one for one, _ in found], name, history)
        said = next(told for one, told in found if one is chosen)
        said.settings.pop(RESTARTED, None)
        journal.reset(*restated(said))
        copier = FileCopier(view, view, held.folder.id, held.folder.id)
        copier.models(lambda epoch: journal.epoch if epoch == chosen.epoch else None)
    return chosen


def _choose(histories: list[SearchHistory], name: str, wanted: str | None) -> SearchHistory:
    kept = [one for one in histories if not one.present]
    if not kept:
        raise UsageError(f"Search {name!r} was never restarted: it has no history but this one.")
    if wanted is None:
        return kept[-1]
    fitting = [one for one in kept if wanted.strip() and one.epoch.startswith(wanted.strip())]
    if len(fitting) != 1:
        there = "; ".join(map(str, histories))
        raise UsageError(
            f"Search {name!r} keeps {'several histories' if fitting else 'no history'} {wanted!r}; "
            f"nothing was changed. It has {there}."
        )
    return fitting[0]
