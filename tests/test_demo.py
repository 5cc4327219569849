"""The demo runs the main job in real kernels, and fails when the main job does."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import hyperopt
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
DEMO, COMPARE = ROOT / "scripts" / "demo.py", ROOT / "scripts" / "compare_trials.py"
SABOTAGE = """
import time, numpy
import colab_drive_tuner.search.seeds as seeds
seeds.thaw_generator = lambda frozen: numpy.random.default_rng(time.time_ns())
"""


def run_script(script: Path, *arguments: object, **environment: str) -> tuple[int, str]:
    """Run it as a user would; return its exit code and all that it printed."""
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_killed_search_equals_the_uninterrupted_one(tmp_path):
    """notebooks/quickstart.ipynb is killed twice in mid-trial and loses nothing."""
    code, said = run_script(DEMO, "--quick", "--act", 1, "--folder", tmp_path / "demo")
    assert code == 0, said
    assert said.count("SIGKILL in the middle of a trial") == 2
    assert "All 6 trials are equal, in every parameter and every bit of every loss." in said
    assert "copied to" in said  # the running notebook was found by its name
    assert "images are recognised" in said  # the best model came back


def test_the_demo_fails_without_the_stored_seed(tmp_path):
    """With the stored random state ignored, the resumed search is another one, and is told so."""
    (tmp_path / "sitecustomize.py").write_text(SABOTAGE)
    code, said = run_script(
        DEMO, "--quick", "--act", 1, "--folder", tmp_path / "demo", PYTHONPATH=str(tmp_path)
    )
    assert code != 0
    assert "DIFFERS" in said
    assert "The resumed search is NOT the uninterrupted one." in said


def test_the_unmodified_hyperas_package_is_killed_and_resumes(tmp_path):
    """notebooks/hyperas.ipynb finishes although its kernel was killed."""
    code, said = run_script(DEMO, "--act", 2, "--folder", tmp_path / "demo")
    assert code == 0, said
    assert "The unmodified hyperas package finished all 8 trials on Keras 3" in said


@pytest.fixture
def trials() -> hyperopt.Trials:
    """A finished search."""
    found = hyperopt.Trials()
    hyperopt.fmin(
        lambda x: x**2,
        hyperopt.hp.uniform("x", -1, 1),
        algo=hyperopt.rand.suggest,
        max_evals=3,
        trials=found,
        rstate=np.random.default_rng(0),
        show_progressbar=False,
        verbose=False,
    )
    return found


@pytest.mark.parametrize("change", ["nothing", "a loss", "a parameter", "the number"])
def test_the_comparison_sees_every_difference(tmp_path, trials, change):
    """One bit of one loss, one parameter, or a missing trial make it exit 1."""
    (tmp_path / "first.pkl").write_bytes(pickle.dumps(trials))
    document = trials._dynamic_trials[1]
    if change == "a loss":
        document["result"]["loss"] = np.nextafter(document["result"]["loss"], 1)
    elif change == "a parameter":
        document["misc"]["vals"]["x"] = [0.5]
    elif change == "the number":
        trials._dynamic_trials.pop()
        trials.refresh()
    (tmp_path / "second.pkl").write_bytes(pickle.dumps(trials))
    code, said = run_script(COMPARE, tmp_path / "first.pkl", tmp_path / "second.pkl")
    assert code == (change != "nothing")
    assert ("All 3 trials are equal" in said) == (change == "nothing")
