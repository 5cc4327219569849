"""Background thread that uploads a trial's files, and retries while the store is unreachable."""

import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from colab_drive_tuner.errors import TrainingWarning, UnavailableError
from colab_drive_tuner.warn_user import warn_user

PAUSES = (1.0, 60.0)
"""Seconds to wait after the first attempt without an answer, doubled up to the second number."""

Key = TypeVar("Key")
Job = TypeVar("Job")


class UploadQueue(Generic[Key, Job]):
    """Jobs by key, run one after another in a thread that ends when the queue is empty.

    Args:
        name: The thread's name.
        do: Runs one job; called again, after a pause, while it raises `UnavailableError`.
        failed: Returns the warning for a job that raised another error.
        first: Returns the key of the next job among the queued ones.
    """

    def __init__(
        self,
        name: str,
        do: Callable[[Key, Job], None],
        failed: Callable[[Key, Job, Exception], str],
        first: Callable[[Mapping[Key, Job]], Key] = lambda waiting: next(iter(waiting)),
    ) -> None:
        self._name, self._do, self._failed, self._first = name, do, failed, first
        self.changed = threading.Condition()
        """Guards the attributes below, and other data that the thread shares with its owner."""
        self.waiting: dict[Key, Job] = {}
        """The unfinished jobs; a job that is removed or replaced is not retried."""
        self.hurry = False
        """Whether to retry after short pauses only, because the caller waits for the end."""
        self._thread: threading.Thread | None = None
        self._troubles: list[str] = []

    def submit(self, key: Key, job: Job) -> None:
        """Run `job` in the background; it replaces a queued job with the same key."""
        with self.changed:
            self.waiting[key] = job
            if self._thread is None:
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                thread.start()  # may raise; then the next job tries again
                self._thread = thread
            self.changed.notify_all()

    def wait(self, timeout: float | None) -> bool:
        """Wait until the queue is empty; return False after `timeout` seconds."""
        with self.changed:
            self.changed.notify_all()
            return self.changed.wait_for(lambda: self._thread is None, timeout)

    def cancel(self) -> list[Job]:
        """Remove all queued jobs, and return them."""
        with self.changed:
            left = list(self.waiting.values())
            self.waiting.clear()
            self.changed.notify_all()
            return left

    def warn(self) -> None:
        """Emit the warnings of failed jobs, in the caller's thread."""
        with self.changed:
            troubles, self._troubles = self._troubles, []
        for trouble in dict.fromkeys(troubles):
            warn_user(trouble, TrainingWarning)

    def _work(self) -> None:
        pause, longest = PAUSES
        while True:
            with self.changed:
                if not self.waiting:
                    self._thread = None
                    self.changed.notify_all()
                    return
                key = self._first(self.waiting)
                job = self.waiting[key]
            trouble = ""
            try:
                self._do(key, job)
            except UnavailableError:
                with self.changed:
                    self.changed.wait(PAUSES[0] if self.hurry else pause)
                pause = min(2 * pause, longest)
                continue
            except Exception as error:  # noqa: BLE001 - such as no memory: warned of, the next runs
                trouble = self._failed(key, job, error)
            pause = PAUSES[0]
            with self.changed:
                if self.waiting.get(key) is job:
                    del self.waiting[key]
                    self._troubles += [trouble] if trouble else []
