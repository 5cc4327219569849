"""Names of searches: which there are, removal and renaming."""

from pathlib import Path

from colab_drive_tuner.errors import (
    NotFoundError,
    SearchBusyError,
    SearchDamagedError,
    SearchFolderError,
    UsageError,
)
from colab_drive_tuner.journal.folder.lookup import (
    check_name,
    find_folder,
    free_name,
    is_search,
    name_marks,
)
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.manage.exclusive_access import (
    Notify,
    hold,
    local_lock,
    require_folder,
    trash,
)
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.troubleshoot.repair.salvage import collect


def list_names(store: Store) -> list[str]:
    """The names of the searches in a store, in order; by one question, no search is opened.

    Args:
        store: Where the searches are kept, an open store.
    """
    return sorted({entry.name for entry in store.list(store.root) if is_search(entry)})


def remove_search(store: Store | Path | str, name: str, *, notify: Notify = print) -> str:
    """Put a search into the store's trash; its name is free then, for a new search.

    Args:
        store: Where the search is kept: a store, or what `open_store` takes.
        name: The search's name.
        notify: Called with each message for the user.

    Returns:
        Where it can be got back from, in words.

    Raises:
        SearchNotFoundError: There is no search of that name.
        SearchBusyError: A runtime holds it.
        StoreError: The store refused to put it into the trash.

    Example:
        >>> import colab_drive_tuner as cdt
        >>> cdt.remove_search("searches", "parabola")  # doctest: +SKIP
    """
    store = open_store(store)
    folder = require_folder(store, name)
    view = store.for_search(name)
    try:
        with hold(store, name, notify, empty=True) as held:
            free_name(view, folder, name)
            held.put_into_trash({})
    except SearchDamagedError:
        # Nothing can be claimed there; what is in its way may be why it is removed.
        spool = Spool(store.location, name)
        with local_lock(store, name):
            holder = collect(view, folder).holder(view)
            if holder is not None and not holder.stale and not spool.knows(holder.owner):
                raise SearchBusyError(
                    f"Search {name!r} is held by {holder}: stop it there first."
                ) from None
            free_name(view, folder, name)
            trash(store, folder, {})
    return store.trash_location


def rename_search(
    store: Store | Path | str, name: str, new_name: str, *, notify: Notify = print
) -> str:
    """Give a search another name; it goes on under that, and the old name is free.

    Args:
        store: Where the search is kept: a store, or what `open_store` takes.
        name: The search's name.
        new_name: The name that it gets, which no search in the store may bear.
        notify: Called with each message for the user.

    Returns:
        Where a person finds the search: a link, or a path.

    Raises:
        SearchNotFoundError: There is no search of that name.
        SearchBusyError: A runtime holds it.
        UsageError: There is a search of the new name.

    Example:
        >>> import colab_drive_tuner as cdt
        >>> cdt.rename_search("searches", "a", "b")  # doctest: +SKIP
    """
    store = open_store(store)
    check_name(new_name)
    folder = require_folder(store, name)
    if new_name == name:
        raise UsageError(f"Search {name!r} bears that name already: choose another one.")
    require_free(store, new_name)
    with local_lock(store, new_name):
        with hold(store, name, notify):
            pass  # what waits on this machine is in the chain now, and nobody runs it
        with local_lock(store, name):
            for rival in folder.rivals:  # their results are in the chain by now
                store.trash(rival.id)
            free_name(store.for_search(name), folder, name)
            store.rename(folder.id, new_name, name_marks(store, new_name))
    found = find_folder(store, new_name)
    return store.url(folder.id if found is None else found.id)


def require_free(store: Store, name: str) -> None:
    """Raise `UsageError` where a search in the store bears the name."""
    try:
        found = find_folder(store, name)
    except (SearchDamagedError, SearchFolderError):
        taken = True
    except NotFoundError:
        taken = False
    else:
        taken = found is not None
    if taken:
        raise UsageError(
            f"There is a search {name!r} in {store.url(store.root)} already; nothing was changed. "
            f"Choose another name."
        )
