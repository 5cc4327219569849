"""Mutants: builds with one rule of the protocol removed, patched into a process.

Each is a mistake that an implementation could make. A check in checks.py must fail for it, and pass
without it.
"""

import dataclasses
import secrets
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from colab_drive_tuner import local_files
from colab_drive_tuner.errors import IdTakenError
from colab_drive_tuner.journal import (
    batch,
    claim_and_takeover,
    maintenance,
    outage,
    reader,
    spool_replay,
    writer,
)
from colab_drive_tuner.journal.chain import chain, record
from colab_drive_tuner.journal.folder import file_ownership
from colab_drive_tuner.journal.folder import lookup as folder
from colab_drive_tuner.journal.spool import spool, spool_file

MUTANTS: dict[str, Callable[[], None]] = {}


def mutant(patch: Callable[[], None]) -> Callable[[], None]:
    """Register a mutant under its function's name."""
    MUTANTS[patch.__name__] = patch
    return patch


def _everywhere(create: Callable[..., bool]) -> None:
    chain.create = writer.create = claim_and_takeover.create = spool_replay.create = create


@mutant
def a_409_is_success() -> None:
    """CREATE: any record under the id is taken for the session's own."""
    create = chain.create

    def believing(store: Any, frozen: Any, entry_id: str, parent: str, *marks: Any) -> bool:
        create(store, frozen, entry_id, parent)
        return True

    _everywhere(believing)


@mutant
def a_409_is_a_conflict() -> None:
    """CREATE: after a lost answer the session's own record is taken for another's."""

    def suspicious(store: Any, frozen: Any, entry_id: str, parent: str, *marks: Any) -> bool:
        try:
            store.create(entry_id, frozen.content, name="record", parent=parent)
        except IdTakenError:
            return False
        return True

    _everywhere(suspicious)


@mutant
def the_owner_is_compared_instead_of_the_sha() -> None:
    """CREATE: the record of a cloned machine or a fork is taken for the session's own."""

    def trusting(store: Any, frozen: Any, entry_id: str, parent: str, *marks: Any) -> bool:
        try:
            store.create(entry_id, frozen.content, name="record", parent=parent)
        except IdTakenError:
            there = chain.read_taken(store, entry_id, frozen.pos)
            record = chain.decode_record(there, "a record")
            return bool(record.owner == frozen.owner)
        return True

    _everywhere(trusting)


@mutant
def no_nonce() -> None:
    """CREATE: records of two sessions with equal content have equal bytes."""
    record.secrets = SimpleNamespace(token_bytes=bytes)  # type: ignore[assignment]


@mutant
def a_fresh_nonce_for_each_retry() -> None:
    """CREATE: each retry sends other bytes."""
    create = chain.create

    def refreezing(store: Any, frozen: Any, entry_id: str, parent: str, *marks: Any) -> bool:
        body = chain.decode_record.__globals__["unframe"](frozen.content, "a record")
        content = chain.decode_record.__globals__["frame"](
            body | {"nonce": secrets.token_bytes(16)}
        )
        again = dataclasses.replace(chain.decode_record(content, "a record"), content=content)
        return create(store, again, entry_id, parent)

    _everywhere(refreezing)


@mutant
def two_records_in_flight() -> None:
    """APPEND: record n+1 is sent before record n is answered."""
    advance = writer.Writer._create_record

    def hasty(self: Any, frozen: Any, deadline: Any) -> bool:
        if frozen.kind != "trials":
            return bool(advance(self, frozen, deadline))
        entry_id, store = self.reader.head.ids[0], self.reader.store
        folder = self.reader.folder.records
        send = threading.Thread(
            target=lambda: chain.create(store, frozen, entry_id, folder), daemon=True
        )
        send.start()
        with self.state_lock:
            self.reader.state.apply(frozen)
            self.reader.head = self.reader.head.after(frozen)
        return True

    writer.Writer._create_record = hasty


@mutant
def acknowledged_before_the_answer() -> None:
    """APPEND: a record counts as acknowledged without an answer."""
    until = outage.OutageRetry.until_answered

    def impatient(self: Any, ask: Any, deadline: Any = None) -> Any:
        if deadline is not None:
            return until(self, ask, deadline)
        try:
            return ask()
        except Exception:  # noqa: BLE001 - the mutant's fault
            return True

    outage.OutageRetry.until_answered = impatient


@mutant
def a_gap_is_skipped() -> None:
    """READ: a missing record is skipped, and prev is not checked."""
    read_on = chain.read_on

    def bridging(store: Any, head: Any, apply: Any, search: str, *width: Any) -> Any:
        while True:
            try:
                return read_on(store, head, apply, search, *width)
            except chain.SearchDamagedError:
                for index, entry_id in enumerate(head.ids):
                    content = chain._read(store, entry_id)
                    if content is not None and index:
                        record = chain.decode_record(content, "a record")
                        head = dataclasses.replace(
                            head, pos=record.pos, sha=record.prev, ids=head.ids[index:]
                        )
                        break
                    if content is not None:
                        try:
                            record = chain._decode_next(content, head, search)
                        except chain.SearchDamagedError:
                            continue
                        apply(record)
                        head = head.after(record)
                        break
                else:
                    return head

    chain.read_on = reader.read_on = spool_replay.read_on = bridging


@mutant
def checksums_are_not_checked() -> None:
    """READ: an altered record is accepted."""
    unframe = chain.decode_record.__globals__["unframe"]
    import hashlib

    def believing(content: bytes, what: str) -> Any:
        body = content[36:]
        return unframe(content[:4] + hashlib.sha256(body).digest() + body, what)

    chain.decode_record.__globals__["unframe"] = believing
    chain._decode_next = lambda content, head, search: chain.decode_record(content, search)


@mutant
def the_spool_is_dropped() -> None:
    """SPOOL: the items that earlier sessions spooled are ignored."""
    spool.Spool.earlier_files = lambda self: []


@mutant
def ends_are_not_spooled_before_sending() -> None:
    """SPOOL: an end is only in memory until it is acknowledged."""
    spooling = writer.Writer._hand_over

    def forgetful(self: Any, taken: Any) -> None:
        spooling(self, [batch.QueuedItem(entry.item, False, entry.attachments) for entry in taken])

    writer.Writer._hand_over = forgetful


@mutant
def the_spool_is_removed_before_the_answer() -> None:
    """SPOOL: a file is removed when it is sent, not when its items are in the chain."""
    close = spool.SpoolFileWriter.close

    def careless(self: Any) -> None:
        close(self)
        self.path.unlink(missing_ok=True)

    spool.SpoolFileWriter.close = careless


@mutant
def a_spooled_end_is_not_flushed() -> None:
    """SPOOL: a file's content is not flushed."""
    spool_file.os = SimpleNamespace(**vars(spool_file.os) | {"fsync": lambda descriptor: None})


@mutant
def a_spool_file_has_no_lasting_name() -> None:
    """SPOOL: the folder of a spool file is not flushed."""
    spool_file.sync_folder = lambda folder: None


@mutant
def a_spool_has_no_lasting_folder() -> None:
    """SPOOL: the folders above the spool are not flushed."""
    local_files.sync_folder = lambda folder: None


@mutant
def unspooled_items_are_left_out() -> None:
    """SPOOL: a later item is spooled before one that the disk refused."""
    make_durable = batch.BatchSpool.make_durable

    def forgetful(self: Any, sent: Any, ready: Any, items: Any, epoch: str) -> None:
        sent.unspooled, ready.unspooled = [], []
        make_durable(self, sent, ready, items, epoch)

    batch.BatchSpool.make_durable = forgetful


@mutant
def spool_files_are_ordered_by_name() -> None:
    """SPOOL: the numbers of sessions and items are ignored."""
    spool_file.SpoolFile.order = property(lambda self: (0, 0, self.path.name))


@mutant
def gaps_are_not_reported() -> None:
    """SPOOL: missing items are not reported."""
    spool.Spool.gaps = lambda self, earlier: []


@mutant
def a_copy_is_a_duplicate() -> None:
    """FOLDER: a copy of the search's folder is ended like a duplicate."""
    find_folder = folder.find_folder

    def suspicious(store: Any, name: str) -> Any:
        found = find_folder(store, name)
        if found is None:
            return None
        entries = [entry for entry in store.list(store.root, name=name) if entry.is_folder]
        others = [folder.search_folder(entry) for entry in entries if entry.id != found.id]
        return dataclasses.replace(found, duplicates=tuple(others))

    reader.find_folder = suspicious
    spool_replay.owned_ids = lambda store, folder: SimpleNamespace(require=lambda *keys: None)
    spool_replay.owned_entry = lambda *args: None


@mutant
def a_moved_search_is_begun_anew() -> None:
    """FOLDER: a folder that a user moved or renamed is not looked for."""
    claim_and_takeover.find_moved_folder = lambda *args, **how: None


@mutant
def a_snapshot_holds_what_is_not_acknowledged() -> None:
    """SNAPSHOT: the state includes records that are still being sent."""

    def early(self: Any) -> None:
        own = self._writer
        state = self._reader.rules.load(self._reader.state.dump())
        pending = [entry.item for entry in own._queue] + list(own._ready.items)
        flying = [entry[0] for leftover in own.spool.earlier_files() for entry in leftover.items]
        head = self._reader.head
        payload = b"".join(dict.fromkeys(pending + flying))
        state.apply(record.Record(head.pos, "trials", own.owner, head.sha, payload=payload))  # type: ignore[arg-type]
        maintenance.save_snapshot(self._reader.store, self._reader.folder, head, state.dump())

    maintenance.Maintenance._snapshot = early


@mutant
def the_lease_overrules_the_chain() -> None:
    """LEASE: its holder writes on, whatever record is under the next id."""

    def sure(store: Any, frozen: Any, entry_id: str, parent: str, *marks: Any) -> bool:
        try:
            store.create(entry_id, frozen.content, name="record", parent=parent)
        except IdTakenError:
            return True
        return True

    writer.create = sure


@mutant
def no_more_ids_are_named() -> None:
    """APPEND: the record on the last known id does not carry `more`."""
    encode = record.encode_record

    def forgetful(made: Any) -> Any:
        return encode(dataclasses.replace(made, more=()) if made.kind == "trials" else made)

    writer.encode_record = forgetful  # type: ignore[assignment]


@mutant
def a_fork_may_write() -> None:
    """APPEND: other processes than the one that claimed may append."""
    from colab_drive_tuner.search.trials.logbook import Logbook

    writer.Writer.require_owner = lambda self: None
    Logbook.require_owner = lambda self: None


def _heads_from_snapshots(change: Callable[[Any], Any]) -> None:
    head_from = chain.head_from
    chain.head_from = lambda fields: change(head_from(fields))


@mutant
def a_snapshot_forgets_its_epoch() -> None:
    """SNAPSHOT: spooled items seem to belong to another history."""
    _heads_from_snapshots(lambda head: dataclasses.replace(head, epoch=""))


@mutant
def a_snapshot_forgets_who_claimed() -> None:
    """SNAPSHOT: a held search seems to be free."""
    _heads_from_snapshots(lambda head: dataclasses.replace(head, claim=None))


@mutant
def any_snapshot_counts_as_of_this_chain() -> None:
    """OWNED: a snapshot of another search leads into its chain."""
    reader.Reader._is_of_this_chain = lambda self, head: True


@mutant
def nothing_is_read_beyond_a_gap() -> None:
    """READ: one missing record at the end of a batch seems to be the end of the chain."""
    chain.LOOK_BEYOND, chain.PROBES = 0, ()


@mutant
def too_little_is_read_beyond_a_gap() -> None:
    """READ: two missing records at the end of a batch seem to be the end of the chain."""
    chain.LOOK_BEYOND, chain.PROBES = 1, ()


@mutant
def file_ownership_is_not_checked() -> None:
    """OWNED: any file that a property names is taken for the search's own."""
    file_ownership.owned_entry = lambda store, entry_id, *args, **kind: store.stat(entry_id)
