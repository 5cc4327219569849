"""Agent inside a Colab runtime that a rerun has allocated: credentials, watchdog and heartbeat.

The credentials arrive as a file and are moved into memory that only this process can reach
(`memfd`): no secret stays on the disk, and environment variables contain only paths. A watchdog
releases the runtime when it is idle, in case the machine that allocated it has died. The watchdog
also writes a heartbeat file, because Colab's command line waits forever for a kernel that has died.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.runtime import ipython
from colab_drive_tuner.text import text_of

IDLE_SECONDS = 300.0
"""Idle time after which the watchdog releases the runtime. Between the cells of a run only
milliseconds pass."""
HEARTBEAT_SECONDS = 15.0
GRACE_SECONDS = 900.0
_memory: list[int] = []
"""Descriptors of credentials, open until the kernel ends; the credentials vanish with them."""

log = logging.getLogger(__name__)


def load_credentials_file(path: str, act_as: str | None = None) -> None:
    """Move a credentials file into memory, where `setup()` finds it, and remove the file.

    `act_as` is the user that a service account impersonates.
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


def prepare_kernel(deadline: float | None) -> None:
    """Set the run's deadline, and make the kernel skip all cells after one that raised.

    Colab's command line runs every cell, even after an error.
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


def start_watchdog(
    deadline: float | None,
    *,
    idle_seconds: float = IDLE_SECONDS,
    heartbeat_file: str | None = None,
    release: Callable[[], None] | None = None,
) -> None:
    """Start a thread that releases this runtime when no cell has run for `idle_seconds`.

    It is also released `GRACE_SECONDS` after the deadline (in seconds since 1970). The heartbeat
    file is rewritten every few seconds while the kernel is alive.
    """
    latest = None if deadline is None else deadline + GRACE_SECONDS
    watchdog = _Watchdog(idle_seconds, latest, heartbeat_file, release or _unassign)
    shell = ipython()
    if shell is not None:
        shell.events.register("pre_run_cell", watchdog.cell_began)
        shell.events.register("post_run_cell", watchdog.cell_ended)
    threading.Thread(target=watchdog.run, name="colab-drive-tuner-watchdog", daemon=True).start()


@dataclass
class _Watchdog:
    idle_seconds: float
    latest: float | None
    """Time of the unconditional release, in seconds since 1970."""
    heartbeat_file: str | None
    release: Callable[[], None]
    busy: bool = True
    idle_since: float = field(default_factory=time.monotonic)

    def cell_began(self, _info: Any = None) -> None:
        self.busy = True

    def cell_ended(self, _result: Any = None) -> None:
        self.busy, self.idle_since = False, time.monotonic()

    def run(self) -> None:
        while not (self._over() and self._has_released()):
            if self.heartbeat_file is not None:
                with contextlib.suppress(OSError):  # a full disk must not stop the watchdog
                    Path(self.heartbeat_file).write_text(f"{time.monotonic()}")
            time.sleep(min(HEARTBEAT_SECONDS, self.idle_seconds / 4))

    def _has_released(self) -> bool:
        """Release the runtime; return False if that failed, so that it is tried again."""
        try:
            self.release()
        except Exception as error:  # noqa: BLE001 - Colab's function may raise anything
            log.warning("The runtime could not be released: %s", text_of(error))
            return False
        return True

    def _over(self) -> bool:
        if self.latest is not None and time.time() > self.latest:
            return True
        return not self.busy and time.monotonic() - self.idle_since > self.idle_seconds


def _unassign() -> None:
    """Release the Colab runtime; does nothing on other machines."""
    with contextlib.suppress(ImportError):
        from google.colab import runtime

        runtime.unassign()
