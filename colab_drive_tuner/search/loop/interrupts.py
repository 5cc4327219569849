"""The ends of a run that come from outside: an interrupt by the user, and SIGTERM."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from colab_drive_tuner.machine import signal_handlers

_AGAIN_SECONDS = 0.5
_SHOWN = "_render_traceback_"
"""The attribute by which IPython asks an exception what to show in place of its traceback."""


def stopped_by_user(message: str) -> KeyboardInterrupt:
    """The interrupt to raise once a search is flushed; its message is shown without a traceback.

    It is a KeyboardInterrupt and of no class of its own: only then does Python end the process by
    SIGINT, and a loop of the shell around it ends, too.
    """
    stopped = KeyboardInterrupt(message)
    setattr(stopped, _SHOWN, lambda: [message])
    if not isinstance(sys.excepthook, _OneLine):
        sys.excepthook = _OneLine(sys.excepthook)
    return stopped


class _OneLine:
    """A `sys.excepthook` that shows such an interrupt by its message, anything else as before."""

    def __init__(self, before: Callable[..., Any]) -> None:
        self._before = before

    def __call__(
        self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt) and hasattr(error, _SHOWN):
            print(error, file=sys.stderr)  # noqa: T201 - what a traceback is in other cases
        else:
            self._before(kind, error, traceback)


@contextmanager
def sigterm_exits() -> Iterator[threading.Event]:
    """Within the block SIGTERM ends the process by SystemExit: what is pending is flushed.

    Python drops what a signal raises inside a finalizer or a callback of the garbage collector, so
    the signal comes again until whoever waits for the exception says that it has arrived.
    """
    arrived = threading.Event()
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield arrived  # whoever catches it already knows better
        return

    def once_more() -> None:
        if not arrived.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    def leave(number: int) -> None:
        if not arrived.is_set():
            again = threading.Timer(_AGAIN_SECONDS, once_more)
            again.daemon = True
            again.start()
            raise SystemExit(128 + number)

    with signal_handlers(leave, [signal.SIGTERM]):
        try:
            yield arrived
        finally:
            arrived.set()
