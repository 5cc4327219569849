"""End of a run, also by an interrupt: Ctrl-C shown in one line, SIGTERM turned into SystemExit."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any

from colab_drive_tuner.errors import SearchTakenOverError
from colab_drive_tuner.machine import signal_handlers
from colab_drive_tuner.search.trial_documents import count_ended
from colab_drive_tuner.search.trials.search_status import progress_text
from colab_drive_tuner.search.trials.stored_trials import StoredTrials

STOP_PATIENCE = 10.0
"""Time, in seconds, that a stop by the user waits for the store."""

_REPEAT_SECONDS = 0.5
_SHOWN = "_render_traceback_"
"""IPython's hook: a method of an exception that returns what to show instead of a traceback."""


def stopped_by_user(message: str) -> KeyboardInterrupt:
    """Return the interrupt to raise after a flush; its message is shown without a traceback.

    It is a plain KeyboardInterrupt, not a subclass: only then does Python end the process by
    SIGINT, which also ends a shell loop around it.
    """
    stopped = KeyboardInterrupt(message)
    setattr(stopped, _SHOWN, lambda: [message])
    if getattr(sys.excepthook, "func", None) is not _show_in_one_line:
        sys.excepthook = partial(_show_in_one_line, sys.excepthook)
    return stopped


def _show_in_one_line(
    otherwise: Callable[..., Any],
    kind: type[BaseException],
    error: BaseException,
    traceback: TracebackType | None,
) -> None:
    """Show an interrupt of `stopped_by_user` by its message alone; a `sys.excepthook`."""
    if isinstance(error, KeyboardInterrupt) and hasattr(error, _SHOWN):
        print(error, file=sys.stderr)  # noqa: T201 - in place of the traceback
    else:
        otherwise(kind, error, traceback)


@contextmanager
def sigterm_exits() -> Iterator[threading.Event]:
    """Turn SIGTERM into SystemExit within the block, so that pending entries are flushed.

    Python drops an exception that a signal handler raises inside a finalizer or a callback of the
    garbage collector. The signal is therefore repeated until the yielded event is set. One that
    arrives later, while the search is being released, counts after that.
    """
    arrived = threading.Event()
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield arrived  # the program has its own handler
        return

    def repeat() -> None:
        if not arrived.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    late = threading.Event()

    def leave(number: int) -> None:
        if arrived.is_set():
            late.set()
        else:
            again = threading.Timer(_REPEAT_SECONDS, repeat)
            again.daemon = True
            again.start()
            raise SystemExit(128 + number)

    with signal_handlers(leave, [signal.SIGTERM]):
        try:
            yield arrived
        finally:
            arrived.set()
    if late.is_set():
        raise SystemExit(128 + signal.SIGTERM)


@contextmanager
def releasing(trials: StoredTrials, max_evals: int, arrived: threading.Event) -> Iterator[None]:
    """Flush and release the search when the run ends; report a stop by the user in one line."""
    try:
        try:
            yield
        finally:
            arrived.set()
        trials.close()
    except BaseException as error:  # an interrupt releases the search, too
        ended = count_ended(trials._dynamic_trials)
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        patience = (STOP_PATIENCE,) if stopped else ()
        with suppress(SearchTakenOverError):  # the original error says more
            trials.close(*patience)
        if not isinstance(error, KeyboardInterrupt):
            raise
        raise stopped_by_user(
            f"Search {trials.name!r} stopped after {progress_text(ended, max_evals)} trials. Run "
            "it again to continue."
        ) from None
