"""Names of searches in a store: list, remove and rename."""

from contextlib import suppress
from pathlib import Path

from colab_drive_tuner.errors import SearchDamagedError, UsageError
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.journal.folder.properties import (
    SearchFolder,
    check_name,
    free_name,
    freed_mark,
    is_search,
    name_marks,
    surplus_marks,
)
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.manage.exclusive_access import (
    Notify,
    held_error,
    hold,
    local_lock,
    require_folder,
    trash_folder,
)
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.troubleshoot.repair.salvage import salvage_folder


def list_names(store: Store) -> list[str]:
    """Return the sorted names of the searches in a store, by one listing; no search is opened."""
    return sorted({entry.name for entry in store.list(store.root) if is_search(entry)})


def remove_search(store: Store | Path | str, name: str, *, notify: Notify = print) -> str:
    """Move a search to the store's trash; its name can then be used for a new search.

    Args:
        store: Store of the search, or an argument of `open_store`.
        name: The search's name.
        notify: Called with each message for the user.

    Returns:
        Where the search can be restored from, as text.

    Raises:
        SearchNotFoundError: There is no search with that name.
        SearchFolderError: Its folder was renamed, moved or trashed by hand.
        SearchBusyError: A runtime holds the search.
        StoreError: The store refused to move it to the trash.

    Example:
        >>> import colab_drive_tuner as cdt
        >>> cdt.remove_search("searches", "parabola")  # doctest: +SKIP
    """
    store = open_store(store)
    folder = require_folder(store, name)
    search_store = store.for_search(name)
    try:
        with hold(store, name, notify, empty=True) as held:
            free_name(search_store, folder, name)
            held.move_to_trash({})
    except SearchDamagedError:
        # A damaged search cannot be claimed, but the damage may be the reason to remove it.
        spool = Spool(store.location, name)
        with local_lock(store, name):
            holder = salvage_folder(search_store, folder).holder(search_store)
            if holder is not None and not holder.stale and not spool.has_claimed(holder.owner):
                raise held_error(name, holder) from None
            free_name(search_store, folder, name)
            trash_folder(store, folder, {})
    return store.trash_location


def rename_search(
    store: Store | Path | str, name: str, new_name: str, *, notify: Notify = print
) -> str:
    """Rename a search; the old name can then be used for a new search.

    Args:
        store: Store of the search, or an argument of `open_store`.
        name: The search's name.
        new_name: The new name, which no other search in the store may have.
        notify: Called with each message for the user.

    Returns:
        A link to the search, or its path.

    Raises:
        SearchNotFoundError: There is no search with that name.
        SearchFolderError: Its folder was renamed, moved or trashed by hand.
        SearchBusyError: A runtime holds the search.
        UsageError: There is already a search with the new name.

    Example:
        >>> import colab_drive_tuner as cdt
        >>> cdt.rename_search("searches", "a", "b")  # doctest: +SKIP
    """
    store = open_store(store)
    check_name(new_name)
    folder = require_folder(store, name)
    if new_name == name:
        raise UsageError(f"Search {name!r} already has that name: choose another one.")
    require_free(store, new_name)
    with local_lock(store, new_name):
        with hold(store, name, notify):
            pass  # spooled results are in the chain now, and no session runs the search
        with local_lock(store, name):
            for duplicate in folder.duplicates:  # their results are in the chain now
                store.trash(duplicate.id)
            marks = surplus_marks(store.stat(folder.id))
            marks |= name_marks(store, new_name) | freed_mark(store, name)
            store.rename(folder.id, new_name, marks)
            try:
                renamed = require_sole(store, folder, new_name)
            except UsageError:
                store.rename(folder.id, name, name_marks(store, name) | freed_mark(store, new_name))
                raise
            free_name(store.for_search(new_name), renamed, name)
    return store.url(renamed.id)


def require_free(store: Store, name: str) -> None:
    """Raise `UsageError` if the store already has a search with that name."""
    with suppress(SearchDamagedError):  # a search that cannot be used still has its name
        if find_folder(store, name) is None:
            return
    raise UsageError(
        f"There is already a search {name!r} in {store.url(store.root)}; nothing was changed. "
        f"Choose another name."
    )


def require_sole(store: Store, folder: SearchFolder, name: str) -> SearchFolder:
    """Look up the folder that just got this name; raise `UsageError` if it is not the only one."""
    found = find_folder(store, name) or folder  # not listed yet
    if found.first != folder.first or found.duplicates:
        raise UsageError(
            f"A search {name!r} was created in {store.url(store.root)} at the same moment: choose "
            f"another name."
        )
    return found
