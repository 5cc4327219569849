"""The objective gets the same values as from hyperopt's own evaluation of the space."""

from typing import Any

import numpy as np
import pytest
from hyperopt import Trials, hp, rand
from hyperopt.base import Ctrl, Domain, spec_from_misc
from hyperopt.pyll import rec_eval, scope
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from colab_drive_tuner.search import evaluate as evaluation
from colab_drive_tuner.search.evaluate import FastDomain
from tests.search.spaces import CONDITIONAL, MIXED, PLAIN, spaces


def seen(domain: Domain, config: dict[str, Any]) -> str:
    """Return what the objective was given and its result, bit for bit, or its error."""
    given: list[Any] = []
    inner, domain.fn = domain.fn, lambda point: given.append(repr(point)) or inner(point)
    try:
        return repr((given, domain.evaluate(config, Ctrl(Trials()))))
    except Exception as error:  # noqa: BLE001 - any error that hyperopt raises is compared
        return repr((given, type(error), str(error)))
    finally:
        domain.fn = inner


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record the points that hyperopt itself evaluates from the space's graph."""
    calls: list[Any] = []
    config = FastDomain.memo_from_config
    monkeypatch.setattr(
        FastDomain, "memo_from_config", lambda *given: calls.append(given) or config(*given)
    )
    return calls


def configs(domain: Domain, count: int) -> list[dict[str, Any]]:
    """Return sampled values in the form in which the loop has them."""
    return [
        spec_from_misc(rand.suggest([0], domain, Trials(), seed)[0]["misc"])
        for seed in range(count)
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(space=spaces(), seed=st.integers(0, 2**31 - 2))
def test_points_of_any_space_equal_hyperopts(space, seed):
    """Nested choices, switches, arithmetic and shared parts give the values of hyperopt."""
    try:
        ours, plain = (kind(lambda _: 0.5, space) for kind in (FastDomain, Domain))
        (document,) = rand.suggest([0], plain, Trials(), seed)
    except Exception:  # noqa: BLE001 - hyperopt itself rejects this space
        assume(False)
    config = spec_from_misc(document["misc"])
    assert seen(ours, config) == seen(plain, config)


@pytest.mark.parametrize(
    "space",
    [
        PLAIN,
        MIXED,
        CONDITIONAL,
        hp.uniform("x", 0, 1),
        [hp.randint("x", 3), {1: hp.normal("y", 0, 1)}],
    ],
    ids=["plain", "mixed", "nested", "one parameter", "list"],
)
def test_usual_spaces_are_not_left_to_hyperopt(space, left):
    """Spaces of dicts, lists and choices are evaluated without hyperopt's graph."""
    ours, plain = (kind(lambda _: 0.5, space) for kind in (FastDomain, Domain))
    for config in configs(plain, 20):
        assert seen(ours, config) == seen(plain, config)
    assert left == []


def test_an_objective_that_changes_its_argument():
    """Each trial has new lists and dicts; a part that is used in two places is one object."""
    inner = {"x": hp.uniform("x", 0, 1)}
    shared = scope.dict(x=hp.uniform("y", 0, 1))

    def objective(point: Any) -> float:
        assert point["inner"].keys() == {"x"}
        point["inner"]["more"] = point["one"]["more"] = 1
        assert "more" in point["two"]
        return 0.0

    domain = FastDomain(objective, {"inner": inner, "one": shared, "two": shared})
    for config in configs(domain, 3):
        domain.evaluate(config, Ctrl(Trials()))


@pytest.mark.parametrize(
    "returned",
    [
        *(1, np.float32(0.5), {"loss": 1, "status": "ok", "attachments": {"a": b"1"}}),
        *({"status": "fail"}, {"status": "great"}, {"status": "ok"}, "nothing", None),
    ],
)
def test_results_are_read_by_hyperopt(returned):
    """Numbers, dicts and invalid results give what hyperopt gives."""
    ours, plain = (kind(lambda _: returned, PLAIN) for kind in (FastDomain, Domain))
    (config,) = configs(plain, 1)
    assert seen(ours, config) == seen(plain, config)


@pytest.mark.parametrize(
    "config",
    [{}, {"c": 0}, *({"a": 1.0, "b": 0.5, "c": c} for c in (7, -1, 0.5, True, np.array(1), "1"))],
)
def test_values_that_do_not_fit_the_space(config):
    """Values that do not fit the space raise hyperopt's error."""
    space = {"a": hp.uniform("a", 0, 1), "c": hp.choice("c", [1, hp.uniform("b", 0, 1)])}
    ours, plain = (kind(lambda _: 0.5, space) for kind in (FastDomain, Domain))
    assert seen(ours, config) == seen(plain, config)


def test_user_functions_and_ctrl_in_a_space_are_left_to_hyperopt(left):
    """A user's function or the trial's Ctrl in a space is evaluated by hyperopt."""
    calls: list[Any] = []

    @scope.define
    def counted_by_this_test(value: float) -> float:
        calls.append(value)
        return value

    for space in (
        {"a": scope.counted_by_this_test(hp.uniform("a", 0, 1))},
        {"a": hp.uniform("a", 0, 1), "ctrl": Ctrl},
    ):
        domain = FastDomain(lambda point: "ctrl" in point and point["ctrl"] is not Ctrl, space)
        (config,) = configs(domain, 1)
        result = domain.evaluate(config, Ctrl(Trials()))
    assert (len(calls), len(left), result["loss"]) == (1, 2, 1.0)


def test_an_objective_that_evaluates_the_space_itself():
    """With `pass_expr_memo_ctrl` it gets the space's graph and the values of its parameters."""

    def objective(expr: Any, memo: Any, ctrl: Any) -> float:
        del ctrl
        return float(rec_eval(expr, memo=memo)["u"])

    domain = evaluation.FastDomain(objective, PLAIN, pass_expr_memo_ctrl=True)
    (config,) = configs(domain, 1)
    assert domain.evaluate(config, Ctrl(Trials()))["loss"] == config["u"]
