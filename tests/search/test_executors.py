"""Real executors: serialization of objectives and results, and the cost of worker deaths."""

import contextlib
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hyperopt import STATUS_OK, hp

from colab_drive_tuner.errors import ExecutorError, SearchChangedWarning, UsageError
from colab_drive_tuner.hyperas_style import minimize
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.executors import dispatcher
from colab_drive_tuner.search.executors.loky import LokyExecutor, loky_executor
from colab_drive_tuner.search.executors.payload import pack
from colab_drive_tuner.search.executors.worker_deaths import Death, classify_death
from colab_drive_tuner.search.results.result import SearchResult
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.training.trial import TrialInterrupted, running_trial
from tests.processes import run_python, wait_until
from tests.search import sample_searches
from tests.search.sample_searches import (
    data,
    model,
    run_hyperopt,
    run_in_fork,
    sample_objective,
    trial_values,
)

SPACE = hp.uniform("x", -10, 10)


@pytest.fixture(scope="module")
def workers() -> Iterator[LokyExecutor]:
    """Two worker processes shared by this file's tests, because starting one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "numpy")  # importing TensorFlow would take longer
        with loky_executor(2) as pool:
            pool.submit(os.getpid).result()  # start the processes while the variable is set
            yield pool


def run(store: Any, objective: Any, **options: Any) -> Any:
    """Run a search of SPACE with 8 trials."""
    options = {"space": SPACE, "seed": 3, "progress": False, "algo": "rand"} | options
    return resume_search(objective, store=store, **{"name": "s", "max_evals": 8} | options)


def deadly(marks: Path, *tids: int, times: int = 99) -> Callable[[float], float]:
    """Return an objective that kills its worker in trials `tids`, the first `times` times."""

    def objective(x: float) -> float:
        trial = running_trial()
        assert trial is not None
        (marks / f"{trial.tid}-{time.time_ns()}").touch()
        if trial.tid in tids and len(list(marks.glob(f"{trial.tid}-*"))) <= times:
            time.sleep(0.2)  # by now other trials are running
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
        return (x - 3) ** 2

    return objective


def statuses(result: Any) -> list[str]:
    """Return the status of each trial's result."""
    return [doc["result"]["status"] for doc in result.trials.trials]


def test_closures_and_all_kinds_of_results_cross_processes(
    workers: LokyExecutor, tmp_path: Path
) -> None:
    """A closure with a lambda, arrays, attachments and the trial's number cross process borders."""
    offset = 3
    square = lambda x: (x - offset) ** 2  # noqa: E731 - the test needs a lambda

    def objective(x: float) -> dict[str, Any]:
        trial = running_trial()
        return {
            "loss": square(x),
            "status": STATUS_OK,
            "array": np.arange(3) * x,
            "who": os.getpid(),
            "of": (trial.search, trial.tid),  # type: ignore[union-attr]
            "drawn": float(np.random.random()),
            "attachments": {"note": str(x)},
        }

    here = run(tmp_path, objective, name="here")
    there = run(tmp_path, objective, name="there", executor=workers, width=1)
    assert len(there.trials.attachments) == 8
    for mine, theirs in zip(here.trials.trials, there.trials.trials, strict=True):
        assert mine["misc"]["vals"] == theirs["misc"]["vals"]
        assert theirs["result"]["who"] != os.getpid() == mine["result"]["who"]
        assert theirs["result"]["of"] == ("there", mine["tid"])
        assert theirs["owner"].endswith(f":{theirs['result']['who']}")
        for key in ("loss", "drawn"):
            assert mine["result"][key] == theirs["result"][key]
        assert (mine["result"]["array"] == theirs["result"]["array"]).all()


def decorated(method: Any) -> Any:
    """A decorator of this module to which only the body of a class refers."""
    return method


def test_names_used_in_local_classes_are_sent_along(workers: LokyExecutor, tmp_path: Path) -> None:
    """A local class in an objective finds the decorator, annotation and default that it names."""

    def objective(x: float) -> float:
        class Callback:
            space = SPACE

            @decorated
            def loss(self, power: Any = STATUS_OK) -> Path | float:
                return x**2

        return Callback().loss()  # type: ignore[no-any-return]

    assert run(tmp_path, objective, executor=workers).done == 8


def test_data_is_loaded_once_in_each_worker(workers: LokyExecutor, tmp_path: Path) -> None:
    """Each worker calls the data function once; the trials equal those without an executor."""
    marks = tmp_path / "marks"
    marks.mkdir()

    @functools.wraps(data)
    def loud() -> Any:
        (marks / f"{os.getpid()}-{time.time_ns()}").touch()
        return data()

    options: dict[str, Any] = {"space": None, "max_evals": 10}
    here = run(tmp_path, model, name="here", data=data, **options)
    there = run(tmp_path, model, name="there", data=loud, executor=workers, **options)
    assert trial_values(there.trials) == trial_values(here.trials)
    loads = [path.name.partition("-")[0] for path in marks.iterdir()]
    assert len(loads) == len(set(loads)) <= 3


def test_a_hyperas_call_goes_to_workers(workers: LokyExecutor, tmp_path: Path) -> None:
    """`minimize(..., executor=)` runs trials in workers, but refuses hyperopt's own Trials."""
    import hyperopt

    trials = DriveTrials("s", store=tmp_path)
    best, _ = minimize(
        model, data, hyperopt.rand.suggest, 6, trials, verbose=False, executor=workers
    )
    assert set(best) == {"slope", "kind"}
    assert {doc["owner"].partition("/")[0] for doc in trials.trials}.isdisjoint({str(os.getpid())})
    with pytest.raises(UsageError, match="executor="):
        minimize(model, data, hyperopt.rand.suggest, 6, hyperopt.Trials(), executor=workers)


def test_a_large_objective_is_sent_once_to_each_worker(
    workers: LokyExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An objective is sent by its hash; a worker that lacks it is sent it, and no trial is lost."""
    sent: list[bool] = []
    send = dispatcher.Dispatcher._send

    def counting(self: Any, submission: Any, *, with_objective: bool) -> None:
        sent.append(with_objective)
        send(self, submission, with_objective=with_objective)

    monkeypatch.setattr(dispatcher.Dispatcher, "_send", counting)
    table = np.random.default_rng(0).random(100_000)
    result = run(tmp_path, lambda x: float(table[int(x)]), max_evals=30, executor=workers)
    assert result.done == 30
    assert 1 <= sum(sent) <= 4
    # A worker that has been replaced has no objective yet.
    workers.restart()
    monkeypatch.setattr(
        dispatcher.Dispatcher,
        "submit",
        lambda self, submission: self._send(submission, with_objective=False),
    )
    assert run(tmp_path, lambda x: float(table[int(x)]), name="t", executor=workers).done == 8


@pytest.mark.parametrize("kind", ["store", "session", "trials", "client", "credentials", "theirs"])
def test_stores_clients_and_credentials_are_not_sent_to_workers(
    kind: str, workers: LokyExecutor, tmp_path: Path
) -> None:
    """An objective that holds a store, a session, a client or credentials is refused by name."""
    from google.oauth2.credentials import Credentials

    from colab_drive_tuner.drive.client import DriveClient
    from colab_drive_tuner.session import Session

    class Bucket:
        """A third party's store."""

        reserve = set_properties = for_search = None

    secret = {
        "store": FolderStore(tmp_path / "other"),
        "session": Session.__new__(Session),
        "trials": DriveTrials("other", store="memory:x"),
        "client": DriveClient.__new__(DriveClient),
        "credentials": Credentials("token"),
        "theirs": Bucket(),
    }[kind]
    helper = lambda: secret  # noqa: E731

    for objective in (lambda x: helper() and x, functools.partial(lambda s, x: x, {"s": [secret]})):
        with pytest.raises(UsageError, match=type(secret).__name__) as caught:
            run(tmp_path / "store", objective, executor=workers)
        assert "must not be sent to workers" in str(caught.value)
    for executor in (workers, ThreadPoolExecutor(1)):
        with pytest.raises(UsageError, match="holds secret: "):
            run(tmp_path / "store", lambda x: helper() and x, executor=executor)
    assert not (tmp_path / "store").exists()


class Slotted:
    """An objective that holds a value in a slot."""

    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
        self.held = held

    def __call__(self, x: float) -> float:
        """Return `x` without using the value held."""
        return x


@pytest.mark.parametrize("where", ["body", "slot", "method", "class", "set", "result", "nested"])
def test_a_store_held_anywhere_in_an_objective_is_named(
    where: str, workers: LokyExecutor, tmp_path: Path
) -> None:
    """The error names where the store is held: a class body, slot, closure, set or result."""
    secret = FolderStore(tmp_path / "other")
    result = SearchResult(DriveTrials("other", store="memory:x"), done=0, max_evals=1, space=None)
    many, nest = {secret}, {"a": [(0, secret)]}

    class InBody(Slotted):
        kept = secret

    class InMethod(Slotted):
        @staticmethod
        def used() -> Any:
            return secret

    objective, name = {
        "body": (InBody(0), "kept"),
        "slot": (Slotted(secret), "held"),
        "method": (InMethod(0), "secret"),
        "class": (lambda x: x if InBody else 0, "InBody.kept"),
        "set": (lambda x: x if many else 0, r"many\[0\]"),
        "result": (lambda x: x if result else 0, "result.trials"),
        "nested": (lambda x: x if nest else 0, r"nest.a\[0\]\[1\]"),
    }[where]
    for executor in (workers, ThreadPoolExecutor(1)):
        with pytest.raises(UsageError, match=rf"holds {name}: "):
            run(tmp_path / "store", objective, executor=executor)
    assert not (tmp_path / "store").exists()


def test_an_objective_that_cannot_be_pickled_is_refused(
    workers: LokyExecutor, tmp_path: Path
) -> None:
    """An objective that cannot be pickled is refused before anything is written."""
    lock = threading.Lock()
    with pytest.raises(UsageError, match="cannot be sent to the workers"):
        run(tmp_path / "store", lambda x: x if lock else 0, executor=workers)
    assert not (tmp_path / "store").exists()


def test_workers_that_die_idle_are_replaced(workers: LokyExecutor, tmp_path: Path) -> None:
    """Workers that die between two searches are replaced, and no attempt is counted."""
    pids = {workers.submit(_who).result() for _ in range(4)}
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: workers._pool._flags.broken)
    result = run(tmp_path, lambda x: x**2, executor=workers, max_attempts=1)
    assert statuses(result) == ["ok"] * 8


def test_a_pool_that_another_search_has_replaced_stays(workers: LokyExecutor) -> None:
    """A search that lost its trials with the old pool does not kill the workers of the new one."""
    workers.submit(_who).result()
    pool = workers._pool
    workers.restart(only_broken=True)
    assert workers._pool is pool
    assert workers.submit(_who).result()


def _who() -> int:
    time.sleep(0.05)
    return os.getpid()


@pytest.mark.parametrize("framework", ["tensorflow", "torch", "jax"])
def test_a_pool_that_forks_a_framework_is_refused(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork has none of the threads of TensorFlow, PyTorch and JAX, for which its trials wait."""
    for name in ("keras", "tensorflow", "torch", "jax"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, framework, ModuleType(framework))
    with (
        ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool,
        pytest.raises(UsageError, match=f"{framework} is loaded"),
    ):
        run(tmp_path, abs, executor=pool)


@pytest.mark.parametrize("method", [None, "spawn"])
def test_a_loky_worker_can_start_processes(
    method: str | None, workers: LokyExecutor, tmp_path: Path
) -> None:
    """Objectives in a worker may start pools and processes, by the default method and by spawn."""

    def objective(x: float) -> float:
        context: Any = multiprocessing.get_context(method) if method else multiprocessing
        process = context.Process(target=abs, args=(x,))
        process.start()
        with context.Pool(1) as pool:
            loss = pool.apply_async(abs, [x]).get(200)
        process.join(200)
        assert process.exitcode == 0
        return loss

    assert statuses(run(tmp_path, objective, max_evals=2, executor=workers)) == ["ok"] * 2


def test_an_error_in_a_worker_keeps_class_and_traceback(
    workers: LokyExecutor, tmp_path: Path
) -> None:
    """An error keeps its class and the worker's traceback; one that does not pickle is wrapped."""

    class OddError(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__(f"odd {a}")

    def failing(x: float) -> float:
        raise KeyError("loss of pressure")

    def odd(x: float) -> float:
        raise OddError(1, 2)

    with pytest.raises(KeyError, match="loss of pressure") as caught:
        run(tmp_path, failing, executor=workers)
    assert "in failing" in str(caught.value.__cause__)
    with pytest.raises(ExecutorError, match="odd 1"):
        run(tmp_path, odd, name="odd", executor=workers)


def test_a_load_error_in_a_worker_is_reported(workers: LokyExecutor, tmp_path: Path) -> None:
    """If the data function raises in a worker, the error says that loading failed there and why."""
    driver = os.getpid()

    def only_here() -> Any:
        if os.getpid() != driver:
            raise ModuleNotFoundError("No module named 'pandas'")
        return data()

    with pytest.raises(ExecutorError, match=r"cannot be loaded in worker .*pandas"):
        run(tmp_path, model, data=only_here, space=None, executor=workers)


def test_workers_store_backups_in_a_folder_store(workers: LokyExecutor, tmp_path: Path) -> None:
    """The next attempt finds a killed worker's backup, which is removed when the trial ends."""

    def objective(x: float) -> float:
        trial = running_trial()
        kept = trial.artifacts  # type: ignore[union-attr]
        if trial.tid != 1:  # type: ignore[union-attr]
            return x**2
        path = tmp_path / "half"
        if not kept.get("fit-000-epoch-00003.backup", path):
            from colab_drive_tuner.training.backup.writer import get_writer

            get_writer(kept)
            path.write_bytes(b"half")
            kept.put("fit-000-epoch-00003.backup", path)
            os.kill(os.getpid(), signal.SIGKILL)
        return float(len(path.read_bytes()))

    result = run(tmp_path, objective, max_evals=4, executor=workers, max_attempts=2)
    assert result.trials.losses()[1] == 4.0
    folder = tmp_path / "s"
    wait_until(lambda: not list(folder.glob("backups/*half*")))
    assert not list(folder.glob("backups/trial-00002*"))


def test_a_worker_that_dies_without_progress_adds_to_the_runtimes_that_died(
    workers: LokyExecutor, tmp_path: Path
) -> None:
    """A backup from before an earlier session's death is no progress in this session."""
    died, source = tmp_path / "died", tmp_path / "source"

    def objective(x: float) -> float:
        trial = running_trial()
        assert trial is not None
        if trial.tid == 1:
            if not source.exists():
                source.write_bytes(b"half")
                trial.artifacts.put("fit-000-epoch-00003.backup", source)  # type: ignore[union-attr]
            with died.open("a") as deaths:
                deaths.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return x**2

    for _ in range(2):
        run_in_fork(lambda: run(tmp_path / "store", objective, max_evals=3, max_attempts=3))
    assert died.read_text() == "xx"
    result = run(tmp_path / "store", objective, max_evals=3, max_attempts=2, executor=workers)
    assert result.trials.statuses() == ["ok", "fail", "ok"]
    assert died.read_text() == "xxx"


def test_a_trial_lost_with_the_pool_resumes_from_its_backup(
    workers: LokyExecutor, tmp_path: Path
) -> None:
    """A trial that is charged with no death finds the backup that it stored before."""

    def objective(x: float) -> float:
        trial = running_trial()
        assert trial is not None
        stored, died = tmp_path / "stored", tmp_path / "died"
        if trial.tid == 0:
            name, path = "fit-000-epoch-00003.backup", tmp_path / "half"
            if trial.artifacts.get(name, path) or stored.exists():  # type: ignore[union-attr]
                return float(path.exists())
            source = tmp_path / "source"
            source.write_bytes(b"half")
            trial.artifacts.put(name, source)  # type: ignore[union-attr]
            stored.touch()
            time.sleep(60)
        if trial.tid == 1 and not died.exists():
            while not stored.exists():
                time.sleep(0.02)
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x**2

    result = run(tmp_path, objective, max_evals=2, executor=workers)
    assert result.trials.losses()[0] == 1.0


def test_a_trial_in_a_worker_stops_before_the_deadline(
    workers: LokyExecutor, tmp_path: Path
) -> None:
    """A worker stops a trial by its own clock; the next run continues it as the same attempt."""

    def objective(x: float) -> dict[str, Any]:
        trial = running_trial()
        assert trial is not None
        if trial.deadline is not None:
            assert trial.deadline - time.monotonic() <= 5
            while time.monotonic() < trial.deadline:
                time.sleep(0.01)
            raise TrialInterrupted(tid=trial.tid, fit=0, epoch=1, stored=True)
        return {"loss": x**2, "status": STATUS_OK, "attempt": trial.attempt}

    stopped = run(tmp_path, objective, executor=workers, max_time=5)
    assert stopped.done == 0
    ended = run(tmp_path, objective, executor=workers)
    assert [result["attempt"] for result in ended.trials.results] == [1] * 8


def test_workers_without_backups_notify_once(workers: LokyExecutor) -> None:
    """If workers cannot reach the store, one message says that they save no backups."""
    messages: list[str] = []

    def objective(x: float) -> float:
        from colab_drive_tuner.training.backup.trial_backup import TrialBackup

        TrialBackup().on_train_begin()
        return x

    trials = DriveTrials("s", store="memory:elsewhere", notify=messages.append)
    trials.fmin(objective, SPACE, max_evals=4, show_progressbar=False, executor=workers)
    (line,) = [text for text in messages if "TrialBackup" in text]
    assert "saves nothing in workers" in line


def test_a_keras_model_comes_back(workers: LokyExecutor, tmp_path: Path) -> None:
    """A worker's Keras model comes back as a file, and the best one is kept."""

    def objective(x: float) -> dict[str, Any]:
        import keras

        net = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        net.layers[0].set_weights([np.full((2, 1), x)])
        return {"loss": x**2, "status": STATUS_OK, "model": net}

    result = run(tmp_path, objective, max_evals=6, executor=workers)
    best = min(result.trials.trials, key=lambda doc: doc["result"]["loss"])
    files = list((tmp_path / "s" / "best").glob("*.keras"))
    assert [path.name.split("-loss")[0] for path in files] == [f"trial-{best['tid']:05d}"]
    assert files[0].read_bytes()[:2] == b"PK"
    assert all("model" in doc["result"] for doc in result.trials.trials)


def spawned() -> Executor:
    """Return the standard library's process pool, without forks."""
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


def test_a_killed_loky_worker_costs_one_attempt(workers: LokyExecutor, tmp_path: Path) -> None:
    """A trial that always kills its worker is given up; all other trials end."""
    marks = tmp_path / "marks"
    marks.mkdir()
    result = run(tmp_path, deadly(marks, 3), executor=workers, max_attempts=2)
    assert statuses(result) == ["ok"] * 3 + ["fail"] + ["ok"] * 4
    assert len(list(marks.glob("3-*"))) <= 3
    assert result.trials.log.history.deaths == 0, "the driver has survived"


class Phases:
    """An objective that kills its worker once on loading, once in a trial and once when sending."""

    def __init__(self, marks: Path) -> None:
        self._marks = marks

    def _once(self, phase: str) -> None:
        with contextlib.suppress(FileExistsError):
            (self._marks / phase).touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._once("loaded")

    def __call__(self, x: float) -> dict[str, Any]:
        trial = running_trial()
        assert trial is not None
        if trial.tid == 2:
            self._once("running")
        result = {"loss": x**2, "status": STATUS_OK, "attempt": trial.attempt}
        return result | ({"attachments": {"late": Sent(self)}} if trial.tid == 4 else {})


class Sent:
    """An attachment that kills its worker once while it is pickled, and is bytes afterwards."""

    def __init__(self, phases: Phases) -> None:
        self._phases = phases

    def __reduce__(self) -> Any:
        self._phases._once("sent")
        return bytes, (b"arrived",)


def test_workers_killed_in_each_phase_cost_other_trials_no_attempt(
    workers: LokyExecutor, tmp_path: Path
) -> None:
    """After a worker dies in each phase, every trial has ended and is recorded once.

    A trial that kills its worker once ends with its result.
    """
    (tmp_path / "marks").mkdir()
    result = run(tmp_path, Phases(tmp_path / "marks"), executor=workers)
    assert {path.name for path in (tmp_path / "marks").iterdir()} == {"loaded", "running", "sent"}
    assert [doc["tid"] for doc in result.trials.trials] == list(range(8))
    assert statuses(result) == ["ok"] * 8
    attempts = [one["attempt"] for one in result.trials.results]
    assert [a for tid, a in enumerate(attempts) if tid not in (0, 1, 2, 4)] == [1] * 4
    assert max(attempts) <= 2
    here = run(tmp_path, lambda x: x**2, name="here")
    assert [d["misc"]["vals"] for d in result.trials.trials] == [
        d["misc"]["vals"] for d in here.trials.trials
    ]


def test_a_trial_that_kills_workers_of_a_users_pool_is_given_up(tmp_path: Path) -> None:
    """A user's pool stays broken after a death; with new pools the search gets to its end."""
    marks = tmp_path / "marks"
    marks.mkdir()
    errors: list[str] = []
    result = None
    while result is None and len(errors) < 10:
        with spawned() as pool:
            try:
                result = run(tmp_path, deadly(marks, 2), executor=pool, max_attempts=2)
            except ExecutorError as error:
                errors.append(str(error))
    assert all("is broken" in text for text in errors)
    assert statuses(result) == ["ok"] * 2 + ["fail"] + ["ok"] * 5


def test_the_trials_of_a_killed_driver_run_again(tmp_path: Path) -> None:
    """Trials in flight run again with their parameters, and the kill counts as an attempt."""
    script = f"""
        import os, signal, sys, time
        from concurrent.futures import ThreadPoolExecutor
        from pathlib import Path
        from tests.search.sample_searches import SPACE, sample_objective, held_journals
        from colab_drive_tuner.search.drive_trials import DriveTrials
        from colab_drive_tuner.training.trial import running_trial
        import hyperopt, numpy as np
        def objective(point):
            if running_trial().tid >= 3:
                Path({str(tmp_path)!r}, f"at-{{running_trial().tid}}").touch()
                while not all(Path({str(tmp_path)!r}, f"at-{{n}}").exists() for n in (3, 4, 5)):
                    time.sleep(0.01)
                if running_trial().tid == 4:
                    assert all(journal.flush_to_disk(30) for journal in held_journals())
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)
            return sample_objective(point)
        trials = DriveTrials("s", store={str(tmp_path / "store")!r})
        trials.fmin(objective, SPACE, algo=hyperopt.rand.suggest, max_evals=8,
                    rstate=np.random.default_rng(3), executor=ThreadPoolExecutor(3))
        """
    run_python("-c", textwrap.dedent(script), status=-signal.SIGKILL)
    attempts: dict[int, int] = {}

    def objective(point: Any) -> float:
        trial = running_trial()
        attempts[trial.tid] = trial.attempt  # type: ignore[union-attr]
        return sample_objective(point)

    with pytest.warns(SearchChangedWarning, match="source"):
        result = run(tmp_path / "store", objective, space=sample_searches.SPACE)
    assert trial_values(result.trials) == trial_values(run_hyperopt("rand", 8))
    assert attempts == {3: 2, 4: 2, 5: 2, 6: 1, 7: 1}


def test_loky_workers_end_with_a_killed_driver() -> None:
    """A busy worker also ends with its driver; otherwise the pipe it inherits would stay open."""
    script = """if True:
        import os, signal, time
        from colab_drive_tuner.search.executors.loky import loky_executor
        workers = loky_executor(1)
        workers.submit(os.getpid).result()
        workers.submit(time.sleep, 300)
        time.sleep(0.5)  # it is at work by now
        os.kill(os.getpid(), signal.SIGKILL)
        """
    run_python("-c", script, status=-signal.SIGKILL)


def test_results_of_workers_that_outlive_their_driver_are_not_recorded(tmp_path: Path) -> None:
    """Workers that end after the next run have no effect: only that run's results are recorded."""
    script = tmp_path / "driver.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, signal, threading, time
        from pathlib import Path
        from tests.search.sample_searches import SPACE, sample_objective
        from tests.search.test_executors import run, spawned
        from colab_drive_tuner.search.drive_trials import DriveTrials
        from colab_drive_tuner.search.executors import worker
        from colab_drive_tuner.training.trial import running_trial

        worker.exit_with = lambda driver: None  # as on a cluster
        folder = Path({str(tmp_path)!r})

        def objective(point):
            tid = running_trial().tid
            if tid >= 2:
                (folder / f"at-{{tid}}").touch()
                while not all((folder / f"at-{{n}}").exists() for n in (2, 3)):
                    time.sleep(0.01)
                if tid == 3:
                    while len(DriveTrials("s", store=folder / "store").log.history.trials) < 4:
                        time.sleep(0.05)  # until the starts are recorded
                    os.kill(driver, signal.SIGKILL)
                deadline = time.monotonic() + 60
                while not (folder / "done").exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
                (folder / f"ended-{{tid}}").touch()
                threading.Timer(3, os._exit, (0,)).start()  # it would wait for work for ever
                return 1e9
            return sample_objective(point)

        if __name__ == "__main__":
            driver = os.getpid()
            with spawned() as pool:
                run(folder / "store", objective, space=SPACE, executor=pool)
        """)
    )
    with (tmp_path / "output.txt").open("wb") as output:  # orphans would keep a pipe open
        driver = subprocess.run([sys.executable, script], stdout=output, stderr=output, check=False)
    assert driver.returncode == -signal.SIGKILL, (tmp_path / "output.txt").read_text()
    attempts: dict[int, int] = {}

    def objective(point: Any) -> float:
        trial = running_trial()
        attempts[trial.tid] = trial.attempt  # type: ignore[union-attr]
        return sample_objective(point)

    expected, before = trial_values(run_hyperopt("rand", 8)), set(tmp_path.glob("ended-*"))
    with pytest.warns(SearchChangedWarning):
        result = run(tmp_path / "store", objective, space=sample_searches.SPACE)
    (tmp_path / "done").touch()
    assert before == set()
    wait_until(lambda: len(list(tmp_path.glob("ended-*"))) == 2)  # they outlived the driver
    assert attempts == {2: 2, 3: 2, 4: 1, 5: 1, 6: 1, 7: 1}
    assert trial_values(result.trials) == expected
    assert trial_values(DriveTrials("s", store=tmp_path / "store")) == expected


def test_ctrl_c_releases_a_search_with_workers(tmp_path: Path) -> None:
    """After Ctrl-C in a terminal, loky's workers end their trials; the search is released."""
    interrupted = tmp_path / "interrupted"
    script = f"""
        import time
        from pathlib import Path
        from colab_drive_tuner.search.executors.loky import loky_executor
        from tests.search.test_executors import run
        def objective(x):
            print("running", flush=True)
            while not Path({str(interrupted)!r}).exists():
                time.sleep(0.05)
            return x
        if __name__ == "__main__":
            with loky_executor(2) as workers:
                run({str(tmp_path)!r}, objective, executor=workers)
        """
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(script))
    output = tmp_path / "output.txt"
    with output.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, str(path)], stdout=out, stderr=out, start_new_session=True
        )
        wait_until(lambda: output.read_text().count("running") >= 2)
        os.killpg(process.pid, signal.SIGINT)
        interrupted.touch()
        process.wait(timeout=200)
    shown = output.read_text()
    assert "ended and recorded" in shown
    assert "stopped after 2 of 8 trials" in shown
    assert "Traceback" not in shown
    from colab_drive_tuner.search.results.read_search import read_status

    status = read_status(open_store(tmp_path), "s")
    assert status.holder is None
    assert DriveTrials("s", store=tmp_path).log.history.out_of_attempts(1) == []


@pytest.mark.parametrize(
    ("package", "name", "death"),
    [
        ("distributed.scheduler", "KilledWorker", Death.ONE_TRIAL),
        ("ray.exceptions", "WorkerCrashedError", Death.ONE_TRIAL),
        ("ray.exceptions", "ActorDiedError", None),
        ("distributed.client", "FutureCancelledError", Death.CANCELLED),
        ("joblib.externals.loky.process_executor", "ShutdownExecutorError", Death.CANCELLED),
        ("elsewhere", "KilledWorker", None),
    ],
)
def test_worker_deaths_are_classified_by_class_name(
    package: str, name: str, death: Death | None
) -> None:
    """Deaths are recognized by the module and name of an exception's class or its bases."""
    base = type("RayActorError", (Exception,), {"__module__": "ray.exceptions"})
    derived = name == "ActorDiedError"
    kind = type(name, (base if derived else Exception,), {"__module__": package})
    assert classify_death(kind("gone")) == (Death.ONE_TRIAL if derived else death)


def test_the_exceptions_of_loky_are_known() -> None:
    """Exceptions of loky and of the standard library's pools are classified as deaths."""
    from concurrent.futures import BrokenExecutor, CancelledError

    from joblib.externals.loky.process_executor import TerminatedWorkerError

    assert classify_death(TerminatedWorkerError()) == Death.SEVERAL_TRIALS
    assert classify_death(BrokenExecutor()) == Death.SEVERAL_TRIALS
    assert classify_death(CancelledError()) == Death.CANCELLED


def test_the_payload_is_the_same_for_the_same_objective() -> None:
    """Equal objectives give equal hashes, by which a worker knows that it has one."""
    objective = lambda x: x + 1  # noqa: E731
    assert pack(objective, SPACE, None).sha == pack(objective, SPACE, None).sha
    assert pack(objective, SPACE, None).sha != pack(lambda x: x + 2, SPACE, None).sha
