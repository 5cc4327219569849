"""Pruning rules on small learning curves: thresholds, and agreement with Optuna's pruners."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.search.loop.pruning import (
    PruningThresholds,
    best_so_far,
    subsample,
)
from colab_drive_tuner.training.pruner import Pruner
from colab_drive_tuner.training.trial import MAX_VALUES, IntermediateValues

NAN = math.nan
CURVES = [[(1, 5.0), (2, 1.0), (3, 4.0)], [(1, 3.0), (2, NAN), (3, 2.0)], [(1, 4.0), (2, 6.0)]]


def test_the_best_so_far_ignores_nan() -> None:
    """NaN is worse than any other value."""
    assert list(best_so_far([(1, NAN), (2, 3.0), (3, NAN), (4, 2.0), (5, 9.0)])) == [
        (1, math.inf),
        (2, 3.0),
        (3, 3.0),
        (4, 2.0),
        (5, 2.0),
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"min_trials": 1}, {2: 3.0, 3: 1.5}),
        ({"min_trials": 3}, {2: 3.0}),
        ({"min_trials": 4}, {}),
        ({"min_trials": 1, "warmup_steps": 0}, {1: 4.0, 2: 3.0, 3: 1.5}),
        ({"min_trials": 1, "warmup_steps": 2}, {3: 1.5}),
        ({"min_trials": 1, "rule": "percentile", "percentile": 50}, {2: 3.0, 3: 1.5}),
        ({"min_trials": 1, "rule": "percentile"}, {2: 2.0, 3: 1.25}),
        ({"min_trials": 1, "mode": "max"}, {2: -5.0, 3: -4.0}),
        (
            {"min_trials": 1, "rule": "successive halving", "warmup_steps": 0},
            {1: 3.0, 3: 1.0},
        ),
        (
            {"min_trials": 1, "rule": "successive halving", "reduction_factor": 2},
            {2: 3.0, 3: 1.0},
        ),
    ],
)
def test_thresholds(options: dict[str, Any], expected: dict[int, float]) -> None:
    """Thresholds equal those computed by hand from the best values 5 1 1, 3 3 2 and 4 4."""
    assert PruningThresholds(Pruner(**options), CURVES).thresholds() == expected


def test_curves_of_nan_alone_set_no_threshold() -> None:
    """If half of the earlier trials have no number, nothing is worse than their median."""
    curves = [[(2, NAN)], [(2, NAN)], [(2, 1.0)]]
    assert PruningThresholds(Pruner(min_trials=1), curves).thresholds() == {}


@given(
    curves=st.lists(st.lists(st.integers(-9, 9).map(float) | st.just(NAN), max_size=5), max_size=9),
    rule=st.sampled_from(["median", "percentile", "successive halving"]),
    mode=st.sampled_from(["min", "max"]),
    begun=st.integers(0, 9),
    without=st.sets(st.integers(0, 8)),
)
@settings(max_examples=100, deadline=None)
def test_thresholds_of_added_and_left_out_curves(
    curves: list[list[float]], rule: str, mode: str, begun: int, without: set[int]
) -> None:
    """Curves added one by one count as all at once; a curve left out has no effect."""
    pruner = Pruner(rule, mode=mode, warmup_steps=0, min_trials=1)
    given = [list(enumerate(curve, 1)) for curve in curves]
    best_values = PruningThresholds(pruner, given[:begun])
    for curve in given[begun:]:
        best_values.add(curve)
    left_out = [curve for number, curve in enumerate(given) if number in without]
    counted = [curve for number, curve in enumerate(given) if number not in without]
    expected = PruningThresholds(pruner, counted).thresholds()
    assert best_values.thresholds(left_out) == expected
    assert best_values.thresholds([*left_out, [(1, 99.0), (2, -99.0)]]) == expected, "never added"


def test_long_curves_are_bounded() -> None:
    """A long curve counts as the one that a trial reports."""
    long = [(step, 1.0 / step) for step in range(1, 200_001)]
    few = subsample(long)
    assert 500 < len(few) <= MAX_VALUES + 1
    assert few == long[255::256]


def test_successive_halving_judges_at_its_rungs() -> None:
    """Trials are judged 1, 3, 9, ... steps after the warm-up."""
    long = [(step, 0.0) for step in range(1, 100)]
    for warmup, expected in ((0, [1, 3, 9, 27, 81]), (4, [5, 7, 13, 31, 85])):
        pruner = Pruner("successive halving", warmup_steps=warmup, min_trials=1)
        assert list(PruningThresholds(pruner, [long]).thresholds()) == expected


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"rule": "hyperband"}, "rule"),
        ({"rule": None}, "rule"),
        ({"monitor": ""}, "monitor"),
        ({"monitor": 3}, "monitor"),
        ({"mode": "down"}, "mode"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"warmup_steps": True}, "warmup_steps"),
        ({"min_trials": 0}, "min_trials"),
        ({"min_trials": 2.5}, "min_trials"),
        ({"percentile": 10}, "percentile"),
        ({"rule": "percentile", "percentile": 100}, "percentile"),
        ({"rule": "percentile", "percentile": NAN}, "percentile"),
        ({"reduction_factor": 3}, "reduction_factor"),
        ({"rule": "successive halving", "reduction_factor": 1}, "reduction_factor"),
    ],
)
def test_a_bad_argument_is_named(arguments: dict[str, Any], named: str) -> None:
    """An invalid argument of a Pruner is refused by name."""
    with pytest.raises(UsageError, match=named):
        Pruner(**arguments)


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        *((name, "min") for name in ("val_loss", "mae", "val_head_1_loss", "loss_2")),
        *((name, "max") for name in ("val_accuracy", "acc", "AUC", "val_auc_1", "recall_12", "r2")),
        *((name, "max") for name in ("val_io_u", "binary_io_u", "val_one_hot_mean_io_u_1")),
    ],
)
def test_the_mode_follows_from_the_name(monitor: str, mode: str) -> None:
    """A pruner whose mode follows from the metric's name equals one whose mode was given."""
    assert Pruner(monitor=monitor).mode == mode
    assert Pruner(monitor=monitor) == Pruner(monitor=monitor, mode=mode)
    assert Pruner(monitor=monitor, mode="max").mode == "max"


# Optuna as an oracle. Both prune a trial whose best value so far is worse than a percentile of
# earlier trials, or that is not promoted. Optuna compares with the earlier trials' values at the
# step itself, this package with their best values so far. On curves that never get worse these are
# equal. Optuna leaves out pruned trials and ignores NaN, which is infinitely bad here, so all
# trials below have ended and have numbers. Optuna's steps begin at 0, these at 1.
falling = st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=6).map(
    lambda values: sorted(values, reverse=True)
)


@pytest.mark.parametrize("rule", ["median", "percentile", "successive halving"])
@given(
    earlier=st.lists(falling, max_size=9),
    own=falling,
    warmup=st.integers(0, 3),
    least=st.integers(1, 4),
    maximized=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_optuna_decides_alike(
    rule: str,
    earlier: list[list[float]],
    own: list[float],
    warmup: int,
    least: int,
    maximized: bool,
) -> None:
    """Curves that never get worse are pruned at the same steps, by halving at the same rungs."""
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sign = -1.0 if maximized else 1.0
    mode = "max" if maximized else "min"
    if rule == "successive halving":
        # Optuna has no such warm-up, and the previous trial must have reached a rung.
        warmup, least = 0, 1
        judge = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    else:
        judge = optuna.pruners.PercentilePruner(
            50.0 if rule == "median" else 25.0,
            n_startup_trials=0,
            n_warmup_steps=warmup,
            n_min_trials=least,
        )
    study = optuna.create_study(direction="maximize" if maximized else "minimize", pruner=judge)
    for curve in earlier:
        trial = study.ask()
        for step, value in enumerate(curve):
            trial.report(sign * value, step + (rule == "successive halving"))
            if rule == "successive halving":
                trial.should_prune()  # records the rungs that it reaches
        study.tell(trial, sign * curve[-1])
    pruner = Pruner(rule, mode=mode, warmup_steps=warmup, min_trials=least)
    curves = [[(step, sign * value) for step, value in enumerate(c, 1)] for c in earlier]
    reports = IntermediateValues(pruner, {pruner: PruningThresholds(pruner, curves).thresholds()})
    trial = study.ask()
    for step, value in enumerate(own):
        trial.report(sign * value, step + (rule == "successive halving"))
        reports.add(step + 1, sign * value)
        theirs = trial.should_prune()
        assert reports.should_prune() == theirs, step
        if theirs:
            break
