"""Whether a search's owner still lives: advice for openers; correctness never rests on it (LEASE).

The owner marks its own claim file every 30 seconds with the store's time; a recent record is a sign
of life too. All times are the store's, so no clock here or there can be wrong enough to matter.
"""

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime

from colab_drive_tuner.errors import NotFoundError
from colab_drive_tuner.journal.chain import Head
from colab_drive_tuner.journal.record import Claimant
from colab_drive_tuner.store.protocol import Store

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
        return (
            f"{who.runtime} on {who.host} (process {who.pid}, {who.account}), "
            f"last seen {sign:%Y-%m-%d %H:%M:%S} UTC, {self.age:.0f} s ago"
        )


def look_at_holder(store: Store, head: Head) -> Holder | None:
    """Who holds the search with this head; None if nobody does."""
    if head.claim is None or head.claim.released:
        return None
    last_record, beat = 0.0, 0.0
    with contextlib.suppress(NotFoundError):  # deleted by hand: then the claim tells
        last_record = store.stat(head.last_id).created
    with contextlib.suppress(NotFoundError, ValueError):  # likewise, or never marked
        claim = store.stat(head.claim.id)
        last_record = max(last_record, claim.created)
        beat = float(claim.properties.get(BEAT, "0"))
    return Holder(
        head.claim.owner, head.claim.claimant, last_record, max(last_record, beat), store.now()
    )


def beat(store: Store, claim_id: str) -> None:
    """Mark the claim with the store's time."""
    store.set_properties(claim_id, {BEAT: f"{store.now():.3f}"})
