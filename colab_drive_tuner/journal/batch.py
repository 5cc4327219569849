"""Batches of items that will share a record, and the spool files that hold them until then."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from colab_drive_tuner.journal.spool.segment import Segment, Spooled
from colab_drive_tuner.journal.spool.spool import Spool

Item = bytes | Callable[[], bytes]
"""What is to be recorded, or what makes it when it is sent."""


class Appended(NamedTuple):
    """What training handed over."""

    item: Item
    durable: bool
    """Whether it is spooled durably before it is sent."""
    beside: Sequence[bytes]
    """Large values that the item names by their sha256."""


@dataclass
class Batch:
    """Items that will share a record, and the spool files that hold the durable ones."""

    items: list[bytes] = field(default_factory=list)
    beside: list[bytes] = field(default_factory=list)
    """Large values of the items: each gets a file of its own before the record is sent."""
    segments: list[Segment] = field(default_factory=list)
    """More than one where the disk has failed. They may hold items of the batch before, too."""
    unspooled: list[Spooled] = field(default_factory=list)
    """Durable items that the disk has not taken yet."""

    def close(self) -> None:
        """Nothing is added any more."""
        for segment in self.segments:
            segment.close()


class BatchSpool:
    """The spool, behind the batches of one writer; says when the disk fails, and works again."""

    def __init__(self, spool: Spool, notify: Callable[[str], None]) -> None:
        self._spool, self._notify = spool, notify
        self._fails = False

    def make_durable(self, sent: Batch, ready: Batch, items: list[Spooled], epoch: str) -> None:
        """Write items to the ready batch's file, behind those that the disk did not take before.

        Never before them: what a later session finds has no holes. Where the disk fails again, all
        of them go to the store alone, until it is tried again.
        """
        waiting = [*sent.unspooled, *ready.unspooled, *items]
        if not waiting:
            return
        try:
            if not (ready.segments and ready.segments[-1].usable):
                ready.segments.append(self._spool.segment(epoch))
            ready.segments[-1].add(waiting)
        except OSError as error:
            ready.unspooled += items
            if not self._fails:
                self._notify(
                    f"Nothing can be kept in {self._spool.folder} ({error.strerror}): until the "
                    f"store has acknowledged a result, it would be lost with this process."
                )
            self._fails = True
        else:
            sent.unspooled, ready.unspooled = [], []
            if self._fails:
                self._notify(f"What is not acknowledged is kept in {self._spool.folder} again.")
            self._fails = False
