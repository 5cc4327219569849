"""Claim of a search: wait for the owner's lease to expire, then create the claim (rule OPEN)."""

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from colab_drive_tuner.errors import (
    AccountMismatchError,
    NotFoundError,
    SearchBusyError,
    SearchFolderError,
    StoreError,
    UnavailableError,
    UsageError,
)
from colab_drive_tuner.journal.chain.chain import create, read_taken
from colab_drive_tuner.journal.chain.record import (
    DEATHS,
    Claimant,
    ClaimReason,
    Record,
    RecordKind,
    encode_record,
)
from colab_drive_tuner.journal.folder.creation import (
    create_folder,
    ensure_records_folder,
    require_records,
    require_single,
    withdraw,
)
from colab_drive_tuner.journal.folder.lookup import exists, is_empty
from colab_drive_tuner.journal.folder.moved_folders import find_moved_folder
from colab_drive_tuner.journal.folder.properties import Property, name_marks
from colab_drive_tuner.journal.lease import STALE_SECONDS, Holder
from colab_drive_tuner.journal.reader import Reader
from colab_drive_tuner.journal.spool.notes import KnownFolder
from colab_drive_tuner.journal.spool.spool import Spool, has_died
from colab_drive_tuner.journal.writer import ID_BLOCK
from colab_drive_tuner.machine import machine_id
from colab_drive_tuner.progress_bars import countdown
from colab_drive_tuner.runtime import runtime_name
from colab_drive_tuner.text import visible

log = logging.getLogger(__name__)

CLAIM_TIMEOUT = 180.0
"""Time, in seconds, that claiming a search may wait for a store that does not answer."""
_POLL_SECONDS = 5.0
"""Time between two looks at the lease of a live owner."""
_ATTEMPT_PAUSES = (0.2, 1.0, 3.0)
"""Pauses, in seconds, before a claim is tried again while two runtimes create the search."""


class OnBusy(StrEnum):
    """What to do if another runtime holds the search."""

    WAIT = "wait"
    """Wait until its lease has expired."""
    TAKEOVER = "takeover"
    ERROR = "error"


def on_busy_of(value: str) -> OnBusy:
    """Return the member for a caller's argument; raise `UsageError` if there is none."""
    if value not in list(OnBusy):
        known = ", ".join(repr(str(choice)) for choice in OnBusy)
        raise UsageError(f"on_busy must be one of {known}, got {value!r}.")
    return OnBusy(value)


def this_process(account: str) -> Claimant:
    """Return this process as the claimant of a search, with the account that it acts as."""
    return Claimant(machine_id(), os.getpid(), socket.gethostname(), account, runtime_name())


class _UnsettledError(Exception):
    """The folder that was found has lost to a duplicate, or is about to."""


@dataclass(frozen=True)
class ClaimAttempt:
    """One session's attempt to own a search; the caller holds the lock of `spool`."""

    reader: Reader
    spool: Spool
    payload: Callable[[Any], bytes]
    """Builds the claim's content from the state just read."""
    on_busy: OnBusy
    force_new: bool
    """Whether to leave a search whose folder was renamed, moved or trashed where it is."""
    advice: str
    """What to do to begin another search: the end of the error that says where it is."""
    notify: Callable[[str], None]
    sleep: Callable[[float], None]

    def run(self) -> tuple[ClaimReason, Record]:
        """OPEN: READ, wait for the lease, CREATE the claim, which `reader` then includes.

        Return how the previous owner ended (or, without one, how the search began) and the claim.
        """
        for pause in _ATTEMPT_PAUSES:
            try:
                return self._attempt()
            except (NotFoundError, _UnsettledError):
                # Two runtimes created the search at once, and one is withdrawing its folder.
                self.sleep(pause)
                self.reader.forget()
        try:
            return self._attempt()
        except _UnsettledError as error:
            raise SearchFolderError(str(error)) from error
        except NotFoundError as error:
            if self.reader.found is not None:
                self.reader.require_not_removed()
            gone = f"The records of search {self.reader.name!r} are gone: {error}"
            raise self.reader.damaged_error(gone) from error

    def _attempt(self) -> tuple[ClaimReason, Record]:
        self._prepare_folder()
        reader, owner = self.reader, secrets.token_hex(16)
        self.spool.note_owner(owner)
        while True:
            reason, holder = self._end_of_previous_owner()
            if reason is ClaimReason.NEW and (reader.fixed_folder is not None or self.force_new):
                reason = ClaimReason.ANEW if reader.fixed_folder is None else ClaimReason.REBUILT
            if reader.head.pos == 0:
                ensure_records_folder(reader.store, reader.folder)
            record = self._claim_record(owner, reason, holder)
            if self._create_claim(record):
                return reason, record
            reader.refresh()  # FOREIGN: another record took this place in the chain

    def _prepare_folder(self) -> None:
        """Read the search; find or create its folder, and check that it is the only one."""
        reader = self.reader
        if reader.found is None or reader.head.is_empty:
            reader.refresh()  # otherwise CREATE tells whether more was recorded since it was read
        if reader.fixed_folder is None and (reader.found is None or reader.head.is_empty):
            self._find_or_create()
        self._withdraw_empty()
        if Property.FIRST in reader.absent and not reader.head.is_empty:
            reader.require_not_removed()
        try:
            require_single(reader.store, reader.name, reader.folder)
        except SearchFolderError as error:
            if reader.head.is_empty:  # its runtime may be about to withdraw it
                raise _UnsettledError(str(error)) from error
            raise
        if Property.RECORDS in reader.absent and not reader.head.is_empty:
            require_records(reader.store, reader.name, reader.folder)

    def _find_or_create(self) -> None:
        """Find or create the folder; unless `force_new`, look first for a moved search."""
        reader, found = self.reader, None
        store, name, listed = reader.store, reader.name, reader.found
        if not self.force_new:
            found = find_moved_folder(store, name, self.notify, listed, advice=self.advice)
        if found or listed is None:
            if found and listed and listed.creation_order < found.creation_order:
                older = (listed,) if is_empty(store, listed) else ()
                found = replace(found, empty=older)  # it has begun just now
            reader.forget()
            reader.found = found or create_folder(store, name, self.sleep)
            reader.refresh()

    def _withdraw_empty(self) -> None:
        """End the older folders in which nothing is recorded: their runtimes may yet come back."""
        reader = self.reader
        for folder in reader.folder.empty:
            if not withdraw(reader.store, folder, reader.folder.id):
                raise _UnsettledError(f"Two runtimes began search {reader.name!r}.")
        reader.found = replace(reader.folder, empty=())

    def _end_of_previous_owner(self) -> tuple[ClaimReason, Holder | None]:
        """Return how the previous owner ended, after waiting for its lease if so configured."""
        reason, holder = self._previous_owner()
        if reason is None and self.on_busy is OnBusy.TAKEOVER:
            return ClaimReason.TAKEOVER, holder
        if reason is None:
            self.reader.refresh()  # it may have been read some time ago
            reason, holder = self._previous_owner()
        if reason is None and holder is not None and self.on_busy is OnBusy.WAIT:
            reason, holder = self._wait_for_lease(holder)
        if reason is None:
            raise SearchBusyError(
                f"Search {self.reader.name!r} is held by {holder}. Stop it there, or pass "
                f"on_busy='takeover' to take it over."
            )
        return reason, holder

    def _wait_for_lease(self, holder: Holder) -> tuple[ClaimReason | None, Holder | None]:
        """Wait until the search is released or the lease expires; no reason if it was renewed."""
        self._require_next_record()
        name, waited = self.reader.name, 0.0
        self.notify(
            f"Search {name!r} is held by {holder}. Waiting until it is certain that it stopped, "
            f"at most {STALE_SECONDS:.0f} s."
        )
        reason: ClaimReason | None = None
        latest: Holder | None = holder
        with countdown(f"Waiting for the holder of search {name!r} to stop", STALE_SECONDS):
            while reason is None and latest is not None and waited <= STALE_SECONDS:
                pause = min(_POLL_SECONDS, STALE_SECONDS - latest.age + 0.5)
                self.sleep(pause)
                waited += pause
                self.reader.refresh()
                reason, latest = self._previous_owner()
        return reason, latest

    def _require_next_record(self) -> None:
        """Raise `SearchDamagedError` if the record after the head is lost: a wait cannot help."""
        store, head = self.reader.store, self.reader.head
        if store.is_used(head.ids[0]):
            try:
                read_taken(store, head.ids[0], head.pos)
            except NotFoundError as error:
                raise self.reader.damaged_error(str(error)) from error

    def _previous_owner(self) -> tuple[ClaimReason | None, Holder | None]:
        """Return how the previous owner ended and who it was; no reason while its lease lasts."""
        head, name, account = self.reader.head, self.reader.name, self.reader.store.account
        if head.moved_to:
            raise _UnsettledError(
                f"Search {name!r} continues in another folder, which is not listed yet: try again "
                f"in a minute."
            )
        if head.claim is None:
            return ClaimReason.NEW, None
        if head.claim.claimant.account != account:
            raise AccountMismatchError(
                f"Search {name!r} belongs to {visible(head.claim.claimant.account)}, and you "
                f"are {account}. Sign in as its owner, choose another name, or, once its owner has "
                f"stopped it, let `colab-drive-tuner repair` continue it in a folder of your own."
            )
        holder = self.reader.holder()
        if holder is None:
            return ClaimReason.RELEASED, None
        if self.spool.has_claimed(holder.owner):
            return ClaimReason.DEAD, holder  # certain: we have the lock that it would hold
        # Renamed or moved since, so our notes of the running trial are not this owner's.
        return (ClaimReason.STALE if holder.stale or has_died(holder.owner) else None), holder

    def _claim_record(self, owner: str, reason: ClaimReason, holder: Holder | None) -> Record:
        head, store = self.reader.head, self.reader.store
        return encode_record(
            Record(
                pos=head.pos,
                kind=RecordKind.CLAIM,
                owner=owner,
                prev=head.sha,
                # The last known id must name its successors.
                more=tuple(store.reserve(ID_BLOCK)) if len(head.ids) < 2 else (),
                payload=self.payload(self.reader.state),
                reason=reason,
                claimant=this_process(store.account),
                search=self.reader.name,
                home=store.root,
                careful=self._careful_seconds(reason, holder),
            )
        )

    def _careful_seconds(self, reason: ClaimReason, holder: Holder | None) -> float:
        """ATTEMPTS: return the seconds of training that the dead owner may have run unrecorded.

        It may have run without acknowledgement from its newest record until one lease after its
        last sign of life; the same trials take about as long here. The seconds of its own careful
        start are added.
        """
        if reason not in DEATHS or holder is None:
            return 0.0
        latest_death = min(holder.now, holder.last_sign + STALE_SECONDS)
        previous = self.reader.head.claim
        return max(0.0, latest_death - holder.last_record) + (previous.careful if previous else 0.0)

    def _create_claim(self, record: Record) -> bool:
        """CREATE the claim, repeating the same bytes while the store does not answer."""
        reader, deadline = self.reader, time.monotonic() + CLAIM_TIMEOUT
        entry_id, folder = reader.head.ids[0], reader.folder.records
        marks = name_marks(reader.store, reader.name)
        while True:
            try:
                created = create(reader.store, record, entry_id, folder, marks)
                break
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
                self.sleep(2.0)
            except NotFoundError as error:
                reader.require_not_removed()
                if not exists(reader.store, folder):
                    raise
                raise reader.damaged_error(str(error)) from error
        if created:
            reader.advance(record)
        return created


def remember_folder(reader: Reader, spool: Spool, notify: Callable[[str], None]) -> None:
    """Note, on this machine and in the store, which folder has the search's name.

    Notify the user if this machine knew a different folder that still exists.
    """
    store, folder, known = reader.store, reader.folder, spool.known_folder()
    try:
        if known is not None and known.id != folder.id and known.first != folder.first:
            if exists(store, known.id):
                notify(
                    f"Search {reader.name!r} continues in {store.url(folder.id)}. When this "
                    f"machine last ran it, it was in {store.url(known.id)}, which still exists: if "
                    f"you meant that one, give it the name back."
                )
        spool.note_folder(KnownFolder(folder.id, folder.first))
        if not folder.marked:
            store.set_properties(folder.id, name_marks(store, reader.name))
    except StoreError as error:  # a later session tries again
        log.warning("The name of search %r is not noted in its folder: %s", reader.name, error)
