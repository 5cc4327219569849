"""Signals that ask this process to end, caught within a block and given back after it."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

ENDING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)
"""SIGHUP is missing on Windows."""


@contextmanager
def caught(
    handle: Callable[[int], None], signals: Sequence[signal.Signals] = ENDING
) -> Iterator[None]:
    """Within the block each of the signals calls `handle`, which may raise; then as before.

    In a thread that is not the main one nothing is caught: signals are that one's affair.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, lambda got, _: handle(got)) for signum in signals}
    try:
        yield
    finally:
        for signum, handler in before.items():
            # None: set by a library in C, which Python cannot give back.
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
