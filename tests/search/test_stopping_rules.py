"""A search stopped by a loss threshold or an early-stop function has ended."""

import copy
import dataclasses
import functools
import os
import signal
import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hyperopt.early_stop import no_progress_loss

from colab_drive_tuner.checkpoint.record_items import read_items
from colab_drive_tuner.checkpoint.recorded_settings import STOPPED
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.rerun.runs import ExitCode, read_rerun_status
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.loop import sequential as loop
from colab_drive_tuner.search.results.read_search import read_status
from colab_drive_tuner.search.spec.fingerprints import describe_rule
from colab_drive_tuner.store import open_store
from colab_drive_tuner.training.trial import running_trial
from tests.journal.faulty_store import FaultyStore
from tests.search.sample_searches import (
    SPACE,
    killing_objective_in_outage,
    resume_sample_search,
    run_fmin,
    run_hyperopt,
    run_in_fork,
    sample_objective,
    trial_values,
)


@functools.wraps(sample_objective)  # the wrapper must count as the same objective
def never(_point: Any) -> float:
    """An objective that must not run."""
    raise AssertionError("a trial was run")


def test_a_threshold_ends_the_search(tmp_path: Path) -> None:
    """The same call returns at once; result and status give the reason, the exit code is 0."""
    result = resume_sample_search(tmp_path, max_evals=200, loss_threshold=1.2)
    expected = run_hyperopt("rand", 200, loss_threshold=1.2)
    assert trial_values(result.trials) == trial_values(expected)
    why = f"loss {expected.best_trial['result']['loss']:.6g} < 1.2"
    assert (result.stopped, result.finished, result.exit_code) == (why, True, 0)
    assert f"stopped: {why}" in repr(result)
    assert result.best_loss < 1.2
    status = read_status(open_store(tmp_path), "s")
    assert (status.stopped, status.finished, status.holder) == (why, True, None)
    verdict = read_rerun_status(open_store(tmp_path), "s")
    assert verdict.exit_code is ExitCode.FINISHED
    assert why in verdict.message
    again = resume_sample_search(tmp_path, never, max_evals=200, loss_threshold=1.2)
    assert (again.done, again.stopped) == (result.done, why)


@pytest.mark.parametrize(
    "options",
    [
        {"loss_threshold": 0.5},
        {"loss_threshold": None},
        {"loss_threshold": 1.2, "early_stop_fn": no_progress_loss(50)},
        {"loss_threshold": 1.2, "max_evals": 201},
    ],
    ids=["threshold", "no-threshold", "early-stop", "more"],
)
def test_another_rule_or_more_trials_go_on(options: dict[str, Any], tmp_path: Path) -> None:
    """With another rule or more trials, a stopped search runs at least one more trial."""
    first = resume_sample_search(tmp_path, max_evals=200, loss_threshold=1.2).done
    result = resume_sample_search(tmp_path, **{"max_evals": first + 3} | options)
    assert result.done > first
    assert read_status(open_store(tmp_path), "s").done == result.done


def test_an_early_stop_function_ends_the_search(tmp_path: Path) -> None:
    """The search stops for good where plain hyperopt stops; another function continues it."""
    expected = run_hyperopt("rand", 100, early_stop_fn=no_progress_loss(5))
    options: dict[str, Any] = {"max_evals": 100, "early_stop_fn": no_progress_loss(5)}
    result = resume_sample_search(tmp_path, **options)
    assert trial_values(result.trials) == trial_values(expected)
    assert "no_progress_loss" in result.stopped
    assert resume_sample_search(tmp_path, never, **options).done == result.done
    more = resume_sample_search(tmp_path, max_evals=100, early_stop_fn=no_progress_loss(30))
    assert more.done > result.done


@dataclasses.dataclass
class Patience:
    """A rule as an object that compares by value and keeps state."""

    rounds: int
    best: float = float("inf")
    since: int = 0

    def __call__(self, trials: Any, *_args: Any) -> tuple[bool, list[Any]]:
        """Stop after `rounds` trials without a better loss."""
        last = trials.losses()[-1]
        self.since = 0 if last < self.best else self.since + 1
        self.best = min(last, self.best)
        return self.since >= self.rounds, []


class AtMost:
    """A rule as an object with slots and without a useful repr."""

    __slots__ = ("most",)

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, trials: Any, *_args: Any) -> tuple[bool, list[Any]]:
        """Stop after `most` trials."""
        return len(trials.trials) >= self.most, []


def test_a_rule_with_state_ends_the_search(tmp_path: Path) -> None:
    """Neither a new rule that is equal nor the same object runs further trials."""
    rule = Patience(3)
    result = resume_sample_search(tmp_path, max_evals=100, early_stop_fn=rule)
    for same in (Patience(3), rule):
        assert (
            resume_sample_search(tmp_path, never, max_evals=100, early_stop_fn=same).done
            == result.done
        )
    assert (
        resume_sample_search(tmp_path, max_evals=100, early_stop_fn=Patience(5)).done > result.done
    )


MOST = 4


def most(trials: Any, *_args: Any) -> tuple[bool, list[Any]]:
    """Stop after MOST trials."""
    return len(trials.trials) >= MOST, []


def test_another_number_is_another_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number changed in the rule's text, attribute or global name continues the search."""
    by_text = [lambda trials, *_: (len(trials.trials) >= 4, [])]
    by_text.append(lambda trials, *_: (len(trials.trials) >= 6, []))
    for name, rules in {"text": by_text, "attribute": [AtMost(4), AtMost(6)]}.items():
        for rule, done in zip(rules, (4, 6), strict=True):
            for _ in range(2):
                result = resume_sample_search(tmp_path / name, max_evals=100, early_stop_fn=rule)
                assert (result.done, bool(result.stopped)) == (done, True)
    assert resume_sample_search(tmp_path / "name", max_evals=100, early_stop_fn=most).done == 4
    monkeypatch.setattr(f"{__name__}.MOST", 6)
    assert resume_sample_search(tmp_path / "name", max_evals=100, early_stop_fn=most).done == 6


def test_a_rule_whose_text_was_edited_is_another(tmp_path: Path) -> None:
    """A function that a cell redefines under its old name continues the search."""
    for number in (4, 6):
        path = tmp_path / f"cell_{number}.py"
        path.write_text(f"def stop(trials, *_):\n    return len(trials.trials) >= {number}, []\n")
        cell: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(path.read_text(), path, "exec"), cell)
        assert (
            resume_sample_search(tmp_path / "s", max_evals=100, early_stop_fn=cell["stop"]).done
            == number
        )


def test_a_method_of_a_class_is_the_same_rule_wherever_it_stands(tmp_path: Path) -> None:
    """Neither the line of its class nor what `copy` caches in the class changes the rule."""
    rules = []
    for lines, number in ((0, 4), (3, 4), (3, 6)):
        path = tmp_path / f"rules_{len(rules)}.py"
        path.write_text("\n" * lines + f"class AtMost:\n    most = {number}\n" + METHOD)
        cell: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(path.read_text(), path, "exec"), cell)
        rules.append(describe_rule(cell["AtMost"].stop))
        copy.copy(cell["AtMost"]())
        assert describe_rule(cell["AtMost"].stop) == rules[-1]
    assert rules[0] == rules[1] != rules[2]


METHOD = """
    @classmethod
    def stop(cls, trials, *_):
        return len(trials.trials) >= cls.most, []
"""


class Counting:
    """A rule that is given its state and also counts its calls in itself."""

    def __init__(self) -> None:
        self.calls, self.stop = 0, no_progress_loss(8)

    def __call__(self, trials: Any, *state: Any) -> Any:
        """Stop after eight trials without a better loss."""
        self.calls += 1
        return self.stop(trials, *state)


@pytest.mark.parametrize("rule", [no_progress_loss(8), Counting()])
@pytest.mark.parametrize("cut", [2, 5, 9])
def test_the_state_of_an_early_stop_function_comes_back(
    cut: int, rule: Any, tmp_path: Path
) -> None:
    """A search that is interrupted stops where the uninterrupted one does."""
    stop = {"early_stop_fn": rule}
    expected = run_hyperopt("rand", 100, **stop)
    assert len(expected) > 9
    resume_sample_search(tmp_path, max_evals=cut, **stop)
    assert trial_values(
        resume_sample_search(tmp_path, max_evals=100, **stop).trials
    ) == trial_values(expected)


@pytest.mark.parametrize("stop", [{"loss_threshold": 1.2}, {"early_stop_fn": no_progress_loss(8)}])
def test_a_kill_before_the_stop_is_recorded(
    stop: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a session dies before it records the stop, no further trial runs."""
    expected = run_hyperopt("rand", 100, **stop)

    def killed() -> None:
        tell = loop.Loop._tell

        def then_die(self: Any, started: Any, *more: Any) -> None:
            tell(self, started, *more)
            if started.document["tid"] == len(expected) - 1:
                assert self._trials.log.journal.flush(30)
                os.kill(os.getpid(), signal.SIGKILL)

        loop.Loop._tell = then_die  # type: ignore[method-assign]
        resume_sample_search(tmp_path, max_evals=100, **stop)

    assert run_in_fork(killed) == -signal.SIGKILL
    result = resume_sample_search(tmp_path, never, max_evals=100, **stop)
    assert trial_values(result.trials) == trial_values(expected)
    assert result.stopped


def test_a_state_that_is_not_plain_data_notifies_once(tmp_path: Path) -> None:
    """One message says that the function's state starts from scratch when resumed."""
    messages: list[str] = []
    trials = DriveTrials("s", store=tmp_path, notify=messages.append)
    trials.fmin(
        sample_objective,
        SPACE,
        max_evals=3,
        early_stop_fn=lambda _trials, *args: (False, [object()]),
    )
    (message,) = [one for one in messages if "early_stop_fn" in one]
    assert "starts from scratch" in message
    assert "A trial's result can have bytes" in message, "its state cannot"


def test_points_that_were_never_tried_are_run_next(tmp_path: Path) -> None:
    """Points given to a started search run next, unless they ran before, and take no draws."""
    given = [{"x": 0.5, "kind": 0, "q": 3.0}, {"x": -1.0, "kind": 0, "q": 5.0}]
    resume_sample_search(tmp_path, max_evals=3, points_to_evaluate=given[:1])
    result = resume_sample_search(tmp_path, max_evals=6, points_to_evaluate=given)
    values = [doc["misc"]["vals"] for doc in result.trials.trials]
    assert [vals["x"][0] for vals in (values[0], values[3])] == [0.5, -1.0]
    drawn = [vals for tid, vals in enumerate(values) if tid not in (0, 3)]
    assert drawn == [doc["misc"]["vals"] for doc in run_hyperopt("rand", 4).trials]
    assert resume_sample_search(tmp_path, never, max_evals=6, points_to_evaluate=given).done == 6


def test_new_points_go_on_with_a_search_that_was_stopped(tmp_path: Path) -> None:
    """New points run, then the same rule ends the search again."""
    stop: dict[str, Any] = {"max_evals": 50, "loss_threshold": 1.2}
    ended = resume_sample_search(tmp_path, **stop).done
    given = {"points_to_evaluate": [{"x": 1.5, "kind": 0, "q": 3.0}]}
    result = resume_sample_search(tmp_path, **stop, **given)
    assert (result.done, result.trials.vals["x"][-1]) == (ended + 1, 1.5)
    assert "< 1.2" in result.stopped
    assert resume_sample_search(tmp_path, never, **stop, **given).done == ended + 1


@pytest.mark.parametrize("stop_at", [3, 7])
@pytest.mark.parametrize("flushed", [True, False])
@pytest.mark.parametrize("killed_at", [0, 2])
def test_kills_between_a_trial_and_its_early_stop_call(
    killed_at: int, flushed: bool, stop_at: int, tmp_path: Path
) -> None:
    """A function that counts its calls is called once for each trial, despite the kill."""

    def counting(_trials: Any, calls: int = 0) -> tuple[bool, list[int]]:
        return calls + 1 == stop_at, [calls + 1]

    def killed() -> None:
        tell = loop.Loop._tell

        def then_die(self: Any, started: Any, *more: Any) -> None:
            tell(self, started, *more)
            if started.document["tid"] == killed_at:
                if flushed:
                    assert self._trials.log.journal.flush(30)
                os.kill(os.getpid(), signal.SIGKILL)

        loop.Loop._tell = then_die  # type: ignore[method-assign]
        resume_sample_search(tmp_path, max_evals=20, early_stop_fn=counting)

    assert run_in_fork(killed) == -signal.SIGKILL
    assert resume_sample_search(tmp_path, max_evals=20, early_stop_fn=counting).done == stop_at


@pytest.mark.parametrize(("away", "calls"), [(1, 2), (1, 4), (3, 7)])
def test_the_state_survives_a_kill_in_an_outage(away: int, calls: int, tmp_path: Path) -> None:
    """A function that counts its calls continues from the count in the spool."""

    def counting(_trials: Any, calls: int = 0) -> tuple[bool, list[int]]:
        return calls + 1 == 9, [calls + 1]

    store = FaultyStore(tmp_path)
    deadly = killing_objective_in_outage(store, away, calls)
    options: dict[str, Any] = {"max_evals": 20, "early_stop_fn": counting}
    assert run_in_fork(lambda: resume_sample_search(store, deadly, **options)) == -signal.SIGKILL
    assert resume_sample_search(store, **options).done == 9


@pytest.mark.parametrize("more", [0, 2])
def test_a_stop_survives_a_kill_in_an_outage(more: int, tmp_path: Path) -> None:
    """The same call returns at once with the reason; a call for more trials continues the count."""

    def counting(_trials: Any, calls: int = 0) -> tuple[bool, list[int]]:
        return calls + 1 >= 5, [calls + 1]

    store = FaultyStore(tmp_path)

    def killed() -> None:
        stopped = loop.Loop._judge

        def then_die(self: Any, judge: Any) -> str:
            store.away = store.away or self._counts.ended == 2
            if why := stopped(self, judge):
                while _spooled_stop(self._trials.log.journal) is None:
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGKILL)
            return why

        loop.Loop._judge = then_die  # type: ignore[method-assign]
        resume_sample_search(store, max_evals=20, early_stop_fn=counting)

    assert run_in_fork(killed) == -signal.SIGKILL
    objective = sample_objective if more else never
    result = resume_sample_search(store, objective, max_evals=20 + more, early_stop_fn=counting)
    assert result.done == (6 if more else 5)
    assert result.stopped.startswith("early_stop_fn")
    assert (
        resume_sample_search(store, never, max_evals=20 + more, early_stop_fn=counting).done
        == result.done
    )


def _spooled_stop(journal: Any) -> Any:
    """Return the stop in the spool, or None."""
    leftovers = Spool(journal.store.location, journal.name).earlier_files()
    items = [read_items(item, "an item")[0] for left in leftovers for item, _beside in left.items]
    return next((one.settings[STOPPED] for one in items if STOPPED in (one.settings or {})), None)


@pytest.mark.parametrize("number", [Fraction(6, 5), Decimal("1.2"), np.float16(1.2)])
def test_limits_are_any_real_number(number: Any, tmp_path: Path) -> None:
    """Fractions, decimals and numpy floats stop the search where the float does."""
    trials = DriveTrials("s", store=tmp_path)
    run_fmin(trials, "rand", 50, loss_threshold=number, timeout=Fraction(1000))
    assert trial_values(trials) == trial_values(
        run_hyperopt("rand", 50, loss_threshold=float(number))
    )


@pytest.mark.parametrize(
    "limit", [{"loss_threshold": float("nan")}, {"loss_threshold": 1j}, {"timeout": float("nan")}]
)
def test_a_limit_that_cannot_be_compared_is_refused(limit: dict[str, Any], tmp_path: Path) -> None:
    """A NaN or complex limit is refused by name before anything is written."""
    with pytest.raises(UsageError, match=next(iter(limit))):
        run_fmin(DriveTrials("s", store=tmp_path), "rand", 5, **limit)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("end", ["fails", "first raises"])
def test_trials_without_a_loss_are_not_judged(
    end: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rules of hyperopt fail on them, in plain fmin; here they judge the others, and it says so."""

    def objective(point: Any) -> Any:
        tid = running_trial().tid  # type: ignore[union-attr]
        if end == "fails" and tid == 2:
            return {"status": "fail"}
        return float(tid) / (tid or end == "fails")  # else a ZeroDivisionError

    for total in (3, 5, 90):
        result = resume_sample_search(
            tmp_path,
            objective,
            max_evals=total,
            early_stop_fn=no_progress_loss(5),
            catch_eval_exceptions=True,
        )
    assert (result.done, result.stopped) == (6, "early_stop_fn no_progress_loss")
    message = "early_stop_fn no_progress_loss is not applied after trials without a loss."
    assert capsys.readouterr().out.count(message) == 1


def test_a_rule_that_returns_only_a_bool_is_explained(tmp_path: Path) -> None:
    """The functions of hyperopt also return the arguments of their next call."""
    with pytest.raises(UsageError, match=r"returned False: .* such as `return False, \[\]`"):
        resume_sample_search(tmp_path, early_stop_fn=lambda trials: len(trials) > 9)


ODD_LOSSES = ["x", 1j, [1], np.array([1.0, 2.0]), 10**400]


@pytest.mark.parametrize("algo", ["rand", "tpe", "anneal"])
@pytest.mark.parametrize("odd", ODD_LOSSES, ids=lambda odd: f"{odd!r:.20}")
def test_the_loss_of_a_failed_trial_may_be_anything(odd: Any, algo: str, tmp_path: Path) -> None:
    """A failed trial's loss of any type is ignored; plain hyperopt would end with an error."""

    @functools.wraps(sample_objective)
    def failing(point: Any) -> Any:
        return {"status": "fail", "loss": odd} if point["x"] > 0 else sample_objective(point)

    result = resume_sample_search(tmp_path, failing, algo=algo, max_evals=6, loss_threshold=-1)
    assert (result.done, result.finished) == (6, True)
    assert resume_sample_search(tmp_path, failing, algo=algo, max_evals=24).done == 24
