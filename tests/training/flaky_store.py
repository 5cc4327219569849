"""A folder store with simulated faults: lost answers, lagging listings, outages."""

from pathlib import Path

import pytest

from colab_drive_tuner.errors import UnavailableError
from colab_drive_tuner.store.folder import FolderStore

NUMPY_2 = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
"""A deprecation between TensorFlow 2.20 and NumPy 2.4, which users never see."""


class FlakyStore(FolderStore):
    """A folder store with the faults of Drive, switched on by a test."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.away = False
        self.lose_answers = 0
        """Number of file creates that succeed but whose answer is lost."""
        self.unlisted: set[str] = set()
        """Ids that listings do not show yet."""
        self.calls: list[str] = []

    def create(self, entry_id, content, **described):
        self._ask("create")
        made = super().create(entry_id, content, **described)
        if content is not None and self.lose_answers:
            self.lose_answers -= 1
            raise UnavailableError("the answer was lost")
        return made

    def list(self, parent, *, name=None):
        self._ask("list")
        return [e for e in super().list(parent, name=name) if e.id not in self.unlisted]

    def stat(self, entry_id):
        self._ask("stat")
        return super().stat(entry_id)

    def fetch(self, entry_id, path):
        self._ask("fetch")
        super().fetch(entry_id, path)

    def _ask(self, call):
        self.calls.append(call)
        if self.away:
            raise UnavailableError("the store is away")


def create_search_folder(store, name="search"):
    """Create the folder of a search and return its id."""
    return store.create(store.reserve(1)[0], None, name=name, parent=store.root).id


def entry_names(store, folder):
    """Return the sorted names of all entries in a folder, listed or not."""
    entries = FolderStore.list(store, folder)
    return sorted(entry.name for entry in entries)
