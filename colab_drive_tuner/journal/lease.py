"""Lease and heartbeat of a search's owner (rule LEASE): advisory, never needed for correctness.

The owner writes the store's time to its own claim file every 30 seconds; a recent record counts as
a sign of life, too. All times are the store's, so wrong clocks of machines do not matter.
"""

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from colab_drive_tuner.errors import ForeignFileError, NotFoundError
from colab_drive_tuner.journal.chain.chain import LastClaim
from colab_drive_tuner.journal.chain.record import Claimant
from colab_drive_tuner.journal.folder.file_ownership import owned_entry
from colab_drive_tuner.store.protocol import CLOCK_TOLERANCE, Entry, Store, read_time
from colab_drive_tuner.text import visible

STALE_SECONDS = 90.0
BEAT = "cdt_beat"


@dataclass(frozen=True)
class Holder:
    """Current owner of a search and its last signs of life, by the store's clock."""

    owner: str
    """Id of its session."""
    claimant: Claimant
    last_record: float
    """Creation time of its newest record."""
    last_sign: float
    """Time of its last sign of life, record or heartbeat; 0 if unknown."""
    now: float

    @property
    def age(self) -> float:
        """Seconds since the last sign of life."""
        return max(0.0, self.now - self.last_sign)

    @property
    def stale(self) -> bool:
        """Whether the lease has expired."""
        return self.age >= STALE_SECONDS

    def __str__(self) -> str:
        who, seen = self.claimant, "at an unknown time"
        if self.last_sign:
            sign = datetime.fromtimestamp(self.last_sign, UTC)
            seen = f"{sign:%Y-%m-%d %H:%M:%S} UTC, {self.age:.0f} s ago"
        runtime, host, account = map(visible, (who.runtime, who.host, who.account))
        return f"{runtime} on {host} (process {who.pid}, {account}), last seen {seen}"


def find_holder(
    store: Store,
    last_claim: LastClaim | None,
    last_id: str,
    folder_ids: Collection[str],
    last: Entry | None = None,
) -> Holder | None:
    """Return the owner by the last claim of a chain, or None if it has none.

    Its files must be in one of the folders. `last` is the last record's file, if known. Times in
    the future do not count: a clock was wrong, and the lease would last until then.
    """
    if last_claim is None or last_claim.released:
        return None
    now, last_record, beat = store.now(), 0.0, 0.0
    if last is None or last.id != last_id:
        with contextlib.suppress(NotFoundError, ForeignFileError):  # deleted by hand or foreign
            last = owned_entry(store, last_id, folder_ids, "The last record")
    if last is not None and last.created <= now + CLOCK_TOLERANCE:
        last_record = last.created
    with contextlib.suppress(NotFoundError, ForeignFileError, ValueError):  # or never marked
        claim = owned_entry(store, last_claim.id, folder_ids, "The last claim")
        if claim.created <= now + CLOCK_TOLERANCE:
            last_record = max(last_record, claim.created)
        beat = read_time(claim.properties, BEAT, now)
    sign = max(last_record, beat)
    return Holder(last_claim.owner, last_claim.claimant, last_record, sign, now)
