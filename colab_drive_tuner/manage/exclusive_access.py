"""A search held while something is done to it as a whole, as the session of a run holds it."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.errors import (
    NotFoundError,
    SearchBusyError,
    SearchError,
    SearchNotFoundError,
)
from colab_drive_tuner.journal.chain.record import ClaimReason
from colab_drive_tuner.journal.folder.file_ownership import owned_ids
from colab_drive_tuner.journal.folder.lookup import (
    FIRST,
    RECORDS,
    SearchFolder,
    check_name,
    find_folder,
)
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.search.spec.settings import SearchSettings
from colab_drive_tuner.search.trials.logbook import Logbook
from colab_drive_tuner.store.protocol import Store

Notify = Callable[[str], None]
NEVER = 2**31
"""Attempts after which nothing is given up."""
_PATIENCE = 60.0


@dataclass(frozen=True)
class Held:
    """A search that this process holds, or only reads, and that does not change meanwhile."""

    store: Store
    book: Logbook
    folder: SearchFolder
    owner: str
    """The session that holds it; empty: it can only be read."""
    gone: threading.Event = field(default_factory=threading.Event)
    """Set once its folder lies in the trash: then nothing is left to be released."""
    reason: ClaimReason = ClaimReason.RELEASED
    """Where it can only be read: how its last session ended."""

    @property
    def name(self) -> str:
        """The search's name."""
        return self.book.name

    @property
    def history(self) -> History:
        """What its records say."""
        return self.book.history

    @property
    def view(self) -> Store:
        """The store, as whoever works in this search uses it."""
        return self.store.for_search(self.name)

    def put_into_trash(self, marks: Mapping[str, str]) -> None:
        """Mark the folder and put it into the trash, with those that lost against it."""
        trash(self.store, self.folder, marks)
        self.gone.set()


def require_folder(store: Store, name: str) -> SearchFolder:
    """The search's folder; raises `SearchNotFoundError` where there is none."""
    check_name(name)
    folder = find_folder(store, name)
    if folder is None:
        raise SearchNotFoundError(
            f"There is no search {name!r} in {store.url(store.root)}: {store.command('list')} "
            f"names those there are."
        )
    return folder


def own_folder(view: Store, name: str) -> SearchFolder:
    """As `require_folder`; raises `SearchDamagedError` where its marks name another's files."""
    owned = owned_ids(view, require_folder(view, name))
    owned.require(RECORDS, FIRST)
    return owned.folder


@contextmanager
def hold(store: Store, name: str, notify: Notify, *, empty: bool = False) -> Iterator[Held]:
    """Claim the search for the block; results that wait on this machine are recorded first.

    One without records is claimed only where it may be `empty`.
    Raises `SearchBusyError` where a runtime holds it that may be alive, and `SearchError` where
    results of it lie on this machine that cannot be recorded now.
    """
    folder = require_folder(store, name)
    book = Logbook(store, name, max_attempts=NEVER)
    gone = threading.Event()

    def tell(text: str) -> None:
        if not gone.is_set():
            notify(text)

    if not (book.journal.exists or empty):
        raise SearchNotFoundError(
            f"Search {name!r} has no records yet: whoever began it was gone before it had recorded "
            f"anything. `colab-drive-tuner clean` lists what it left."
        )
    holder = book.journal.holder()
    try:
        book.claim(SearchSettings(seeded=False, runs=False), on_busy="error", notify=tell)
    except SearchBusyError as error:
        by = f"held by {holder}" if holder else "being run"
        raise SearchBusyError(f"Search {name!r} is {by}: stop it there first.") from error
    try:
        if not book.journal.flush(_PATIENCE):
            raise SearchError(
                f"Results of search {name!r} that wait on this machine could not be recorded: try "
                f"again when the store answers."
            )
        yield Held(store, book, folder, book.history.owner, gone)
    finally:
        book.close(1.0 if gone.is_set() else _PATIENCE)


@contextmanager
def local_lock(store: Store, name: str) -> Iterator[None]:
    """Within the block no other process of this machine begins, copies or renames that search."""
    store.ensure_root()
    spool = Spool(store.location, name)
    if not spool.acquire():
        raise SearchBusyError(
            f"Search {name!r} is in use by another live process of this machine: stop it there."
        )
    try:
        yield
    finally:
        spool.release()


def trash(store: Store, folder: SearchFolder, marks: Mapping[str, str]) -> None:
    """Mark a search's folders, which tells whoever asks for its name, and put them away."""
    if marks:
        store.set_properties(folder.id, marks)
    store.trash(folder.id)
    for rival in folder.rivals:
        with suppress(NotFoundError):  # its creator was faster
            store.trash(rival.id)
