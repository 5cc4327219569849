"""The Optuna storage: Optuna's own storage tests, kills, two owners and an outage."""

import contextlib
import functools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.processes import run_python

optuna = pytest.importorskip("optuna")

from optuna.testing.pytest_storages import StorageTestCase  # noqa: E402 - asked for above
from optuna.trial import TrialState  # noqa: E402

import colab_drive_tuner as cdt  # noqa: E402
from colab_drive_tuner.checkpoint.history import History  # noqa: E402
from colab_drive_tuner.checkpoint.record_items import claim_payload  # noqa: E402
from colab_drive_tuner.checkpoint.trials_and_sessions import RecordedSession  # noqa: E402
from colab_drive_tuner.errors import (  # noqa: E402
    SearchDamagedError,
    SearchError,
    SearchTakenOverError,
    UsageError,
)
from colab_drive_tuner.journal.chain.chain import save_snapshot  # noqa: E402
from colab_drive_tuner.journal.chain.record import ClaimReason  # noqa: E402
from colab_drive_tuner.journal.folder.lookup import find_folder  # noqa: E402
from colab_drive_tuner.journal.journal import Journal  # noqa: E402
from colab_drive_tuner.optuna_backend import ATTEMPTS, RETRY_OF, StudyStorage  # noqa: E402
from colab_drive_tuner.search.results.optuna_studies import running_now, study_data  # noqa: E402
from colab_drive_tuner.search.results.svg_charts.timeline import runtime_lanes  # noqa: E402
from colab_drive_tuner.session.display import annotated_searches  # noqa: E402
from colab_drive_tuner.troubleshoot.repair.repair import repair  # noqa: E402
from tests.journal.faulty_store import FaultyStore  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[StudyStorage]:
    """A new storage."""
    opened = cdt.optuna_storage("study", store=tmp_path / "store")
    yield opened
    opened.close()


class TestByOptuna(StorageTestCase):
    """Optuna's own tests of a storage."""


SCRIPT = """
import os, sys, time
import optuna
import colab_drive_tuner as cdt

store, name, last, when = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
optuna.logging.set_verbosity(optuna.logging.ERROR)
storage = cdt.optuna_storage(name, store=store)
study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True)
for key, value in study.user_attrs.items():
    assert (key, value) == ("made", "here")
study.set_user_attr("made", "here")

def objective(trial):
    x = trial.suggest_float("x", -1, 1)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    trial.report(x, 0)
    trial.set_user_attr("twice", x * 2)
    if when == "at once":
        os.kill(os.getpid(), 9)
    if trial.number == last and when == "within":
        storage.flush(30)  # so that the store knows of it
        os.kill(os.getpid(), 9)
    return x**2 + (kind == "a")

while sum(t.state.is_finished() for t in study.trials) <= last:
    study.optimize(objective, n_trials=1)
if when == "after":
    os.kill(os.getpid(), 9)
"""


def killed(store: Path, last: int, when: str, name: str = "study") -> int:
    """Resume the study in a process that dies in or after trial `last`; return its exit code."""
    done = run_python("-W", "error", "-c", SCRIPT, store, name, last, when, status=None)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode


def trials_of(storage: StudyStorage) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="s", storage=storage).trials


def test_finished_trials_survive_a_kill(tmp_path: Path) -> None:
    """A kill right after a trial's end, before anything could be sent, loses nothing of it."""
    for last in (2, 5):
        assert killed(tmp_path, last, "after") == -9
    storage = cdt.optuna_storage("study", store=tmp_path)
    found = trials_of(storage)
    assert [trial.number for trial in found] == list(range(6))
    for trial in found:
        assert trial.state == TrialState.COMPLETE
        assert trial.value == trial.params["x"] ** 2 + (trial.params["kind"] == "a")
        assert trial.user_attrs["twice"] == 2 * trial.params["x"]
        assert trial.intermediate_values == {0: trial.params["x"]}
    storage.close()
    assert cdt.read_status(cdt.open_store(tmp_path), "study").recovered == 2


def test_a_trial_that_died_is_retried_with_its_parameters(
    tmp_path: Path,
) -> None:
    """A trial that dies with its runtime fails and is retried with its parameters.

    It runs three times at most, because it may be what kills the runtimes.
    """
    for attempt in range(1, 4):
        number = 1 + attempt  # the trial that dies; each failed one keeps its number
        assert killed(tmp_path, number, "within") == -9
        storage = cdt.optuna_storage("study", store=tmp_path)
        dead = trials_of(storage)[number]
        assert dead.state == TrialState.FAIL
        assert dead.user_attrs[ATTEMPTS] == attempt
        waiting = [trial for trial in trials_of(storage) if trial.state == TrialState.WAITING]
        assert len(waiting) == (attempt < 3)
        for trial in waiting:
            assert trial.system_attrs["fixed_params"] == dead.params
        storage.close()


def test_a_trial_that_kills_at_once_is_given_up(tmp_path: Path) -> None:
    """A trial that kills its runtime before its start can be recorded is found, and given up.

    The first runtime's trial may be unknown; after it, a trial waits until its start is recorded.
    """
    for _ in range(4):
        assert killed(tmp_path, 99, "at once") == -9
    storage = cdt.optuna_storage("study", store=tmp_path)
    found = [trial for trial in trials_of(storage) if trial.user_attrs.get(ATTEMPTS) == 3]
    assert [trial.state for trial in found] == [TrialState.FAIL]
    assert set(found[0].params) == {"x", "kind"}
    storage.close()


@pytest.mark.parametrize("write", ["set_trial_user_attr", "set_trial_state_values"])
def test_parameters_are_queued_once_whenever_the_next_runtime_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    """A kill between failing a trial and queueing its parameters still queues them once.

    The retry has all attributes, however large they are together.
    """
    storage = cdt.optuna_storage("study", store=tmp_path)
    trial = optuna.create_study(storage=storage, study_name="s").ask()
    x = trial.suggest_float("x", -1, 1)
    notes = {name: name * 700_000 for name in "ab"}  # together too long for one line
    for name, text in notes.items():
        trial.set_user_attr(name, text)
    storage.close()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(StudyStorage, write, die)
        with pytest.raises(KeyboardInterrupt):
            cdt.optuna_storage("study", store=tmp_path)
    storage = cdt.optuna_storage("study", store=tmp_path)
    dead, again = trials_of(storage)
    assert (dead.state, dead.user_attrs) == (TrialState.FAIL, {ATTEMPTS: 1} | notes)
    assert (again.state, again.user_attrs) == (TrialState.WAITING, {ATTEMPTS: 1} | notes)
    assert again.system_attrs["fixed_params"] == {"x": x}
    storage.close()


@pytest.mark.parametrize("odd", [[1], {"a": []}, "one", None, True])
def test_invalid_retry_attributes_are_ignored(tmp_path: Path, odd: object) -> None:
    """Invalid retry attributes, which any writer of the study can set, do no harm."""
    storage = cdt.optuna_storage("study", store=tmp_path)
    study = optuna.create_study(storage=storage, study_name="s")
    for number in range(2):
        study.ask()
        for key in (RETRY_OF, "fixed_params"):
            storage.set_trial_system_attr(number, key, odd)
        storage.set_trial_user_attr(number, ATTEMPTS, odd)
    storage.close()
    storage = cdt.optuna_storage("study", store=tmp_path)
    states = [trial.state for trial in trials_of(storage)]
    assert states == [TrialState.FAIL] * 2 + [TrialState.WAITING] * 2
    storage.close()


def test_a_retry_added_from_another_study_does_not_stand_for_this_one(tmp_path: Path) -> None:
    """A new study may start with trials of an old one, which has retried other trials."""
    storage = cdt.optuna_storage("study", store=tmp_path)
    study = optuna.create_study(storage=storage, study_name="s")
    ended = optuna.trial.create_trial(value=1.0, system_attrs={RETRY_OF: 1})
    study.add_trials([ended])
    x = study.ask().suggest_float("x", -1, 1)
    storage.close()
    storage = cdt.optuna_storage("study", store=tmp_path)
    _, dead, again = trials_of(storage)
    assert dead.state == TrialState.FAIL
    assert again.system_attrs == {"fixed_params": {"x": x}, RETRY_OF: 1}
    storage.close()


@pytest.mark.parametrize("suggested", [0, 1, 2])
@pytest.mark.parametrize("interrupted", [0, 2, 3])
def test_an_interrupted_point_of_a_grid_runs_whole(
    tmp_path: Path, suggested: int, interrupted: int
) -> None:
    """A grid has each point once, whenever it was interrupted; what a pruner noted is left out."""
    grid = {"x": [1, 2], "y": [1, 2]}

    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_int("x", 1, 2) * trial.suggest_int("y", 1, 2)

    def opened() -> optuna.Study:
        storage = cdt.optuna_storage("study", store=tmp_path)
        sampler = optuna.samplers.GridSampler(grid, seed=0)
        return optuna.create_study(
            storage=storage, study_name="s", sampler=sampler, load_if_exists=True
        )

    study = opened()
    study.optimize(objective, n_trials=interrupted)
    trial = study.ask()
    for name in list(grid)[:suggested]:
        trial.suggest_int(name, 1, 2)
    study._storage.set_trial_system_attr(trial._trial_id, "completed_rung_0", 1.0)
    study._storage.close()
    study = opened()
    study.optimize(objective, n_trials=4 - interrupted)
    done = study.get_trials(states=[TrialState.COMPLETE])
    assert sorted(tuple(trial.params.values()) for trial in done) == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert not any("completed_rung_0" in trial.system_attrs for trial in done)
    study._storage.close()


def test_a_trial_that_died_before_the_sampler_saw_it_gets_a_point(tmp_path: Path) -> None:
    """A grid gives the retry a point, as for a new trial: it has no parameters that are kept."""

    def opened() -> optuna.Study:
        storage = cdt.optuna_storage("study", store=tmp_path)
        sampler = optuna.samplers.GridSampler({"x": [1, 2, 3]})
        return optuna.create_study(
            storage=storage, study_name="s", sampler=sampler, load_if_exists=True
        )

    study = opened()
    study._storage.create_new_trial(study._study_id)  # what `ask` does first
    study._storage.close()
    study = opened()
    study.optimize(lambda trial: trial.suggest_int("x", 1, 3))
    done = study.get_trials(states=[TrialState.COMPLETE])
    assert sorted(trial.params["x"] for trial in done) == [1, 2, 3]
    assert RETRY_OF in done[0].system_attrs
    study._storage.close()


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
def test_a_retried_trial_suggests_a_tuple_anew(tmp_path: Path) -> None:
    """JSON makes a list of it, which Optuna would refuse as a choice that does not exist."""

    def objective(trial: optuna.Trial) -> float:
        layers = trial.suggest_categorical("layers", [(64,), (64, 32)])
        return sum(layers) + trial.suggest_float("rate", 0, 1)

    storage = cdt.optuna_storage("study", store=tmp_path)
    trial = optuna.create_study(storage=storage, study_name="s").ask()
    objective(trial)
    storage.close()
    storage = cdt.optuna_storage("study", store=tmp_path)
    study = optuna.load_study(storage=storage, study_name="s")
    study.optimize(objective, n_trials=1)
    assert study.trials[1].state == TrialState.COMPLETE
    assert study.trials[1].params["rate"] == trial.params["rate"]
    storage.close()


def test_two_owners_are_fenced(tmp_path: Path) -> None:
    """The owner that lost the study fails at its next write and records nothing more."""
    store = FaultyStore(tmp_path)
    first = cdt.optuna_storage("study", store=store)
    study = optuna.create_study(storage=first, study_name="s")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    assert first.flush(30)
    assert killed(tmp_path, 0, "never", "other") == 0  # the store also serves another study
    other = Journal.open(cdt.open_store(tmp_path), "study", first.journal._reader.rules)
    take_over(other)
    with pytest.raises(SearchTakenOverError):  # noqa: PT012 - at one of its next writes
        for _ in range(100):
            study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
            first.flush(10)
    with pytest.raises(SearchTakenOverError):
        first.close()
    other.refresh()
    assert other.state.sessions == 2
    assert len(other.state.study.lines) < len(list(first._backend.read_logs(0)))


@pytest.mark.parametrize("writes", [False, True])
def test_a_trial_during_which_the_study_was_taken_over_ends_with_that_error(
    writes: bool, tmp_path: Path
) -> None:
    """`optimize` raises `SearchTakenOverError`, whichever write of the trial is refused first."""
    storage = cdt.optuna_storage("study", store=tmp_path)
    study = optuna.create_study(storage=storage)

    def objective(trial: optuna.Trial) -> float:
        assert storage.flush(30)
        rules = storage.journal._reader.rules
        take_over(Journal.open(cdt.open_store(tmp_path), "study", rules))
        with suppress(SearchTakenOverError):
            trial.set_user_attr("noticed", "in the background")
        storage.flush(30)
        if writes:
            trial.report(1.0, 0)
        return 1.0

    with pytest.raises(SearchTakenOverError):
        study.optimize(objective, n_trials=1)
    # the cell, run again, takes the study back
    cdt.optuna_storage("study", store=tmp_path, on_busy="takeover").close()


def test_a_trial_that_closes_its_storage_ends_with_that_error(tmp_path: Path) -> None:
    """`optimize` says that the storage is closed, and the next session retries the trial."""
    storage = cdt.optuna_storage("study", store=tmp_path)
    study = optuna.create_study(storage=storage, study_name="s")

    def objective(trial: optuna.Trial) -> float:
        storage.close()
        return trial.number

    with pytest.raises(SearchError, match="is not open here any more"):
        study.optimize(objective, n_trials=1)
    again = cdt.optuna_storage("study", store=tmp_path)
    states = [trial.state for trial in trials_of(again)]
    assert states == [TrialState.FAIL, TrialState.WAITING]
    again.close()


def take_over(journal: Journal) -> None:
    """Append the claim of another machine to the chain."""
    from colab_drive_tuner.journal.chain.record import Claimant, Record, encode_record

    head = journal._reader.head
    frozen = encode_record(
        Record(
            pos=head.pos,
            kind="claim",
            owner="another",
            prev=head.sha,
            reason="takeover",
            claimant=Claimant("f" * 32, 1, "elsewhere", "local", "a test"),
        )
    )
    folder = journal._reader.folder.records
    journal.store.create(head.ids[0], frozen.content, name="record.cdt", parent=folder)


def test_trials_run_during_an_outage(tmp_path: Path) -> None:
    """Trials run while the store is unavailable and are recorded when it is back."""
    store = FaultyStore(tmp_path)
    storage = cdt.optuna_storage("study", store=store)
    study = optuna.create_study(storage=storage, study_name="s")
    store.away = True
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=5)
    assert not storage.flush(0.1)
    store.away = False
    assert storage.flush(60)
    storage.close()
    assert cdt.read_status(cdt.open_store(tmp_path), "study").done == 5


@pytest.mark.parametrize("ran", [0, 2])
def test_trials_that_could_not_be_sent_before_a_takeover_are_added(
    ran: int, tmp_path: Path
) -> None:
    """The next session on their machine adds them, once, after those of the other runtime."""
    place, store = tmp_path / "store", FaultyStore(tmp_path / "store")
    storage = cdt.optuna_storage("study", store=store)
    study = optuna.create_study(storage=storage, study_name="s")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=ran)
    assert storage.flush(30)
    store.away = True
    study.optimize(lambda trial: trial.suggest_float("x", 2, 3), n_trials=3)
    study.ask()
    code = (
        "import sys, optuna, colab_drive_tuner as cdt\n"
        "storage = cdt.optuna_storage('study', store=sys.argv[1], on_busy='takeover')\n"
        "study = optuna.load_study(storage=storage, study_name='s')\n"
        "study.optimize(lambda trial: trial.suggest_float('x', 4, 5), n_trials=2)"
    )
    run_python("-c", code, place, environment={"XDG_STATE_HOME": str(tmp_path / "elsewhere")})
    store.away = False
    with pytest.raises(SearchTakenOverError):
        storage.close()
    for _ in range(2):
        storage = cdt.optuna_storage("study", store=place)
        found = [int(trial.params["x"]) for trial in trials_of(storage)]
        assert found == ran * [0] + 2 * [4] + 3 * [2]
        storage.close()


def test_several_workers_share_one_study_as_threads(tmp_path: Path) -> None:
    """Four threads, two objectives and pruned trials: each trial is recorded once as it was."""
    storage = cdt.optuna_storage("study", store=tmp_path)
    study = optuna.create_study(
        storage=storage, study_name="s", directions=["minimize", "maximize"]
    )

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x = trial.suggest_float("x", 0, 1)
        if trial.number % 3 == 1:
            raise optuna.TrialPruned
        return x, 1 - x

    study.optimize(objective, n_trials=12, n_jobs=4)
    assert sorted(trial.number for trial in study.trials) == list(range(12))
    pruned = study.get_trials(states=[TrialState.PRUNED])
    assert sorted(trial.number for trial in pruned) == [1, 4, 7, 10]
    storage.close()
    again = cdt.optuna_storage("study", store=tmp_path)
    assert optuna.load_study(study_name="s", storage=again).trials == study.trials
    again.close()


def test_status_and_report_show_a_study(tmp_path: Path) -> None:
    """Status and report show trials, failures and the best value, negated if it is maximized."""
    from colab_drive_tuner.search.results.read_search import read_search
    from colab_drive_tuner.search.results.report_page import search_report

    storage = cdt.optuna_storage("study", store=tmp_path)
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        kind = trial.suggest_categorical("kind", ["small", "large"])
        trial.suggest_int("n", 1, 9)
        trial.report(x, 1)
        if trial.number == 3:
            raise optuna.TrialPruned
        if trial.number == 4:
            raise ValueError(kind)
        return x

    study.optimize(objective, n_trials=8, catch=(ValueError,))
    study.enqueue_trial({"x": 0.5})
    storage.close()
    store = cdt.open_store(tmp_path)
    status = cdt.read_status(store, "study")
    assert (status.done, status.trials, status.failed) == (8, 9, 1)
    assert status.best_loss == -study.best_value
    assert status.best_tid == study.best_trial.number
    data = read_search(store, "study").data
    assert [trial.parameters for trial in data.trials] == [t.params for t in study.trials]
    assert [trial.state for trial in data.trials[3:6]] == ["done", "error", "done"]
    assert data.trials[8].state == "new"
    assert "8 trials" in search_report(store, "study")


def test_the_status_of_a_running_study_names_its_running_trials(
    storage: StudyStorage, run_command: Callable[..., tuple[int, str, str]]
) -> None:
    """`status` names the trials that the study's session is running, and their attempts."""
    study = optuna.create_study(storage=storage, study_name="s")
    study.tell(study.ask(), 1.0)
    again = optuna.trial.create_trial(state=TrialState.WAITING, user_attrs={ATTEMPTS: 1})
    study.add_trial(again)
    study.ask()
    study.ask()
    storage.flush(30)
    store = storage.journal.store
    status = cdt.read_status(store, "study")
    assert [(trial.tid, trial.attempt) for trial in status.running] == [(1, 2), (2, 1)]
    assert "running trials 1, 2" in str(status)
    shown = run_command("--store", store.location, "status", "study")[1]
    assert "running trial" in shown
    storage.close()
    assert cdt.read_status(store, "study").running == ()


def test_a_study_whose_snapshot_names_no_session_is_listed(storage: StudyStorage) -> None:
    """A snapshot that somebody altered does not hide the other searches of the store."""
    optuna.create_study(storage=storage).ask()
    storage.flush(30)
    journal, store = storage.journal, storage.journal.store
    altered = History.load(journal.state.dump())
    altered.timeline.clear()
    folder = find_folder(store, "study")
    assert folder is not None
    save_snapshot(store, folder, journal._reader.head, altered.dump())
    (status,) = cdt.list_searches(store)
    assert [(trial.tid, trial.worker) for trial in status.running] == [(0, "")]


def test_a_study_is_compared_without_a_seed(
    tmp_path: Path, run_command: Callable[..., tuple[int, str, str]]
) -> None:
    """`compare` has no row for a seed if no search has one: samplers keep theirs in memory."""
    for name in ("one", "two"):
        with contextlib.closing(cdt.optuna_storage(name, store=tmp_path)) as storage:
            study = optuna.create_study(storage=storage)
            study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    shown = run_command("--store", tmp_path, "compare", "one", "two")[1]
    assert "best x" in shown
    assert "seed" not in shown
    assert "None" not in shown


def test_a_study_of_several_objectives_says_so_and_is_exported(
    tmp_path: Path, run_command: Callable[..., tuple[int, str, str]]
) -> None:
    """Every objective is in the table and the JSON; an export as a Trials pickle is refused."""
    storage = cdt.optuna_storage("study", store=tmp_path)
    study = optuna.create_study(storage=storage, directions=["minimize", "maximize"])
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), trial.number), n_trials=3)
    storage.close()
    run = functools.partial(run_command, "--store", tmp_path)
    assert "objectives 2; the first one is shown as the loss" in run("show", "study")[1]
    rows = json.loads(run("trials", "study", "--json")[1])
    assert [row["values"] for row in rows] == [trial.values for trial in study.trials]
    assert run("export", "study", tmp_path / "t.csv")[0] == 0
    head, *lines = (tmp_path / "t.csv").read_text().splitlines()
    assert head == "trial,state,loss,seconds,value 1,value 2,x,error"
    assert [float(line.split(",")[5]) for line in lines] == [0.0, 1.0, 2.0]
    code, _, err = run("export", "study", tmp_path / "t.pkl")
    assert (code, "is an Optuna study" in err) == (2, True)
    assert not (tmp_path / "t.pkl").exists()
    report = tmp_path / "r.html"
    assert run("report", "study", "-o", report)[0] == 0
    assert "2; the first one is shown as the loss" in report.read_text()


def test_trials_without_a_text_parameter_are_sorted_last(
    tmp_path: Path, run_command: Callable[..., tuple[int, str, str]]
) -> None:
    """`trials --sort` lists the trials that do not have the parameter after all others."""
    storage = cdt.optuna_storage("study", store=tmp_path)
    study = optuna.create_study(storage=storage)
    for fixed in ({"kind": "sgd"}, {}, {"kind": "Adam"}):
        kinds = optuna.distributions.CategoricalDistribution(["Adam", "sgd"])
        given = {"params": fixed, "distributions": dict.fromkeys(fixed, kinds)}
        study.add_trial(optuna.trial.create_trial(value=1.0, **given))
    storage.close()
    _, out, _ = run_command("--store", tmp_path, "trials", "study", "--sort", "kind", "--json")
    assert [row["tid"] for row in json.loads(out)] == [2, 0, 1]


def test_an_infeasible_trial_is_never_the_best(
    tmp_path: Path, run_command: Callable[..., tuple[int, str, str]]
) -> None:
    """Status, best trial and report leave out trials that violate a constraint; tables do not."""
    storage = cdt.optuna_storage("study", store=tmp_path)
    study = optuna.create_study(storage=storage)
    for loss, attributes in (
        (1.0, {"constraints:cost": -1.0}),
        (0.0, {"constraints:cost": 0.5}),
        (-1.0, {"constraints": [-1.0, 2.0]}),
        (3.0, {"constraints": "odd"}),
    ):
        study.add_trial(optuna.trial.create_trial(value=loss, system_attrs=attributes))
    trial = study.ask()
    trial.set_constraint("cost", 1)
    study.tell(trial, -5.0)
    failed = study.ask()
    failed.set_constraint("cost", 1)
    study.tell(failed, state=TrialState.FAIL)
    storage.close()
    run = functools.partial(run_command, "--store", tmp_path)
    status = cdt.read_status(cdt.open_store(tmp_path), "study")
    assert (status.best_loss, status.best_tid, status.failed) == (1.0, 0, 1)
    (history,) = cdt.list_histories(tmp_path, "study")
    assert (history.trials, history.done, history.best_loss) == (6, 6, 1.0)
    rows = json.loads(run("trials", "study", "--json")[1])
    assert [row["state"] for row in rows] == [
        "done",
        *["infeasible"] * 2,
        "done",
        "infeasible",
        "error",
    ]
    assert [row["loss"] for row in rows] == [1.0, 0.0, -1.0, 3.0, -5.0, None]
    rows = json.loads(run("trials", "study", "--sort", "loss", "--json")[1])
    assert [row["loss"] for row in rows] == [1.0, 3.0, -5.0, -1.0, 0.0, None]
    shown = run("show", "study")[1]
    assert "best loss  ▄▄\n" in shown
    assert " infeasible " not in shown
    report = tmp_path / "r.html"
    assert run("report", "study", "-o", report)[0] == 0
    page = report.read_text()
    assert "<th scope='row'>loss</th><td>1</td>" in page
    assert page.count("<td>infeasible</td>") == 3
    assert "loss -5, infeasible" in page


@pytest.mark.parametrize("is_recorded", [False, True])
@pytest.mark.parametrize("goes_on", [False, True])
def test_an_interrupt_loses_no_line(
    is_recorded: bool, goes_on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while a line is recorded, before or after its turn, loses and doubles no line."""
    storage = cdt.optuna_storage("study", store=tmp_path)
    study = optuna.create_study(storage=storage, study_name="s")
    append = storage.journal.append

    def interrupted(item: Any, **options: Any) -> None:
        if is_recorded:
            append(item, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(storage.journal, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            study.set_user_attr("n", 0)
    assert study.user_attrs == {}
    if goes_on:
        study.set_user_attr("n", 1)
    storage.close()
    reopened = cdt.optuna_storage("study", store=tmp_path)
    lines = list(reopened._backend.read_logs(0))
    reopened.close()
    first, second = [0] * (is_recorded or goes_on), [1] * goes_on
    assert [line["user_attr"]["n"] for line in lines[1:]] == first + second


def test_lines_of_deleted_studies_are_skipped(tmp_path: Path) -> None:
    """Trials are numbered as by Optuna's replay; those of several studies have the study's name."""
    storage = cdt.optuna_storage("study", store=tmp_path)
    studies = [optuna.create_study(storage=storage, study_name=name) for name in "ab"]
    studies[0].tell(studies[0].ask(), 1.0)
    optuna.delete_study(study_name="a", storage=storage)
    for study_id in (0, -1, 7):  # of workers that have not seen yet that it is deleted
        with contextlib.suppress(KeyError):
            storage.create_new_trial(study_id)
    studies[1].tell(studies[1].ask(), 2.0)
    store = cdt.open_store(tmp_path)
    assert storage.flush(30)
    status = cdt.read_status(store, "study")
    assert (status.trials, status.best_loss, status.best_tid) == (1, 2.0, 0)
    again = optuna.create_study(storage=storage, study_name="a", direction="maximize")
    again.tell(again.ask(), 3.0)
    storage.close()
    status = cdt.read_status(store, "study")
    assert (status.trials, status.best_loss, status.best_tid) == (2, -3.0, "a 0")


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def test_an_interrupted_trial_ends_with_its_runtime() -> None:
    """The timeline shows a trial until its runtime was killed, and one that runs until now."""
    trial: dict[str, Any] = {"op_code": 4, "study_id": 0}
    end: dict[str, Any] = {"op_code": 6, "state": 3, "values": None}
    logs = [
        {"op_code": 0, "study_name": "s", "directions": [1]},
        *(trial | {"datetime_start": iso(began)} for began in (5, 1001, 1006)),
        *(end | {"trial_id": n, "datetime_complete": iso(at)} for n, at in ((0, 1000), (1, 1005))),
    ]
    history = History()
    history.study.lines = [json.dumps(log).encode() for log in logs]
    killed = RecordedSession("killed", 0.0, 10.0, ClaimReason.DEAD)
    history.timeline[:] = [killed, RecordedSession("next", 1000.0, 1010.0)]
    data = study_data("study", history.study.lines, history.timeline)
    assert [(trial.where, trial.ended) for trial in data.trials] == [
        ("killed", 10.0),
        ("next", 1005.0),
        ("next", None),
    ]
    lanes = [(lane.where, lane.last, len(lane.trials)) for lane in runtime_lanes(data)]
    assert lanes == [("killed", 10.0, 1), ("next", 1010.0, 2)]


def test_a_time_outside_of_the_calendar_is_unknown() -> None:
    """One crafted line of a log must not end `status` of all searches."""
    created = {"op_code": 0, "study_name": "s", "directions": [1]}
    running = {"op_code": 4, "study_id": 0, "datetime_start": "0001-01-01T00:00:00+14:00"}
    history = History()
    history.study.lines = [json.dumps(log).encode() for log in (created, running)]
    assert [trial.since for trial in running_now(history)] == [None]


def test_a_session_shows_an_open_study(storage: StudyStorage) -> None:
    """A session shows the live status of a study that this process holds, and its last one."""
    store = storage.journal.store
    study = optuna.create_study(storage=storage)
    study.tell(study.ask(), 1.0)
    other = Journal.open(store, "without a status", storage.journal._reader.rules)
    other.claim(lambda _: claim_payload({}))
    ((status, note),) = annotated_searches([], store.location, 0.0, {})
    assert (status.name, status.done, status.best_loss, note) == ("study", 1, 1.0, "held here")
    other.close()
    study.tell(study.ask(), 0.5)
    storage.close()
    ((status, note),) = annotated_searches([status], store.location, 0.0, {})
    assert (status.best_loss, note[:5]) == (0.5, "as of")


def test_a_search_is_no_study_and_a_study_no_search(tmp_path: Path) -> None:
    """A search opened as a study, or a study as a search, is refused with what it is.

    Nothing is written.
    """
    from hyperopt import hp

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    options = {"space": hp.uniform("x", 0, 1), "max_evals": 2, "progress": False, "store": tmp_path}
    cdt.resume_search(lambda x: x, name="search", **options)
    storage = cdt.optuna_storage("study", store=tmp_path)
    optuna.create_study(storage=storage)
    storage.close()
    before = files()
    with pytest.raises(UsageError, match="'search' is a hyperopt search with 2 trials"):
        cdt.optuna_storage("search", store=tmp_path)
    with pytest.raises(UsageError, match="'study' is an Optuna study"):
        cdt.resume_search(lambda x: x, name="study", **options)
    assert files() == before


def test_a_study_in_another_process_says_what_to_use(tmp_path: Path) -> None:
    """One process holds a study; opening or unpickling it in another names Optuna's proxy."""
    import pickle

    storage = cdt.optuna_storage("study", store=tmp_path)
    code = (
        "import pickle, colab_drive_tuner as cdt\n"
        f"try: cdt.optuna_storage('study', store={str(tmp_path)!r})\n"
        "except cdt.errors.SearchBusyError as error: print(error)\n"
        f"storage = pickle.loads({pickle.dumps(storage)!r})\n"  # pools would die if this failed
        "print('unpickled')\n"
        "storage.get_all_studies()"
    )
    done = run_python("-c", code, status=None)
    storage.close()
    assert re.search("run_grpc_proxy_server.*\nunpickled", done.stdout)
    assert re.search(r"optuna_storage\('study'\).*run_grpc_proxy_server", done.stderr)


def test_a_line_of_a_study_is_checked_when_read(tmp_path: Path) -> None:
    """A line that is no operation of Optuna is refused when the chain is read."""
    from colab_drive_tuner.checkpoint.record_items import read_items
    from colab_drive_tuner.checkpoint.trials_and_sessions import OptunaJournal, line_item

    base = OptunaJournal().digest
    for line in (b"[]", b"{}", b"nonsense", b'{"op_code": -1, "worker_id": "w"}', b"[" * 100_000):
        with pytest.raises(SearchDamagedError, match="A record"):
            read_items(line_item(line, "s", 0, base), "A record")


def test_a_log_that_optuna_cannot_read_is_damage(tmp_path: Path) -> None:
    """A log that Optuna cannot read raises SearchDamagedError in each reader.

    The study is not held afterwards, and its trials can be listed.
    """
    from colab_drive_tuner.search.results.exchange.to_optuna import storage_in_memory
    from colab_drive_tuner.store import open_store

    with contextlib.closing(cdt.optuna_storage("study", store=tmp_path)) as storage:
        study = optuna.create_study(storage=storage)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
        running = study.ask()
        parameter = {"trial_id": running._trial_id, "param_name": "y", "param_value_internal": 0.5}
        line = {"op_code": 5, "worker_id": "another", **parameter, "distribution": "{"}
        storage._backend.append_logs([line])
    for _ in range(2):
        with pytest.raises(SearchDamagedError, match=r"study 'study' \(JSONDecodeError"):
            cdt.optuna_storage("study", store=tmp_path, on_busy="error")
    store = open_store(tmp_path)
    with pytest.raises(SearchDamagedError, match="trials study` shows the trials"):
        storage_in_memory(store, "study")
    assert cdt.read_status(store, "study").done == 2


def test_a_damaged_study_is_rebuilt_from_its_records(tmp_path: Path) -> None:
    """All that was recorded before the first lost record is kept, and the study continues."""
    store = cdt.open_store(tmp_path)
    with contextlib.closing(cdt.optuna_storage("study", store=store)) as storage:
        study = optuna.create_study(storage=storage, study_name="study")
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=4)
        assert storage.flush()
        recorded = len(list((tmp_path / "study" / "records").glob("record-*")))
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
        kept = [trial.params for trial in study.trials[:4]]
    (tmp_path / "study" / "records" / f"record-{recorded:06}.cdt").unlink()
    report = str(repair(store, "study"))
    assert "recovered   4 trials, 4 of them with a result" in report
    assert "lost        the study's changes in them" in report
    assert "random state" not in report
    with contextlib.closing(cdt.optuna_storage("study", store=store)) as storage:
        study = optuna.load_study(storage=storage, study_name="study")
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
        params = [trial.params for trial in study.trials if trial.state == TrialState.COMPLETE]
        assert params[:4] == kept
        assert len(params) == 5


def test_replay_of_a_study_stops_at_a_gap() -> None:
    """Spooled lines after a gap, or of another session, are not replayed.

    Trial numbers depend on the order of the lines.
    """
    from colab_drive_tuner.checkpoint.record_items import read_items
    from colab_drive_tuner.checkpoint.trials_and_sessions import OptunaJournal, line_item
    from colab_drive_tuner.journal.chain.fields import load_row

    log = OptunaJournal()
    line = b'{"op_code": 0, "worker_id": "w"}'
    first, _, third = (read_items(line_item(line, "s", at, log.digest), "x")[0] for at in range(3))
    stranger = read_items(line_item(line, "t", 1, log.digest), "x")[0]
    log.append(first)
    assert log.wants(third)
    assert not log.wants(stranger)
    log.append(third)
    log.append(stranger)
    assert len(log.lines) == 1
    assert load_row(OptunaJournal, log.dump()) == log


def test_a_storage_left_open_is_released_when_the_interpreter_exits(tmp_path: Path) -> None:
    """A script that ends without `close` ends its session cleanly, and prints nothing."""
    code = (
        "import sys, optuna, colab_drive_tuner as cdt\n"
        "optuna.logging.set_verbosity(optuna.logging.ERROR)\n"
        "study = optuna.create_study(storage=cdt.optuna_storage('study', store=sys.argv[1]))\n"
        "study.optimize(lambda trial: trial.suggest_float('x', 0, 1), n_trials=3)"
    )
    assert run_python("-c", code, tmp_path).stderr == ""
    status = cdt.read_status(cdt.open_store(tmp_path), "study")
    assert (status.done, status.state) == (3, "unfinished")
