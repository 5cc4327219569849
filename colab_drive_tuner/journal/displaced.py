"""Search folders that a user renamed, moved or put into the trash, found before one is created.

The properties of a folder say which names it has borne and in which store, and this machine notes
where it last found a search. What they tell is asked for only where no folder bears the name.
"""

import contextlib
import shlex
from collections.abc import Callable
from datetime import UTC, datetime

from colab_drive_tuner.errors import NotFoundError, SearchDamagedError, SearchFolderError
from colab_drive_tuner.journal.folder import (
    FIRST,
    HOME,
    KIND,
    SEARCH,
    SearchFolder,
    described,
    name_marks,
    original,
)
from colab_drive_tuner.journal.record import RecordKind, decode_record
from colab_drive_tuner.journal.spool import KnownFolder
from colab_drive_tuner.store.protocol import LIST_LAG_SECONDS, Entry, Store

_ANEW = "To begin anew under this name, pass restart=True to resume_search; or choose another name."


def find_displaced(
    store: Store, name: str, known: KnownFolder | None, notify: Callable[[str], None]
) -> SearchFolder | None:
    """The folder of a search that no listing shows under its name, if only the listing lags.

    `known` is where this machine last found it. Raises `SearchFolderError` where the folder was
    renamed, moved or put into the trash, or lost the mark of a search; None where there is none.
    One that was deleted for good, or lies in another store, is only told of.
    """
    found, elsewhere = _bearing(store, name)
    if known is not None and known.id not in found:
        found |= {entry.id: entry for entry in _known(store, known)}
    by_first: dict[str, list[Entry]] = {}
    for entry in found.values():
        by_first.setdefault(entry.properties.get(FIRST, entry.id), []).append(entry)
    originals = [original(store, same) for same in by_first.values()]
    for entry in sorted(originals, key=lambda entry: (entry.created, entry.id)):
        if not entry.trashed and (entry.name, entry.parent) == (name, store.root):
            return described(entry)  # the listing lags
        if _has_begun(store, entry):
            raise SearchFolderError(f"{_where(store, name, entry)} {_ANEW}")
    if (unmarked := find_unmarked(store, name)) is not None:
        raise SearchFolderError(
            f"The folder {store.url(unmarked.id)} bears the name of search {name!r} and holds its "
            f"records, but somebody altered its property {KIND}, which marks it as a search. "
            f"`colab-drive-tuner repair {shlex.quote(name)}` goes on from these records. {_ANEW}"
        )
    for entry in elsewhere[:1]:
        notify(
            f"Search {name!r} begins in {store.url(store.root)}. One of that name lies in another "
            f"folder: {store.url(entry.id)}. If that one was meant, since the folder in which "
            f"searches lie was renamed or moved, undo that, or name it where the store is opened."
        )
    if known is not None and not found and not _exists(store, known.id):
        notify(
            f"The folder in which search {name!r} was last found ({known.id}) was deleted for "
            f"good; the search begins anew."
        )
    return None


def find_unmarked(store: Store, name: str) -> Entry | None:
    """A folder of the name that holds a search's records and is not marked as one."""
    with contextlib.suppress(NotFoundError):  # no store yet
        for entry in store.list(store.root, name=name):
            unmarked = entry.is_folder and entry.properties.get(KIND) != SEARCH
            if unmarked and not entry.damage and _holds_records(store, entry):
                return entry
    return None


def _holds_records(store: Store, folder: Entry) -> bool:
    homes = [entry for entry in store.list(folder.id, name="records") if entry.is_folder]
    return any(store.list(home.id, name="record-000000.cdt") for home in homes)


def _bearing(store: Store, name: str) -> tuple[dict[str, Entry], list[Entry]]:
    """Folders of searches that have borne the name in this store, or in one that is in the trash.

    One of that name in another store that is in use is another search, and comes second; but this
    store may also be that one's folder, made anew since it was renamed or moved.
    """
    marks = name_marks(store, name)
    del marks[HOME]
    found, elsewhere, gone = dict[str, Entry](), list[Entry](), dict[str, bool]()
    for entry in store.find_marked({KIND: SEARCH} | marks):
        home = entry.properties.get(HOME, "")
        if home != store.root and entry.trashed and home not in gone:
            gone[home] = not _exists(store, home)
        if home == store.root or (entry.trashed and gone[home]):
            found[entry.id] = entry
        elif not entry.trashed:
            elsewhere.append(entry)
    return found, elsewhere


def _known(store: Store, known: KnownFolder) -> list[Entry]:
    """The folder that was noted, and copies of it; it may bear no mark of its name."""
    entries = store.find_marked({KIND: SEARCH, FIRST: known.first})
    if not any(entry.id == known.id for entry in entries):
        with contextlib.suppress(NotFoundError):  # asked by its id: this does not lag
            entry = store.stat(known.id)
            if entry.properties.get(KIND) == SEARCH:  # else `repair` went on elsewhere
                entries.append(entry)
    return entries


def _exists(store: Store, entry_id: str) -> bool:
    try:
        store.stat(entry_id)
    except NotFoundError:
        return False
    return True


def _has_begun(store: Store, entry: Entry) -> bool:
    """Whether something is recorded there, and more than that it goes on elsewhere."""
    try:
        record = decode_record(store.read_trashed(described(entry).first), "Record 0")
    except NotFoundError:
        return False
    except SearchDamagedError:
        return True
    return record.kind != RecordKind.MOVED


def _where(store: Store, name: str, entry: Entry) -> str:
    """What happened to the folder, and how to go on with its search."""
    link = _link(store, entry)
    if entry.trashed:
        return (
            f"The folder of search {name!r} lies in the trash: {link}. To go on with it, restore "
            f"it there."
        )
    renamed = f"renamed to {entry.name!r}"
    if entry.parent == store.root:
        return (
            f"Search {name!r} was {renamed}: {link}. To go on with it, use that name, or give the "
            f"folder its old one."
        )
    moved = (
        "moved out of its place" if entry.name == name else f"moved out of its place and {renamed}"
    )
    return (
        f"The folder of search {name!r} was {moved}: {link}. To go on with it, move it back to "
        f"{store.url(store.root)}{'' if entry.name == name else ' and rename it back'}."
    )


def _link(store: Store, entry: Entry) -> str:
    """Where a person finds it, as far as the store can say of what lies in its trash."""
    try:
        return store.url(entry.id)
    except NotFoundError:
        return f"{entry.name!r} ({entry.id}), in the trash of {store.url(store.root)}"


def begun_apart(folder: SearchFolder, rival: SearchFolder) -> bool:
    """Whether two folders of one name cannot come from runtimes that made one search at once.

    Those lie no further apart than a listing can lag, and have borne the same name from the start:
    a folder that got the other one's name later, by whomever, is another search.
    """
    renamed = bool(folder.names and rival.names) and folder.names != rival.names
    return renamed or rival.created - folder.created > LIST_LAG_SECONDS


def require_single(store: Store, name: str, folder: SearchFolder) -> None:
    """Raise `SearchFolderError` where another search bears this name.

    Two that were created at the same moment under it are one search; one that was begun anew while
    the other lay in the trash, or that was renamed to it, is not.
    """
    for rival in folder.rivals:
        if begun_apart(folder, rival) and _has_begun(store, store.stat(rival.id)):
            raise SearchFolderError(
                f"Two searches are called {name!r}: {store.url(folder.id)}, begun {_day(folder)}, "
                f"and {store.url(rival.id)}, begun {_day(rival)}. Rename one of the folders, or "
                f"put it into the trash."
            )


def require_records(store: Store, name: str, folder: SearchFolder) -> None:
    """Raise `SearchFolderError` for a copy of a folder that lies in the trash, records included."""
    if _exists(store, folder.records):
        return
    marks = {KIND: SEARCH, FIRST: folder.first}
    others = [entry for entry in store.find_marked(marks) if entry.id != folder.id]
    where = "".join(f": {_link(store, entry)}" for entry in others[:1])
    raise SearchFolderError(
        f"The folder {store.url(folder.id)} of search {name!r} is a copy without its records, "
        f"which lie in the trash. Restore the folder of which it is a copy{where}."
    )


def _day(folder: SearchFolder) -> str:
    return f"{datetime.fromtimestamp(folder.created, UTC):%Y-%m-%d %H:%M} UTC"
