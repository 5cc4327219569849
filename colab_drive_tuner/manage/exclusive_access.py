"""Exclusive access to a search while it is copied, moved, renamed, removed or restored."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.errors import (
    NotFoundError,
    SearchBusyError,
    SearchError,
    SearchNotFoundError,
)
from colab_drive_tuner.journal.chain.record import ClaimReason
from colab_drive_tuner.journal.folder.file_ownership import owned_ids
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.journal.folder.moved_folders import missing_search_error
from colab_drive_tuner.journal.folder.properties import Property, SearchFolder, check_name
from colab_drive_tuner.journal.lease import Holder
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.search.spec.settings import SearchSettings
from colab_drive_tuner.search.trials.logbook import Logbook
from colab_drive_tuner.store.protocol import Store

Notify = Callable[[str], None]
_PATIENCE = 60.0
"""Seconds to wait for the store when results are flushed or the claim is released."""


@dataclass(frozen=True)
class HeldSearch:
    """A search that no other session changes: this process holds it, or only reads it."""

    store: Store
    book: Logbook
    folder: SearchFolder
    owner: str
    """The session that holds the search; empty if this process can only read it."""
    reason: ClaimReason = ClaimReason.RELEASED
    """If this process can only read the search: whether its last session ended by itself."""

    @property
    def name(self) -> str:
        """The search's name."""
        return self.book.name

    @property
    def history(self) -> History:
        """The state replayed from the search's records."""
        return self.book.history

    @property
    def search_store(self) -> Store:
        """The store, scoped to this search."""
        return self.store.for_search(self.name)

    def is_continued(self) -> bool:
        """Whether another session has added a record since, also if it is in the trash by now."""
        try:
            self.search_store.read_trashed(self.book.journal.next_id)
        except NotFoundError:
            return False
        return True

    def move_to_trash(self, marks: Mapping[str, str]) -> None:
        """Release the search, and move its marked folder to the trash, with its duplicates.

        If another session has claimed it before it was in the trash, it is restored, and
        `SearchBusyError` is raised.
        """
        self.book.close(_PATIENCE)
        trash_folder(self.store, self.folder, marks)
        if self.is_continued():
            self.store.restore(self.folder.id)
            self.store.set_properties(self.folder.id, dict.fromkeys(marks, ""))
            raise SearchBusyError(
                f"Search {self.name!r} was taken over by another runtime, so it was restored from "
                f"the trash with its newest results: stop it there first."
            )


def require_folder(store: Store, name: str) -> SearchFolder:
    """Return the search's folder; raise `missing_search_error` if there is none."""
    check_name(name)
    folder = find_folder(store, name)
    if folder is None:
        raise missing_search_error(store, name)
    return folder


def require_own_folder(search_store: Store, name: str) -> SearchFolder:
    """Like `require_folder`, but raise `SearchDamagedError` if its ids name another's files."""
    owned = owned_ids(search_store, require_folder(search_store, name))
    owned.require(Property.RECORDS, Property.FIRST)
    return owned.folder


@contextmanager
def hold(store: Store, name: str, notify: Notify, *, empty: bool = False) -> Iterator[HeldSearch]:
    """Claim the search for the duration of the block; record results spooled here first.

    A search without records is claimed only if `empty` is true.

    Raises `SearchBusyError` if a runtime that may be alive holds the search, and `SearchError` if
    results spooled on this machine cannot be recorded.
    """
    folder = require_folder(store, name)
    book = Logbook(store, name)
    if not (book.journal.exists or empty):
        raise SearchNotFoundError(
            f"Search {name!r} has no records yet: the runtime that created it ended before it "
            f"recorded anything. `colab-drive-tuner clean` lists what it left behind."
        )
    holder = book.journal.holder()
    try:
        book.claim(SearchSettings(seeded=False, runs=False), on_busy="error", notify=notify)
    except SearchBusyError:
        raise held_error(name, holder) from None
    try:
        if not book.journal.flush(_PATIENCE):
            raise SearchError(
                f"Results of search {name!r} that are spooled on this machine could not be "
                f"recorded: try again when the store answers."
            )
        yield HeldSearch(store, book, folder, book.history.owner)
    finally:
        book.close(_PATIENCE)


def held_error(name: str, holder: Holder | None) -> SearchBusyError:
    """Return the error for a search that another session holds."""
    state = f"held by {holder}" if holder else "being run"
    return SearchBusyError(f"Search {name!r} is {state}: stop it there first.")


@contextmanager
def local_lock(store: Store, name: str) -> Iterator[None]:
    """Prevent other processes of this machine from creating, copying or renaming that search."""
    store.ensure_root()
    with Spool(store.location, name).locked():
        yield


def trash_folder(store: Store, folder: SearchFolder, marks: Mapping[str, str]) -> None:
    """Move a search's folder and its duplicates to the trash.

    The marks are set first: later lookups of the search's name read them.
    """
    if marks:
        store.set_properties(folder.id, marks)
    store.trash(folder.id)
    for duplicate in folder.duplicates:
        with suppress(NotFoundError):  # its creator removed it first
            store.trash(duplicate.id)
