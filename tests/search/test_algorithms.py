"""Fast TPE, annealing and random search suggest the same documents as hyperopt's own."""

import math
from functools import partial
from typing import Any

import hyperopt
import numpy as np
import pytest
from hyperopt import Trials, anneal, hp, mix, rand, tpe
from hyperopt.base import JOB_STATE_DONE, JOB_STATE_ERROR, Domain
from hyperopt.pyll import scope
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from colab_drive_tuner.search.algorithms.fast_algorithm import fast_algorithm
from tests.search.spaces import CONDITIONAL, MIXED, ODD, PLAIN, history, spaces

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # hyperopt takes log(0)


MIXED_BESIDE = {f"q{n}": hp.quniform(f"q{n}", 0, 3, 1) for n in range(4)}


def domain_of(space: Any) -> Domain:
    return Domain(lambda point: 0.0, space)


def answer(algo: Any, *arguments: Any) -> str:
    """Return the suggested documents with their key order, bit for bit, or the error's class."""
    try:
        return repr(algo(*arguments))
    except Exception as error:  # noqa: BLE001 - any error that hyperopt raises is compared
        return type(error).__name__


@pytest.fixture
def asked(monkeypatch) -> list[Any]:
    """Record the calls that reach the core of hyperopt's own TPE and annealing."""
    calls: list[Any] = []

    def note(function: Any) -> Any:
        def noting(*arguments: Any, **more: Any) -> Any:
            calls.append(arguments)
            return function(*arguments, **more)

        return noting

    # Only suggestions use these names in the two modules, and every suggestion does.
    monkeypatch.setattr(tpe, "miscs_to_idxs_vals", note(tpe.miscs_to_idxs_vals))
    monkeypatch.setattr(anneal, "miscs_to_idxs_vals", note(anneal.miscs_to_idxs_vals))
    return calls


_SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "gamma": st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0, 4.0]),
        "n_EI_candidates": st.sampled_from([0, 1, 2, 24, 60]),
        # Not 0: with a step wider than the range, hyperopt would look for a candidate forever.
        "prior_weight": st.sampled_from([0.3, 1.0, 2]),
        "n_startup_jobs": st.sampled_from([0, 1, 20]),
        "verbose": st.booleans(),
    },
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    space=spaces(),
    algo_settings=_SETTINGS,
    odd=st.frozensets(st.sampled_from(ODD), max_size=5),
    count=st.sampled_from([0, 1, 19, 20, 21, 30, 60, 60, 150, 150]),
    seed=st.integers(0, 2**31 - 2),
)
def test_suggestions_equal_hyperopts_for_random_spaces_and_histories(
    space, algo_settings, odd, count, seed
):
    """Suggestions equal hyperopt's for random nested spaces and irregular trial histories.

    The histories have ties, NaN, infinite losses, failures, errors, gaps in the ids and `from_tid`.
    """
    try:
        domain = domain_of(space)
        trials = history(domain, count, seed, odd=odd)
    except Exception:  # noqa: BLE001 - hyperopt itself rejects this space
        assume(False)
    plain = [partial(tpe.suggest, **algo_settings), anneal.suggest, rand.suggest]
    fast = [fast_algorithm(algo, domain) for algo in plain]
    first = 1000
    for n, new_ids in enumerate([[first], [first + 1, first + 2], [first + 3]]):
        given = new_ids, domain, trials, seed + n
        assert [answer(algo, *given) for algo in fast] == [answer(algo, *given) for algo in plain]
        if n == 0 and len(trials.trials) > 3:  # a user may edit documents in place
            trials.trials[1]["result"] = {"status": "ok", "loss": -9.0}
            del trials._dynamic_trials[2]
            trials.refresh()


@pytest.mark.parametrize("algo", [tpe.suggest, anneal.suggest], ids=["tpe", "anneal"])
@pytest.mark.parametrize("odd", ODD)
def test_many_trials_with_one_irregularity(algo, odd):
    """With 250 trials, suggestions that depend on ties, NaN and the like still equal hyperopt's."""
    domain = domain_of({**CONDITIONAL, **MIXED_BESIDE})
    trials = history(domain, 250, odd=frozenset({odd}))
    fast = fast_algorithm(algo, domain)
    for seed in range(6):
        given = [2000], domain, trials, seed
        assert answer(fast, *given) == answer(algo, *given)


def run(algo: Any, space: Any, *, evals: int = 200, **options: Any) -> list[str]:
    """Run a search and return its points and losses; some trials fail or have a NaN loss."""

    def objective(point: Any) -> Any:
        total = sum(len(repr(point)) * float(part) for part in numbers(point))
        if int(abs(total) * 1e3) % 17 == 0:
            return {"status": "fail"}
        return math.nan if int(abs(total) * 1e3) % 19 == 0 else round(abs(total - 30), 1)

    trials = Trials()
    hyperopt.fmin(
        objective,
        space,
        algo=algo,
        max_evals=evals,
        trials=trials,
        rstate=np.random.default_rng(11),
        show_progressbar=False,
        verbose=False,
        return_argmin=False,
        **options,
    )
    return [repr((doc["misc"], doc["result"])) for doc in trials.trials]


def compiled(algo: Any) -> Any:
    """Return the fast algorithm for one call of `fmin`, which creates its domain itself."""
    fast: list[Any] = []

    def suggest(new_ids: Any, domain: Domain, trials: Trials, seed: Any) -> Any:
        fast[:] = fast or [fast_algorithm(algo, domain)]
        return fast[0](new_ids, domain, trials, seed)

    return suggest


def numbers(point: Any) -> list[float]:
    """Return all numbers in a point."""
    if isinstance(point, dict):
        point = list(point.values())
    if isinstance(point, list | tuple):
        return [number for part in point for number in numbers(part)]
    return [float(point)] if isinstance(point, int | float | np.number) else []


@pytest.mark.parametrize("space", [PLAIN, MIXED, CONDITIONAL], ids=["plain", "mixed", "nested"])
def test_whole_searches(space, asked):
    """A search of 200 trials equals hyperopt's and never calls hyperopt's own suggest."""
    fast = run(compiled(tpe.suggest), space)
    assert asked == []
    assert fast == run(tpe.suggest, space)
    assert len(asked) > 170


def test_a_search_that_has_converged(monkeypatch):
    """Close candidates are ranked as hyperopt ranks them, mostly without its exact scores."""
    exact: list[Any] = []
    for name in ("GMM1_lpdf", "LGMM1_lpdf"):
        inner = getattr(tpe, name)
        monkeypatch.setattr(tpe, name, lambda *a, inner=inner: exact.append(a) or inner(*a))
    domain, trials = domain_of(PLAIN), Trials()
    fast = fast_algorithm(tpe.suggest, domain)
    for tid in range(500):
        (document,) = fast([tid], domain, trials, tid)
        loss = sum(values[0] ** 2 for values in document["misc"]["vals"].values())
        document |= {"state": JOB_STATE_DONE, "result": {"status": "ok", "loss": float(loss)}}
        trials._insert_trial_docs([document])
        trials.refresh()
    found = [answer(fast, [500], domain, trials, seed) for seed in range(20)]
    assert len(exact) < 20  # of about 2,000 scored parameters
    assert found == [answer(tpe.suggest, [500], domain, trials, seed) for seed in range(20)]


def test_max_queue_len_suggestions_equal_hyperopts(asked):
    """With `max_queue_len` hyperopt requests several ids, and TPE returns the same one document."""
    fast = run(compiled(tpe.suggest), MIXED, evals=80, max_queue_len=3)
    assert asked == []
    assert fast == run(tpe.suggest, MIXED, evals=80, max_queue_len=3)


@pytest.mark.parametrize(
    "algo",
    [
        partial(tpe.suggest, gamma=0.5, n_EI_candidates=7, prior_weight=0.5, n_startup_jobs=5),
        partial(anneal.suggest, avg_best_idx=3.0),
        partial(
            mix.suggest,
            p_suggest=[
                (0.1, rand.suggest),
                (0.2, anneal.suggest),
                (0.7, partial(tpe.suggest, n_startup_jobs=10)),
            ],
        ),
    ],
    ids=["partial", "anneal", "mix"],
)
def test_settings_and_mixes(algo, asked):
    """TPE and annealing with settings, and a mix of algorithms, suggest what hyperopt's do."""
    fast = run(compiled(algo), CONDITIONAL, evals=120)
    assert asked == []
    assert fast == run(algo, CONDITIONAL, evals=120)


def test_bounds_whose_squares_overflow(asked):
    """Where hyperopt's scores overflow to NaN, it chooses among the candidates itself."""
    wide = {"u": hp.uniform("u", -1e300, 1e300), "n": hp.normal("n", 0, 1e200)}
    with np.errstate(all="ignore"):
        found = run(compiled(tpe.suggest), wide, evals=30)
        assert len(asked) >= 10
        assert found == run(tpe.suggest, wide, evals=30)


def test_tpe_without_prior_weight_is_left_to_hyperopt(asked):
    """With `prior_weight=0` the score bounds do not hold, so hyperopt itself suggests."""
    algo = partial(tpe.suggest, prior_weight=0)
    found = run(compiled(algo), MIXED, evals=60)
    assert len(asked) > 30
    assert found == run(algo, MIXED, evals=60)


def test_unknown_algorithms_and_hyperopt_versions_are_left_alone(monkeypatch):
    """An unknown algorithm, or any algorithm of an unknown hyperopt, is returned unchanged."""

    def own(*arguments: Any) -> Any:
        return tpe.suggest(*arguments)

    domain = domain_of(PLAIN)
    for algo in (own, partial(tpe.suggest, [0]), partial(tpe.suggest, other=1)):
        assert fast_algorithm(algo, domain) is algo
    monkeypatch.setattr(hyperopt, "__version__", "0.4.0")
    for algo in (rand.suggest, tpe.suggest, anneal.suggest):
        assert fast_algorithm(algo, domain) is algo


@pytest.fixture
def sampled(monkeypatch) -> list[Any]:
    """Record the calls that reach the core of hyperopt's own random search."""
    calls: list[Any] = []
    update = rand.miscs_update_idxs_vals

    def noting(*arguments: Any) -> Any:
        calls.append(arguments)
        return update(*arguments)

    monkeypatch.setattr(rand, "miscs_update_idxs_vals", noting)
    return calls


@pytest.mark.parametrize("new_ids", [[7], [3, 4, 5], []], ids=["one", "three", "none"])
@pytest.mark.parametrize("space", [PLAIN, MIXED, CONDITIONAL, hp.uniform("x", 0, 1), {"a": 3}])
def test_random_search(space, new_ids, sampled):
    """Random search gives hyperopt's documents for the same seeds without calling its suggest."""
    domain = domain_of(space)
    fast = fast_algorithm(rand.suggest, domain)
    seeds = [*range(50), np.int64(2**31 - 2)]
    found = [answer(fast, new_ids, domain, Trials(), seed) for seed in seeds]
    assert sampled == []
    assert found == [answer(rand.suggest, new_ids, domain, Trials(), seed) for seed in seeds]


@pytest.mark.parametrize(
    "space",
    [
        {"b": hp.normal("b", hp.uniform("a", 0, 1), 1)},
        {"a": hp.choice("a", [0, hp.randint("b", 0)])},
        {"a": hp.pchoice("a", [(0.9, 0), (0.9, 1)])},
    ],
    ids=["nested", "no integer", "above one"],
)
def test_spaces_that_random_search_refuses(space, capsys):
    """Where hyperopt raises, fast random search raises the same error and prints the same text."""
    domain = domain_of(space)
    fast = fast_algorithm(rand.suggest, domain)
    for seed in range(5):
        shown = [
            (answer(algo, [0], domain, Trials(), seed), capsys.readouterr())
            for algo in (fast, rand.suggest)
        ]
        assert shown[0] == shown[1]


@pytest.mark.parametrize(
    ("new_ids", "seed"),
    [(["a"], 1), ([np.int64(3)], 1), ([2**63], 1), ([2**70], 1), ([3], None), ([3], [1, 2])],
)
def test_unusual_arguments_of_random_search(new_ids, seed):
    """Text ids, huge ids and seeds that are not integers give what hyperopt gives."""
    domain = domain_of(CONDITIONAL)
    fast = fast_algorithm(rand.suggest, domain)
    if seed is None:
        assert len(fast(new_ids, domain, Trials(), seed)) == 1
    else:
        given = new_ids, domain, Trials(), seed
        assert answer(fast, *given) == answer(rand.suggest, *given)


@scope.define
def a_function_of_ours(value: float) -> float:
    """A pyll function that the author of a space defined."""
    return float(value > 0.5)


@pytest.mark.parametrize(
    ("space", "own"),
    [
        ({"a": hp.choice("a", [0, 1]), "b": a_function_of_ours(3)}, True),
        (scope.switch(scope.int(scope.a_function_of_ours(hp.uniform("a", 0, 1))), 1, 2), True),
        (
            scope.switch(
                scope.int(scope.a_function_of_ours(hp.uniform("a", 0, 1))),
                hp.uniform("b", 0, 1),
                hp.uniform("c", 0, 1),
            ),
            False,
        ),
        ({"b": hp.normal("b", hp.uniform("a", 0, 1), 1)}, False),
        ({"b": hp.uniform("b", 0, 10**25)}, False),  # an int that numpy has no type for
    ],
)
def test_user_functions_that_activate_parameters_are_left_to_hyperopt(space, own, asked):
    """If a user's function decides which parameters are active, hyperopt itself suggests."""
    domain = domain_of(space)
    trials = history(domain, 40)
    seeds = range(5)
    plain = [answer(tpe.suggest, [40], domain, trials, seed) for seed in seeds]
    asked_plainly = len(asked)
    fast = fast_algorithm(tpe.suggest, domain)
    assert [answer(fast, [40], domain, trials, seed) for seed in seeds] == plain
    assert len(asked) == asked_plainly + (0 if own else len(seeds))


def change_a_loss(trials: Trials) -> None:
    trials.trials[3]["result"]["loss"] = -99.0


def let_one_fail(trials: Trials) -> None:
    best = min(trials.trials, key=lambda document: document["result"]["loss"])
    best["result"] = {"status": "fail"}


def change_a_value(trials: Trials) -> None:
    for document in trials.trials[:30]:
        document["misc"]["vals"]["u"][0] = 4.5


def change_points(trials: Trials) -> None:
    for document in trials.trials[:30]:
        document["misc"]["vals"] = {**document["misc"]["vals"], "n": [9.0]}


def remove_some(trials: Trials) -> None:
    del trials._dynamic_trials[5:35]


def replace_some(trials: Trials) -> None:
    trials._dynamic_trials[:20] = trials._dynamic_trials[20:40]


def reorder(trials: Trials) -> None:
    trials._dynamic_trials.reverse()


def mark_errors(trials: Trials) -> None:
    for document in trials.trials[:30]:
        document["state"] = JOB_STATE_ERROR


def say_where_from(trials: Trials) -> None:
    for document in trials.trials[:30]:
        document["misc"]["from_tid"] = 1


def remove_all(trials: Trials) -> None:
    trials.delete_all()


def write_a_word(trials: Trials) -> None:
    trials.trials[0]["misc"]["vals"]["u"][0] = "a word"


@pytest.mark.parametrize(
    "edit",
    [
        *(change_a_loss, let_one_fail, change_a_value, change_points, remove_some, replace_some),
        *(reorder, mark_errors, say_where_from, remove_all, write_a_word),
    ],
)
def test_edited_documents(edit):
    """Edits of trial documents since the last suggestion change the next one as in hyperopt."""

    def answers(algo: Any) -> list[str]:
        return [answer(algo, [60], domain, trials, seed) for seed in range(10)]

    domain = domain_of(MIXED)
    trials = history(domain, 60)
    fast = fast_algorithm(tpe.suggest, domain)
    before = answers(fast)
    assert before == answers(tpe.suggest)
    edit(trials)
    trials.refresh()
    after = answers(fast)
    assert after == answers(tpe.suggest)
    assert (after == before) == (edit is reorder)  # both sort the trials by tid


def test_documents_in_another_order():
    """Trials that are not listed in the order of their ids give hyperopt's suggestions."""
    domain = domain_of(CONDITIONAL)
    trials = history(domain, 60, odd=frozenset({"order", "gaps", "nan"}))
    for algo in (tpe.suggest, anneal.suggest):
        fast = fast_algorithm(algo, domain)
        suggested = [answer(fast, [500], domain, trials, seed) for seed in range(5)]
        assert suggested == [answer(algo, [500], domain, trials, seed) for seed in range(5)]
