"""Brings back a search whose store has lost what it knew of the files in the search's folder.

The files themselves say what they are: record 0 names the ids of those after it, and so on. With
these ids the chain goes on in its own folder as if nothing had happened.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from colab_drive_tuner.errors import NotFoundError, SearchDamagedError, StoreError
from colab_drive_tuner.journal.chain.chain import record_name
from colab_drive_tuner.journal.chain.record import Record, decode_record
from colab_drive_tuner.journal.folder.lookup import (
    EXPORT,
    EXPORT_NAME,
    FIRST,
    KIND,
    RECORDS,
    FolderKind,
)
from colab_drive_tuner.store.protocol import Entry, Store

_PLACE = "records"


def damaged_entries(store: Store, name: str) -> list[Entry]:
    """The folders of that name which the store says are damaged."""
    with contextlib.suppress(NotFoundError):
        return [entry for entry in store.list(store.root, name=name) if entry.damage]
    return []


def reindex_search(store: Store, entry: Entry) -> int:
    """Make the index of a damaged search's folder anew; return how many records fit together."""
    ids: dict[str, str] = {}
    known = store.reserve(1)
    records = list(_chain(Path(store.url(entry.id)) / _PLACE))
    for pos, (file, record) in enumerate(records):
        if pos >= len(known):
            break
        ids[f"{_PLACE}/{file}"] = known[pos]
        known += record.more
        for sha, entry_id in record.files.items():
            ids[f"{_PLACE}/attachment-{sha[:16]}.cdt"] = entry_id
    found = store.reindex(entry.id, ids)
    inside = {one.name: one for one in store.list(found.id) if not one.damage}
    place = inside.get(_PLACE)
    first = [one.id for one in store.list(place.id, name=record_name(0))] if place else []
    unused = iter(store.reserve(3))
    properties = {
        KIND: FolderKind.SEARCH,
        FIRST: first[0] if first else next(unused),
        RECORDS: place.id if place else next(unused),
        EXPORT: inside[EXPORT_NAME].id if EXPORT_NAME in inside else next(unused),
    }
    if KIND in found.properties:  # the old index still said it: perhaps it is an archived one
        properties[KIND] = found.properties[KIND]
    store.set_properties(found.id, properties)
    return len(records)


def _chain(folder: Path) -> Iterator[tuple[str, Record]]:
    """The records in a folder from record 0 on, as far as each follows the one before it."""
    sha = ""
    for pos in range(len(list(folder.glob("record-*.cdt")))):
        path = folder / record_name(pos)
        try:
            record = decode_record(path.read_bytes(), str(path))
        except (OSError, SearchDamagedError, StoreError):
            return
        if record.pos != pos or record.prev != sha:
            return
        sha = record.sha
        yield path.name, record
