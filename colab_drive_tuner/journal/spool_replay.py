"""Replay of items spooled by earlier sessions, after this session's claim (rules SPOOL, FOLDER)."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from colab_drive_tuner.errors import ForeignFileError, NotFoundError, SearchDamagedError
from colab_drive_tuner.journal.chain.chain import Head, end_chain, read_on
from colab_drive_tuner.journal.chain.record import Record, RecordKind, split_items
from colab_drive_tuner.journal.folder.file_ownership import owned_entry, owned_ids
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.journal.folder.properties import Property, SearchFolder
from colab_drive_tuner.journal.reader import Reader
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.journal.spool.spool_file import Spooled, SpoolFile
from colab_drive_tuner.journal.writer import Writer
from colab_drive_tuner.store.protocol import Store


@dataclass(frozen=True)
class _EarlierFiles:
    """Files that earlier sessions left in one spool."""

    spool: Spool
    of_search: list[SpoolFile]
    """Those of the search's history, or of a duplicate's."""
    others: list[SpoolFile]
    """Those of other histories, and files without a readable header."""


def replay(
    reader: Reader, writer: Writer, spool: Spool, *, timeout: float, notify: Callable[[str], None]
) -> int:
    """Append the wanted items from the spool and from duplicate folders; return their number.

    Spool files are removed once their items are in the chain. Files of another history and damaged
    files are kept, and the user is notified of them and of gaps between the items: trials are
    numbered, so the missing ones are run again.
    """
    with former_spools(reader.store, spool, reader.folder.first) as former:
        epochs, items = _end_duplicates(reader, notify)
        # Read before this session writes files of its own.
        earlier = [_earlier_files(one, epochs) for one in (spool, *former)]
        items += [item for left in earlier for file in left.of_search for item in file.items]
        wanted = [spooled for spooled in dict.fromkeys(items) if _is_wanted(reader, spooled[0])]
        for item, attachments in wanted:
            writer.append(item, durable=True, attachments=attachments)
        if not writer.flush(timeout):
            return 0  # the spool files stay for the next session
        recorded = {item for item, _ in wanted}
        for left in earlier:
            for file in left.of_search:
                _settle(reader, left.spool, file, recorded, notify, of_search=True)
            if left.spool is spool:  # under another name, they may be another search's
                for file in left.others:
                    _settle(reader, spool, file, recorded, notify, of_search=False)
            _notify_of_gaps(reader, left, notify)
            left.spool.forget_acknowledged()
    return len(wanted)


def _earlier_files(spool: Spool, epochs: set[str]) -> _EarlierFiles:
    files = spool.earlier_files()
    of_search = [file for file in files if file.epoch in epochs]
    return _EarlierFiles(spool, of_search, [file for file in files if file.epoch not in epochs])


def _notify_of_gaps(reader: Reader, left: _EarlierFiles, notify: Callable[[str], None]) -> None:
    if gaps := left.spool.gaps(left.of_search):
        notify(
            f"Earlier runs of search {reader.name!r} kept results in {left.spool.folder}, of which "
            f"entries {', '.join(map(str, gaps))} are missing. The trials of the missing entries "
            f"run again."
        )


@contextlib.contextmanager
def former_spools(store: Store, spool: Spool, first: str) -> Iterator[list[Spool]]:
    """Yield the locked spools of a search that this machine ran under other names.

    A name that another folder has by now is left out: the search was copied, and the spool belongs
    to the search of that name.
    """
    with contextlib.ExitStack() as stack:
        found = []
        for former in spool.under_other_names(first):
            if not _is_name_in_use(store, former.name) and former.acquire():
                stack.callback(former.release)
                found.append(former)
        yield found


def _is_name_in_use(store: Store, name: str) -> bool:
    try:
        return find_folder(store.for_search(name), name) is not None
    except SearchDamagedError:
        return True


def _end_duplicates(
    reader: Reader, notify: Callable[[str], None]
) -> tuple[set[str], list[Spooled]]:
    """End the chains of duplicate folders; return the accepted epochs and the items found."""
    epochs, items = {reader.head.epoch}, list[Spooled]()
    for duplicate in reader.folder.duplicates:
        try:
            epoch, found = _close_duplicate(reader, duplicate)
        except NotFoundError:
            continue  # its creator has trashed it in the meantime
        except ForeignFileError as error:
            notify(f"Another folder of search {reader.name!r} is left as it is: {error}")
            continue
        epochs.add(epoch)
        items += found
    return epochs, items


def _is_wanted(reader: Reader, item: bytes) -> bool | None:
    """Whether the chain lacks the item; None for an invalid one, which stays in its file."""
    try:
        return reader.rules.wanted(reader.state, item)
    except (SearchDamagedError, KeyError, TypeError, ValueError):
        return None


def _settle(
    reader: Reader,
    spool: Spool,
    file: SpoolFile,
    recorded: set[bytes],
    notify: Callable[[str], None],
    *,
    of_search: bool,
) -> None:
    """Remove a spool file whose items are all in the chain; keep any other and notify.

    A trial of another history is not in the chain, even if one with its number is.
    """
    others = [
        _is_wanted(reader, item) if of_search else True
        for item, _ in file.items
        if item not in recorded
    ]
    lacking, invalid = others.count(True), others.count(None)
    damage = file.damage or (f"{invalid} of its entries are invalid" if invalid else "")
    if not lacking and not damage:
        file.path.unlink(missing_ok=True)
        return
    kept = spool.keep(file)
    if lacking:
        notify(
            f"{lacking} results of an earlier run belong to another history of search "
            f"{reader.name!r}; they are kept in {kept}."
        )
    if damage:
        notify(
            f"A file in which an earlier run of search {reader.name!r} had kept results is damaged "
            f"({damage}). Its readable part was used; the file is kept as {kept}. Trials whose "
            f"results cannot be read run again."
        )


def _close_duplicate(reader: Reader, duplicate: SearchFolder) -> tuple[str, list[Spooled]]:
    """FOLDER, two seen later: end the duplicate's chain with `moved`; return epoch and items."""
    store, items = reader.store, list[Spooled]()
    owned_ids(store, duplicate).require(Property.RECORDS, Property.FIRST)

    def collect(record: Record) -> None:
        if record.kind == RecordKind.TRIALS:
            for entry_id in record.files.values():
                owned_entry(store, entry_id, duplicate.record_folders, "A record of it")
            attachments = tuple(map(store.read, record.files.values()))
            for item in split_items(record.payload):
                items.append((item, attachments))
                attachments = ()

    head = read_on(store, Head(0, "", (duplicate.first,)), collect, reader.name)
    if head.last_id:  # each record names the one before it, so checking the last one suffices
        owned_entry(store, head.last_id, duplicate.record_folders, "Its last record")
    while not head.moved_to:
        try:
            end_chain(store, head, duplicate.id, reader.folder.id)
        except NotFoundError:
            break  # its creator has trashed it: nobody writes there any more
        head = read_on(store, head, collect, reader.name)
    return head.epoch, items
