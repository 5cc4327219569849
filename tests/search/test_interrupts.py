"""Ctrl-C in a script: one line of output, and the exit status of an interrupted process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from colab_drive_tuner.search.loop.interrupts import stopped_by_user
from colab_drive_tuner.search.results.read_search import read_status
from colab_drive_tuner.search.trials.stored_trials import StoredTrials
from colab_drive_tuner.store.folder import FolderStore
from tests.processes import running_python
from tests.search.sample_searches import resume_sample_search

SCRIPT = """
import signal
import sys
import time
# A shell that starts the tests in the background lets them ignore Ctrl-C, and so their children.
signal.signal(signal.SIGINT, signal.default_int_handler)
import hyperopt
from hyperopt import hp
from colab_drive_tuner import DriveTrials, resume_search

def objective(point):
    if point["x"] and len(seen) == 2:
        print("in the third trial", flush=True)
        time.sleep(600)
    seen.append(point)
    return point["x"]

seen = []
space = {"x": hp.uniform("x", 0, 1)}
"""
CALLS = {
    "resume_search": "resume_search(objective, space=space, name='s', max_evals=5, store='store')",
    "fmin": "hyperopt.fmin(objective, space, max_evals=5, trials=DriveTrials('s', store='store'))",
    "caught": """
try:
    resume_search(objective, space=space, name='s', max_evals=5, store='store')
except KeyboardInterrupt as stop:
    assert "Run it again" in str(stop)
raise KeyError("another error")""",
}


def interrupted(folder: Path, call: str) -> tuple[int, list[str]]:
    """Interrupt a script in its third trial; return its exit status and its standard error."""
    script = folder / "script.py"
    script.write_text(SCRIPT + CALLS[call])
    started = running_python(script, ready="in the third trial", cwd=folder, stderr=subprocess.PIPE)
    with started as (process, _):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=400)
    return process.returncode, errors.splitlines()


@pytest.mark.parametrize("call", ["resume_search", "fmin"])
def test_an_interrupt_ends_a_script_by_sigint_with_one_line(call: str, tmp_path: Path) -> None:
    """The parent sees SIGINT, so that a shell loop stops, and no traceback is printed."""
    status, lines = interrupted(tmp_path, call)
    assert status == -signal.SIGINT, lines
    assert lines[-1] == "Search 's' stopped after 2 of 5 trials. Run it again to continue."
    assert not any("Traceback" in line or "File " in line for line in lines)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_stop_while_the_search_is_released_releases_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    error: type[BaseException],
) -> None:
    """A stop during the wait at the end, as for a slow store, leaves no search held, and counts."""
    close = StoredTrials.close

    def stopped_close(trials: StoredTrials, *patience: float) -> None:
        monkeypatch.setattr(StoredTrials, "close", close)
        os.kill(os.getpid(), number)
        trials.close(*patience)

    monkeypatch.setattr(StoredTrials, "close", stopped_close)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(error) as caught:
            resume_sample_search(tmp_path, name="s", max_evals=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert str(caught.value).startswith({signal.SIGINT: "Search 's' stopped"}.get(number, "143"))
    status = read_status(FolderStore(tmp_path), "s")
    assert (status.done, status.holder) == (2, None)


def test_other_errors_of_the_script_keep_their_traceback(tmp_path: Path) -> None:
    """Another error prints its traceback, even after the script caught an interrupt."""
    status, lines = interrupted(tmp_path, "caught")
    assert status == 1
    assert "Traceback (most recent call last):" in lines
    assert lines[-1] == "KeyError: 'another error'"


def test_a_notebook_shows_the_line_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython shows only the message of an interrupt; `sys.excepthook` is replaced once."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    stopped = stopped_by_user("Stopped.")
    hook = sys.excepthook
    stopped_by_user("Once more.")
    assert sys.excepthook is hook is not sys.__excepthook__
    assert type(stopped) is KeyboardInterrupt
    assert stopped._render_traceback_() == ["Stopped."]  # type: ignore[attr-defined]
