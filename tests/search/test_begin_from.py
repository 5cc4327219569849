"""`resume_search(from_search=...)`: a new search that starts with another search's trials."""

import functools
import shutil
from pathlib import Path
from typing import Any

import pytest
from hyperopt import hp

from colab_drive_tuner.errors import (
    SearchNameError,
    SearchNotFoundError,
    SpaceChangedError,
    UsageError,
)
from colab_drive_tuner.search.results.read_search import list_searches
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.store import open_store
from colab_drive_tuner.troubleshoot.repair.repair import repair
from tests.search.sample_searches import killing_objective, run_in_fork, trial_values

OLD = {"x": hp.uniform("x", -2, 2), "kind": hp.choice("kind", ["a", "b"])}
WIDER = {
    "x": hp.uniform("x", -5, 5),
    "kind": hp.choice("kind", ["a", "b", "c"]),
    "z": hp.uniform("z", 0, 1),
}


def loss(point: dict[str, Any]) -> float:
    return float(point["x"] ** 2 + point.get("z", 1) + "abc".index(point["kind"]))


def run(store: Path, name: str, space: Any, max_evals: int, objective: Any = loss, **how: Any):
    how = {"seed": 1, "progress": False} | how
    return resume_search(objective, space=space, name=name, max_evals=max_evals, store=store, **how)


wider = functools.partial(run, name="new", space=WIDER, max_evals=30, from_search="old")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return a store with a search of 22 trials."""
    run(tmp_path, "old", OLD, 22)
    return tmp_path


@pytest.mark.parametrize("algo", ["tpe", "anneal", "rand"])
def test_a_search_begins_with_the_trials_of_another(old: Path, algo: str) -> None:
    """Inherited trials keep numbers, results and times, name their origin and count as evals."""
    result = wider(old, algo=algo)
    documents, before = result.trials.trials, run(old, "old", OLD, 22).trials.trials
    assert [doc["tid"] for doc in documents] == list(range(30))
    for mine, theirs in zip(documents[:22], before, strict=True):
        assert mine["result"] == theirs["result"]
        assert mine["book_time"] == theirs["book_time"]
        assert mine["misc"]["vals"] == theirs["misc"]["vals"] | {"z": []}
        assert mine["misc"]["from_search"] == "old"
    assert all("from_search" not in doc["misc"] for doc in documents[22:])
    assert all(doc["misc"]["vals"]["z"] for doc in documents[22:])
    assert all("from_search" not in doc["misc"] for doc in before)


def test_a_killed_search_with_inherited_trials_resumes_to_the_same_result(
    old: Path, tmp_path_factory: Any
) -> None:
    """After two kills the search ends the same, even if the other search is gone."""
    whole = trial_values(wider(old).trials)
    again = tmp_path_factory.mktemp("again")
    run(again, "old", OLD, 22)
    run_in_fork(lambda: wider(again, objective=killing_objective(loss, 1)))
    run_in_fork(lambda: wider(again, objective=killing_objective(loss, 4)))
    shutil.rmtree(again / "old")
    assert trial_values(run(again, "new", WIDER, 30).trials) == whole
    assert trial_values(wider(again).trials) == whole


def test_the_same_call_resumes_a_repaired_search(old: Path) -> None:
    """Even if the record is lost that says with which search it began: its trials say so."""
    whole = trial_values(wider(old).trials)
    resume = functools.partial(wider, old, name="again")
    resume(max_evals=25)
    (old / "again" / "records" / "record-000001.cdt").unlink()
    repair(open_store(old), "again")
    assert trial_values(resume().trials) == whole
    with pytest.raises(UsageError, match="begun with its own trials"):
        resume(from_search="new")


def test_the_algorithm_learns_from_inherited_trials(old: Path) -> None:
    """With 22 inherited trials TPE draws other points than at the start of a new search."""
    began = trial_values(wider(old, seed=7, space=OLD, max_evals=24).trials)[22:]
    fresh = trial_values(run(old, "fresh", OLD, 2, seed=7).trials)
    assert [values for _, values, _ in began] != [values for _, values, _ in fresh]


@pytest.mark.parametrize("seed", [1, None])
def test_seeds_that_the_other_search_used_are_not_used_again(
    seed: int | None, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same space, algorithm and seed, the new search continues the other one's draws.

    So does a third one that begins with the second, and a seed from hyperopt's variable.
    """
    monkeypatch.setenv("HYPEROPT_FMIN_SEED", "1")
    how = {"space": OLD, "algo": "rand", "seed": seed}
    wider(old, max_evals=26, **how)
    went_on = wider(old, name="newer", from_search="new", max_evals=30, **how)
    longer = run(old, "long", max_evals=30, **how)
    assert [values for _, values, _ in trial_values(went_on.trials)[22:]] == [
        values for _, values, _ in trial_values(longer.trials)[22:]
    ]


def test_unfinished_trials_are_not_inherited(tmp_path: Path) -> None:
    """A trial that a kill cut off is not inherited; the new search has all of its own trials."""
    run_in_fork(lambda: run(tmp_path, "old", OLD, 22, killing_objective(loss, 5)))
    result = wider(tmp_path, max_evals=8)
    inherited = [doc["tid"] for doc in result.trials.trials if "from_search" in doc["misc"]]
    assert inherited == [0, 1, 2, 3]
    assert len(result.trials) == 8


def names(store: Path) -> list[str]:
    return sorted(search.name for search in list_searches(open_store(store)))


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ({"from_search": "odl"}, SearchNotFoundError, "There is no search 'odl'"),
        ({"from_search": "new"}, UsageError, "is the search itself"),
        ({"from_search": "a/b"}, SearchNameError, "a/b"),
        ({"from_search": ""}, SearchNameError, "name"),
        ({"from_search": 7}, SearchNameError, "7"),
        ({"space": {"kind": hp.choice("kind", ["a"])}}, UsageError, "options of a choice"),
    ],
)
def test_an_invalid_from_search_is_refused_before_anything_is_written(
    old: Path, how: dict[str, Any], error: type[Exception], words: str
) -> None:
    """An unknown or invalid name, the search itself and a choice with fewer options are refused."""
    with pytest.raises(error, match=words):
        wider(old, **how)
    assert names(old) == ["old"]


def test_a_search_without_ended_trials_is_refused(tmp_path: Path) -> None:
    """A search in which no trial has ended is refused as `from_search`."""
    run_in_fork(lambda: run(tmp_path, "old", OLD, 22, killing_objective(loss, 1)))
    with pytest.raises(UsageError, match="No trial of search 'old' has ended"):
        wider(tmp_path)
    assert names(tmp_path) == ["old"]


def test_from_search_is_refused_for_a_search_with_other_first_trials(old: Path) -> None:
    """A search with trials of its own, or inherited from another search, is left unchanged.

    With `restart=True` it starts again with the inherited trials.
    """
    run(old, "new", OLD, 3)
    with pytest.raises(UsageError, match="has begun with its own trials"):
        wider(old, space=OLD)
    with pytest.raises(SpaceChangedError, match="from_search='new'"):
        run(old, "new", WIDER, 4)
    assert len(run(old, "new", OLD, 3).trials) == 3
    assert len(wider(old, restart=True, max_evals=24).trials) == 24
    run(old, "third", OLD, 2)
    with pytest.raises(UsageError, match="has begun with those of search 'old'"):
        wider(old, from_search="third")


def test_inherited_trials_name_the_search_in_which_they_ended(old: Path) -> None:
    """A trial that was inherited twice still names the search in which it ended."""
    wider(old, max_evals=24)
    third = run(old, "third", WIDER, 25, from_search="new")
    origins = [doc["misc"].get("from_search") for doc in third.trials.trials]
    assert origins == ["old"] * 22 + ["new"] * 2 + [None]
