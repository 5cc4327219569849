"""Fixtures for the journal: simulated machines, and journals closed at the end of each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from colab_drive_tuner.journal import Journal
from colab_drive_tuner.store.folder import FolderStore
from tests.journal.faulty_store import FaultyStore
from tests.journal.list_state import RULES


@pytest.fixture
def store(tmp_path: Path) -> FaultyStore:
    """An empty store, without faults until a test sets them."""
    return FaultyStore(tmp_path / "store")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that switches to the machine of a name: its own state folder and machine id."""

    def go_to(name: str) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "machines" / name))

    go_to("first")
    return go_to


@pytest.fixture
def open_journal(machine: Callable[[str], None]) -> Iterator[Callable[..., Journal]]:
    """A function that opens and, by default, claims a journal; all are closed at the end."""
    opened: list[Journal] = []

    def open_one(store: FolderStore, *, claim: bool = True, **options: str) -> Journal:
        journal = Journal.open(store, "a search", RULES, sleep=lambda seconds: None)
        if claim:
            journal.claim(lambda state: b"", notify=lambda text: None, **options)
            opened.append(journal)
        return journal

    yield open_one
    for journal in opened:
        journal.close(timeout=5)
