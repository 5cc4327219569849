"""A folder store with simulated faults: outages, lost answers, another clock or account."""

from pathlib import Path
from typing import Any

from colab_drive_tuner.errors import UnavailableError
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.store.protocol import Entry
from tests.journal.list_state import item

patience = 200.0
"""Seconds within which a store that answers has acknowledged everything, on any machine."""


def _shared(name: str) -> tuple[Any, Any]:
    """Return getter and setter of a fault that all objects for one store share."""
    return lambda store: store._state[name], lambda store, value: store._state.update({name: value})


class FaultyStore(FolderStore):
    """A folder store that can be unavailable, lose the answers of creates, or shift its clock."""

    def __init__(self, root: Path | str) -> None:
        super().__init__(root)
        # Shared by this store and the copies that `for_search` makes.
        self._state = {"away": False, "lose_answers": 0, "later": 0.0, "owner": "local"}

    away = property(*_shared("away"))
    lose_answers = property(*_shared("lose_answers"))
    later = property(*_shared("later"))
    owner = property(*_shared("owner"))

    @property
    def account(self) -> str:
        return self.owner

    def now(self) -> float:
        return super().now() + self.later

    def create(self, *args, **options) -> Entry:
        self._fail_if_away()
        entry = super().create(*args, **options)
        if self.lose_answers:
            self.lose_answers -= 1
            raise UnavailableError("The answer was lost.")
        return entry

    def reserve(self, count: int) -> list[str]:
        self._fail_if_away()
        return super().reserve(count)

    def set_properties(self, *args) -> None:
        self._fail_if_away()
        return super().set_properties(*args)

    def _fail_if_away(self) -> None:
        if self.away:
            raise UnavailableError("The store is away.")


def append_acknowledged(journal: Journal, *values: object) -> None:
    """Append values as durable items and wait for their acknowledgement."""
    for value in values:
        journal.append(item(value), durable=True)
    assert journal.flush(timeout=patience)


def record_files(store: FaultyStore) -> list[Path]:
    """Return the record files of the chain, in order."""
    return sorted(Path(store.url(store.root)).glob("a search/records/record-*"))
