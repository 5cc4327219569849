"""Rebuild of a search's lost index (store/folder/), which maps ids to the files in its folder.

Record 0 names the ids of the records after it, and so on. With these ids the chain continues in its
own folder.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from colab_drive_tuner.errors import NotFoundError, SearchDamagedError, StoreError
from colab_drive_tuner.journal.chain.record import (
    Record,
    attachment_name,
    decode_record,
    record_name,
)
from colab_drive_tuner.journal.folder.properties import EXPORT_NAME, FolderKind, Property
from colab_drive_tuner.store.folder.disk import file_names, read
from colab_drive_tuner.store.protocol import Entry, Store

_RECORDS_NAME = "records"


def damaged_entries(store: Store, name: str) -> list[Entry]:
    """Return the folders of that name that the store reports as damaged."""
    with contextlib.suppress(NotFoundError):
        return [entry for entry in store.list(store.root, name=name) if entry.damage]
    return []


def reindex_search(store: Store, entry: Entry) -> int:
    """Rebuild the index of a damaged search's folder; return the number of consistent records."""
    ids: dict[str, str] = {}
    known = store.reserve(1)
    folder = Path(store.url(entry.id)) / _RECORDS_NAME
    records = list(_chain(folder))
    for pos, (file, record) in enumerate(records):
        if pos >= len(known):
            break
        ids[f"{_RECORDS_NAME}/{file}"] = known[pos]
        known += record.more
        for sha, entry_id in record.files.items():
            # Equal values of several records have several files, the first with the plain name.
            plain, distinct = file_names(attachment_name(sha), entry_id)
            stored = distinct if (folder / distinct).exists() else plain
            ids.setdefault(f"{_RECORDS_NAME}/{stored}", entry_id)
    found = store.reindex(entry.id, ids)
    inside = {one.name: one for one in store.list(found.id) if not one.damage}
    listed = inside.get(_RECORDS_NAME)
    first = [one.id for one in store.list(listed.id, name=record_name(0))] if listed else []
    unused = iter(store.reserve(3))
    properties: dict[str, str] = {
        Property.KIND: FolderKind.SEARCH,
        Property.FIRST: first[0] if first else next(unused),
        Property.RECORDS: listed.id if listed else next(unused),
        Property.EXPORT: inside[EXPORT_NAME].id if EXPORT_NAME in inside else next(unused),
    }
    if Property.KIND in found.properties:  # known from the old index; it may be an archived folder
        properties[Property.KIND] = found.properties[Property.KIND]
    store.set_properties(found.id, properties)
    return len(records)


def _chain(folder: Path) -> Iterator[tuple[str, Record]]:
    """Yield the records in a folder from record 0 while each follows the previous one."""
    sha = ""
    for pos in range(len(list(folder.glob("record-*.cdt")))):
        path = folder / record_name(pos)
        try:
            record = decode_record(read(path), str(path))
        except (OSError, SearchDamagedError, StoreError):
            return
        if record.pos != pos or record.prev != sha:
            return
        sha = record.sha
        yield path.name, record
