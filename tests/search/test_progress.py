"""Progress as shown by a notebook, a terminal and a log."""

import functools
import io
import pickle
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from copy import copy, deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import IPython.display
import pytest
from rich.cells import cell_len
from rich.console import Console

from colab_drive_tuner.errors import QuotaError, UnavailableError
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.progress import Progress
from colab_drive_tuner.search.progress_outputs import (
    NotebookOutput,
    ProgressState,
    TerminalOutput,
    progress_html,
)
from colab_drive_tuner.search.trials.counts import TrialCounts
from tests.kernel import run_cells
from tests.search.sample_searches import (
    killing_objective,
    resume_sample_search,
    run_in_fork,
    sample_objective,
)


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_progress_line_has_counts_loss_and_times(tmp_path: Path) -> None:
    """The line has trials done and recovered, best loss, acknowledged records and times."""
    resume_sample_search(tmp_path, max_evals=3)
    times = iter([0.0, 80.0])
    trials = DriveTrials("s", store=tmp_path)
    counts = TrialCounts(trials._dynamic_trials)
    progress = Progress(
        trials, counts, 50, deadline=640.0, output=Kept(), clock=lambda: next(times)
    )
    document = deepcopy(trials.trials[0])
    document["result"]["loss"] = 0.03123456
    for tid in (3, 4):  # ended in this session, but not acknowledged yet
        trials._dynamic_trials.append(document | {"tid": tid})
    counts.update()
    state = progress.state()
    assert str(state) == (
        "s: 5 of 50 trials | best loss 0.0312346 in trial 3 | 30 min left | "
        "9 min until the deadline | 40 s a trial | 3 acknowledged, 2 on their way | 3 recovered"
    )
    assert state.share == 0.1
    assert not state.problem


@pytest.mark.parametrize(
    ("error", "why"),
    [(UnavailableError("away"), "it does not answer"), (QuotaError("full"), "it refuses them")],
)
def test_the_progress_line_says_why_results_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, why: str
) -> None:
    """A full Drive answers: it is not shown as an outage."""
    monkeypatch.setattr(Journal, "trouble", error)
    trials = DriveTrials("s", store=tmp_path)
    state = Progress(trials, TrialCounts(trials._dynamic_trials), 9, output=Kept()).state()
    assert state.problem
    assert f"0 acknowledged, 0 wait for the store: {why}" in str(state)


class Kept:
    """An output that keeps what it was asked to draw."""

    pause = 0.0

    def __init__(self) -> None:
        self.drawn: list[ProgressState] = []

    def draw(self, state: ProgressState) -> None:
        self.drawn.append(state)


@pytest.mark.parametrize(
    ("term", "out", "lines"),
    [("xterm", Screen(), 1), ("dumb", Screen(), 2), ("xterm", io.StringIO(), 2)],
)
def test_a_terminal_line_is_redrawn_and_a_log_gets_two_lines(
    term: str, out: Any, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal gets one line that changes; others get one at the start and one at the end."""
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stdout", out)
    resume_sample_search(tmp_path, max_evals=5, progress=True)
    assert out.getvalue().count("\n") == lines
    assert ("\x1b" in out.getvalue()) == (lines == 1)
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", out.getvalue()).replace("\r", "\n")
    last = plain.strip().splitlines()[-1]
    assert "5 of 5 trials | best loss " in last
    assert last.endswith("| 5 acknowledged")


def test_a_level_of_verbosity_shows_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`verbose=2` or `progress=1`, which is no callback, shows what True does."""
    resume_sample_search(tmp_path, max_evals=2, progress=2)
    assert "2 of 2 trials" in capsys.readouterr().out


def test_a_resumed_search_shows_recovered_trials_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovered trials are shown while the first trial runs, and counted once."""
    run_in_fork(lambda: resume_sample_search(tmp_path, killing_objective(sample_objective, 4)))
    out, shown = io.StringIO(), []
    monkeypatch.setattr(sys, "stdout", out)

    @functools.wraps(sample_objective)
    def looking(point: Any) -> float:
        shown.append(out.getvalue())
        return sample_objective(point)

    resume_sample_search(tmp_path, looking, progress=True)
    assert shown[0].startswith("s: 3 of 6 trials | best loss ")
    assert shown[0].endswith(" | 3 recovered\n")
    assert out.getvalue().splitlines()[-1].startswith("s: 6 of 6 trials | best loss ")


def test_errors_that_are_caught_count_as_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caught errors count towards `max_evals`, so that the last line shows all trials done."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)

    def failing(point: Any) -> float:
        raise ZeroDivisionError

    options = {"max_evals": 2, "progress": True, "catch_eval_exceptions": True}
    resume_sample_search(tmp_path, failing, **options)
    assert out.getvalue().splitlines()[-1] == "s: 2 of 2 trials | 2 failed | 2 acknowledged"


@pytest.mark.parametrize("stop", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("wide", [False, True])
def test_a_run_that_ends_early_shows_what_is_recorded(
    stop: type[BaseException], wide: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line waits for pending records, and does not count a trial that raised as ended."""
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    calls = iter(range(9))

    def stopping(point: Any) -> float:
        if next(calls) == 3:
            raise stop
        return sample_objective(point)

    options: dict[str, Any] = {"max_evals": 9, "progress": True}
    with ThreadPoolExecutor(1) as workers, pytest.raises(stop):
        resume_sample_search(tmp_path, stopping, executor=workers if wide else None, **options)
    last = out.getvalue().splitlines()[-1]
    assert last.startswith("s: 3 of 9 trials | best loss ")
    assert last.endswith("3 acknowledged")
    assert ("1 failed" in last) == (stop is ZeroDivisionError)


def test_progress_false_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`progress=False` prints nothing at all."""
    resume_sample_search(tmp_path, max_evals=2)
    assert capsys.readouterr() == ("", "")


class Failing(Screen):
    """An output that fails after some writes, like a log on a full disk."""

    def write(self, text: str) -> int:
        if self.getvalue():
            raise OSError(28, "No space left on device")
        return super().write(text)


class FailingLog(Failing):
    def isatty(self) -> bool:
        return False


class OnlyWrites:
    """An object in place of standard output, like those that write into a logger."""

    def write(self, text: str) -> None:
        """Forget the text."""

    def flush(self) -> None:
        """Do nothing."""


ASCII, CLOSED = (io.TextIOWrapper(io.BytesIO(), "ascii") for _ in range(2))
CLOSED.close()


@pytest.mark.parametrize("out", [Failing(), FailingLog(), OnlyWrites(), CLOSED, None, ASCII])
def test_a_search_outlives_its_output(
    out: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search runs to its end if its output is full, closed, missing or lacks a character."""
    monkeypatch.setattr(sys, "stdout", out)
    assert resume_sample_search(tmp_path, name="名", max_evals=2, progress=True).finished
    if out is ASCII:
        out.seek(0)
        assert out.readlines()[-1].startswith("\\u540d: 2 of 2 trials | ")


def put_screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Put a terminal, in which the progress line is redrawn at once, in place of the streams.

    Not a fixture, because pytest sets the streams again after the fixtures.
    """
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(TerminalOutput, "pause", 0.0)
    return screen


def test_what_an_objective_prints_has_lines_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a terminal the progress line is erased before other output, and redrawn below it."""
    screen = put_screen(monkeypatch)

    def objective(point: dict[str, Any]) -> float:
        print("to stdout", flush=True)
        print("to stderr", file=sys.stderr)
        sys.stdout.writelines(["no end", " of line"])
        return float(point["x"])

    resume_sample_search(tmp_path, objective, max_evals=2, progress=True)
    assert (sys.stdout, sys.stderr) == (screen, screen)
    shown = [line.rpartition("\r\x1b[K")[2] for line in screen.getvalue().split("\n")]
    trial = ["to stdout", "to stderr", "no end of line"]
    assert [line for line in shown if "trials" not in line] == [*trial, *trial, ""]
    assert "2 of 2 trials" in shown[-2]


def test_an_objective_can_copy_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy or pickle of `sys.stdout` is that of the terminal's stream, or the stream's error."""
    put_screen(monkeypatch).write("before")
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    def objective(point: dict[str, Any]) -> float:
        for copied in (deepcopy(sys.stdout), pickle.loads(pickle.dumps(sys.stdout))):
            assert copied.getvalue().startswith("before")
            assert not hasattr(copied, "nothing")
        with pytest.raises(TypeError, match="cannot pickle"):
            copy(sys.stderr)
        return float(point["x"])

    assert resume_sample_search(tmp_path, objective, max_evals=1, progress=True).finished


CLEARED = """
from IPython.display import clear_output
from hyperopt import hp
import colab_drive_tuner as cdt

def objective(x):
    print("training")
    clear_output(wait=x > 0.5)
    print("epoch 1")
    return x

search = dict(space=hp.uniform("x", 0, 1), name="s", store="s", seed=1)
trials = cdt.resume_search(objective, max_evals=4, **search)
"""


IN_THREADS = """
from colab_drive_tuner.search.progress_outputs import NotebookOutput, ProgressState
outputs = [NotebookOutput(), NotebookOutput()]
contexts = [output.shared() for output in outputs]
for context, output in zip(contexts, outputs):
    context.__enter__()
    output.draw(ProgressState("s", (), None, False))
for context in contexts:
    context.__exit__(None, None, None)
clear_output()
print("end")
"""


def test_progress_outlives_clear_output(tmp_path: Path) -> None:
    """Objectives with live plots clear the cell's output, and the progress with it.

    After the search they clear everything, also if searches in threads ended in any order.
    """
    during, after = run_cells(
        [CLEARED, IN_THREADS],
        tmp_path,
        {"XDG_STATE_HOME": str(tmp_path / "state")},
    )
    assert re.fullmatch(r"s: 4 of 4 trials \| .*\nepoch 1\n", during)
    assert after == "end\n"


def test_searches_in_threads_share_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one ends before the second: the streams are restored, and lines are not mixed."""
    screen = put_screen(monkeypatch)
    first_began, second_began = threading.Event(), threading.Event()

    def first_objective(point: dict[str, Any]) -> float:
        first_began.set()
        assert second_began.wait(200)
        return float(point["x"])

    def second_objective(point: dict[str, Any]) -> float:
        second_began.set()
        first.result(200)
        return float(point["x"])

    run = functools.partial(resume_sample_search, tmp_path, max_evals=1, progress=True)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(run, first_objective, name="first")
        assert first_began.wait(200)
        threads.submit(run, second_objective, name="second").result(200)
    assert (sys.stdout, sys.stderr) == (screen, screen)
    shown = [line.rpartition("\r\x1b[K")[2] for line in screen.getvalue().split("\n")]
    assert ["first" in shown[0], "second" in shown[1], shown[2:]] == [True, True, [""]]


def drawn(state: ProgressState, width: int, *, last: bool = False) -> str:
    """Return what a terminal of this width shows, without colours."""
    screen = Screen()
    console = Console(file=screen, width=width, highlight=False, emoji=False)
    TerminalOutput(console).draw(replace(state, last=last))
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", screen.getvalue()).removeprefix("\r")


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("name", ["cnn", "模型" * 30, "x" * 200, "a\x1b]0;b\x07"])
def test_a_terminal_gets_one_line_that_fits(name: str, width: int) -> None:
    """The line fits for any name and width; the last one leaves nothing out."""
    parts = ("12 of 50 trials", "best loss 0.0312 in trial 7", "11 acknowledged")
    state = ProgressState(name, parts, 0.24, problem=False)
    line = drawn(state, width)
    assert "\n" not in line
    assert cell_len(line) < width
    assert "\x07" not in line
    whole = drawn(state, width, last=True)
    assert "".join(["11", "acknowledged"]) in "".join(whole.split())


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (40, "mnist-cn… 12 of 50 trials | best loss …"),
        (70, "mnist-cnn-v2 12 of 50 trials | best loss 0.0312 in trial 7 | 8 min l…"),
        (
            120,
            f"mnist-cnn-v2 {'━' * 20} 12 of 50 trials | best loss 0.0312 in trial 7 | 8 min left",
        ),
    ],
)
def test_what_matters_most_is_seen_on_a_narrow_terminal(width: int, line: str) -> None:
    """A line that does not fit is cut at its end, after the name."""
    parts = ("12 of 50 trials", "best loss 0.0312 in trial 7", "8 min left")
    state = ProgressState("mnist-cnn-v2", parts, 0.24, problem=False)
    assert drawn(state, width).rstrip() == line


def test_html_escapes_names_and_shows_a_bar() -> None:
    """Names are escaped, the bar shows the share, and a problem of the store is coloured."""
    html = progress_html(ProgressState("<script>", ("12 of 50 trials",), 0.24, problem=True))
    assert "&lt;script&gt;" in html
    assert "width:24.0%" in html
    assert "color:#e08a2c" in html
    assert "width:24" not in progress_html(ProgressState("s", ("12 trials",), None, problem=False))


def test_a_notebook_output_is_updated_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """One output, as HTML and as plain text, is updated for the whole search.

    It has the first state from the start, since `jupyter console` ignores updates.
    """
    published: list[tuple[Any, bool]] = []
    home = IPython.display.publish_display_data.__module__  # depends on IPython's version
    for place in ("IPython.display", home):
        monkeypatch.setattr(
            f"{place}.publish_display_data",
            lambda data, **more: published.append((data, more.get("update", False))),
        )
    monkeypatch.setattr("IPython.core.interactiveshell.InteractiveShell._instance", object())
    output = NotebookOutput()
    for done in (1, 2):
        output.draw(ProgressState("s", (f"{done} of 2 trials",), done / 2, problem=False))
    assert [update for _, update in published] == [False, True]
    assert published[0][0]["text/plain"] == "s: 1 of 2 trials"
    assert published[-1][0]["text/plain"] == "s: 2 of 2 trials"
    assert "2 of 2 trials" in published[-1][0]["text/html"]
