"""One line of progress."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from colab_drive_tuner.search.progress import ProgressLine
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.search.trials import DriveTrials
from tests.search.searching import SPACE, bowl


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_the_line_says(tmp_path: Path) -> None:
    """Trials done of all, recovered, best loss, what Drive has, time left."""
    times = iter([0.0, 40.0, 40.0, 40.0])
    line = ProgressLine(
        DriveTrials("s", store=tmp_path), 10, 50, out=Terminal(), clock=lambda: next(times)
    )
    line.postfix = "best loss: 0.03123456"
    line._done = 20
    assert str(line) == (
        "s: 20 of 50 trials | 10 recovered | best loss 0.0312346 | 0 entries acknowledged | 2 min "
        "left"
    )


@pytest.mark.parametrize(("out", "lines"), [(Terminal(), 1), (io.StringIO(), 2)])
def test_a_terminal_is_overdrawn_and_a_log_is_not_flooded(
    out: Any, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that changes, or one at the start and one at the end."""
    monkeypatch.setattr(sys, "stdout", out)
    resume_search(bowl, name="s", max_evals=5, space=SPACE, algo="rand", store=tmp_path)
    assert out.getvalue().count("\n") == lines
    last = out.getvalue().replace("\r", "\n").strip().splitlines()[-1]
    assert last.startswith("s: 5 of 5 trials | best loss ")
    assert "10 entries acknowledged" in last
    assert "on their way" not in last


def test_silence_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`progress=False` prints nothing at all."""
    resume_search(
        bowl, name="s", max_evals=2, space=SPACE, algo="rand", store=tmp_path, progress=False
    )
    assert capsys.readouterr() == ("", "")
