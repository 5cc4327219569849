"""Search for folders that a user renamed, moved or trashed, before a new one is created.

The properties of a folder and of its claims state which names it has had and in which store, and
this machine notes where it last found a search. Anyone who can edit a folder can change its
properties, so record 0, which names its search, is checked, too. All this happens only if no folder
has the name, or the folder that has it is empty.
"""

import contextlib
import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from colab_drive_tuner.errors import (
    NotFoundError,
    SearchDamagedError,
    SearchFolderError,
    SearchNameError,
    SearchNotFoundError,
    StoreError,
    UnavailableError,
)
from colab_drive_tuner.journal.chain.record import decode_record, record_name
from colab_drive_tuner.journal.folder.lookup import (
    exists,
    find_folder,
    has_begun,
    holds_records,
    originals,
)
from colab_drive_tuner.journal.folder.properties import (
    NAMED,
    FolderKind,
    Property,
    SearchFolder,
    check_name,
    is_freed,
    is_search,
    is_unmarked,
    name_marks,
    search_folder,
)
from colab_drive_tuner.journal.spool.notes import KnownFolder, known_folder, known_folders
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.text import first_of, visible

BEGIN_ANEW = (
    "To start a new search under this name, pass restart=True to resume_search; or choose another "
    "name."
)
"""Advice of a run that finds its search elsewhere."""


@dataclass
class MarkedFolders:
    """Folders and records of searches that have had a name."""

    folders: dict[str, Entry] = field(default_factory=dict)
    """Folders of this store, or of one that is in the trash, by id."""
    begun: dict[str, set[str]] = field(default_factory=dict)
    """By folder, the parents of its records that were written for a search of this name here."""
    lost: list[Entry] = field(default_factory=list)
    """Such records whose folder is unknown."""
    elsewhere: list[Entry] = field(default_factory=list)
    """Folders of that name in another store."""


def find_marked_folders(store: Store, name: str, listed: SearchFolder | None) -> MarkedFolders:
    """Find everything with the name's mark, and every record 0 without any mark, in one query.

    A search of that name in another existing store is another search. This store, however, may
    itself be a replacement for a root folder that was renamed or moved.
    """
    marks = name_marks(store, name)
    del marks[Property.HOME]
    result = MarkedFolders()
    is_gone = cache(lambda home: not exists(store, home))

    def is_here(home: str, entry: Entry) -> bool:
        return home == store.root or (entry.trashed and is_gone(home))

    found = store.find_marked(marks, or_named=record_name(0))
    for folder in (entry for entry in found if entry.is_folder):
        if is_here(folder.properties.get(Property.HOME, ""), folder):
            result.folders[folder.id] = folder
        elif not folder.trashed:
            result.elsewhere.append(folder)
    settled = {listed.records} if listed else set()
    records = (entry for entry in found if not entry.is_folder)
    for record in sorted(records, key=lambda entry: (entry.name, entry.created)):
        marked = marks.items() <= record.properties.items()
        marked_otherwise = not marked and any(key.startswith(NAMED) for key in record.properties)
        if marked_otherwise or record.parent in settled:
            continue
        written_for, home = _written_for(store, record, name if marked else "")
        if written_for != name or not is_here(home, record):
            continue
        settled.add(record.parent)
        if (holder := _folder_of(store, record)) is None:
            result.lost.append(record)
        else:
            result.folders[holder.id] = holder
            result.begun.setdefault(holder.id, set()).add(record.parent)
    result.elsewhere = [entry for entry in result.elsewhere if entry.id not in result.folders]
    return result


def _written_for(store: Store, file: Entry, marked: str) -> tuple[str, str]:
    """Return the search and the home named by a claim; by its marks, if the claim is damaged."""
    try:
        record = decode_record(store.read_trashed(file.id), file.name)
    except UnavailableError:
        raise
    except NotFoundError:  # permanently deleted in the meantime
        return "", ""
    except (SearchDamagedError, StoreError):
        return marked, file.properties.get(Property.HOME, "")
    return record.search, record.home


def _folder_of(store: Store, record: Entry) -> Entry | None:
    """Return the search's folder that contains a record; None if it is gone or in the trash."""
    try:
        records = store.stat(record.parent)
        return records if records.parent == store.root else store.stat(records.parent)
    except UnavailableError:
        raise
    except StoreError:
        return None


def find_moved_folder(
    store: Store,
    name: str,
    notify: Callable[[str], None],
    listed: SearchFolder | None = None,
    *,
    advice: str = BEGIN_ANEW,
) -> SearchFolder | None:
    """Return the folder of a search whose listing lags; None if there is none.

    `listed` is the empty folder that has the name, `advice` the advice on beginning another search.
    Raises `SearchFolderError` if the search's folder was renamed, moved, trashed or altered. If it
    was deleted permanently or is in another store, only notify the user.
    """
    known = known_folder(store.location, name)
    try:
        found, marked = _find_in_place(store, name, known, listed)
    except SearchFolderError as moved:
        raise SearchFolderError(f"{moved} {advice}") from None
    if found is not None:
        return found
    for entry in marked.elsewhere[:1]:
        notify(
            f"Search {name!r} begins in {store.url(store.root)}. {_is_elsewhere(store, entry)} If "
            f"you meant that one because the folder that holds all searches was renamed or moved, "
            f"undo that, or name that folder when you open the store."
        )
    if known is not None and not marked.folders:
        _report_deleted(store, name, notify)
    return None


def _is_elsewhere(store: Store, entry: Entry) -> str:
    return f"A search of that name exists in another folder: {store.url(entry.id)}."


def _find_in_place(
    store: Store, name: str, known: KnownFolder | None, listed: SearchFolder | None
) -> tuple[SearchFolder | None, MarkedFolders]:
    """Return the search's folder, if it is in place, and all that has the name's mark.

    `known` is where this machine last found the search. Raises `SearchFolderError` if the search is
    not in its place.
    """
    marked = find_marked_folders(store, name, listed)
    if known is not None and known.id not in marked.folders:
        marked.folders |= {entry.id: entry for entry in _known_entries(store, known)}
    if (found := _usable_folder(store, name, known, listed, marked)) is not None:
        return found, marked
    for record in marked.lost[:1]:
        trash = "in the trash, in" if record.trashed else "in"
        raise SearchFolderError(
            f"Records of search {name!r} are {trash} {link_to(store, record.parent)}. To resume "
            f"it, restore the folder that contained them and run {store.command('repair', name)}."
        )
    if listed is None and (unmarked := find_unmarked(store, name)) is not None:
        raise SearchFolderError(_describe_move(store, name, unmarked, altered=True))
    return None, marked


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
    for entry in sorted(found, key=lambda e: (is_unmarked(e), e.created, e.id)):
        if is_freed(entry, name):
            continue  # removed or renamed by a command
        stray = marked.begun.get(entry.id, set()) - {entry.properties.get(Property.RECORDS)}
        altered = bool(stray) or is_unmarked(entry)
        in_place = not entry.trashed and (entry.name, entry.parent) == (name, store.root)
        usable = in_place and not altered
        if usable and listed is None:
            return search_folder(entry)  # the listing lags
        first = known.first if known is not None and entry.id == known.id else ""
        if entry.id not in marked.begun and not has_begun(store, first, search_folder(entry).first):
            continue
        if listed is not None and entry.id == listed.id and not altered:
            continue  # another runtime has just begun the search
        if usable:
            return search_folder(entry)  # and the one that is listed is empty
        raise SearchFolderError(_describe_move(store, name, entry, altered=altered))
    return None


def _report_deleted(store: Store, name: str, notify: Callable[[str], None]) -> None:
    """Notify that a search is gone; if none is left, name all that this machine knew at once."""
    gone, left = [name], list[Entry]()
    with contextlib.suppress(NotFoundError):
        left = store.list(store.root)
    if all(map(is_unmarked, left)):
        for other, folder, note in known_folders(store.location):
            if other != name and not _known_entries(store, folder):
                note.unlink(missing_ok=True)
                gone.append(other)
    names = first_of([repr(visible(one)) for one in [name, *sorted(gone[1:])]])
    notify(
        f"Searches that this machine ran in {store.url(store.root)} no longer exist there: they "
        f"were deleted permanently or moved elsewhere. They start from scratch: {names}."
    )


def missing_search_error(store: Store, name: str) -> SearchFolderError | SearchNotFoundError:
    """Return the error for a search that is not in its place: where it is, or names like it."""
    if find_folder(store, name) is not None:
        return SearchNotFoundError(
            f"Search {name!r} in {store.url(store.root)} has no record: either none was ever "
            f"written, or all were lost. {store.command('doctor')} tells which."
        )
    try:
        _, marked = _find_in_place(store, name, known_folder(store.location, name), None)
    except SearchFolderError as moved:
        return moved
    elsewhere = "".join(f" {_is_elsewhere(store, entry)}" for entry in marked.elsewhere[:1])
    try:
        names = [entry.name for entry in store.list(store.root) if is_search(entry)]
    except NotFoundError as no_store:
        return SearchNotFoundError(f"There is no search {name!r}. {no_store}{elsewhere}")
    similar = " or ".join(map(repr, difflib.get_close_matches(name, names)))
    return SearchNotFoundError(
        f"There is no search {name!r} in {store.url(store.root)}: "
        + (f"did you mean {similar}? " if similar else "")
        + f"{store.command('list')} lists the searches in it.{elsewhere}"
    )


def find_unmarked(store: Store, name: str) -> Entry | None:
    """Return a folder of the name that holds records and is not marked as a search.

    The archived folder of a repaired search, which gave its name up, is not one.
    """
    with contextlib.suppress(NotFoundError):  # the root does not exist yet
        for entry in store.list(store.root, name=name):
            unmarked = entry.is_folder and is_unmarked(entry) and not is_freed(entry, name)
            if unmarked and not entry.damage and holds_records(store, entry):
                return entry
    return None


def _known_entries(store: Store, known: KnownFolder) -> list[Entry]:
    """Return the noted folder, whatever its properties; else the folders with its record 0.

    These may include another search, under its own name: the original of a copy.
    """
    try:
        return [store.stat(known.id)]  # a lookup by id does not lag
    except NotFoundError:
        found = store.find_marked({Property.FIRST: known.first})
        return [
            entry
            for entry in found
            if not name_marks(store, entry.name).items() <= entry.properties.items()
        ]


def _describe_move(store: Store, name: str, entry: Entry, *, altered: bool) -> str:
    """Describe what happened to the folder, and how to resume its search."""
    place, moved_to = link_to(store, entry.id), entry.properties.get(Property.MOVED)
    if entry.properties.get(Property.KIND) == FolderKind.COPYING:
        return (
            f"A copy that gets the name {name!r} is unfinished: {place}. Repeat the copy if it was "
            "interrupted, or put the folder away with "
            f"{store.command('clean', entry.id, options=['--yes'])}."
        )
    if entry.trashed and moved_to:
        return (
            f"Search {name!r} was moved: it continues in {moved_to}. To resume it, name the store "
            f"that contains it now. The old folder is in the trash: {place}."
        )
    found = folder_changes(store, name, entry, altered=altered)
    happened, remedies = [what for what, _ in found], [undo for _, undo in found]
    if altered:
        happened.append(
            f"holds its records, but its properties, of which {Property.KIND} marks it as a "
            f"search, were altered"
        )
        remedies.append(f"run {store.command('repair', name)}")
    return (
        f"The folder of search {name!r}, {place}, {' and '.join(happened)}. To resume it, "
        f"{', '.join(remedies)}."
    )


def folder_changes(
    store: Store, name: str, entry: Entry, *, altered: bool = False
) -> list[tuple[str, str]]:
    """Return what a user did to a search's folder, each with the remedy."""
    if entry.trashed and exists(store, entry.parent):
        return [("is in the trash", "restore it there")]
    if entry.trashed:
        return [("is in the trash, with the folder that it is in", "restore that folder")]
    found = []
    if entry.parent not in {store.root, *(other.id for other in store.duplicates())}:
        found.append(("was moved elsewhere", f"move it back to {store.url(store.root)}"))
    if entry.name != name:
        or_else = ""
        if not (found or altered):
            with contextlib.suppress(SearchNameError):
                check_name(entry.name)
                or_else = ", or use that name"
        found.append((f"was renamed to {visible(entry.name)!r}", f"rename it back{or_else}"))
    return found


def link_to(store: Store, entry_id: str) -> str:
    """Return a URL or path for users; that of the trash for entries in it that have none."""
    try:
        return store.url(entry_id)
    except NotFoundError:
        return store.trash_location
