"""The status of a search, and searches exported as pickles, read from the store."""

import pickle
import subprocess
import sys
from pathlib import Path

import hyperopt
import pytest

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.search.results.exchange.import_export import export_trials, import_trials
from colab_drive_tuner.search.results.read_search import read_status
from colab_drive_tuner.store import open_store
from tests.search.sample_searches import (
    killing_objective,
    resume_sample_search,
    run_hyperopt,
    run_in_fork,
    sample_objective,
    trial_values,
)


def test_the_status_shows_done_trials_and_the_best_loss(tmp_path: Path) -> None:
    """The status is read from the store alone, also after the session died."""
    run_in_fork(lambda: resume_sample_search(tmp_path, killing_objective(sample_objective, 4)))
    store = open_store(tmp_path)
    status = read_status(store, "s")
    assert status.max_evals == 6
    assert status.dead_here
    assert not status.finished
    resume_sample_search(tmp_path)
    status = read_status(store, "s")
    assert (status.done, status.finished, status.holder, status.recovered) == (6, True, None, 1)
    assert status.best_loss == min(run_hyperopt("rand", 6).losses())
    assert str(status).startswith("s: 6 of 6 trials, best loss ")


def test_reading_a_status_needs_no_hyperopt(tmp_path: Path) -> None:
    """Reading a status does not import hyperopt or scipy, so that `status` is fast."""
    resume_sample_search(tmp_path, max_evals=1)
    script = """
import sys; sys.path.insert(0, sys.argv[1])
from colab_drive_tuner.search.results.read_search import list_searches
from colab_drive_tuner.store import open_store
assert [s.done for s in list_searches(open_store(sys.argv[2]))] == [1]
assert "hyperopt" not in sys.modules and "scipy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, str(Path.cwd()), str(tmp_path)], check=True)


def test_export_and_import(tmp_path: Path) -> None:
    """An exported pickle is a plain `Trials`; imported again, the search can be resumed."""
    result = resume_sample_search(tmp_path / "one", max_evals=4)
    one, two = open_store(tmp_path / "one"), open_store(tmp_path / "two")
    assert export_trials(one, "s", tmp_path / "out.pkl") == 4
    for path in (tmp_path / "out.pkl", tmp_path / "one" / "s" / "trials.pkl"):
        with path.open("rb") as file:
            trials = pickle.load(file)
        assert type(trials) is hyperopt.Trials
        assert trial_values(trials) == trial_values(result.trials)
    assert import_trials(two, "s", tmp_path / "out.pkl") == 4
    assert read_status(two, "s").done == 4
    assert resume_sample_search(tmp_path / "two", seed=None, max_evals=6).finished
    with pytest.raises(UsageError, match="already"):
        import_trials(two, "s", tmp_path / "out.pkl")
