"""SIGKILL at any time in an Optuna study: no finished trial is lost, and the study completes."""

import json
import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna")

from optuna.trial import FrozenTrial, TrialState  # noqa: E402 - asked for above

import colab_drive_tuner as cdt  # noqa: E402
from tests.torture.places import Place, drive_place, folder_place  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)


def objective(trial: optuna.Trial) -> float:
    """Train for a moment; return a value that only these parameters have."""
    x = trial.suggest_float("x", -1, 1)
    trial.set_user_attr("twice", 2 * x)
    time.sleep(0.02)
    return float(x**2)


def session(ledger: Path, wanted: int, name: str = "study") -> None:
    """Check what dead processes left; run until `wanted` trials are complete, noting each."""
    storage = cdt.optuna_storage(name, max_attempts=1_000)
    study = optuna.create_study(
        storage=storage,
        study_name="s",
        load_if_exists=True,
        sampler=optuna.samplers.RandomSampler(),
    )
    check(study.trials, ledger)
    with ledger.open("a") as notes:

        def note(_: optuna.Study, trial: FrozenTrial) -> None:
            notes.write(json.dumps([trial.number, trial.params["x"]]) + "\n")
            notes.flush()

        while len(study.get_trials(states=(TrialState.COMPLETE,))) < wanted:
            study.optimize(objective, n_trials=1, callbacks=[note])
    storage.close()


def check(trials: list[FrozenTrial], ledger: Path) -> None:
    """Assert that noted trials are complete, numbers have no gaps, and no trial is running."""
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert not [trial for trial in trials if trial.state == TrialState.RUNNING]
    for line in ledger.read_text().splitlines():
        number, x = json.loads(line)
        trial = trials[number]
        assert (trial.state, trial.params) == (TrialState.COMPLETE, {"x": x}), trial
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            x = trial.params["x"]
            assert (trial.value, trial.user_attrs["twice"]) == (x**2, 2 * x), trial


def forked(work: Callable[[], None], variables: dict[str, str]) -> int:
    """Start a process that does this work; return its id. Its exit status is not 0 on failure."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.environ.update(variables)
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - it is printed, and the status says so
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def status_of(pid: int) -> int:
    """Wait for a process and return its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_anywhere(place: Place, folder: Path, *, kills: int, seed: int) -> None:
    """Kill processes one after another, let one complete the study, and judge that.

    The kills come at random times within the duration of a whole run, and go on until enough
    processes lived long enough to end a trial; they wait longer on a machine that became slower.
    """
    ledger, calm, rng = folder / "ledger", folder / "calm", random.Random(seed)
    ledger.touch()
    calm.touch()
    begun = time.monotonic()
    assert status_of(forked(lambda: session(calm, 20, "calm"), place.variables)) == 0
    whole = time.monotonic() - begun
    died = done = 0
    while died < kills or done < kills:
        assert died < 10 * kills, "few processes lived long enough to end a trial"
        pid = forked(lambda: session(ledger, 10_000), place.variables)
        time.sleep(rng.uniform(0, whole))
        os.kill(pid, signal.SIGKILL)
        assert status_of(pid) == -signal.SIGKILL, "it had failed before it was killed"
        died += 1
        before, done = done, len(ledger.read_text().splitlines())
        whole *= 1.01 if done == before else 1.0
    assert status_of(forked(lambda: session(ledger, done + 3), place.variables)) == 0

    def judge() -> None:
        storage = cdt.optuna_storage("study")
        trials = optuna.load_study(study_name="s", storage=storage).trials
        storage.close()
        check(trials, ledger)
        complete = [trial.params for trial in trials if trial.state == TrialState.COMPLETE]
        waits = [trial for trial in trials if trial.state == TrialState.WAITING]
        queued = [trial.system_attrs["fixed_params"] for trial in waits]
        assert len(complete) >= done + 3
        for trial in trials:
            tried = not trial.params or trial.params in complete
            waiting = trial.params in queued
            assert trial.state != TrialState.FAIL or tried or waiting, trial

    assert status_of(forked(judge, place.variables)) == 0


def test_a_study_is_killed_in_a_folder(tmp_path: Path) -> None:
    """Finished trials survive kills from the creation on; interrupted ones are retried."""
    kill_anywhere(folder_place(tmp_path / "store"), tmp_path, kills=6, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_study_is_killed_100_times_in_a_folder(tmp_path: Path) -> None:
    """A study in a folder survives a hundred kills."""
    kill_anywhere(folder_place(tmp_path / "store"), tmp_path, kills=100, seed=2)


@pytest.mark.long
@pytest.mark.parametrize("faults", [False, True], ids=["calm", "faulty"])
@pytest.mark.timeout(1800)
def test_a_study_is_killed_100_times_on_drive(faults: bool, tmp_path: Path) -> None:
    """A study on Drive survives a hundred kills, with late, lost and refused answers."""
    with drive_place(faults=faults, seed=3) as place:
        kill_anywhere(place, tmp_path, kills=100, seed=4)
