"""Progress bars and countdowns on one line, shown only for operations that take seconds."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from colab_drive_tuner.text import visible

AFTER_SECONDS = 1.5
"""Delay before anything is shown."""
LOG_SECONDS = 30.0
"""Interval between lines where a line cannot be overwritten: in files, pipes and CI."""

OUTPUT_ERRORS = (OSError, ValueError)
"""Raised by an output that is full, closed or lacks a character, which must not end the work."""

_TICK_SECONDS = 1.0
"""Interval between updates of a countdown."""
_JOIN_SECONDS = 5.0
"""Timeout, in seconds, for joining the thread of `call_periodically`."""

Progress = Callable[[int, int | None], None]
"""Called with the amount done and the total amount; None if the total is unknown."""


@contextmanager
def progress_bar(
    what: str,
    unit: str = "B",
    clock: Callable[[], float] = time.monotonic,
    bar_format: str | None = None,
) -> Iterator[Progress | None]:
    """Yield a progress callback; after a delay it shows a tqdm bar, or log lines.

    Yields None in threads other than the main one: users do not wait for those, and their bars
    would be mixed with the output of training. Also without a standard error, as in a service.
    The unit is "B", or a noun that begins with a space.
    """
    if threading.current_thread() is not threading.main_thread() or sys.stderr is None:
        yield None
        return
    begun, shown = clock(), None

    def progress(done: int, total: int | None) -> None:
        nonlocal shown
        if shown is None and clock() - begun >= AFTER_SECONDS:
            with suppress(*OUTPUT_ERRORS):
                shown = _tqdm(
                    desc=visible(what),
                    total=total,
                    initial=done,
                    unit=unit,
                    unit_scale=unit == "B",
                    bar_format=bar_format,
                    leave=False,
                )
        if shown is not None:
            with suppress(*OUTPUT_ERRORS):
                shown.update(done - shown.n)

    try:
        yield progress
    finally:
        if shown is not None:
            with suppress(*OUTPUT_ERRORS):
                shown.close()


@contextmanager
def call_periodically(action: Callable[[], object], every: float, name: str) -> Iterator[None]:
    """Call `action`, which must not raise, every `every` seconds in a thread during the block."""
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
        thread.join(_JOIN_SECONDS)


@contextmanager
def countdown(
    what: str, most: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Show how long the block has lasted, out of `most` seconds, as `progress_bar` does."""
    form = "{desc}: {n} of at most {total} s"
    with progress_bar(what, " s", clock, form) as progress:
        if progress is None:
            yield
            return
        begun = clock()

        def show() -> None:
            progress(round(min(clock() - begun, most)), round(most))

        with call_periodically(show, _TICK_SECONDS, "countdown"):
            yield


def is_terminal(out: Any) -> bool:
    """Return whether a stream is a terminal; one may be None, closed, or only write."""
    return hasattr(out, "isatty") and not getattr(out, "closed", False) and bool(out.isatty())


def is_cell_output(out: object) -> bool:
    """Return whether this standard stream writes to the output of a notebook's cell."""
    return type(out).__module__.startswith(("ipykernel", "google.colab"))


def _tqdm(**options: Any) -> Any:
    from tqdm import tqdm

    if is_cell_output(sys.stderr):
        # Other bars do not move this one: each has its own output.
        options |= {"file": _CellOutput(), "position": 0}
    elif not is_terminal(sys.stderr):
        options |= {"mininterval": LOG_SECONDS, "maxinterval": LOG_SECONDS, "file": _Lines()}
        if options["bar_format"] is None:
            options["ncols"] = 0  # without the bar itself
    return tqdm(**options)


class _CellOutput:
    """A line in a cell's output, replaced by each update and empty at the end.

    tqdm's widget is not used: a saved notebook keeps its first text.
    """

    encoding = "utf-8"

    def __init__(self) -> None:
        self._handle: Any = None

    def write(self, text: str) -> None:
        from IPython.display import display as show

        content = {"text/plain": text.strip()}
        if self._handle is None:
            self._handle = show(content, raw=True, display_id=True)  # type: ignore[no-untyped-call]  # IPython is untyped
        else:
            self._handle.update(content, raw=True)

    def flush(self) -> None:
        """Do nothing: an update is sent at once."""


class _Lines:
    """Standard error where a line cannot be overwritten: every update is a new line.

    Errors stay here: after one, tqdm would never release the lock that all its bars share.
    """

    def write(self, text: str) -> None:
        if shown := text.strip():
            with suppress(*OUTPUT_ERRORS):
                sys.stderr.write(f"{shown}\n")

    def flush(self) -> None:
        with suppress(*OUTPUT_ERRORS):
            sys.stderr.flush()
