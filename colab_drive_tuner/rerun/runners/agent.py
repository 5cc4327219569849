"""Agent inside a Colab runtime that a rerun has taken: it acts as its owner, and ends itself.

The credentials arrive as a file and are moved into memory that only this process' files can name
(`memfd`): nothing secret stays on the disk, and no environment variable holds more than a path.
A watch releases the runtime when nothing happens in it any more: the second line of defence, for
when the machine that took it has died. It also shows signs of life, in a file: Colab's command line
waits for ever for the answer of a kernel that has died.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.runtime import ipython

IDLE_SECONDS = 300.0
"""Between the cells of a run lie milliseconds."""
SIGN_OF_LIFE_EVERY = 15.0
GRACE_SECONDS = 900.0
_memory: list[int] = []
"""Open for the life of the kernel: the credentials are gone with it."""


def load_credentials(path: str, act_as: str | None = None) -> None:
    """Take the credentials file into memory, remove it, and let `setup()` find them there.

    `act_as` is the person for whom a service account acts.
    """
    file = Path(path)
    try:
        secret = file.read_bytes()
    finally:
        file.unlink(missing_ok=True)
    descriptor = os.memfd_create("credentials")
    os.write(descriptor, secret)
    _memory.append(descriptor)
    os.environ[Variable.CREDENTIALS] = f"/proc/{os.getpid()}/fd/{descriptor}"
    if act_as:
        os.environ[Variable.ACT_AS] = act_as


def begin_run(deadline: float | None) -> None:
    """Before the first cell: say when the run must be over; after an error, pass over the rest.

    Colab's command line would run every cell, whatever became of the ones before.
    """
    if deadline is not None:
        os.environ[Variable.DEADLINE] = f"{deadline:.0f}"
    shell = ipython()
    if shell is None:
        return
    failed: list[bool] = []

    def after(result: Any) -> None:
        if not result.success:
            failed.append(True)

    shell.events.register("post_run_cell", after)
    shell.input_transformers_cleanup.append(lambda lines: [] if failed else lines)


def watch(
    deadline: float | None,
    *,
    idle_seconds: float = IDLE_SECONDS,
    alive: str | None = None,
    release: Callable[[], None] | None = None,
) -> None:
    """Release this runtime once no cell has run for `idle_seconds`, or long after the deadline.

    As long as the kernel lives, the file `alive` changes every few seconds.
    """
    last = None if deadline is None else deadline + GRACE_SECONDS
    watching = _Watch(idle_seconds, last, alive, release or _unassign)
    shell = ipython()
    if shell is not None:
        shell.events.register("pre_run_cell", watching.began)
        shell.events.register("post_run_cell", watching.ended)
    threading.Thread(target=watching.run, name="colab-drive-tuner-watch", daemon=True).start()


@dataclass
class _Watch:
    idle_seconds: float
    last: float | None
    """When it is over in any case, in seconds since 1970."""
    alive: str | None
    release: Callable[[], None]
    busy: bool = True
    since: float = field(default_factory=time.monotonic)

    def began(self, _info: Any = None) -> None:
        self.busy = True

    def ended(self, _result: Any = None) -> None:
        self.busy, self.since = False, time.monotonic()

    def run(self) -> None:
        while not self._over():
            if self.alive is not None:
                with contextlib.suppress(OSError):  # a full disk is no reason to stop watching
                    Path(self.alive).write_text(f"{time.monotonic()}")
            time.sleep(min(SIGN_OF_LIFE_EVERY, self.idle_seconds / 4))
        self.release()

    def _over(self) -> bool:
        if self.last is not None and time.time() > self.last:
            return True
        return not self.busy and time.monotonic() - self.since > self.idle_seconds


def _unassign() -> None:
    """Give the runtime back; on a machine that is not Colab's there is nothing to give back."""
    with contextlib.suppress(ImportError):
        from google.colab import runtime

        runtime.unassign()
