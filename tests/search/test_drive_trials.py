"""hyperopt's own call, `fmin(..., trials=DriveTrials(...))`, with its usual arguments."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import hyperopt
import numpy as np
import pytest
from hyperopt import hp

from colab_drive_tuner.cli.status import show_searches
from colab_drive_tuner.errors import SearchChangedWarning
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.results.read_search import read_status
from colab_drive_tuner.store import open_store
from colab_drive_tuner.training.trial import running_trial
from tests.search.sample_searches import (
    SPACE,
    resume_sample_search,
    run_fmin,
    run_hyperopt,
    run_in_store,
    sample_objective,
    trial_values,
)


@pytest.mark.parametrize("max_evals", [np.int64(4), np.uint8(4), 4.0])
def test_max_evals_may_be_any_whole_number(max_evals: Any, tmp_path: Path) -> None:
    """Whole numbers of any type are accepted, as in plain hyperopt, and stored as an integer."""
    assert trial_values(run_in_store(tmp_path, "rand", max_evals)) == trial_values(
        run_hyperopt("rand", 4)
    )
    status = read_status(open_store(tmp_path), "search")
    assert (status.max_evals, status.finished) == (4, True)


@pytest.mark.parametrize("max_evals", [None, float("inf")])
def test_a_search_without_max_evals_is_never_finished(
    max_evals: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `max_evals` the status is never finished and shows only the number of trials."""

    def objective(point: Any) -> float:
        if running_trial().tid == 3:  # type: ignore[union-attr]
            raise KeyboardInterrupt
        return sample_objective(point)

    with pytest.raises(KeyboardInterrupt, match="stopped after 3 trials"):
        run_in_store(tmp_path, "rand", max_evals, objective)
    status = read_status(open_store(tmp_path), "search")
    assert (status.max_evals, status.finished) == (None, False)
    assert str(status).startswith("search: 3 trials, best loss ")
    show_searches([status])
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["search", "3"]


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("fn", [5, None, "abs"], "objective must be a function"),
        ("fn", [lambda x, kind: x], "does not take what hyperopt passes"),
        ("space", [5, {}, {"x": hp.uniform("x", 1, 0)}], "space=.* cannot be searched"),
        ("space", [[hp.uniform("x", 0, 1), hp.uniform("x", 0, 2)]], "space= has two .* 'x'"),
        ("algo", [5, "grid"], "algo must be one of"),
        ("max_evals", [0, -3, 2.5, "3", float("nan"), 10**30], "max_evals must be"),
        ("timeout", [0, "soon", float("nan")], "timeout"),
        ("loss_threshold", ["low", float("nan")], "loss_threshold"),
        ("max_queue_len", [0, -1, 2.5, "3", None, float("nan")], "max_queue_len must be"),
        ("rstate", ["3", -1], "rstate must be"),
        ("early_stop_fn", [5, "no_progress_loss"], "early_stop_fn must be"),
        ("trials_save_file", [5], "trials_save_file must be a path"),
        ("trials_save_file", ["absent/trials.pkl", "."], "trials_save_file must be a file in"),
        ("pruner", ["median"], "pruner must be"),
    ],
)
def test_an_invalid_argument_of_fmin_is_refused(
    name: str, values: list[Any], words: str, tmp_path: Path
) -> None:
    """The error about an invalid argument names it, and nothing is written."""
    trials = DriveTrials("search", store=tmp_path)
    for value in values:
        options: dict[str, Any] = {"fn": sample_objective, "space": SPACE, "max_evals": 1}
        with pytest.raises(Exception, match=words):
            trials.fmin(**options | {name: value})
    assert list(tmp_path.iterdir()) == []


def test_a_changed_objective_is_a_warning(tmp_path: Path) -> None:
    """A changed objective warns once and shows the changed lines, as `resume_search` does.

    The same source in another session does not warn.
    """

    def shifted(point: Any) -> float:
        return sample_objective(point) + 1.0

    run_in_store(tmp_path, "rand", 2)
    run_in_store(tmp_path, "rand", 3)
    with pytest.warns(SearchChangedWarning, match="source of the model") as caught:
        run_in_store(tmp_path, "rand", 4, shifted)
    assert "+ def shifted(point" in str(caught[0].message)
    assert caught[0].filename.endswith("sample_searches.py")
    run_in_store(tmp_path, "rand", 5, shifted)
    resume_sample_search(tmp_path, shifted, name="search")


def test_the_repr_shows_name_store_trials_and_best_loss(tmp_path: Path) -> None:
    """The repr shows the search's name, its store, the number of trials and the best loss."""
    trials = DriveTrials("search", store=tmp_path)
    assert repr(trials) == f"DriveTrials 'search' in {tmp_path}: 0 trials"
    trials = run_in_store(tmp_path, "rand", 3)
    best = min(trials.losses())
    assert repr(trials) == f"DriveTrials 'search' in {tmp_path}: 3 trials, best loss {best:.6g}"


def test_a_list_of_trials_stays_as_it_was_read(tmp_path: Path) -> None:
    """A list taken from `trials.trials` does not grow when trials are added."""
    seen: list[list[Any]] = []
    trials = DriveTrials("search", store=tmp_path, notify=lambda _: None)

    def objective(point: Any) -> float:
        seen.append(trials.trials)
        return float(point**2)

    rand = hyperopt.rand.suggest
    trials.fmin(objective, hyperopt.hp.uniform("x", -1, 1), rand, 4, show_progressbar=False)
    assert [len(one) for one in seen] == [1, 2, 3, 4]
    assert [one["tid"] for one in trials] == [0, 1, 2, 3]


def test_a_claim_keeps_the_documents_that_were_read(tmp_path: Path) -> None:
    """The documents of an opened search stay the same objects in a run, so each is read once."""
    run_in_store(tmp_path, "rand", 3)
    trials = DriveTrials("search", store=tmp_path, notify=lambda _: None)
    before = list(trials.trials)
    run_fmin(trials, "rand", 4)
    assert [one is other for one, other in zip(before, trials.trials, strict=False)] == [True] * 3


def test_a_record_may_arrive_while_the_trials_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a claim, the journal's thread may still record what an earlier session spooled."""
    run_in_store(tmp_path, "rand", 3)
    trials = DriveTrials("search", store=tmp_path)
    known = trials.log.history.trials
    remember = trials.log.remember

    def arrives(entry: Any) -> bool:
        known.setdefault(99, replace(entry, tid=99))
        return remember(entry)

    monkeypatch.setattr(trials.log, "remember", arrives)
    trials.restore()
    assert [document["tid"] for document in trials] == [0, 1, 2]
