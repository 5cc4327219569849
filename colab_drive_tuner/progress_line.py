"""Progress of what takes seconds: one line, once it has lasted; what is quick shows nothing."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from colab_drive_tuner.text import visible

AFTER_SECONDS = 1.5
"""How long something lasts before anything is shown."""
LOG_SECONDS = 30.0
"""How often it is shown anew where nothing can be overdrawn: in files, pipes and CI."""

_SECONDS, _TICK_SECONDS = " s", 1.0
"""The unit of what is waited for, and how often that is shown anew."""

_ENDS_IN = 5.0
"""Seconds after which a call that has not returned is left to itself."""

Progress = Callable[[int, int | None], None]
"""Called with how much is done, and of how much; None: nobody knows."""


@contextmanager
def progress_bar(
    what: str, unit: str = "B", clock: Callable[[], float] = time.monotonic
) -> Iterator[Progress | None]:
    """What to call as something goes on: a tqdm bar, or lines of a log, once that takes seconds.

    None, and so nothing to see, in any thread but the main one: nobody waits for those, and their
    bars would run into what training prints.

    Args:
        what: What goes on, in words.
        unit: What is counted: "B", or a noun with a space before it.
        clock: Seconds, as `time.monotonic` gives them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield None
        return
    begun, shown = clock(), None

    def progress(done: int, total: int | None) -> None:
        nonlocal shown
        if shown is None and clock() - begun >= AFTER_SECONDS:
            shown = _tqdm(
                desc=visible(what), total=total, initial=done, unit=unit, unit_scale=unit == "B"
            )
        if shown is not None:
            shown.update(done - shown.n)

    try:
        yield progress
    finally:
        if shown is not None:
            shown.close()


@contextmanager
def call_periodically(action: Callable[[], object], every: float, name: str) -> Iterator[None]:
    """Within the block a thread calls `action` every so many seconds; it must not raise."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(every):
            action()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_ENDS_IN)


@contextmanager
def countdown(
    what: str, most: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Show how long the block has lasted, of so many seconds at most, as `bar` shows things.

    Args:
        what: What is waited for, in words.
        most: How many seconds the block takes at most.
        clock: Seconds, as `time.monotonic` gives them.
    """
    with progress_bar(what, _SECONDS, clock) as progress:
        if progress is None:
            yield
            return
        begun = clock()

        def show() -> None:
            progress(round(min(clock() - begun, most)), round(most))

        with call_periodically(show, _TICK_SECONDS, "countdown"):
            yield


def _tqdm(**options: Any) -> Any:
    from tqdm.auto import tqdm

    form = "{desc}: {n} of at most {total} s"
    words: dict[str, Any] = {"bar_format": form} if options["unit"] == _SECONDS else {}
    if type(sys.stderr).__module__.startswith("ipykernel") or sys.stderr.isatty():
        return tqdm(leave=False, **options, **words)
    options |= {"mininterval": LOG_SECONDS, "maxinterval": LOG_SECONDS}
    return tqdm(leave=False, file=_Lines(), **options, **(words or {"ncols": 0}))


class _Lines:
    """Standard error where nothing can be overdrawn: whatever is shown is a line of its own."""

    def write(self, text: str) -> None:
        if shown := text.strip():
            sys.stderr.write(f"{shown}\n")

    def flush(self) -> None:
        sys.stderr.flush()
