"""The status of a search, and searches exported as pickles, read from the store."""

import pickle
from functools import partial
from pathlib import Path

import hyperopt
import pytest
from hyperopt import hp
from hyperopt.exceptions import AllTrialsFailed

from colab_drive_tuner.errors import SearchError, UsageError
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.results.exchange.import_export import export_trials, import_trials
from colab_drive_tuner.search.results.read_search import read_status
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.store import open_store
from tests.processes import run_python
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
import sys
from colab_drive_tuner.search.results.read_search import list_searches
from colab_drive_tuner.store import open_store
assert [s.done for s in list_searches(open_store(sys.argv[1]))] == [1]
assert "hyperopt" not in sys.modules and "scipy" not in sys.modules
"""
    run_python("-c", script, tmp_path)


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


def test_a_lowered_target_is_not_shown_as_12_of_5(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Results, progress, status and messages then show the number of trials alone."""
    space = hp.uniform("x", 0, 1)

    def objective(x: float) -> float:
        return x - x + float("nan")

    search = partial(resume_search, objective, name="s", space=space, store=tmp_path)
    search(max_evals=3, progress=False)
    lowered = search(max_evals=1)
    assert str(lowered) == "Search 's': 3 trials (3 failed)"
    assert "1 trials" not in lowered._repr_html_()
    with pytest.raises(SearchError, match=r"\(3 have ended\)"):
        lowered.best_trial  # noqa: B018
    with pytest.raises(AllTrialsFailed):
        DriveTrials("s", store=tmp_path).fmin(objective, space, max_evals=1, verbose=True)
    assert "s: 3 trials |" in capsys.readouterr().out
    assert read_status(open_store(tmp_path), "s").progress == "3"
