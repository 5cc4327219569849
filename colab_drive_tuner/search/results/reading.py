"""A search read whole from its store: status, series and records; nothing is claimed or written."""

from dataclasses import dataclass, replace

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.search.results.series import Series, series_of, series_of_study
from colab_drive_tuner.search.results.status import open_journal, status_of
from colab_drive_tuner.search.trials.standing import SearchStatus
from colab_drive_tuner.store.protocol import Store


@dataclass(frozen=True)
class ReadSearch:
    """A search as it was read from its store: its status, series and records."""

    status: SearchStatus
    series: Series
    history: History


def read_search(store: Store, name: str) -> ReadSearch:
    """Read a search whole; nothing is claimed or written.

    Parameters are named by their labels and a choice is its index: the space is code, which a
    store does not hold.

    Raises:
        SearchNotFoundError: There is no search of that name.
        SearchDamagedError: The search cannot be read.
    """
    journal = open_journal(store, name)
    history: History = journal.state
    if history.study.lines:
        series = series_of_study(name, history)
    else:
        documents = [entry.decoded() for entry in history.trials.values()]
        series = series_of(name, documents, None, history.timeline)
    status = status_of(store, name, journal)
    if status.held and status.holder is not None:
        series = replace(series, seen=status.holder.last_sign)
    return ReadSearch(status, series, history)
