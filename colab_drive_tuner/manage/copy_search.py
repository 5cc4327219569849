"""Copy a search to another store or name; move a search to another store."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from colab_drive_tuner.errors import (
    AccountMismatchError,
    RefusedError,
    SearchBusyError,
    SearchError,
    StoreError,
    UsageError,
)
from colab_drive_tuner.journal.chain.record import ClaimReason
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.journal.folder.properties import Property, SearchFolder, check_name
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.manage.chain_copy import is_continuation
from colab_drive_tuner.manage.copy_writer import write_copy
from colab_drive_tuner.manage.exclusive_access import (
    HeldSearch,
    Notify,
    held_error,
    hold,
    local_lock,
    require_folder,
)
from colab_drive_tuner.manage.naming import rename_search, require_free
from colab_drive_tuner.search.results.read_search import read_history
from colab_drive_tuner.search.trials.logbook import Logbook
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.text import visible
from colab_drive_tuner.troubleshoot.clean.search_leftovers import FROM


def copy_search(
    store: Store | Path | str,
    name: str,
    to: Store | Path | str,
    *,
    new_name: str | None = None,
    notify: Notify = print,
) -> str:
    """Copy a search to another store, or within its store under another name.

    The copy continues as the original would: it has the same seed and suggestions, kept histories,
    models, backups, attachments and runs. The original is not changed.

    Args:
        store: Store of the search, or an argument of `open_store`.
        name: The search's name.
        to: Target store, or an argument of `open_store`.
        new_name: The copy's name; None: the same name.
        notify: Called with each message for the user.

    Returns:
        A link to the copy, or its path.

    Raises:
        SearchNotFoundError: There is no search with that name.
        SearchFolderError: Its folder was renamed, moved or trashed by hand.
        SearchBusyError: A runtime holds the search.
        SearchDamagedError: A record of the search is missing or altered.
        UsageError: `to` already has a search with that name; nothing was written.
        QuotaError: The target has too little space; what was written is in the trash.

    Example:
        >>> import colab_drive_tuner as cdt
        >>> store = cdt.open_store("searches")
        >>> cdt.copy_search(store, "parabola", "backup")  # doctest: +SKIP
    """
    store = open_store(store)
    target, new_name, _ = _check_arguments(store, name, to, new_name)
    require_free(target, new_name)
    with local_lock(target, new_name), _hold_or_read(store, name, notify) as original:
        return write_copy(original, target, new_name, notify)


def move_search(
    store: Store | Path | str,
    name: str,
    to: Store | Path | str,
    *,
    new_name: str | None = None,
    notify: Notify = print,
) -> str:
    """Move a search to another store: copy it, then move the original to the trash.

    The original is trashed only after the complete copy has been read back. If an earlier call was
    interrupted between these steps, the same call trashes the original.

    Args:
        store: Store of the search, or an argument of `open_store`.
        name: The search's name.
        to: Target store, or an argument of `open_store`.
        new_name: The search's name in `to`; None: the same name.
        notify: Called with each message for the user.

    Returns:
        A link to the moved search, or its path.

    Raises:
        SearchNotFoundError: There is no search with that name.
        SearchFolderError: Its folder was renamed, moved or trashed by hand.
        SearchBusyError: A runtime holds the search, or took it over: then the original stays.
        SearchDamagedError: A record of the search is missing or altered.
        UsageError: `to` already has a search with that name; nothing was written.
        StoreError: The target has too little space, or the original could not be trashed.

    Example:
        >>> import colab_drive_tuner as cdt
        >>> store = cdt.open_store("searches")
        >>> cdt.move_search(store, "parabola", "archive")  # doctest: +SKIP
    """
    store = open_store(store)
    target, new_name, folder = _check_arguments(store, name, to, new_name)
    if target.location == store.location:
        return rename_search(store, name, new_name, notify=notify)
    earlier_copy = find_folder(target, new_name)
    if earlier_copy is None or target.stat(earlier_copy.id).properties.get(FROM) != folder.first:
        require_free(target, new_name)
        earlier_copy = None
    with local_lock(target, new_name), hold(store, name, notify) as held:
        if earlier_copy is None:
            url = write_copy(held, target, new_name, notify)
        elif is_continuation(read_history(target, new_name), held.history):
            url = target.url(earlier_copy.id)
        else:
            raise UsageError(
                f"Search {new_name!r} in {target.url(target.root)} is an earlier copy of this "
                f"search, which has newer results that the copy lacks: choose another name."
            )
        try:
            held.move_to_trash({Property.MOVED: _moved_mark(url)})
        except SearchBusyError as error:
            raise SearchBusyError(
                f"{error} Its copy in {url} lacks those results: remove the copy, then move the "
                f"search again."
            ) from error
        except StoreError as error:
            raise StoreError(
                f"Search {name!r} was copied completely to {url}, but the original could not be "
                f"moved to the trash: {error} Both exist now: continue one, and remove the other."
            ) from error
    return url


def _check_arguments(
    store: Store, name: str, to: Store | Path | str, new_name: str | None
) -> tuple[Store, str, SearchFolder]:
    """Return the target, the name there and the original's folder; write nothing."""
    new_name = name if new_name is None else new_name
    check_name(new_name)
    folder, target = require_folder(store, name), open_store(to)
    if (target.location, new_name) == (store.location, name):
        raise UsageError(
            f"Search {name!r} would be copied onto itself: give the copy another name or store."
        )
    if store.encloses(target, folder.id):
        raise UsageError(
            f"{target.url(target.root)} is inside the store that is copied from: name another "
            f"folder."
        )
    return target, new_name, folder


@contextmanager
def _hold_or_read(store: Store, name: str, notify: Notify) -> Iterator[HeldSearch]:
    """Hold the search; if this account or disk cannot write to it, check that no session does."""
    with ExitStack() as stack:
        try:
            original = stack.enter_context(hold(store, name, notify))
        except (AccountMismatchError, RefusedError):
            book = Logbook(store, name)
            holder = book.journal.holder()
            if holder is not None and not holder.stale:
                raise held_error(name, holder) from None
            if Spool(store.location, name).earlier_files():
                raise SearchError(
                    f"Results of search {name!r} are spooled on this machine, and this account "
                    f"cannot record them: run the search again as its owner, then copy it."
                ) from None
            reason = ClaimReason.RELEASED if holder is None else ClaimReason.STALE
            original = HeldSearch(store, book, require_folder(store, name), owner="", reason=reason)
        yield original


def _moved_mark(url: str) -> str:
    """Return the new location, if it fits into the 124 bytes of a property."""
    text = visible(url)
    return text if len(f"{Property.MOVED}{text}".encode()) <= 124 else "another store"
