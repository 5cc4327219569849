"""Progress bar of transfers that take seconds; shorter ones, and other threads', show nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from colab_drive_tuner.drive.upload import Progress

AFTER_SECONDS = 2.0
"""How long a transfer lasts before anything is shown."""


@contextmanager
def bar(what: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Progress | None]:
    """What to hand over as `progress=`: it shows a tqdm bar once the transfer takes seconds.

    None, and so nothing to see, in any thread but the main one: nobody waits for those, and their
    bars would run into what training prints.
    """
    if threading.current_thread() is not threading.main_thread():
        yield None
        return
    begun, shown = clock(), None

    def progress(done: int, total: int | None) -> None:
        nonlocal shown
        if shown is None and clock() - begun >= AFTER_SECONDS:
            shown = _tqdm(desc=what, total=total, initial=done, unit="B", unit_scale=True)
        if shown is not None:
            shown.update(done - shown.n)

    try:
        yield progress
    finally:
        if shown is not None:
            shown.close()


def _tqdm(**options: Any) -> Any:
    from tqdm.auto import tqdm

    return tqdm(leave=False, **options)
