"""Reader of a search's chain: its folder, its head, and the state folded from its records."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from colab_drive_tuner.errors import (
    ForeignFileError,
    NewerFormatError,
    NotFoundError,
    SearchDamagedError,
    SearchNotFoundError,
    StoreError,
    UnavailableError,
)
from colab_drive_tuner.journal.chain.chain import (
    LOOK_BEYOND,
    Head,
    decode_snapshot,
    parallel_readers,
    read_on,
)
from colab_drive_tuner.journal.chain.record import Record
from colab_drive_tuner.journal.folder.file_ownership import OwnedIds, owned_entry, owned_ids
from colab_drive_tuner.journal.folder.lookup import exists, find_folder
from colab_drive_tuner.journal.folder.properties import Property, SearchFolder
from colab_drive_tuner.journal.lease import Holder, find_holder
from colab_drive_tuner.store.protocol import Entry, Store


@dataclass(frozen=True)
class PayloadRules:
    """Functions with which a journal handles payloads that it cannot read itself."""

    empty: Callable[[], Any]
    """Return the state before the first record; it has `apply(record)` and `dump()`."""
    load: Callable[[bytes], Any]
    """Return the state that `dump` wrote."""
    wanted: Callable[[Any, bytes], bool]
    """Return whether the chain in this state still lacks a spooled item."""
    export: Callable[[Any], bytes] | None = None
    """Return the content of `trials.pkl` for a state."""


class Reader:
    """Read-only access to one search; runs no code from it."""

    def __init__(
        self, store: Store, name: str, rules: PayloadRules, folder: SearchFolder | None = None
    ) -> None:
        self.store, self.name, self.rules = store, name, rules
        self.fixed_folder = folder
        """The folder to read regardless of its name; None: look it up by name."""
        self.found = folder
        self.state: Any = rules.empty()
        self.snapshot_pos = 0
        """Number of records that the snapshot covers from which reading started; 0: none."""
        self._head: Head | None = None
        self._owned: OwnedIds | None = None
        self._last: Entry | None = None
        """The last record's file entry, if known."""

    @property
    def folder(self) -> SearchFolder:
        """The search's folder; raises `SearchNotFoundError` if there is none."""
        if self.found is None:
            raise SearchNotFoundError(
                f"There is no search {self.name!r} in {self.store.url(self.store.root)}."
            )
        return self.found

    @property
    def absent(self) -> frozenset[str]:
        """Properties of the folder whose ids named no file when it was opened."""
        return self._owned.absent if self._owned else frozenset()

    @property
    def head(self) -> Head:
        """Head of the chain as read so far; position 0 without any record."""
        return self._head or Head(0, "", (self.folder.first,))

    @head.setter
    def head(self, head: Head) -> None:
        self._head = head

    def advance(self, record: Record) -> None:
        """Fold a record that this session has appended to the chain."""
        self.state.apply(record)
        self.head = self.head.after(record)

    def forget(self) -> None:
        """Look up the folder again: the known one is gone, or the search continues elsewhere."""
        self.found, self._head, self.state = self.fixed_folder, None, self.rules.empty()
        self.snapshot_pos = 0
        self._owned, self._last = None, None

    def refresh(self) -> None:
        """READ to the current end of the chain, starting at the hint's snapshot."""
        if self.found is None:
            self.found = find_folder(self.store, self.name)
            self._owned = None
        if self.found is None:
            return
        try:
            self._read()
        except NewerFormatError:
            raise  # not damage: repair would not help
        except (NotFoundError, SearchDamagedError) as error:
            self.require_not_removed()
            if isinstance(error, NotFoundError):
                raise
            raise self.damaged_error(str(error)) from error

    def require_not_removed(self) -> None:
        """Raise `NotFoundError` if the folder is in the trash or deleted: a listing may lag."""
        if not exists(self.store, self.folder.id):
            raise NotFoundError(
                f"The folder of search {self.name!r} was just removed and may still be listed: try "
                f"again in a minute."
            )

    def _read(self) -> None:
        """READ; the last record must be in this search's folder, wherever reading started."""
        if self._owned is None and self.folder.new:
            unused = frozenset({Property.RECORDS, Property.FIRST, Property.EXPORT})
            self._owned = OwnedIds(self.folder, {}, unused)
            return
        # records/ may exist by now.
        if self._owned is None or Property.RECORDS in self._owned.absent:
            self._owned = owned_ids(self.store, self.folder)
            self.found = self._owned.folder
        if self._head is not None:
            records: list[Record] = []
            head = self._read_on(self._head, records.append, 1 + LOOK_BEYOND)
            # Only now: a request that fails in between must not leave the state ahead of the head.
            for record in records:
                self.state.apply(record)
            self._head = head
            return
        self._owned.require(Property.RECORDS)
        if self._read_after_snapshot():
            return
        self._owned.require(Property.FIRST)
        self.state = self.rules.empty()
        self._head = self._read_on(Head(0, "", (self.folder.first,)), self.state.apply)
        if self._head.pos == 0:
            self._require_new()

    def _read_after_snapshot(self) -> bool:
        """READ from the hint's snapshot; return False if there is none, or of another chain."""
        if not self.folder.hint:
            return False
        try:
            content = self.store.read_unverified(self.folder.hint)
            known, self.state = decode_snapshot(content, "The snapshot", self.rules.load)
        except UnavailableError:
            raise  # nothing else can be read either
        except (StoreError, SearchDamagedError):
            return False  # the records are authoritative and are read instead
        with parallel_readers("cdt-anchor") as readers:  # checked while reading
            is_ours = readers.submit(self._is_of_this_chain, known)
            try:
                head = self._read_on(known, self.state.apply)
            except SearchDamagedError:
                if is_ours.result():
                    raise
                return False
            if not is_ours.result():
                return False
        self._head, self.snapshot_pos = head, known.pos
        return True

    def _read_on(
        self, known: Head, apply: Callable[[Record], None], width: int | None = None
    ) -> Head:
        head = read_on(self.store, known, apply, self.name, width)
        if head.pos > known.pos:
            self._require_own(head)
        return head

    def _is_of_this_chain(self, head: Head) -> bool:
        """Whether the last record covered by a snapshot is this search's; True if it is gone.

        Another search's snapshot, copied into this folder, would lead into that search's chain.
        """
        try:
            what = "The last record of a snapshot"
            owned_entry(self.store, head.last_id, self.folder.record_folders, what)
            content = self.store.read_unverified(head.last_id)
        except ForeignFileError:
            return False
        except NotFoundError:
            return True
        return hashlib.sha256(content).hexdigest() == head.sha

    def _require_own(self, head: Head) -> None:
        """Raise `ForeignFileError` if the records that were read belong to another search.

        Each record names the sha256 of the one before it, so checking the last one suffices.
        """
        folder, what = self.folder, f"Record {head.pos - 1} of search {self.name!r}"
        try:
            self._last = owned_entry(self.store, head.last_id, folder.record_folders, what)
        except NotFoundError:
            trashed = set[str]()
            for folder_id in folder.record_folders:
                with suppress(NotFoundError):  # a withdrawn folder has no records/
                    trashed |= {entry.id for entry in self.store.list_trash(folder_id)}
            if head.last_id not in trashed:  # Drive can still read files in the trash
                raise ForeignFileError(f"{what} is not in its folder.") from None
            self._last = None

    def _require_new(self) -> None:
        """Raise `SearchDamagedError` if record 0 is missing although later records exist."""
        if self._owned is None or Property.RECORDS in self._owned.absent:
            return
        listed = self.store.list(self.folder.records)
        if any(entry.name.startswith("record-") for entry in listed):
            try:  # another runtime may have written it just now
                self.store.read_unverified(self.folder.first)
            except NotFoundError:
                raise SearchDamagedError(
                    f"Record 0 of search {self.name!r} is missing although later ones exist: it "
                    f"was deleted, or the property {Property.FIRST} of the folder was altered."
                ) from None

    def damaged_error(self, what: str) -> SearchDamagedError:
        """Return an error that states the damage and suggests doctor and repair."""
        return SearchDamagedError(
            f"{what} {self.store.command('doctor')} shows what is wrong, and "
            f"{self.store.command('repair', self.name)} rebuilds the search from what is readable."
        )

    def holder(self) -> Holder | None:
        """Return the owner by the last claim; None if released or never claimed."""
        if self.found is None:
            return None
        claim, last_id, folders = self.head.claim, self.head.last_id, self.folder.record_folders
        return find_holder(self.store, claim, last_id, folders, self._last)
