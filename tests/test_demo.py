"""The demo runs its scenario in real kernels, and fails when the scenario fails."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import hyperopt
import numpy as np
import pytest

pytestmark = pytest.mark.timeout(3000)  # four kernels load TensorFlow, also on slow machines

ROOT = Path(__file__).resolve().parents[1]
DEMO, COMPARE = ROOT / "scripts" / "demo.py", ROOT / "scripts" / "compare_trials.py"
SABOTAGES = {
    "no stored seed": """
import time, numpy
import colab_drive_tuner.search.spec.suggestion_seeds as seeds
seeds.decode_generator = lambda frozen: numpy.random.default_rng(time.time_ns())
""",
    "one bit of one loss": """
import math, pickle
from pathlib import Path
from colab_drive_tuner.drive.client import DriveClient
download = DriveClient.download_file
def altered(self, file_id, path, *more):
    download(self, file_id, path, *more)
    if Path(path).name == "digits-cnn.pkl":
        trials = pickle.loads(path.read_bytes())
        result = trials.trials[3]["result"]
        result["loss"] = math.nextafter(result["loss"], 1)
        path.write_bytes(pickle.dumps(trials))
DriveClient.download_file = altered
""",
}
"""Code that runs first in each Python process of a demo that must fail."""


def run_script(script: Path, *arguments: object, **environment: str) -> tuple[int, str]:
    """Run a script as a user would; return its exit code and its output."""
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
    """notebooks/quickstart.ipynb is killed twice during a trial and loses nothing.

    The user's own store is left alone.
    """
    demo, mine = tmp_path / "demo", tmp_path / "mine"
    own = {"COLAB_DRIVE_TUNER_STORE": str(mine)}
    code, output = run_script(DEMO, "--quick", "--act", 1, "--folder", demo, **own)
    assert code == 0, output
    assert not mine.exists()
    assert output.count("SIGKILL in the middle of a trial") == 2
    assert "All 6 trials are equal, in every parameter and every bit of every loss." in output
    assert "copied to" in output  # the running notebook was found by its name
    assert "images are recognised" in output  # the best model came back


def test_the_demo_empties_no_folder(tmp_path):
    """A folder with files is refused."""
    (tmp_path / "mine.txt").touch()
    code, output = run_script(DEMO, "--folder", tmp_path)
    assert code == 2
    assert f"{tmp_path} is not empty" in output
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "sabotage",
    ["no stored seed", pytest.param("one bit of one loss", marks=pytest.mark.long)],
)
def test_the_demo_fails_when_the_searches_differ(tmp_path, sabotage):
    """An ignored random state, or one altered loss, makes the demo fail and say what differs."""
    (tmp_path / "sitecustomize.py").write_text(SABOTAGES[sabotage])
    code, output = run_script(
        DEMO, "--quick", "--act", 1, "--folder", tmp_path / "demo", PYTHONPATH=str(tmp_path)
    )
    assert code != 0
    assert "DIFFERS" in output
    assert output.rstrip().endswith("The resumed search is NOT the uninterrupted one.")


def test_the_unmodified_hyperas_package_is_killed_and_resumes(tmp_path):
    """notebooks/hyperas.ipynb finishes although its kernel was killed."""
    code, output = run_script(DEMO, "--act", 2, "--folder", tmp_path / "demo")
    assert code == 0, output
    assert "The unmodified hyperas package finished all 8 trials on Keras 3" in output


@pytest.fixture
def trials() -> hyperopt.Trials:
    """A finished search, of which one trial failed and has no loss."""
    found = hyperopt.Trials()
    hyperopt.fmin(
        lambda x: x**2 if x > 0 else {"status": "fail"},
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
    """compare_trials.py exits 1 for one changed loss bit or parameter, or a missing trial."""
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
    code, output = run_script(COMPARE, tmp_path / "first.pkl", tmp_path / "second.pkl")
    assert code == (change != "nothing")
    assert ("All 3 trials are equal" in output) == (change == "nothing")
