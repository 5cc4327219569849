"""Outputs of the progress display: HTML in a notebook, a bar in a terminal, lines in a log."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
    suppress,
)
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from colab_drive_tuner.progress_bars import OUTPUT_ERRORS, is_cell_output, is_terminal
from colab_drive_tuner.text import ORANGE, bar, escaped, visible

if TYPE_CHECKING:
    from rich.console import Console

_UPDATE_SECONDS, _LOG_SECONDS = 0.25, 30.0
"""Interval between updates of a display that is redrawn in place, and between lines of a log."""
_BAR_WIDTH, _MIN_BAR_WIDTH = 20, 5


@dataclass(frozen=True)
class ProgressState:
    """Progress of a search as texts and as a share."""

    name: str
    parts: tuple[str, ...]
    share: float | None
    """Share of trials that have ended; None if the total is unknown."""
    problem: bool
    """Whether the store does not answer, so that trials wait for it."""
    last: bool = False
    """Whether the display ends with this state."""

    def __str__(self) -> str:
        return f"{visible(self.name)}: {' | '.join(self.parts)}"


class ProgressOutput(ABC):
    """Display of progress."""

    pause = _UPDATE_SECONDS
    """Seconds between two updates."""

    def shared(self) -> AbstractContextManager[None]:
        """Return a context in which other outputs do not damage this one."""
        return nullcontext()

    @abstractmethod
    def draw(self, state: ProgressState) -> None:
        """Show this state in place of the previous one."""


class LogOutput(ProgressOutput):
    """One line per update, for files, pipes and CI."""

    pause = _LOG_SECONDS

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def draw(self, state: ProgressState) -> None:
        """See `ProgressOutput.draw`."""
        encoding = getattr(self._out, "encoding", None) or "utf-8"
        line = f"{state}\n".encode(encoding, "backslashreplace").decode(encoding)
        self._out.write(line)
        self._out.flush()


class TerminalOutput(ProgressOutput):
    """One line with a bar, as wide as the terminal and redrawn in place.

    It is erased before anything else is written to a `shared` terminal, and redrawn below.
    """

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._shown = self._other_line = False
        """Whether the cursor is behind the line, or behind other text without a line end."""

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Redirect the standard streams that are a terminal, as long as the line may be shown."""
        with ExitStack() as redirected:
            for redirect, stream in ((redirect_stdout, sys.stdout), (redirect_stderr, sys.stderr)):
                if is_terminal(stream) and not isinstance(stream, _StreamBesideLine):
                    beside: Any = _StreamBesideLine(stream, self)
                    redirected.enter_context(redirect(beside))
            yield

    def make_room(self, text: str) -> None:
        """Erase the line, for `text` in its place."""
        if self._shown:
            self._shown = False
            with suppress(*OUTPUT_ERRORS):
                self._console.file.write(self._erase)
                self._console.file.flush()
        self._other_line = not text.endswith(("\n", "\r"))

    @property
    def _erase(self) -> str:
        return "\r\x1b[K" if self._console.is_terminal else "\r"

    def draw(self, state: ProgressState) -> None:
        """Redraw the line; the last one is never truncated."""
        from rich.cells import cell_len
        from rich.text import Text

        width = max(self._console.width - 1, 10)  # text in the last column would wrap
        line, words = Text().append(visible(state.name), "bold"), " | ".join(state.parts)
        if not state.last and line.cell_len + 1 + cell_len(words) > width:
            line.truncate(max(width // 4, 8), overflow="ellipsis")
        bar_width = min(width - line.cell_len - cell_len(words) - 2, _BAR_WIDTH)
        if state.share is not None and bar_width >= _MIN_BAR_WIDTH:
            done = round(state.share * bar_width)
            line.append(" ").append("━" * done, "green").append("━" * (bar_width - done), "dim")
        line.append(" ").append(words, "yellow" if state.problem else "")
        if not state.last:
            line.truncate(width, overflow="ellipsis", pad=True)
        self._console.file.write(f"\n{self._erase}" if self._other_line else self._erase)
        self._console.print(line, end="\n" if state.last else "", soft_wrap=True)
        self._console.file.flush()
        self._shown, self._other_line = not state.last, False


class _StreamBesideLine:
    """A standard stream that erases the line of `output` before it writes a text."""

    def __init__(self, stream: TextIO, output: TerminalOutput) -> None:
        self._stream, self.output = stream, output

    def write(self, text: str) -> int:
        """See `TextIO.write`."""
        if text:
            self.output.make_room(text)
        return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """See `TextIO.writelines`."""
        self.write("".join(lines))

    def __reduce__(self) -> Any:
        return copy, (self._stream,)  # a copy or pickle is that of the stream, if it has one

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class NotebookOutput(ProgressOutput):
    """HTML in the cell's output, updated in place; plain text for frontends without HTML."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._state: Any = None

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Let `IPython.display.clear_output`, which live plots call, redraw the progress."""
        from IPython import get_ipython

        publisher: Any = get_ipython().display_pub
        clear = publisher.clear_output

        def clear_and_redraw(*args: Any, **kwargs: Any) -> None:
            clear(*args, **kwargs)
            if self._handle is not None:
                self._handle = None
                self.draw(self._state)

        publisher.clear_output = clear_and_redraw
        try:
            yield
        finally:
            publisher.clear_output = clear
            self._handle = None  # of searches in threads, another one may restore ours

    def draw(self, state: ProgressState) -> None:
        """See `ProgressOutput.draw`; a frontend without updates shows the first state."""
        from IPython.display import display as show

        self._state = state
        content = {"text/html": progress_html(state), "text/plain": str(state)}
        if self._handle is None:
            self._handle = show(content, raw=True, display_id=True)  # type: ignore[no-untyped-call]  # IPython is untyped
        else:
            self._handle.update(content, raw=True)


def progress_html(state: ProgressState) -> str:
    """Return progress as HTML: a bar with the texts below it."""
    parts = " · ".join(map(escaped, state.parts))
    colour = f";color:{ORANGE}" if state.problem else ""
    filled = "" if state.share is None else bar(state.share)
    return (
        "<div style='max-width:740px;font-family:system-ui,sans-serif;overflow-wrap:break-word'>"
        f"<b>{escaped(state.name)}</b>{filled}<div style='opacity:.85{colour}'>{parts}</div></div>"
    )


def output_for(out: TextIO) -> ProgressOutput:
    """Return the display that suits this kind of standard output."""
    if isinstance(out, _StreamBesideLine):  # another search is running, around it or in a thread
        return out.output
    if is_cell_output(out):
        return NotebookOutput()
    if is_terminal(out):
        from rich.console import Console

        console = Console(file=out, highlight=False, emoji=False)
        if not console.is_dumb_terminal:
            return TerminalOutput(console)
    return LogOutput(out)
