"""Searches that this process holds, and how those stood that it has let go.

A cell that is run again takes over from itself, and a session shows how far its searches are
without asking the store.
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
    """One search, as this process knows it."""

    location: str
    """The store's."""
    name: str
    journal: "Journal | None"
    """None once it was let go."""
    report: Callable[[], Any]
    """How it stands now; once it was let go, how it stood then."""
    closed_at: float | None = None
    """When, in seconds since 1970."""


_searches: dict[Path, OpenSearch] = {}
"""By the search's spool folder."""


def open_journal_of(folder: Path) -> "Journal | None":
    """The journal by which this process holds the search of that spool folder."""
    return _searches[folder].journal if folder in _searches else None


def register(folder: Path, journal: "Journal") -> None:
    """From now on this process holds the search by that journal."""
    _searches[folder] = OpenSearch(journal.store.location, journal.name, journal, journal.report)


def unregister(folder: Path) -> None:
    """The search is held no more; how it stands is remembered, and nothing else of it."""
    held = _searches.pop(folder, None)
    if held is None or (standing := held.report()) is None:
        return
    _searches[folder] = OpenSearch(
        held.location, held.name, None, lambda: standing, closed_at=time.time()
    )


def searches_of_store(location: str) -> list[OpenSearch]:
    """What this process knows of the searches of one store."""
    return [held for held in list(_searches.values()) if held.location == location]
