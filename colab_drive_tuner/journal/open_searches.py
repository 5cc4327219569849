"""Registry of the searches that this process owns, and the last status of those it has closed.

It lets a cell that is run again take over from itself, and a session show the progress of its
searches without asking the store.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colab_drive_tuner.journal.journal import Journal


@dataclass(frozen=True)
class OpenSearch:
    """A search that this process owns, or owned earlier."""

    location: str
    """Location of its store."""
    name: str
    journal: "Journal | None"
    """None once the search is closed."""
    report: Callable[[], Any]
    """Return the current status; once the search is closed, its last one."""
    closed_at: float | None = None
    """Closing time, in seconds since 1970."""


_searches: dict[Path, OpenSearch] = {}
"""By the search's spool folder."""


def open_journal_of(folder: Path) -> "Journal | None":
    """Return the journal with which this process owns the search of a spool folder."""
    return _searches[folder].journal if folder in _searches else None


def register(folder: Path, journal: "Journal") -> None:
    """Register the search as owned by this process through `journal`."""
    _searches[folder] = OpenSearch(journal.store.location, journal.name, journal, journal.report)


def unregister(folder: Path) -> None:
    """Mark the search as closed; only its last status is kept."""
    search = _searches.pop(folder, None)
    if search is None or (status := search.report()) is None:
        return
    _searches[folder] = OpenSearch(
        search.location, search.name, None, lambda: status, closed_at=time.time()
    )


def searches_of_store(location: str) -> list[OpenSearch]:
    """Return the open and closed searches of one store."""
    return [search for search in list(_searches.values()) if search.location == location]
