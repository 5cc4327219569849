"""Batches of items that will share a record, and the spool files that hold them until then."""

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from colab_drive_tuner.errors import IdTakenError
from colab_drive_tuner.journal.spool.segment import Segment, Spooled
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.store.protocol import Store

Item = bytes | Callable[[], bytes]
"""What is to be recorded, or what makes it when it is sent."""


class Appended(NamedTuple):
    """What training handed over."""

    item: Item
    durable: bool
    """Whether it is spooled durably before it is sent."""
    attachments: Sequence[bytes]
    """Large values that the item names by their sha256."""


@dataclass
class Batch:
    """Items that will share a record, and the spool files that hold the durable ones."""

    items: list[bytes] = field(default_factory=list)
    attachments: list[bytes] = field(default_factory=list)
    """Large values of the items: each gets a file of its own before the record is sent."""
    segments: list[Segment] = field(default_factory=list)
    """More than one where the disk has failed. They may hold items of the batch before, too."""
    unspooled: list[Spooled] = field(default_factory=list)
    """Durable items that the disk has not taken yet."""

    def close(self) -> None:
        """Nothing is added any more."""
        for segment in self.segments:
            segment.close()

    def store_attachments(
        self, store: Store, folder: str, ask: Callable[[Callable[[], Any]], Any]
    ) -> dict[str, str]:
        """Create a file for each value beside; return their ids by sha256.

        `ask` makes a call until it is answered; None: the writer ended meanwhile.
        """

        def put(entry_id: str, name: str, content: bytes) -> None:
            with contextlib.suppress(IdTakenError):  # ours, by an earlier send
                store.create(entry_id, content, name=name, parent=folder)

        files: dict[str, str] = {}
        values = {hashlib.sha256(value).hexdigest(): value for value in self.attachments}
        for sha, value in values.items():
            if reserved := ask(lambda: store.reserve(1)):
                ask(partial(put, reserved[0], f"attachment-{sha[:16]}.cdt", value))
                files[sha] = reserved[0]
        return files


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
