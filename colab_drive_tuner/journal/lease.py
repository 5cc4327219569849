"""Lease of a search's owner: does it still live? Advice; correctness never rests on it (LEASE).

The owner marks its own claim file every 30 seconds with the store's time; a recent record is a sign
of life too. All times are the store's, so no clock here or there can be wrong enough to matter.
"""

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from colab_drive_tuner.errors import ForeignFileError, NotFoundError
from colab_drive_tuner.journal.chain.chain import Head
from colab_drive_tuner.journal.chain.record import Claimant
from colab_drive_tuner.journal.folder.file_ownership import owned_entry
from colab_drive_tuner.store.protocol import Entry, Store, read_time
from colab_drive_tuner.text import visible

BEAT_SECONDS = 30.0
STALE_SECONDS = 90.0
BEAT = "cdt_beat"


@dataclass(frozen=True)
class Holder:
    """Who holds a search, and the signs of life so far."""

    owner: str
    """The id of its session."""
    claimant: Claimant
    last_record: float
    """When its newest record was created, by the store's clock."""
    last_sign: float
    """The newest sign of life, record or heartbeat, by the store's clock."""
    now: float

    @property
    def age(self) -> float:
        """Seconds since the last sign of life."""
        return max(0.0, self.now - self.last_sign)

    @property
    def stale(self) -> bool:
        """Whether the lease has run out."""
        return self.age >= STALE_SECONDS

    def __str__(self) -> str:
        sign = datetime.fromtimestamp(self.last_sign, UTC)
        who = self.claimant
        runtime, host, account = map(visible, (who.runtime, who.host, who.account))
        return (
            f"{runtime} on {host} (process {who.pid}, {account}), "
            f"last seen {sign:%Y-%m-%d %H:%M:%S} UTC, {self.age:.0f} s ago"
        )


def find_holder(
    store: Store, head: Head, places: Collection[str], last: Entry | None = None
) -> Holder | None:
    """Who holds the search with this head, whose files lie in `places`; None if nobody does.

    `last` is the last record's file, where it was seen already.
    """
    if head.claim is None or head.claim.released:
        return None
    now, last_record, beat = store.now(), 0.0, 0.0
    if last is None or last.id != head.last_id:
        with contextlib.suppress(NotFoundError, ForeignFileError):  # deleted by hand, or not ours
            last = owned_entry(store, head.last_id, places, "The last record")
    if last is not None:
        last_record = last.created
    with contextlib.suppress(NotFoundError, ForeignFileError, ValueError):  # or never marked
        claim = owned_entry(store, head.claim.id, places, "The last claim")
        last_record = max(last_record, claim.created)
        beat = read_time(claim.properties, BEAT, now)
    return Holder(head.claim.owner, head.claim.claimant, last_record, max(last_record, beat), now)


def beat(store: Store, claim_id: str) -> None:
    """Mark the claim with the store's time."""
    store.set_properties(claim_id, {BEAT: f"{store.now():.3f}"})
