"""One line of progress."""

import functools
import io
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.progress import ProgressLine
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.search.tally import Tally
from tests.search.searching import SPACE, bowl, in_child, killing


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_the_line_says(tmp_path: Path) -> None:
    """Trials done of all, recovered, best loss, what the store has, time left."""
    search(tmp_path, 3)
    times = iter([0.0, 40.0, 40.0])
    trials = DriveTrials("s", store=tmp_path)
    tally = Tally(trials._dynamic_trials)
    line = ProgressLine(trials, tally, 50, out=Terminal(), clock=lambda: next(times))
    document = deepcopy(trials.trials[0])
    document["result"]["loss"] = 0.03123456
    for tid in (3, 4):  # ended here, and not yet recorded
        trials._dynamic_trials.append(document | {"tid": tid})
    tally.update()
    assert str(line) == (
        "s: 5 of 50 trials | 3 recovered | best loss 0.0312346 | 3 acknowledged, 2 on their way | "
        "15 min left"
    )


def search(store: Path, max_evals: int, objective: Any = bowl, **options: Any) -> None:
    """Run the search "s", quietly."""
    options = {"progress": False, "seed": 3, "algo": "rand"} | options
    resume_search(objective, name="s", max_evals=max_evals, space=SPACE, store=store, **options)


@pytest.mark.parametrize(("out", "lines"), [(Terminal(), 1), (io.StringIO(), 2)])
def test_a_terminal_is_overdrawn_and_a_log_is_not_flooded(
    out: Any, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that changes, or one at the start and one at the end."""
    monkeypatch.setattr(sys, "stdout", out)
    search(tmp_path, 5, progress=True)
    assert out.getvalue().count("\n") == lines
    last = out.getvalue().replace("\r", "\n").strip().splitlines()[-1]
    assert last.startswith("s: 5 of 5 trials | best loss ")
    assert last.endswith("| 5 acknowledged")


def test_a_resumed_search_tells_at_once_what_it_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is there while the trial runs in which the last runtime died, and counts it once."""
    in_child(lambda: search(tmp_path, 6, killing(bowl, 4)))
    out, shown = io.StringIO(), []
    monkeypatch.setattr(sys, "stdout", out)

    @functools.wraps(bowl)
    def looking(point: Any) -> float:
        shown.append(out.getvalue())
        return bowl(point)

    search(tmp_path, 6, looking, progress=True)
    assert shown[0].startswith("s: 3 of 6 trials | 3 recovered | best loss ")
    assert out.getvalue().splitlines()[-1].startswith("s: 6 of 6 trials | 3 recovered | best loss ")


def test_errors_that_are_caught_count_as_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They count towards `max_evals`, so the line ends with all of all."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)

    def failing(point: Any) -> float:
        raise ZeroDivisionError

    search(tmp_path, 2, failing, progress=True, catch_eval_exceptions=True)
    assert out.getvalue().splitlines()[-1] == "s: 2 of 2 trials | 2 acknowledged"


def test_silence_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`progress=False` prints nothing at all."""
    resume_search(
        bowl, name="s", max_evals=2, space=SPACE, algo="rand", store=tmp_path, progress=False
    )
    assert capsys.readouterr() == ("", "")
