"""Pruning by `report` and `should_prune`: decisions follow from the record, also after kills."""

import functools
import itertools
import json
import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hyperopt
import numpy as np
import pytest
from hyperopt import hp
from hypothesis import given, settings
from hypothesis import strategies as st

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.cli.status import show_searches, status_json
from colab_drive_tuner.errors import SearchChangedWarning, UsageError
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.executors.loky import loky_executor
from colab_drive_tuner.search.loop.pruning import MOST_PRUNERS, Pruning
from colab_drive_tuner.search.results.exchange.import_export import export_trials
from colab_drive_tuner.search.results.read_search import read_history, read_status
from colab_drive_tuner.search.results.report_page import search_report
from colab_drive_tuner.search.results.svg_charts import charts
from colab_drive_tuner.search.results.svg_charts.timeline import timeline
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.search.trial_documents import curve_of
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.store.memory import MemoryStore
from colab_drive_tuner.training.pruner import Pruner
from colab_drive_tuner.training.trial import MAX_VALUES, IntermediateValues, running_trial
from tests.search.sample_searches import run_in_fork, trial_values

SPACE = {"x": hp.uniform("x", 0, 1)}
MEDIAN = Pruner(warmup_steps=0, min_trials=2)


def curve(point: dict[str, float], steps: int = 8) -> float:
    """Report a falling curve towards `x`, and stop early if `should_prune` says so."""
    trial = running_trial()
    assert trial is not None
    value = np.inf
    for step in range(1, steps + 1):
        value = point["x"] + (1 - point["x"]) / step
        trial.report(step, value)
        if trial.should_prune():
            break
    return float(value)


def search(store: Any, objective: Callable[[Any], Any] = curve, **options: Any) -> Any:
    """Run a search of `curve` with a pruner by `resume_search`."""
    defaults = {"name": "search", "max_evals": 12, "seed": 3, "algo": "rand", "pruner": MEDIAN}
    given = defaults | {"progress": False} | options
    return resume_search(objective, space=SPACE, store=store, **given)


def explain(trials: DriveTrials) -> list[tuple[bool, list[float]]]:
    """Return whether each trial was pruned, and its values, as recomputed from the record.

    Thresholds that are computed from the record are applied to the reported values.
    """
    log, documents = trials.log, trials._dynamic_trials
    pruning = Pruning(None, documents, log.k_of, log.pending_of, lambda _: None)
    found = []
    for document in documents:
        result = document["result"]
        values = result["reported"]["values"]
        pruner = Pruner(**result["reported"]["pruner"])
        reports = IntermediateValues(pruner, pruning.thresholds(document["tid"]))
        for step, value in enumerate(values, 1):
            assert reports.pruned_at is None, "it went on although it was to stop"
            reports.add(step, value)
            reports.should_prune()
        assert (reports.pruned_at is not None) == result["pruned"]
        assert result.get("pruned_at") == reports.pruned_at
        found.append((result["pruned"], values))
    return found


def test_a_worse_trial_ends_early(tmp_path: Path) -> None:
    """A pruned trial is recorded with its curve, its last value as loss and its last step."""
    result = search(tmp_path)
    results = result.trials.results
    pruned = [one for one in results if one["pruned"]]
    assert 3 <= len(pruned) <= 9
    for one in results:
        assert one["status"] == "ok"
        assert one["loss"] == one["reported"]["values"][-1]
        assert one.get("pruned_at", 8) == len(one["reported"]["values"])
        assert one["reported"]["pruner"] == MEDIAN.settings
    assert len(results) == 12, "pruned trials count"
    best = min(range(12), key=lambda tid: result.trials.vals["x"][tid])
    assert not results[best]["pruned"]
    assert explain(result.trials)


def test_an_exported_pickle_is_plain_hyperopt(tmp_path: Path) -> None:
    """The exported pickle is a plain `Trials` with the same results, and TPE continues it."""
    result = search(tmp_path)
    export_trials(FolderStore(tmp_path), "search", tmp_path / "trials.pkl")
    trials = pickle.loads((tmp_path / "trials.pkl").read_bytes())
    assert type(trials) is hyperopt.Trials
    assert trials.results == result.trials.results
    before = trial_values(trials)
    tpe = functools.partial(hyperopt.tpe.suggest, n_startup_jobs=3)
    options = {"rstate": np.random.default_rng(0), "show_progressbar": False}
    hyperopt.fmin(lambda point: point["x"], SPACE, tpe, 14, trials=trials, **options)
    assert trial_values(trials)[:12] == before
    assert trials.trials[13]["result"]["status"] == "ok"


numbers = itertools.count()
curves = st.lists(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, float("nan")]), min_size=1, max_size=5),
    min_size=3,
    max_size=12,
)
pruners = st.builds(
    Pruner,
    st.sampled_from(["median", "percentile", "successive halving"]),
    warmup_steps=st.integers(0, 2),
    min_trials=st.integers(1, 3),
    mode=st.sampled_from(["min", "max"]),
)


@given(curves=curves, pruner=pruners, cut=st.integers(1, 11))
@settings(max_examples=25, deadline=None)
def test_two_sessions_and_a_replay_prune_alike(
    curves: list[list[float]], pruner: Pruner, cut: int
) -> None:
    """For random curves, two sessions prune as one does, and so does a replay of the record."""

    def objective(point: Any) -> float:
        trial = running_trial()
        assert trial is not None
        value = 0.0
        for step, value in enumerate(curves[trial.tid], 1):
            trial.report(step, value)
            if trial.should_prune():
                break
        return 0.0 if np.isnan(value) else value

    name, store = f"search-{next(numbers)}", MemoryStore()
    options = {"pruner": pruner, "max_evals": len(curves)}
    whole = search(store, objective, name=f"{name}-whole", **options)
    for most in (min(cut, len(curves)), len(curves)):
        again = search(store, objective, name=name, **options | {"max_evals": most})
    assert trial_values(again.trials) == trial_values(whole.trials)
    explain(again.trials)


@pytest.mark.parametrize("call", [4, 9])
def test_a_killed_search_prunes_as_the_uninterrupted_one(tmp_path: Path, call: int) -> None:
    """A kill before or after a trial was pruned changes nothing, bit for bit."""
    whole = search(tmp_path / "whole")
    assert whole.trials.results[call - 1]["pruned"]
    for kill in ("before", "after"):
        store, count = tmp_path / kill, [0]

        def deadly(point: Any, kill: str = kill, count: list[int] = count) -> float:
            count[0] += 1
            if count[0] == call and kill == "before":
                trial = running_trial()
                assert trial is not None
                trial.report(1, 0.0)
                os.kill(os.getpid(), signal.SIGKILL)
            loss = curve(point)
            if count[0] == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return loss

        deadly.__qualname__ = curve.__qualname__
        assert run_in_fork(lambda run=deadly, at=store: search(at, run)) == -signal.SIGKILL  # type: ignore[misc]
        with pytest.warns(SearchChangedWarning, match="source"):
            resumed = search(store)
        assert trial_values(resumed.trials) == trial_values(whole.trials)


def test_one_worker_prunes_as_no_worker(tmp_path: Path) -> None:
    """A worker process gets the thresholds with each trial and prunes as the inline search."""
    inline = search(tmp_path / "inline")
    with loky_executor(1) as executor:
        there = search(tmp_path / "there", executor=executor)
    assert trial_values(there.trials) == trial_values(inline.trials)
    assert any(one["pruned"] for one in there.trials.results)


def test_on_an_executor_the_record_explains_each_decision(tmp_path: Path) -> None:
    """Only trials that had ended at the suggestion of a trial count for its pruning."""
    turn = threading.Semaphore(4)

    def uneven(point: dict[str, float]) -> float:
        with turn:
            threading.Event().wait(0.01 * (point["x"] > 0.5))
            return curve(point)

    with ThreadPoolExecutor(4) as pool:
        for most in (9, 30):
            result = search(tmp_path, uneven, executor=pool, max_evals=most)
    trials = DriveTrials("search", store=tmp_path)
    assert any(trials.log.pending_of.values())
    assert sum(pruned for pruned, _ in explain(trials)) > 3
    assert trial_values(trials) == trial_values(result.trials)


def test_given_points_are_never_pruned(tmp_path: Path) -> None:
    """Given points are not pruned: the record does not say which trials ended before them."""
    given = [{"x": 0.1 * number} for number in range(10)]
    result = search(tmp_path, points_to_evaluate=given, max_evals=16)
    assert not any(one["pruned"] for one in result.trials.results[:10])
    assert any(one["pruned"] for one in result.trials.results[10:])


def test_trials_of_one_batch_do_not_judge_each_other(tmp_path: Path) -> None:
    """With `max_queue_len`, only trials that ended before the batch was suggested count."""
    trials = DriveTrials("search", store=tmp_path, seed=3)
    trials.fmin(curve, SPACE, hyperopt.rand.suggest, 12, max_queue_len=4, pruner=MEDIAN)
    assert not any(one["pruned"] for one in trials.results[:4])
    assert any(one["pruned"] for one in trials.results[4:])
    explain(trials)


def test_without_a_pruner_values_are_recorded(tmp_path: Path) -> None:
    """Reported values are recorded without a pruner, and a later pruner uses them."""
    first = search(tmp_path, pruner=None, max_evals=6)
    assert all("pruned" not in one for one in first.trials.results)
    assert [len(one["reported"]["values"]) for one in first.trials.results] == [8] * 6
    later = search(tmp_path, max_evals=12)
    assert later.trials.results[:6] == first.trials.results
    assert any(one["pruned"] for one in later.trials.results[6:])


def test_a_pruner_ignores_trials_without_curves_and_notifies_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Earlier trials that reported nothing do not count, which is printed once."""
    search(tmp_path, lambda point: point["x"], pruner=None, max_evals=6)
    with pytest.warns(SearchChangedWarning, match="source"):
        result = search(tmp_path, max_evals=16)
    printed = capsys.readouterr().out
    assert printed.count("6 earlier trials have no val_loss epoch by epoch") == 1
    assert not any(one["pruned"] for one in result.trials.results[6:8])
    assert any(one["pruned"] for one in result.trials.results[8:])
    search(tmp_path, max_evals=17)
    assert "no val_loss" not in capsys.readouterr().out


def test_a_trial_whose_loss_is_nan_does_not_count(tmp_path: Path) -> None:
    """If NaN counted and most trials diverged, the threshold would be infinite and prune none."""

    def objective(_point: Any) -> float:
        trial = running_trial()
        assert trial is not None
        value = (np.nan, np.nan, np.nan, 1.0, 1.5, 2.0, np.nan)[trial.tid]
        trial.report(1, value)
        trial.should_prune()
        return value

    result = search(tmp_path, objective, max_evals=7)
    assert [one["pruned"] for one in result.trials.results] == [False] * 5 + [True] * 2


def test_an_untrusted_metric_name_is_escaped_and_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A metric's name is printed without control characters and not at full length."""
    reported = {
        "metric": "loss",
        "values": [1.0],
        "pruner": {"monitor": "\x1b[2J\ud800" + "x" * 999},
    }
    search(tmp_path, lambda p: {"loss": p["x"], "status": "ok", "reported": reported}, pruner=None)
    printed = capsys.readouterr().out
    assert r"no \x1b[2J\ud800xxx" in printed
    assert len(printed) < 300


def test_another_pruner_on_resume_warns(tmp_path: Path) -> None:
    """Another pruner, or none, warns as another algorithm does, and the search continues."""
    search(tmp_path, max_evals=6)
    with pytest.warns(SearchChangedWarning, match="pruner"):
        result = search(tmp_path, pruner=Pruner("percentile", min_trials=2))
    assert result.trials.results[-1]["reported"]["pruner"]["rule"] == "percentile"
    with pytest.warns(SearchChangedWarning, match="pruner"):
        search(tmp_path, pruner=None, max_evals=13)


@pytest.mark.parametrize("bad", ["median", 3, Pruner])
def test_an_invalid_pruner_is_refused(tmp_path: Path, bad: Any) -> None:
    """An object that is not a `Pruner` is refused before anything is written."""
    with pytest.raises(UsageError, match="pruner must be"):
        search(tmp_path / "store", pruner=bad)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("reports", "named"),
    [
        ([(0.5, 1)], "step must be"),
        ([(-1, 0.5)], "step must be"),
        ([(True, 0.5)], "step must be"),
        ([(1, "low")], "value must be"),
        ([(1, None)], "value must be"),
        ([(1, "0.5")], "value must be"),
        ([(1, b"1")], "value must be"),
        ([(1, 10**400)], "value must be"),
        ([(2**53 + 1, 0.5)], r"at most 2\*\*53"),
        ([(2, 0.5), (2, 0.4)], "after the last one, 2"),
        ([(0, 0.5), (0, 0.4)], "after the last one, 0"),
    ],
)
def test_a_bad_report_is_named(tmp_path: Path, reports: list[Any], named: str) -> None:
    """The error about an invalid report says whether its step or its value is invalid."""

    def objective(_point: Any) -> float:
        trial = running_trial()
        assert trial is not None
        for step, value in reports:
            trial.report(step, value)
        return 0.0

    with pytest.raises(UsageError, match=named):
        search(tmp_path, objective)


def test_a_report_to_a_trial_that_has_ended_is_an_error(tmp_path: Path) -> None:
    """A trial kept from an earlier call of the objective is named; its values would be lost."""
    kept: list[Any] = []

    def objective(_point: Any) -> float:
        kept.append(running_trial())
        kept[0].report(len(kept), 0.5)
        return 0.0

    with pytest.raises(UsageError, match=r"trial 0 has ended. Call running_trial\(\)"):
        search(tmp_path, objective)


def test_a_trial_that_goes_on_is_not_pruned(tmp_path: Path) -> None:
    """A trial that reports on after `should_prune()` is not recorded as pruned."""

    def deaf(point: dict[str, float]) -> float:
        trial = running_trial()
        assert trial is not None
        for step in range(1, 4):
            trial.report(step, point["x"])
            trial.should_prune()
        trial.report(4, point["x"])
        return point["x"]

    assert not any(one["pruned"] for one in search(tmp_path, deaf).trials.results)


def test_a_long_curve_is_kept_within_bounds() -> None:
    """A long curve is thinned out; its last value is kept, and its best one still counts."""
    reports = IntermediateValues(MEDIAN, {MEDIAN: {5000: 0.5}})
    for step in range(1, 5001):
        reports.add(step, 0.1 if step == 7 else 1.0)
    kept = reports.result()["reported"]
    assert len(kept["values"]) <= MAX_VALUES + 1
    assert kept["steps"][-1] == 5000
    assert not reports.should_prune()


def test_a_trial_restored_from_a_backup_prunes_alike() -> None:
    """A backup holds everything on which pruning decisions depend."""
    reports, again = (IntermediateValues(MEDIAN, {MEDIAN: {5000: 0.5}}) for _ in range(2))
    for step in range(1, 3000):
        reports.add(step, 0.4 if step == 7 else 1.0)
    waits = reports.dump()
    reports.add(3000, 0.9)  # the previous epoch's backup is not stored yet
    again.prepare_restore(waits)()
    again.add(3000, 0.9)
    for step in range(3001, 5001):
        for one in (reports, again):
            one.add(step, 0.9)
    assert again.result() == reports.result()
    assert again.should_prune() == reports.should_prune()


@pytest.mark.parametrize(
    "curve",
    [
        {"_steps": [1, 1]},
        {"_steps": [2.0, 3.0]},
        {"_steps": [1]},
        {"_steps": [*range(5000)], "_values": [0.5] * 5000},
        {"last_step": 2**60},
        {"_every": 0},
    ],
)
def test_an_invalid_curve_in_a_backup_is_refused(curve: dict[str, Any]) -> None:
    """A curve that no trial can have reported is refused and changes nothing."""
    reports, again = IntermediateValues(MEDIAN), IntermediateValues(MEDIAN)
    for step in (1, 2):
        reports.add(step, 0.5)
    again.prepare_restore(reports.dump())
    with pytest.raises(ValueError, match=r"kept|curve"):
        again.prepare_restore(reports.dump() | curve)
    assert not again.begun


@pytest.mark.parametrize(
    "reported",
    [
        {"metric": "val_loss", "values": "abc"},
        {"metric": "val_loss", "values": [1.0, "a"]},
        {"metric": "val_loss", "values": [1.0], "steps": ["a"]},
        {"metric": "val_loss", "values": [1.0, 2.0], "steps": [1]},
        {"metric": "val_loss", "values": [1.0, 2.0], "steps": [3, 3]},
        {"metric": "val_loss", "values": [1.0], "steps": [2**53 + 1]},
        {"metric": ["val_loss"], "values": [1.0], "pruner": {"rule": "none"}},
        {"metric": np.array(["val_loss", "loss"]), "values": [1.0]},
        {"pruner": 3},
        [1.0],
        np.array([1.0, 2.0]),
    ],
)
@pytest.mark.parametrize("key", ["reported", "history"])
def test_an_objectives_own_reported_key_does_no_harm(
    tmp_path: Path, key: str, reported: Any
) -> None:
    """A result may hold anything under these keys; such a trial does not count for pruning."""
    search(tmp_path, lambda p: {"loss": p["x"], "status": "ok", key: reported}, pruner=None)
    trials = DriveTrials("search", store=tmp_path)
    assert not any(curve_of(doc, "val_loss") for doc in trials.trials)
    with pytest.warns(SearchChangedWarning, match="source"):
        search(tmp_path, max_evals=13)


def test_thresholds_read_each_curve_once() -> None:
    """Curves are read as trials end; otherwise starts would take seconds with many trials."""
    asked: list[int] = []

    class Counted(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            if key == "reported":
                asked.append(self["tid"])
            return super().get(key, default)

    def document(tid: int) -> Any:
        reported = {"metric": "val_loss", "values": [1.0] * 4, "pruner": MEDIAN.settings}
        result = Counted(status="ok", loss=1.0, reported=reported, tid=tid)
        return {"tid": tid, "state": 2, "misc": {}, "result": result}

    documents = [document(tid) for tid in range(9)]
    calls = {tid: tid for tid in range(12)}
    pruning = Pruning(MEDIAN, documents, calls, {11: (9,)}, lambda _: None)
    pruning.thresholds(8)
    for tid in range(9, 12):
        documents.append(document(tid))
        pruning.add_ended(documents[-1])
    asked.clear()
    assert pruning.thresholds(11) == {MEDIAN: dict.fromkeys(range(1, 5), 1.0)}
    assert set(asked) == {9, 11}, "those that do not count for it"


def steps_of(stride: int) -> list[int]:
    return [stride * n for n in range(1, 1001)]


def finished(tid: int, *, steps: list[int]) -> Any:
    reported = {"metric": "val_loss", "values": [0.5] * len(steps), "steps": steps}
    result = {"status": "ok", "loss": 0.5, "reported": reported}
    return {"tid": tid, "state": 2, "misc": {}, "result": result}


def test_thresholds_do_not_depend_on_the_order_of_ends() -> None:
    """Thresholds are equal whether trials ran in this session, were inserted or are older.

    This also holds if there are more steps than can be judged.
    """
    strides = [100_003, 100_019, 100_043, 100_049, 100_057, 100_069, 100_103, 100_109, 100_129]
    far = [finished(tid, steps=steps_of(stride)) for tid, stride in enumerate(strides)]
    near = [finished(tid, steps=steps_of(64)) for tid in range(9, 15)]
    calls = {tid: tid for tid in range(16)}
    new = {"tid": 15, "state": 0, "misc": {}, "result": {"status": "new"}}
    for others in (near, [*far, *near]):
        expected = Pruning(MEDIAN, [*others, new], calls, {}, lambda _: None).thresholds(15)
        ran, inserted = list[Any](), list[Any]()
        pruning = Pruning(MEDIAN, ran, calls, {}, lambda _: None)
        ran += [*others, new]
        for document in reversed(others):
            pruning.add_ended(document)
        assert pruning.thresholds(15) == expected
        pruning = Pruning(MEDIAN, inserted, calls, {}, lambda _: None)
        inserted += [*others, new]
        assert pruning.thresholds(15) == expected
        assert expected or others != near


def test_the_number_of_recorded_pruners_in_use_is_bounded() -> None:
    """Of a thousand pruners in the record only the newest few are evaluated."""
    documents: list[Any] = []
    for tid in range(1000):
        rule = {"rule": "percentile", "percentile": 1 + tid / 20}
        settings = Pruner(warmup_steps=0, min_trials=1, **rule).settings
        reported = {"metric": "val_loss", "values": [1.0], "pruner": settings}
        result = {"status": "ok", "loss": 1.0, "reported": reported}
        documents.append({"tid": tid, "state": 2, "misc": {}, "result": result})
    documents.append({"tid": 1000, "state": 0, "misc": {}, "result": {"status": "new"}})
    calls = {tid: tid for tid in range(1001)}
    mine = Pruner(warmup_steps=0, min_trials=1)
    pruning = Pruning(mine, documents, calls, {}, lambda _: None)
    found = pruning.thresholds(1000)
    assert found[mine] == {1: 1.0}
    assert [one.percentile for one in found][1:3] == [1 + 999 / 20, 1 + 998 / 20]
    assert len(found) == MOST_PRUNERS


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the result and the store of a search with pruned trials."""
    store = tmp_path_factory.mktemp("shown")
    return search(store), store


def count(result: Any) -> int:
    """Return the number of pruned trials."""
    return sum(one["pruned"] for one in result.trials.results)


def test_the_status_counts_pruned_trials(shown: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Status, snapshot, JSON, table and progress line have the number of pruned trials."""
    result, path = shown
    store, pruned = FolderStore(path), count(shown[0])
    assert read_status(store, "search").pruned == pruned
    assert f"12 of 12 trials ({pruned} pruned), best loss" in str(result.trials.status())
    history = read_history(store, "search")
    assert sum(one.pruned for one in History.load(history.dump()).trials.values()) == pruned
    assert status_json(read_status(store, "search"))["pruned"] == pruned
    show_searches([read_status(store, "search")])
    assert f"12 of 12 ({pruned} pruned)" in capsys.readouterr().out
    search(path, name="again", progress=True)
    assert f" {pruned} pruned |" in capsys.readouterr().out


def test_the_data_frame_has_columns_for_pruning(shown: Any) -> None:
    """The frame has `pruned` and `pruned_at`; the reported values are the trial's history."""
    result, _ = shown
    frame = result.to_dataframe()
    assert frame["pruned"].dtype == "boolean"
    assert frame["pruned"].tolist() == [one["pruned"] for one in result.trials.results]
    assert frame["pruned_at"].count() == count(result)
    assert not any(name.startswith("reported") for name in frame.columns)
    assert result.trial(3).history["val_loss"] == result.trials.results[3]["reported"]["values"]


@pytest.mark.parametrize("how", ["text", "--csv", "--json"])
def test_commands_list_pruned_trials(shown: Any, run_command: Any, how: str) -> None:
    """`trials` in each of its formats, and `tail`, show pruned trials as pruned."""
    result, path = shown
    pruned = [tid for tid, one in enumerate(result.trials.results) if one["pruned"]]
    form = [] if how == "text" else [how]
    _, out, _ = run_command("--store", path, "trials", "search", *form)
    if how == "--json":
        assert [row["tid"] for row in json.loads(out) if row["state"] == "pruned"] == pruned
        return
    separator = "," if how == "--csv" else None
    rows = [line.split(separator)[:2] for line in out.splitlines()]
    assert [int(row[0]) for row in rows if row[1:] == ["pruned"]] == pruned
    _, out, _ = run_command("--store", path, "tail", "search")
    lines = [line for line in out.splitlines() if line.startswith("trial ")]
    assert [", pruned in" in line for line in lines] == [tid in pruned for tid in (9, 10, 11)]


def test_pictures_mark_pruned_trials(shown: Any) -> None:
    """Pictures and the report page mark pruned trials, and have no mark if none was pruned."""
    result, path = shown
    data = result._data()
    pictures = (charts.history(data), charts.learning_curves(data), timeline(data))
    assert all(">pruned</text>" in picture for picture in pictures)
    assert search_report(FolderStore(path), "search").count("<td>pruned</td>") == count(result)
    whole = search(path, pruner=None, name="whole")._data()
    for picture in (charts.history(whole), charts.learning_curves(whole), timeline(whole)):
        assert "pruned" not in picture


def test_a_pruned_trial_is_pruned_in_optuna_and_back(shown: Any, tmp_path: Path) -> None:
    """Reported values become intermediate values; a search made from the study is equal."""
    optuna = pytest.importorskip("optuna")
    from colab_drive_tuner.search.results.exchange.from_optuna import from_optuna

    result, _ = shown
    study = result.to_optuna()
    pruned = [t for t in study.trials if t.state == optuna.trial.TrialState.PRUNED]
    assert len(pruned) == count(result)
    for trial in pruned:
        one = result.trials.results[trial.number]
        assert trial.value == one["loss"]
        assert trial.intermediate_values == dict(enumerate(one["reported"]["values"], 1))
    from_optuna(study, name="back", store=tmp_path)
    again = DriveTrials("back", store=tmp_path)
    assert again.trials == result.trials.trials
    assert read_status(FolderStore(tmp_path), "back").pruned == len(pruned)
