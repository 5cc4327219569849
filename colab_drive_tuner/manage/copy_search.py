"""Copies of searches in another store, or under another name; and searches moved there."""

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
from colab_drive_tuner.journal.folder.lookup import MOVED, SearchFolder, check_name, find_folder
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.manage.chain_copy import contains
from colab_drive_tuner.manage.copy_writer import write_copy
from colab_drive_tuner.manage.exclusive_access import (
    NEVER,
    Held,
    Notify,
    hold,
    local_lock,
    require_folder,
)
from colab_drive_tuner.manage.naming import rename_search, require_free
from colab_drive_tuner.search.results.read_search import read_history
from colab_drive_tuner.search.trials.logbook import Logbook
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.troubleshoot.clean.unfinished_copies import FROM


def copy_search(
    store: Store | Path | str,
    name: str,
    to: Store | Path | str,
    *,
    new_name: str | None = None,
    notify: Notify = print,
) -> str:
    """Copy a search into another store, or in its own under another name.

    The copy goes on as the original would: the same suggestions, the same seed, its kept histories,
    models, backups, attachments and runs. The original stays as it is.

    Args:
        store: Where the search is kept: a store, or what `open_store` takes.
        name: The search's name.
        to: Where the copy is made: a store, or what `open_store` takes.
        new_name: The copy's name; None: the same.
        notify: Called with each message for the user.

    Returns:
        Where a person finds the copy: a link, or a path.

    Raises:
        SearchNotFoundError: There is no search of that name.
        SearchBusyError: A runtime holds it.
        SearchDamagedError: A record of it is missing or altered.
        UsageError: There is a search of that name in `to`; nothing has been written.
        QuotaError: There is not room enough; what was written is in the trash.

    Example:
        >>> import colab_drive_tuner as cdt
        >>> store = cdt.open_store("searches")
        >>> cdt.copy_search(store, "parabola", "backup")  # doctest: +SKIP
    """
    store = open_store(store)
    target, new_name, _ = _checked(store, name, to, new_name)
    require_free(target, new_name)
    with local_lock(target, new_name), _reading(store, name, notify) as original:
        return write_copy(original, target, new_name, notify)


def move_search(
    store: Store | Path | str,
    name: str,
    to: Store | Path | str,
    *,
    new_name: str | None = None,
    notify: Notify = print,
) -> str:
    """Move a search into another store: copy it, and put the original into the trash.

    The original is touched only when the copy is complete and has been read back. Where that was
    done and the original is still there, the same call puts it into the trash.

    Args:
        store: Where the search is kept: a store, or what `open_store` takes.
        name: The search's name.
        to: Where it goes: a store, or what `open_store` takes.
        new_name: The name that it gets there; None: the same.
        notify: Called with each message for the user.

    Returns:
        Where a person finds the search now: a link, or a path.

    Raises:
        SearchNotFoundError: There is no search of that name.
        SearchBusyError: A runtime holds it.
        SearchDamagedError: A record of it is missing or altered.
        UsageError: There is a search of that name in `to`; nothing has been written.
        StoreError: The store has no room, or the original could not be put into the trash.

    Example:
        >>> import colab_drive_tuner as cdt
        >>> store = cdt.open_store("searches")
        >>> cdt.move_search(store, "parabola", "archive")  # doctest: +SKIP
    """
    store = open_store(store)
    target, new_name, folder = _checked(store, name, to, new_name)
    if target.location == store.location:
        return rename_search(store, name, new_name, notify=notify)
    there = find_folder(target, new_name)
    if there is None or target.stat(there.id).properties.get(FROM) != folder.first:
        require_free(target, new_name)
        there = None
    with local_lock(target, new_name), hold(store, name, notify) as held:
        if there is None:
            url = write_copy(held, target, new_name, notify)
        elif contains(read_history(target, new_name), held.history):
            url = target.url(there.id)  # an earlier call was cut off behind the copy
        else:
            raise UsageError(
                f"There is a search {new_name!r} in {target.url(target.root)} that began as a copy "
                f"of this one and lacks what this one has now: choose another name."
            )
        try:
            held.put_into_trash({MOVED: _where_to(url, new_name)})
        except StoreError as error:
            raise StoreError(
                f"Search {name!r} is complete in {url}, but the original could not be put into the "
                f"trash: {error} Both are there now: go on with one, and remove the other."
            ) from error
    return url


def _checked(
    store: Store, name: str, to: Store | Path | str, new_name: str | None
) -> tuple[Store, str, SearchFolder]:
    """The target, the name there and the original's folder; nothing is written."""
    new_name = name if new_name is None else new_name
    check_name(new_name)
    folder, target = require_folder(store, name), open_store(to)
    if (target.location, new_name) == (store.location, name):
        raise UsageError(
            f"Search {name!r} would be copied onto itself: give the copy another name or store."
        )
    if store.local_path is not None and target.local_path is not None:
        inside = Path(store.url(folder.id))
        hidden = [store.local_path / name for name in (".store", ".trash")]
        if any(target.local_path.is_relative_to(path) for path in (inside, *hidden)):
            raise UsageError(
                f"{target.local_path} lies within the store that is copied from: name another "
                f"folder."
            )
    return target, new_name, folder


@contextmanager
def _reading(store: Store, name: str, notify: Notify) -> Iterator[Held]:
    """The search, held; or, where this account or disk cannot write there, at least at rest."""
    with ExitStack() as stack:
        try:
            original = stack.enter_context(hold(store, name, notify))
        except (AccountMismatchError, RefusedError):
            original = _at_rest(store, name)
        yield original


def _at_rest(store: Store, name: str) -> Held:
    """The search where it can only be read; raises where somebody may be writing."""
    book = Logbook(store, name, max_attempts=NEVER)
    holder = book.journal.holder()
    if holder is not None and not holder.stale:
        raise SearchBusyError(f"Search {name!r} is held by {holder}: stop it there first.")
    if Spool(store.location, name).leftovers():
        raise SearchError(
            f"Results of search {name!r} wait on this machine, and this account cannot record "
            f"them: run the search once more as its owner, and copy it then."
        )
    reason = ClaimReason.RELEASED if holder is None else ClaimReason.STALE
    return Held(store, book, require_folder(store, name), owner="", reason=reason)


def _where_to(url: str, new_name: str) -> str:
    """What a property of the original can say of where it goes on."""
    said = [url, f"another store, as {new_name!r}", "another store"]
    return next(text for text in said if len(f"{MOVED}{text}".encode()) <= 124)
