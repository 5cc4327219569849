"""Search folders that a user renamed, moved or put into the trash, found before one is created.

The properties of a folder, and those of the claims in it, say which names it has borne and in which
store; this machine notes where it last found a search. Whoever may edit a folder can alter all of
its properties, so record 0 is asked, too, which names the search it was written for. This is asked
only where no folder bears the name, or nothing is recorded in the one that does.
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
    described,
    freed_mark,
    name_marks,
    originals,
)
from colab_drive_tuner.journal.folder.marked_folders import (
    find_marked_folders,
    has_begun,
    holds_records,
    is_altered,
)
from colab_drive_tuner.journal.spool.notes import KnownFolder, known_folders
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.text import visible

_MOST_NAMES = 12
_ANEW = "To begin anew under this name, pass restart=True to resume_search; or choose another name."


def find_moved_folder(
    store: Store,
    name: str,
    known: KnownFolder | None,
    notify: Callable[[str], None],
    listed: SearchFolder | None = None,
) -> SearchFolder | None:
    """The folder of a search that no listing shows under its name, if only the listing lags.

    `known` is where this machine last found it, `listed` the folder that bears the name and in
    which nothing is recorded. Raises `SearchFolderError` where the search's folder was renamed,
    moved or put into the trash, or its properties were altered; None where there is none. One that
    was deleted for good, or lies in another store, is only told of.
    """
    traces = find_marked_folders(store, name, listed, notify)
    if known is not None and known.id not in traces.folders:
        traces.folders |= {entry.id: entry for entry in _known(store, known)}
    found = originals(store, traces.folders.values())
    # Those that are still marked as searches come first.
    for entry in sorted(found, key=lambda e: (is_altered(e), e.created, e.id)):
        if freed_mark(name).items() <= entry.properties.items():
            continue  # it was removed, or renamed by command
        altered = entry.id in traces.astray or is_altered(entry)
        usable = not altered and _is_in_place(store, name, entry)
        if usable and listed is None:
            return described(entry)  # the listing lags
        first = known.first if known is not None and entry.id == known.id else ""
        if entry.id not in traces.begun and not has_begun(store, first, described(entry).first):
            continue
        if listed is not None and entry.id == listed.id and not altered:
            continue  # another runtime has just begun it
        if usable:
            return described(entry)  # and the one that is listed is empty
        raise SearchFolderError(f"{_where(store, name, entry, altered=altered)} {_ANEW}")
    for record in traces.lost[:1]:
        trash = "in the trash, in" if record.trashed else "in"
        raise SearchFolderError(
            f"Records of search {name!r} lie {trash} {link(store, record.parent)}. To go on with "
            f"it, bring back the folder in which they lay, and run "
            f"{store.command('repair', name)}. {_ANEW}"
        )
    if listed is None and (unmarked := find_unmarked(store, name)) is not None:
        raise SearchFolderError(f"{_where(store, name, unmarked, altered=True)} {_ANEW}")
    for entry in traces.elsewhere[:1]:
        notify(
            f"Search {name!r} begins in {store.url(store.root)}. One of that name lies in another "
            f"folder: {store.url(entry.id)}. If that one was meant, since the folder in which "
            f"searches lie was renamed or moved, undo that, or name it where the store is opened."
        )
    if known is not None and not traces.folders:
        _tell_of_deleted(store, name, known, notify)
    return None


def _tell_of_deleted(
    store: Store, name: str, known: KnownFolder, notify: Callable[[str], None]
) -> None:
    """Say that a search is gone; and once for all that this machine knew, where none is left."""
    with contextlib.suppress(NotFoundError):
        if any(not is_altered(entry) for entry in store.list(store.root)):
            notify(
                f"The folder in which search {name!r} was last found ({known.id}) is not here any "
                f"more: it was deleted for good, or moved elsewhere. The search begins anew."
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
        f"What this machine ran before in {store.url(store.root)} is not there any more: it was "
        f"deleted for good, or moved elsewhere. It begins anew: {names}{more}."
    )


def find_unmarked(store: Store, name: str) -> Entry | None:
    """A folder of the name that holds a search's records and is not marked as one."""
    with contextlib.suppress(NotFoundError):  # no store yet
        for entry in store.list(store.root, name=name):
            unmarked = entry.is_folder and entry.properties.get(KIND) != FolderKind.SEARCH
            if unmarked and not entry.damage and holds_records(store, entry):
                return entry
    return None


def _known(store: Store, known: KnownFolder) -> list[Entry]:
    """The folder that was noted, whatever became of its properties; else what has its record 0.

    Another search may have that, too: the one that this one was a copy of, under its own name.
    """
    try:
        return [store.stat(known.id)]  # asked by its id: this does not lag
    except NotFoundError:
        found = store.find_marked({FIRST: known.first})
        return [one for one in found if not _bears_own_name(store, one)]


def _bears_own_name(store: Store, entry: Entry) -> bool:
    return name_marks(store, entry.name).items() <= entry.properties.items()


def _is_in_place(store: Store, name: str, entry: Entry) -> bool:
    return not entry.trashed and (entry.name, entry.parent) == (name, store.root)


def _where(store: Store, name: str, entry: Entry, *, altered: bool) -> str:
    """What happened to the folder, and how to go on with its search."""
    place, do = link(store, entry.id), list[str]()
    home = entry.parent == store.root
    renamed = f"renamed to {entry.name!r}" if entry.name != name else ""
    if entry.trashed and (moved := entry.properties.get(MOVED)):
        happened = (
            f"Search {name!r} was moved: it goes on in {moved}. What it left is in the trash."
        )
        do.append("name the store in which it lies now")
    elif entry.trashed:
        happened = f"The folder of search {name!r} lies in the trash: {place}."
        do.append("restore it there")
    elif home and renamed:
        happened = f"Search {name!r} was {renamed}: {place}."
        do.append(
            "give the folder its old name"
            if altered
            else "use that name, or give the folder its old one"
        )
    elif home:
        happened = f"The folder {place} bears the name of search {name!r} and holds its records."
    else:
        moved = " and ".join(filter(None, ["moved out of its place", renamed]))
        happened = f"The folder of search {name!r} was {moved}: {place}."
        back = " and rename it back" if renamed else ""
        do.append(f"move it back to {store.url(store.root)}{back}")
    if altered:
        happened += f" Somebody altered its properties, of which {KIND} marks it as a search."
        do.append(f"run {store.command('repair', name)}")
    return f"{happened} To go on with it, {', and '.join(do)}."


def link(store: Store, entry_id: str) -> str:
    """Where a person finds it, as far as the store can say of what lies in its trash."""
    try:
        return store.url(entry_id)
    except NotFoundError:
        return f"{entry_id}, in the trash of {store.url(store.root)}"
