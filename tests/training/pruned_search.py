"""Search of small Keras models with a Pruner, as a function and as a program.

`python -m tests.training.pruned_search STORE TID EPOCH` kills itself in mid-epoch of trial TID.
"""

import sys
from typing import Any

import keras
import numpy as np
from hyperopt import hp

from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.training.backup.trial_backup import TrialBackup
from colab_drive_tuner.training.pruner import Pruner
from colab_drive_tuner.training.trial import running_trial
from tests.training.small_trainings import KillAt

X = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
Y = X.sum(axis=1)[:, None]
SPACE = {"rate": hp.loguniform("rate", -7, 0)}
PRUNER = Pruner(min_trials=2)
EPOCHS = 6


def small_model(rate: float) -> Any:
    """Return a model with Dropout, so that each epoch draws random numbers."""
    layers = [keras.Input((4,)), keras.layers.Dropout(0.2), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(rate), "mse", metrics=["mae"], run_eagerly=True)
    return model


class Objective:
    """Trains a small model with the callbacks in `order`, optionally killed in an epoch."""

    def __init__(self, order: str = "backup, pruner", kill: Any = None) -> None:
        self.order, self.kill = order, kill
        self.trained: list[tuple[int, int]] = []

    def __call__(self, point: dict[str, float]) -> dict[str, Any]:
        trial = running_trial()
        assert trial is not None
        made = {"backup": TrialBackup(), "pruner": PRUNER, "killer": keras.callbacks.Callback()}
        if self.kill and self.kill[0] == trial.tid:
            made["killer"] = KillAt(self.kill[1], really=self.kill[2])
        count = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, _logs: self.trained.append((trial.tid, epoch))
        )
        named = [made[name] for name in self.order.split(", ")]
        model = small_model(point["rate"])
        fitted = model.fit(
            X,
            Y,
            batch_size=16,
            epochs=EPOCHS,
            verbose=0,
            validation_split=0.25,
            callbacks=[count, made["killer"], *named],
        )
        loss = fitted.history["val_loss"][-1]
        return {"loss": loss, "status": "ok", "epochs": len(fitted.history["loss"])}


def run_pruned_search(store: Any, objective: Any, **options: Any) -> Any:
    """Run a search of eight trials, some of which are pruned."""
    defaults = {"name": "search", "max_evals": 8, "seed": 5, "algo": "rand", "progress": False}
    return resume_search(objective, space=SPACE, store=store, **defaults | options)


if __name__ == "__main__":
    run_pruned_search(sys.argv[1], Objective(kill=(int(sys.argv[2]), int(sys.argv[3]), True)))
