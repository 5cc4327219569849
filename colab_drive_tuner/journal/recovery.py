"""What earlier sessions could not record, judged after the own claim (rules SPOOL, FOLDER)."""

from collections.abc import Callable

import msgpack

from colab_drive_tuner.errors import NotFoundError
from colab_drive_tuner.journal.chain import Head, create, read_on
from colab_drive_tuner.journal.folder import SearchFolder
from colab_drive_tuner.journal.reader import Reader
from colab_drive_tuner.journal.record import Record, freeze
from colab_drive_tuner.journal.spool import Leftover, Spool, Spooled
from colab_drive_tuner.journal.writer import Writer


def make_good(
    reader: Reader,
    writer: Writer,
    spool: Spool,
    *,
    patience: float,
    notify: Callable[[str], None],
) -> int:
    """Append what is spooled here or lies in a loser's folder and is wanted; return how many.

    Spool files go once their items are in the chain; what another history made is kept and named.
    """
    epochs, items = {reader.head.epoch}, list[Spooled]()
    for rival in reader.folder.rivals:
        epoch, found = _close_rival(reader, writer.owner, rival)
        epochs.add(epoch)
        items += found
    leftovers = spool.leftovers()
    for leftover in leftovers:
        items += leftover.items if leftover.epoch in epochs else ()
    wanted = [
        (item, beside)
        for item, beside in dict.fromkeys(items)
        if reader.rules.wanted(reader.state, item)
    ]
    for item, beside in wanted:
        writer.append(item, durable=True, beside=beside)
    if not writer.flush(patience):
        return 0  # the spool files stay: the next session judges them again
    for leftover in leftovers:
        _settle(reader, spool, leftover, {item for item, _ in wanted}, notify)
    return len(wanted)


def _settle(
    reader: Reader,
    spool: Spool,
    leftover: Leftover,
    recorded: set[bytes],
    notify: Callable[[str], None],
) -> None:
    lacking = [
        item
        for item, _ in leftover.items
        if item not in recorded and reader.rules.wanted(reader.state, item)
    ]
    if lacking:
        notify(
            f"{len(lacking)} results of an earlier run belong to another history of search "
            f"{reader.name!r}; they are kept in {spool.keep(leftover)}."
        )
    else:
        leftover.path.unlink()


def _close_rival(reader: Reader, owner: str, rival: SearchFolder) -> tuple[str, list[Spooled]]:
    """FOLDER, two seen later: end the loser's chain with `moved`; return its epoch and items."""
    store, items = reader.store, list[Spooled]()

    def collect(record: Record) -> None:
        if record.kind == "trials":
            beside = tuple(map(store.read, record.files.values()))
            for item in split_items(record.payload):
                items.append((item, beside))
                beside = ()

    head = read_on(store, Head(0, "", (rival.first,)), collect, reader.name)
    while not head.moved_to:
        frozen = freeze(
            pos=head.pos,
            kind="moved",
            owner=owner,
            prev=head.sha,
            more=store.reserve(1),
            target=reader.folder.id,
        )
        try:
            create(store, frozen, head.ids[0], rival.id)
        except NotFoundError:
            break  # its creator saw it lose, too, and has trashed it: nobody writes there any more
        head = read_on(store, head, collect, reader.name)
    return head.epoch, items


def split_items(payload: bytes) -> list[bytes]:
    """The items of a "trials" record: each is one msgpack value."""
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=len(payload) or 1)
    unpacker.feed(payload)
    items, start = [], 0
    while start < len(payload):
        unpacker.skip()
        items.append(payload[start : unpacker.tell()])
        start = unpacker.tell()
    return items
