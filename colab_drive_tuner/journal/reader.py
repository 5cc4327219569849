"""A search's chain as far as it has been read: its folder, its head, the state folded from it."""

import shlex
from typing import Any

from colab_drive_tuner.errors import SearchDamagedError, SearchNotFoundError
from colab_drive_tuner.journal.chain import Head, read_on
from colab_drive_tuner.journal.folder import SearchFolder, find_folder
from colab_drive_tuner.journal.lease import Holder, look_at_holder
from colab_drive_tuner.journal.record import NewerFormatError
from colab_drive_tuner.journal.rules import Rules
from colab_drive_tuner.journal.snapshot import load_snapshot
from colab_drive_tuner.store.protocol import Store


class Reader:
    """Reads one search; writes nothing, runs no code of it."""

    def __init__(self, store: Store, name: str, rules: Rules) -> None:
        self.store, self.name, self.rules = store, name, rules
        self.found: SearchFolder | None = None
        self.state: Any = rules.empty()
        self._head: Head | None = None

    @property
    def folder(self) -> SearchFolder:
        """The search's folder."""
        if self.found is None:
            raise SearchNotFoundError(
                f"There is no search {self.name!r} in {self.store.url(self.store.root)}."
            )
        return self.found

    @property
    def head(self) -> Head:
        """The head of what has been read; position 0 while there is no record."""
        return self._head or Head(0, "", (self.folder.first,))

    @head.setter
    def head(self, head: Head) -> None:
        self._head = head

    def forget(self) -> None:
        """Look for the folder anew: the one known is gone, or goes on elsewhere."""
        self.found, self._head, self.state = None, None, self.rules.empty()

    def refresh(self) -> None:
        """READ on to the present end of the chain, from the hint's snapshot at first."""
        if self.found is None:
            self.found = find_folder(self.store, self.name)
        if self.found is None:
            return
        if self._head is None and self.found.hint:
            snapshot = load_snapshot(self.store, self.found.hint, self.rules.load)
            if snapshot is not None:
                self._head, self.state = snapshot
        try:
            self._head = read_on(self.store, self.head, self.state.apply, self.name)
        except NewerFormatError:
            raise  # there is nothing to repair
        except SearchDamagedError as error:
            raise self.damaged(str(error)) from error

    def damaged(self, what: str) -> SearchDamagedError:
        """The error that says what is wrong, and what helps."""
        return SearchDamagedError(
            f"{what} `colab-drive-tuner doctor` shows what is wrong, and `colab-drive-tuner repair "
            f"{shlex.quote(self.name)}` rebuilds the search from what is readable."
        )

    def holder(self) -> Holder | None:
        """Who holds the search, by its last claim; None if it was released, or never claimed."""
        return look_at_holder(self.store, self.head) if self.found else None
