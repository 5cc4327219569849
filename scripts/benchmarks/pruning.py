"""Workload of searches on recorded learning curves: epochs that each method needs for a loss.

A search does not train. It reads the recorded curve of a configuration epoch by epoch instead, so
many seeds cost little, and all methods see the same trainings.
"""

import itertools
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import hyperopt
from curves import SPACES, configurations
from hyperopt import hp, tpe

from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.store.memory import MemoryStore
from colab_drive_tuner.training.pruner import Pruner
from colab_drive_tuner.training.trial import running_trial

RULES = {
    "median": Pruner("median"),
    "percentile": Pruner("percentile"),
    "percentile of 75": Pruner("percentile", percentile=75),
    "successive halving": Pruner("successive halving"),
}
_numbers = itertools.count()


class Curves:
    """Recorded curves, read epoch by epoch; counts the epochs until a loss is reached."""

    def __init__(self, name: str, curves: list[list[float]], target: float) -> None:
        self._labels = tuple(SPACES[name])
        points = map(self._key, configurations(name))
        self._of = dict(zip(points, curves, strict=True))
        self._target = target
        self.begun: list[list[float]] = []
        """The curves read so far, in their order."""
        self.epochs, self.best = 0, math.inf
        self.needed = math.inf
        """Epochs until the loss was reached."""

    def read(
        self, point: dict[str, Any], first: int = 0, last: int | None = None
    ) -> Iterator[float]:
        """Yield the losses of a configuration from epoch `first` to `last`."""
        curve = self._of[self._key(point)]
        self.begun.append(curve)
        for loss in curve[first:last]:
            self.epochs += 1
            self.best = min(self.best, loss)
            if loss <= self._target and self.needed == math.inf:
                self.needed = self.epochs
            yield loss

    def _key(self, point: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(point[label] for label in self._labels)


def races(
    *, name: str, curves: list[list[float]], seeds: int, trials: int
) -> dict[str, list[float]]:
    """Return, per method and seed, the epochs until the best loss of the unpruned search.

    The unpruned search has `trials` trials. Other searches end at its best loss, or after twice the
    epochs of all its trials; then the value is infinity.
    """
    hyperopt.tpe.logger.setLevel("ERROR")
    found: dict[str, list[float]] = {}
    budget = 2 * trials * len(curves[0])
    for seed in range(seeds):
        whole = Curves(name, curves, -math.inf)
        _ours(whole, math.inf, name=name, seed=seed, trials=trials)
        for way, read in (("unpruned", whole.begun), ("foresight", _foreseen(whole))):
            found.setdefault(way, []).append(_epochs_until(whole.best, read))
        for way, run in _ways(name, seed, 6 * trials).items():
            race = Curves(name, curves, whole.best)
            run(race, budget)
            found.setdefault(way, []).append(race.needed)
    return found


def _epochs_until(target: float, curves: list[list[float]]) -> int:
    losses = itertools.chain.from_iterable(curves)
    return next(epochs for epochs, loss in enumerate(losses, 1) if loss <= target)


def _foreseen(whole: Curves) -> list[list[float]]:
    """Return what a pruner reads of these curves that knows how each will end.

    It still runs `min_trials` trials whole, and of each later one the epochs of the warm-up and the
    first that it may judge.
    """
    rule = RULES["median"]
    return [
        curve
        if number < rule.min_trials or min(curve) <= whole.best
        else curve[: rule.warmup_steps + 1]
        for number, curve in enumerate(whole.begun)
    ]


def _ways(name: str, seed: int, most: int) -> dict[str, Callable[[Curves, float], None]]:
    race = {"name": name, "seed": seed}
    pruned = partial(_ours, trials=most, **race)
    return {
        **{title: partial(pruned, pruner=pruner) for title, pruner in RULES.items()},
        "median, hidden": partial(pruned, pruner=RULES["median"], algo=_hiding),
        "median, as Optuna": partial(pruned, pruner=RULES["median"], algo=_last),
        "Optuna": partial(_optuna, trials=most, **race),
        "Hyperband": partial(_hyperband, **race),
    }


def _ours(
    race: Curves,
    budget: float,
    *,
    name: str,
    seed: int,
    trials: int,
    pruner: Pruner | None = None,
    algo: Any = tpe.suggest,
) -> None:
    def objective(point: dict[str, Any]) -> float:
        best, trial = math.inf, running_trial()
        assert trial is not None
        for epoch, loss in enumerate(race.read(point), 1):
            trial.report(epoch, loss)
            best = min(best, loss)
            if trial.should_prune():
                break
        return best

    resume_search(
        objective,
        space={label: hp.choice(label, options) for label, options in SPACES[name].items()},
        name=f"race-{next(_numbers)}",
        store=MemoryStore(),
        max_evals=trials,
        seed=seed,
        algo=algo,
        pruner=pruner,
        early_stop_fn=lambda _: (race.needed < math.inf or race.epochs >= budget, []),
        progress=False,
    )


# By default, TPE sees pruned trials unchanged. These are the alternatives.


def _hiding(ids: list[int], domain: Any, trials: Any, seed: int) -> Any:
    """TPE without the pruned trials."""
    return _seeing(trials, lambda _: None, ids, domain, seed)


def _last(ids: list[int], domain: Any, trials: Any, seed: int) -> Any:
    """TPE with pruned trials behind all others, those first that went further, as in Optuna."""
    worst = max((loss for loss in trials.losses() if loss is not None), default=0.0)
    return _seeing(
        trials, lambda result: worst + 1e6 / result["pruned_at"] + result["loss"], ids, domain, seed
    )


def _seeing(trials: Any, loss_of: Callable[[Any], float | None], *asked: Any) -> Any:
    ids, domain, seed = asked
    seen = hyperopt.Trials(refresh=False)
    for document in trials.trials:
        result = document["result"]
        if result.get("pruned"):
            loss = loss_of(result)
            if loss is None:
                continue
            document = document | {"result": {"status": "ok", "loss": loss}}  # noqa: PLW2901
        seen._dynamic_trials.append(document)
    seen.refresh()
    return tpe.suggest(ids, domain, seen, seed)


def _optuna(race: Curves, budget: float, *, name: str, seed: int, trials: int) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: Any) -> float:
        space = SPACES[name].items()
        point = {label: trial.suggest_categorical(label, options) for label, options in space}
        best = math.inf
        for epoch, loss in enumerate(race.read(point)):
            trial.report(loss, epoch)
            best = min(best, loss)
            if trial.should_prune():
                raise optuna.TrialPruned
        return best

    def stop(study: Any, _trial: Any) -> None:
        if race.needed < math.inf or race.epochs >= budget:
            study.stop()

    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner)
    study.optimize(objective, n_trials=trials, callbacks=[stop])


def _hyperband(race: Curves, budget: float, *, name: str, seed: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras_tuner
        from keras_tuner.oracles import HyperbandOracle

    space = keras_tuner.HyperParameters()
    for label, options in SPACES[name].items():
        space.Choice(label, options)
    oracle = HyperbandOracle(
        objective=keras_tuner.Objective("val_loss", "min"),
        max_epochs=27,
        factor=3,
        hyperband_iterations=100,
        seed=seed,
        hyperparameters=space,
    )
    oracle.verbose = 0
    with tempfile.TemporaryDirectory() as folder:
        oracle._set_project_dir(folder, "race")
        while race.needed == math.inf and race.epochs < budget:
            trial = oracle.create_trial("tuner")
            if trial.status != "RUNNING":
                return
            values = trial.hyperparameters.values
            point = {label: values[label] for label in SPACES[name]}
            first, last = values.get("tuner/initial_epoch", 0), values["tuner/epochs"]
            for epoch, loss in enumerate(race.read(point, first, last), first):
                oracle.update_trial(trial.trial_id, {"val_loss": loss}, step=epoch)
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
