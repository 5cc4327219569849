"""Use of one executor by several searches of this process: which of them may submit a trial."""

import threading
from collections.abc import Callable
from typing import Any

_lock = threading.Lock()
_uses: dict[int, list["ExecutorUse"]] = {}
"""Running searches by the id of their executor."""


class ExecutorUse:
    """One search's use of an executor, from its creation until `close`.

    A trial that may kill its worker runs alone, also without trials of other searches: the death of
    one worker can end everything that runs on the executor.

    Args:
        executor: The object that searches share.
        count_running: Returns the number of this search's trials on the executor.
    """

    def __init__(self, executor: Any, count_running: Callable[[], int]) -> None:
        self.was_shared = False
        """Whether another search has used the executor at the same time."""
        self.is_waiting = False
        """Whether the next trial may not be submitted yet."""
        self._count_running, self._key = count_running, id(executor)
        self._submitting = False
        self._runs_alone = False
        """Whether a trial runs alone, or waits until the others have ended."""
        with _lock:
            uses = _uses.setdefault(self._key, [])
            uses.append(self)
            for use in uses if len(uses) > 1 else ():
                use.was_shared = True

    def close(self) -> None:
        """End the use."""
        with _lock:
            _uses[self._key].remove(self)
            if not _uses[self._key]:
                del _uses[self._key]

    def may_submit(self, *, alone: bool) -> bool:
        """Return whether a trial may be submitted now; `submitted` must follow if it may."""
        with _lock:
            uses = _uses[self._key]
            taken = any(use._runs_alone for use in uses if use is not self)
            if not taken and not (self._runs_alone and self._is_busy):
                self._runs_alone = alone
                self._submitting = not (alone and any(use._is_busy for use in uses))
            self.is_waiting = not self._submitting
            return self._submitting

    def submitted(self) -> None:
        """The trial is counted as running, or the executor did not take it."""
        self._submitting = False

    @property
    def _is_busy(self) -> bool:
        return self._submitting or self._count_running() > 0
