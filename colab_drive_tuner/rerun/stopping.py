"""Conversion of stop signals (such as SIGTERM) to exceptions, and subprocesses that they end.

A stopped process must still end the processes and runtimes it has started. Signals are therefore
deferred, not lost, during steps that must be completed, such as allocating or releasing a runtime.
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
    """Raised when this process receives a stop signal; not an error, hence no `Exception`."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class StopSignals:
    """Stop signals of this process, raised as exceptions unless they are deferred or ignored."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._deferrals = 0

    def raising(self) -> contextlib.AbstractContextManager[None]:
        """Make stop signals raise `StoppedError` in the block; then restore their handlers."""
        return signal_handlers(self._receive)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer signals in the block; raise at its end, unless the block raised an error."""
        with self.ignored():
            yield
        self.check()

    @contextlib.contextmanager
    def ignored(self) -> Iterator[None]:
        """Record signals in the block without raising; for cleanup."""
        self._deferrals += 1
        try:
            yield
        finally:
            self._deferrals -= 1

    def check(self) -> None:
        """Raise `StoppedError` if a signal was received and is not deferred."""
        if self.received is not None and not self._deferrals:
            raise StoppedError(self.received)

    def _receive(self, signum: int) -> None:
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
    """Run a command without a terminal, write its output to `output`, and return its exit code.

    The command runs in its own process group, so that signals for this process do not reach it, and
    inherits the descriptors in `keep_open`. If this process is stopped, the timeout expires
    (`subprocess.TimeoutExpired`) or `check`, called every `check_every` seconds, raises, the
    command is terminated, and killed if it does not end.
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
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        while check is not None and (deadline is None or deadline - time.monotonic() > check_every):
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(check_every)
            check()
        return process.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except BaseException:  # also KeyboardInterrupt and StoppedError
        _end(process)
        raise


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process; a further stop changes nothing: the end of a terminal sends two signals."""
    for signum in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, "killpg"):  # not on Windows
                os.killpg(process.pid, signum)
            else:
                process.terminate()
        until = time.monotonic() + _GRACE_SECONDS
        while (left := until - time.monotonic()) > 0:
            with contextlib.suppress(subprocess.TimeoutExpired, StoppedError, KeyboardInterrupt):
                process.wait(left)
                return
