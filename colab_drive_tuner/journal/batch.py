"""Batches of items that will share a record, their spool files, and retry through an outage."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from colab_drive_tuner.errors import ColabDriveTunerError, UnavailableError
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.journal.spool.spool_file import Spooled, SpoolFileWriter

T = TypeVar("T")
_RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Successive pauses while the store does not answer; the last one repeats."""
_REFUSED_SECONDS = 30.0
"""Pause after a definite refusal, whose cause the user may remove."""

Item = bytes | Callable[[], bytes]
"""Bytes to record, or a function that builds them in the background."""


class Appended(NamedTuple):
    """Item appended by the training thread."""

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

    def make_durable(self, sent: Batch, ready: Batch, items: list[Spooled], epoch: str) -> None:
        """Write items to the ready batch's file, after any that the disk refused before.

        The order is kept so that a later session finds no gaps. If the disk fails again, these
        items exist only in memory and the store until the next attempt.
        """
        waiting = [*sent.unspooled, *ready.unspooled, *items]
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
            sent.unspooled, ready.unspooled = [], []
            if self._fails:
                self._notify(f"Unacknowledged results are kept in {self._spool.folder} again.")
            self._fails = False


class OutageRetry:
    """Retries calls until `end`, and notifies the user when an outage starts and ends.

    It repeats whole operations of the writer for as long as the session lives; single Drive
    requests are retried for a limited time in drive/requests/retry.py. `kept_in` is the spool
    folder that holds the pending items.
    """

    def __init__(self, kept_in: Path, notify: Callable[[str], None]) -> None:
        self.offline_since: float | None = None
        """`time.monotonic()` when the store stopped answering; None while it answers."""
        self.trouble: ColabDriveTunerError | None = None
        """The last error while the store does not answer; None while it answers."""
        self.outages: list[tuple[float, float]] = []
        """Start and end of each past outage, by this machine's clock."""
        self._kept_in, self._notify = kept_in, notify
        self._ended = threading.Event()

    def until_answered(self, call: Callable[[], T], deadline: float | None = None) -> T | None:
        """Repeat `call` until it succeeds; return None past the deadline or after `end`.

        `deadline` is a `time.monotonic()` value; None means no deadline.
        """
        attempt = 0
        while not self._ended.is_set():
            try:
                answer = call()
            except ColabDriveTunerError as error:
                self.trouble = error
                if self.offline_since is None:
                    self.offline_since = time.monotonic()
                    self._notify(
                        f"{error} Training continues; pending results are kept in {self._kept_in}."
                    )
                pause = _RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)]
                if not isinstance(error, UnavailableError):
                    pause = _REFUSED_SECONDS
                if deadline is not None and time.monotonic() + pause > deadline:
                    return None
                self._ended.wait(pause)
                attempt += 1
            else:
                self.trouble = None
                if self.offline_since is not None:
                    now = time.time()
                    self.outages.append((now - (time.monotonic() - self.offline_since), now))
                    self.offline_since = None
                    self._notify("The store answers again; pending results are being recorded.")
                return answer
        return None

    def end(self) -> None:
        """Stop retrying; calls in progress return None."""
        self._ended.set()
