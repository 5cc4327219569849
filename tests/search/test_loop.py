"""The loop that suggests, runs and records trials, as `hyperopt.fmin` does."""

import contextlib
import enum
import functools
import os
import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hyperopt
import numpy as np
import pytest

from colab_drive_tuner.errors import SearchBusyError, SearchError, UsageError
from colab_drive_tuner.hyperas_style import minimize
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.loop import sequential as module
from colab_drive_tuner.search.results.read_search import read_status
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.search.trials.counts import TrialCounts
from colab_drive_tuner.store import open_store
from tests.search.sample_searches import (
    SPACE,
    held_journals,
    open_read_only,
    run_fmin,
    run_hyperopt,
    run_in_store,
    sample_objective,
    trial_values,
)

Suggest = Callable[..., Any]


def several(ids: Any, domain: Any, trials: Any, seed: int) -> Any:
    """Suggest at most two trials, however many are asked for."""
    return hyperopt.rand.suggest(ids[:2], domain, trials, seed)


def until_four(ids: Any, domain: Any, trials: Any, seed: int) -> Any:
    """Suggest nothing once there are four trials."""
    return [] if len(trials) >= 4 else hyperopt.rand.suggest(ids, domain, trials, seed)


@pytest.mark.parametrize("queue", [1, 3, 4])
@pytest.mark.parametrize("algo", [several, until_four])
def test_a_users_own_algorithm(algo: Suggest, queue: int, tmp_path: Path) -> None:
    """An algorithm may suggest fewer trials than asked for, or none, which ends the run."""
    expected = run_fmin(hyperopt.Trials(), algo, 10, max_queue_len=queue)
    found = run_fmin(DriveTrials("search", store=tmp_path), algo, 10, max_queue_len=queue)
    assert trial_values(found) == trial_values(expected)
    assert trial_values(open_read_only(tmp_path)) == trial_values(expected)


def test_too_many_suggestions_are_refused(tmp_path: Path) -> None:
    """If an algorithm suggests more trials than asked for, the error counts them; none is kept."""

    def greedy(_ids: Any, domain: Any, trials: Any, seed: int) -> Any:
        return hyperopt.rand.suggest([0, 1, 2], domain, trials, seed)

    with pytest.raises(UsageError, match="suggested 3 trials when asked for 1"):
        run_fmin(DriveTrials("search", store=tmp_path), greedy, 10)
    assert len(open_read_only(tmp_path)) == 0


class Interrupts:
    """A wrapper of functions that raises KeyboardInterrupt at the n-th call of one of them."""

    def __init__(self, where: str, call: int) -> None:
        self.where, self.left = where, call

    def wrap(self, where: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, which is interrupted if it is the chosen one."""

        @functools.wraps(function)  # the wrapper must count as the same algorithm
        def interrupted(*args: Any) -> Any:
            if where == self.where:
                self.left -= 1
                if self.left == 0:
                    raise KeyboardInterrupt
            return function(*args)

        return interrupted


@pytest.mark.parametrize("call", [1, 3])
@pytest.mark.parametrize("where", ["objective", "algo", "early stop", "progress", "end"])
def test_an_interrupt_at_any_point_loses_nothing(
    where: str, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search is released, and the next run ends with the trials of an uninterrupted one."""
    interrupts = Interrupts(where, call)
    end = module.Loop._tell
    monkeypatch.setattr(module.Loop, "_tell", interrupts.wrap("end", end))

    @contextlib.contextmanager
    def progress(**_: Any) -> Iterator[Any]:
        class Bar:
            update = staticmethod(interrupts.wrap("progress", lambda _n: None))

        yield Bar()

    with pytest.raises(KeyboardInterrupt, match="Run it again to continue"):
        run_fmin(
            DriveTrials("search", store=tmp_path),
            interrupts.wrap("algo", hyperopt.rand.suggest),
            10,
            interrupts.wrap("objective", sample_objective),
            early_stop_fn=interrupts.wrap("early stop", lambda _trials: (False, [])),
            show_progressbar=progress,
            verbose=True,
        )
    assert read_status(open_store(tmp_path), "search").holder is None
    assert trial_values(run_in_store(tmp_path, "rand", 10)) == trial_values(
        run_hyperopt("rand", 10)
    )


def test_a_progress_callback_gets_hyperopts_calls(tmp_path: Path) -> None:
    """A new run and a resumed one update a progress bar with the same numbers as hyperopt."""

    def heard(trials: Any, counts: tuple[int, ...]) -> list[Any]:
        calls: list[Any] = []

        class Bar:
            def update(self, n: int) -> None:
                calls.append((n, self.postfix))  # type: ignore[attr-defined]

        @contextlib.contextmanager
        def progress(initial: int, total: int) -> Iterator[Bar]:
            calls.append((initial, total))
            yield Bar()

        for count in counts:
            options = {"max_queue_len": 3, "show_progressbar": progress, "verbose": True}
            run_fmin(trials, "rand", count, **options)
        return calls

    ours = heard(DriveTrials("search", store=tmp_path), (4, 9))
    assert ours == heard(hyperopt.Trials(), (4, 9))


def test_an_attempt_can_be_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt is plain data without the store or the search's records."""
    evaluate, attempts = module.evaluate, []

    def looking(attempt: Any, *more: Any) -> Any:
        attempts.append(pickle.loads(pickle.dumps(attempt)))
        return evaluate(attempt, *more)

    monkeypatch.setattr(module, "evaluate", looking)
    trials = run_in_store(tmp_path, "rand", 3)
    assert [attempt.tid for attempt in attempts] == [0, 1, 2]
    assert [attempt.number for attempt in attempts] == [1, 1, 1]
    for attempt, document in zip(attempts, trials.trials, strict=True):
        values = document["misc"]["vals"]
        assert attempt.point == {label: vals[0] for label, vals in values.items() if vals}


def test_counts_follow_insertions_ends_and_deletions() -> None:
    """Each document counts once, by its state when it ended; NaN is never the best loss."""
    documents = [
        {"state": 2, "result": {"loss": 3.0}},
        {"state": 0, "result": {}},
        {"state": 1, "result": {}},
    ]
    counts = TrialCounts(documents)
    assert (len(counts), counts.ended, counts.finished, counts.best, counts.queued) == (
        3,
        1,
        1,
        3.0,
        1,
    )
    documents[1] |= {"state": 2, "result": {"loss": float("nan")}}
    documents[2] |= {"state": 3}
    documents += [
        {"state": 4, "result": {}},
        {"state": 2, "result": {"loss": -1, "status": "fail"}},
    ]
    counts.update()
    assert (len(counts), counts.ended, counts.finished, counts.best, counts.queued) == (
        4,
        4,
        3,
        -1,
        0,
    )
    documents.clear()
    counts.update()
    assert (len(counts), counts.ended, counts.best, counts.next_queued) == (0, 0, None, None)


class Status(enum.StrEnum):
    """A user's own enum of statuses, equal to hyperopt's."""

    FINE = "ok"


def test_an_enum_is_a_status(tmp_path: Path) -> None:
    """A status that equals one of hyperopt's is recorded as plain text."""

    def objective(point: Any) -> dict[str, Any]:
        return {"loss": sample_objective(point), "status": Status.FINE}

    assert run_in_store(tmp_path, "rand", 4, objective).losses() == run_hyperopt("rand", 4).losses()
    assert [type(result["status"]) for result in open_read_only(tmp_path).results] == [str] * 4


def test_a_callback_gets_the_best_loss_as_hyperopt_writes_it(tmp_path: Path) -> None:
    """The best loss is formatted as in hyperopt, even where numpy and Python differ."""

    def search_with(trials: Any) -> list[str]:
        bars: list[Any] = []

        class Bar:
            def update(self, _n: int) -> None:
                bars.append(self.postfix)  # type: ignore[attr-defined]

        @contextlib.contextmanager
        def progress(**_: Any) -> Iterator[Bar]:
            yield Bar()

        def failing(_point: Any) -> dict[str, Any]:
            return {"status": "fail", "loss": np.float32(0.1)}

        options = {"show_progressbar": progress, "verbose": True}
        with pytest.raises(hyperopt.exceptions.AllTrialsFailed):
            run_fmin(trials, "rand", 2, failing, **options)
        return bars

    assert search_with(DriveTrials("s", store=tmp_path)) == search_with(hyperopt.Trials())


@pytest.mark.parametrize("state", [hyperopt.JOB_STATE_ERROR, hyperopt.base.JOB_STATE_CANCEL])
def test_states_that_an_objective_sets_count_as_with_hyperopt(state: int, tmp_path: Path) -> None:
    """Trials that an objective marks as failed or cancelled are listed as in hyperopt."""

    def listed(trials: Any) -> list[list[int]]:
        seen: list[list[int]] = []

        @hyperopt.fmin_pass_expr_memo_ctrl
        def objective(expr: Any, memo: Any, ctrl: Any) -> float:
            seen.append(list(ctrl.trials.tids))
            if len(seen) == 3:
                ctrl.trials.trials[0]["state"] = state
            return sample_objective(hyperopt.pyll.rec_eval(expr, memo=memo))

        run_fmin(trials, "rand", 5, objective)
        return [*seen, trials.tids]

    assert listed(DriveTrials("s", store=tmp_path)) == listed(hyperopt.Trials())


@pytest.mark.parametrize("own", [True, False])
def test_a_search_within_itself_is_refused(own: bool, tmp_path: Path) -> None:
    """Running a search within its own objective is refused; the outer run loses nothing."""
    trials = DriveTrials("search", store=tmp_path, notify=lambda _: None)
    refusals: list[SearchBusyError] = []

    @functools.wraps(sample_objective)
    def objective(point: Any) -> float:
        inner = trials if own else DriveTrials("search", store=tmp_path)
        try:
            run_fmin(inner, "rand", 3)
        except SearchBusyError as error:
            refusals.append(error)
        return sample_objective(point)

    run_fmin(trials, "rand", 10, objective)
    assert len(refusals) == 10
    assert trial_values(open_read_only(tmp_path)) == trial_values(run_hyperopt("rand", 10))


def numbers() -> Any:
    """Data that are loaded once per process."""
    return np.random.rand(3)


def templated(x: Any) -> Any:
    rate = {{uniform(0, 1)}}  # type: ignore[name-defined]  # noqa: F821
    return {"loss": rate, "status": "ok"}


@pytest.mark.parametrize("how", ["resume_search", "fmin", "minimize"])
def test_a_trial_draws_the_same_numbers_after_an_inner_search_that_had_ended(
    how: str, tmp_path: Path
) -> None:
    """A resumed trial draws the same numbers, whatever a search inside it still had to run."""

    def search(folder: str, *, stop_in: int | None = None) -> list[Any]:
        drawn: list[Any] = []

        def objective(point: Any) -> float:
            options: Any = {"name": f"inner {len(outer)}", "store": tmp_path / folder}
            if how == "resume_search":
                options |= {"space": SPACE, "max_evals": 2, "seed": 1, "progress": False}
                resume_search(sample_objective, **options)
            elif how == "fmin":
                run_fmin(DriveTrials(**options), "rand", 2)
            else:
                inner = DriveTrials(**options)
                minimize(
                    templated, numbers, hyperopt.rand.suggest, 2, inner, rseed=1, verbose=False
                )
            if len(outer) == stop_in:
                raise KeyboardInterrupt
            drawn.append((random.random(), np.random.rand()))
            return sample_objective(point)

        outer = DriveTrials("outer", store=tmp_path / folder, notify=lambda _: None)
        run_fmin(outer, "rand", 3, objective)
        return drawn

    whole = search("whole")
    with contextlib.suppress(KeyboardInterrupt):
        search("stopped", stop_in=2)
    assert len(set(whole)) == 3
    assert search("stopped") == whole[1:]


def test_a_trial_that_is_not_seeded_keeps_its_numbers_through_an_inner_search(
    tmp_path: Path,
) -> None:
    """With `seed_training=False`, an inner search leaves the generators as the user seeded them."""
    options: Any = {
        "space": SPACE, "store": tmp_path, "max_evals": 1, "seed_training": False, "progress": False
    }  # fmt: skip
    drawn: list[float] = []

    def objective(point: Any) -> float:
        np.random.seed(7)
        resume_search(sample_objective, name="inner", **options)
        drawn.append(np.random.rand())
        return sample_objective(point)

    resume_search(objective, name="outer", **options)
    assert drawn == [np.random.RandomState(7).rand()]


@pytest.mark.parametrize("how", ["return", "raise", "exit"])
def test_a_fork_of_the_objective_that_comes_back_records_nothing(how: str, tmp_path: Path) -> None:
    """A forked child that leaves the objective records nothing and waits for no writer."""

    def forking(point: Any) -> float:
        if point["x"] == expected.trials[3]["misc"]["vals"]["x"][0]:
            pid = os.fork()
            if pid == 0:
                for journal in held_journals():
                    journal.flush = lambda *_: os._exit(9)  # type: ignore[method-assign]
            if pid == 0 and how == "raise":
                raise ValueError
            if pid == 0 and how == "exit":
                raise SystemExit(5)
            if pid == 0:
                return -99.0
            statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        return sample_objective(point)

    expected, statuses, parent = run_hyperopt("rand", 6), [], os.getpid()
    try:
        trials = run_in_store(tmp_path, "rand", 6, forking)
    except BaseException as error:
        if os.getpid() == parent:
            raise
        os._exit(5 if isinstance(error, SearchError | SystemExit) else 1)
    assert statuses == [5]
    assert trial_values(trials) == trial_values(open_read_only(tmp_path)) == trial_values(expected)
