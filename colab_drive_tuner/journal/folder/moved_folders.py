"""Search for folders that a user renamed, moved or trashed, before a new one is created.

The properties of a folder and of its claims state which names it has had and in which store, and
this machine notes where it last found a search. Anyone who can edit a folder can change its
properties, so record 0, which names its search, is checked, too. All this happens only if no folder
has the name, or the folder that has it is empty.
"""

import contextlib
from collections.abc import Callable

from colab_drive_tuner.errors import NotFoundError, SearchFolderError
from colab_drive_tuner.journal.folder.lookup import (
    FIRST,
    KIND,
    MOVED,
    FolderKind,
    SearchFolder,
    is_freed,
    name_marks,
    originals,
    search_folder,
)
from colab_drive_tuner.journal.folder.marked_folders import (
    MarkedFolders,
    find_marked_folders,
    has_begun,
    holds_records,
    is_altered,
)
from colab_drive_tuner.journal.spool.notes import KnownFolder, known_folders
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.text import visible

_MOST_NAMES = 12
_RESTART = (
    "To start a new search under this name, pass restart=True to resume_search; or choose another "
    "name."
)


def find_moved_folder(
    store: Store,
    name: str,
    known: KnownFolder | None,
    notify: Callable[[str], None],
    listed: SearchFolder | None = None,
) -> SearchFolder | None:
    """Return the folder of a search whose listing lags; None if there is none.

    `known` is where this machine last found the search, `listed` the empty folder that has the
    name. Raises `SearchFolderError` if the search's folder was renamed, moved, trashed or altered.
    If it was deleted permanently or is in another store, only notify the user.
    """
    marked = find_marked_folders(store, name, listed, notify)
    if known is not None and known.id not in marked.folders:
        marked.folders |= {entry.id: entry for entry in _known(store, known)}
    if (found := _usable_folder(store, name, known, listed, marked)) is not None:
        return found
    for record in marked.lost[:1]:
        trash = "in the trash, in" if record.trashed else "in"
        raise SearchFolderError(
            f"Records of search {name!r} are {trash} {link(store, record.parent)}. To resume it, "
            f"restore the folder that contained them and run {store.command('repair', name)}. "
            f"{_RESTART}"
        )
    if listed is None and (unmarked := find_unmarked(store, name)) is not None:
        raise SearchFolderError(f"{_where(store, name, unmarked, altered=True)} {_RESTART}")
    for entry in marked.elsewhere[:1]:
        notify(
            f"Search {name!r} begins in {store.url(store.root)}. A search of that name exists in "
            f"another folder: {store.url(entry.id)}. If you meant that one because the folder that "
            f"holds all searches was renamed or moved, undo that, or name that folder when you "
            f"open the store."
        )
    if known is not None and not marked.folders:
        _report_deleted(store, name, known, notify)
    return None


def _usable_folder(
    store: Store,
    name: str,
    known: KnownFolder | None,
    listed: SearchFolder | None,
    marked: MarkedFolders,
) -> SearchFolder | None:
    """Return the marked folder that holds the search, raising if it was moved or altered."""
    found = originals(store, marked.folders.values())
    # Folders that are still marked as searches come first.
    for entry in sorted(found, key=lambda e: (is_altered(e), e.created, e.id)):
        if is_freed(entry, name):
            continue  # removed or renamed by a command
        altered = entry.id in marked.inconsistent or is_altered(entry)
        usable = not altered and _is_in_place(store, name, entry)
        if usable and listed is None:
            return search_folder(entry)  # the listing lags
        first = known.first if known is not None and entry.id == known.id else ""
        if entry.id not in marked.begun and not has_begun(store, first, search_folder(entry).first):
            continue
        if listed is not None and entry.id == listed.id and not altered:
            continue  # another runtime has just begun the search
        if usable:
            return search_folder(entry)  # and the one that is listed is empty
        raise SearchFolderError(f"{_where(store, name, entry, altered=altered)} {_RESTART}")
    return None


def _report_deleted(
    store: Store, name: str, known: KnownFolder, notify: Callable[[str], None]
) -> None:
    """Notify that a search is gone; if none is left, name all that this machine knew at once."""
    with contextlib.suppress(NotFoundError):
        if any(not is_altered(entry) for entry in store.list(store.root)):
            notify(
                f"The folder in which search {name!r} was last found ({known.id}) no longer "
                f"exists here: it was deleted permanently or moved elsewhere. The search starts "
                f"from scratch."
            )
            return
    gone = [name]
    for other, folder, note in known_folders(store.location):
        if other != name and not _known(store, folder):
            note.unlink(missing_ok=True)
            gone.append(other)
    gone[1:] = sorted(gone[1:])
    names = ", ".join(repr(visible(one)) for one in gone[:_MOST_NAMES])
    more = f" and {len(gone) - _MOST_NAMES} more" if len(gone) > _MOST_NAMES else ""
    notify(
        f"Searches that this machine ran in {store.url(store.root)} no longer exist there: they "
        f"were deleted permanently or moved elsewhere. They start from scratch: {names}{more}."
    )


def find_unmarked(store: Store, name: str) -> Entry | None:
    """Return a folder of the name that holds records and is not marked as a search.

    The archived folder of a repaired search, which gave its name up, is not one.
    """
    with contextlib.suppress(NotFoundError):  # the root does not exist yet
        for entry in store.list(store.root, name=name):
            unmarked = entry.is_folder and is_altered(entry) and not is_freed(entry, name)
            if unmarked and not entry.damage and holds_records(store, entry):
                return entry
    return None


def _known(store: Store, known: KnownFolder) -> list[Entry]:
    """Return the noted folder, whatever its properties; else the folders with its record 0.

    These may include another search, under its own name: the original of a copy.
    """
    try:
        return [store.stat(known.id)]  # a lookup by id does not lag
    except NotFoundError:
        found = store.find_marked({FIRST: known.first})
        return [
            entry
            for entry in found
            if not name_marks(store, entry.name).items() <= entry.properties.items()
        ]


def _is_in_place(store: Store, name: str, entry: Entry) -> bool:
    return not entry.trashed and (entry.name, entry.parent) == (name, store.root)


def _where(store: Store, name: str, entry: Entry, *, altered: bool) -> str:
    """Describe what happened to the folder, and how to resume its search."""
    place, remedies = link(store, entry.id), list[str]()
    home = entry.parent == store.root
    renamed = f"renamed to {entry.name!r}" if entry.name != name else ""
    if entry.trashed and (moved := entry.properties.get(MOVED)):
        happened = (
            f"Search {name!r} was moved: it continues in {moved}. The old folder is in the trash."
        )
        remedies.append("name the store that contains it now")
    elif entry.trashed:
        happened = f"The folder of search {name!r} is in the trash: {place}."
        remedies.append("restore it there")
    elif home and renamed:
        happened = f"Search {name!r} was {renamed}: {place}."
        remedies.append(
            "give the folder its old name"
            if altered
            else "use that name, or give the folder its old one"
        )
    elif home:
        happened = f"The folder {place} has the name of search {name!r} and holds its records."
    else:
        moved = " and ".join(filter(None, ["moved elsewhere", renamed]))
        happened = f"The folder of search {name!r} was {moved}: {place}."
        back = " and rename it back" if renamed else ""
        remedies.append(f"move it back to {store.url(store.root)}{back}")
    if entry.properties.get(KIND) == FolderKind.COPYING:
        return (
            f"A copy that gets the name {name!r} is unfinished: {place}. Repeat the copy if it was "
            f"interrupted, or put the folder away with {store.command('clean', '--yes', entry.id)}."
        )
    if altered:
        happened += f" Its properties, of which {KIND} marks it as a search, were altered."
        remedies.append(f"run {store.command('repair', name)}")
    return f"{happened} To resume it, {', and '.join(remedies)}."


def link(store: Store, entry_id: str) -> str:
    """Return a URL or path for users; for entries that have none in the trash, the id."""
    try:
        return store.url(entry_id)
    except NotFoundError:
        return f"{entry_id}, in the trash of {store.url(store.root)}"
