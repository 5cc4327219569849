"""Background thread that stores what training hands over, however long the store is away."""

import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from colab_drive_tuner.errors import (
    NotPlainDataError,
    StoreError,
    TrainingWarning,
    UnavailableError,
)
from colab_drive_tuner.user_warnings import warn_user

PAUSES = (1.0, 60.0)
"""Seconds to wait after a first try without an answer; then twice as long, up to the second."""

Key = TypeVar("Key")
Job = TypeVar("Job")


class UploadQueue(Generic[Key, Job]):
    """Jobs by key, done one after another in a thread that ends when none waits.

    Args:
        name: The thread's name.
        do: Does one job. While it raises `UnavailableError` it is called again, after a pause.
        failed: What to warn about when a job ended with another error of the store or the disk, or
            with one that names what cannot be stored.
        first: Which of the jobs that wait comes next.
    """

    def __init__(
        self,
        name: str,
        do: Callable[[Key, Job], None],
        failed: Callable[[Key, Job, Exception], str],
        first: Callable[[Mapping[Key, Job]], Key] = lambda waiting: next(iter(waiting)),
    ) -> None:
        self._name, self._do, self._failed, self._first = name, do, failed, first
        self.state = threading.Condition()
        """Guards all that follows, and whatever else the thread shares with its owner."""
        self.waiting: dict[Key, Job] = {}
        """The jobs that are not done; one that is taken out, or replaced, is not tried again."""
        self.hurry = False
        """Whether somebody waits for the end: pauses are short."""
        self._thread: threading.Thread | None = None
        self._troubles: list[str] = []

    def submit(self, key: Key, job: Job) -> None:
        """Do `job` in the background, in place of one of this key that waits."""
        with self.state:
            self.waiting[key] = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self.state.notify_all()

    def wait(self, timeout: float | None) -> bool:
        """Wait until nothing is left to do; False if that takes longer than `timeout` seconds."""
        with self.state:
            self.state.notify_all()
            return self.state.wait_for(lambda: self._thread is None, timeout)

    def cancel(self) -> list[Job]:
        """Take out whatever waits, and return it."""
        with self.state:
            left = list(self.waiting.values())
            self.waiting.clear()
            self.state.notify_all()
            return left

    def warn(self) -> None:
        """Say in the user's thread what went wrong in the background."""
        with self.state:
            troubles, self._troubles = self._troubles, []
        for trouble in dict.fromkeys(troubles):
            warn_user(trouble, TrainingWarning)

    def _work(self) -> None:
        pause, longest = PAUSES
        while True:
            with self.state:
                if not self.waiting:
                    self._thread = None
                    self.state.notify_all()
                    return
                key = self._first(self.waiting)
                job = self.waiting[key]
            trouble = ""
            try:
                self._do(key, job)
            except UnavailableError:
                with self.state:
                    self.state.wait(PAUSES[0] if self.hurry else pause)
                pause = min(2 * pause, longest)
                continue
            except (StoreError, OSError, NotPlainDataError) as error:
                trouble = self._failed(key, job, error)
            pause = PAUSES[0]
            with self.state:
                if self.waiting.get(key) is job:
                    del self.waiting[key]
                    self._troubles += [trouble] if trouble else []
