"""Stops: a signal that asks this process to end becomes an exception, where one can be borne.

Whatever was started must be ended on the way out, so a stop is never lost and never interrupts a
step that has to be carried through (allocating a runtime, releasing it): there it waits.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from colab_drive_tuner.machine import signal_handlers

_GRACE_SECONDS = 20.0


class StoppedError(BaseException):
    """Somebody wants this process to end; no error, hence no `Exception`."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class Stops:
    """The signals that came while this process was inside `raising`, and when they may raise."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._held = 0

    def raising(self) -> contextlib.AbstractContextManager[None]:
        """Within the block the signals raise `StoppedError`; afterwards they do as before."""
        return signal_handlers(self._take)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block a signal waits; it raises at the end, unless an error goes first."""
        with self.ignored():
            yield
        self.check()

    @contextlib.contextmanager
    def ignored(self) -> Iterator[None]:
        """Within the block a signal is noted and nothing else; for the way out."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def check(self) -> None:
        """Raise what was held back."""
        if self.received is not None and not self._held:
            raise StoppedError(self.received)

    def _take(self, signum: int) -> None:
        self.received = signum
        self.check()


def run_command(
    command: Sequence[str],
    output: IO[bytes],
    *,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    timeout: float | None = None,
    keep_open: Sequence[int] = (),
    check: Callable[[], None] | None = None,
    check_every: float = 60.0,
) -> int:
    """Run a command without a terminal, all that it says going to `output`; return its exit code.

    It gets a process group of its own, so that no signal meant for us reaches it, and inherits the
    descriptors in `keep_open`. Where we are stopped, its time is up (`subprocess.TimeoutExpired`),
    or `check`, called every so often, raises, it is asked to end, then ended.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=None if environ is None else dict(environ),
        start_new_session=True,
        pass_fds=keep_open,
    )
    until = None if timeout is None else time.monotonic() + timeout
    try:
        while check is not None and (until is None or until - time.monotonic() > check_every):
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(check_every)
            check()
        return process.wait(None if until is None else max(0.0, until - time.monotonic()))
    except BaseException:  # an interrupt, too, ends the process
        _end(process)
        raise


def _end(process: "subprocess.Popen[bytes]") -> None:
    for signum in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, "killpg"):  # not on Windows
                os.killpg(process.pid, signum)
            else:
                process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
            return
