"""Batches of items that will share a record, and their spool files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.journal.spool.spool_file import Spooled, SpoolFileWriter

Item = bytes | Callable[[], bytes]
"""Bytes to record, or a function that builds them in the background."""


class QueuedItem(NamedTuple):
    """Item appended by the training thread, until the collector takes it."""

    item: Item
    durable: bool
    """Whether it is spooled before it is sent."""
    attachments: Sequence[bytes]
    """Large values that the item names by their sha256."""


@dataclass
class Batch:
    """Items that will share a record, and the spool files of the durable ones."""

    items: list[bytes] = field(default_factory=list)
    attachments: list[bytes] = field(default_factory=list)
    """Large values of the items: each is stored in its own file before the record is sent."""
    spool_files: list[SpoolFileWriter] = field(default_factory=list)
    """Several after a disk failure; they may also hold items of the previous batch."""
    unspooled: list[Spooled] = field(default_factory=list)
    """Durable items that the disk has not accepted yet."""

    def close(self) -> None:
        """Close the spool files: nothing more is added."""
        for spool_file in self.spool_files:
            spool_file.close()


class BatchSpool:
    """Spool of one writer's batches; reports when the disk fails and when it recovers."""

    def __init__(self, spool: Spool, notify: Callable[[str], None]) -> None:
        self._spool, self._notify = spool, notify
        self._fails = False

    def make_durable(
        self, in_flight: Batch, ready: Batch, items: list[Spooled], epoch: str
    ) -> None:
        """Write items to the ready batch's file, after any that the disk refused before.

        The order is kept so that a later session finds no gaps. If the disk fails again, these
        items exist only in memory and the store until the next attempt.
        """
        waiting = [*in_flight.unspooled, *ready.unspooled, *items]
        if not waiting:
            return
        try:
            if not (ready.spool_files and ready.spool_files[-1].usable):
                ready.spool_files.append(self._spool.new_file(epoch))
            ready.spool_files[-1].add(waiting)
        except OSError as error:
            ready.unspooled += items
            if not self._fails:
                self._notify(
                    f"Nothing can be kept in {self._spool.folder} ({error.strerror}): a result "
                    f"that the store has not acknowledged yet is lost if this process dies."
                )
            self._fails = True
        else:
            in_flight.unspooled, ready.unspooled = [], []
            if self._fails:
                self._notify(f"Unacknowledged results are kept in {self._spool.folder} again.")
            self._fails = False
