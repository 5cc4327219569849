"""Searches of real Keras models in Drive: deadlines, backups, and the folder's size."""

import gc
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from hyperopt import hp

from colab_drive_tuner.emulator import DriveEmulator
from colab_drive_tuner.errors import TrainingWarning, UnfinishedSearchWarning
from colab_drive_tuner.search.loop import sequential as loop
from colab_drive_tuner.search.loop import stopping_rules
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.store.drive import DriveStore
from colab_drive_tuner.training import memory
from colab_drive_tuner.training.backup.trial_backup import TrialBackup

# numpy 2 warns about TensorFlow's tensors
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

X = np.random.default_rng(0).normal(size=(32, 4, 4, 1)).astype("float32")
Y = X.sum(axis=(1, 2, 3))[:, None]
SPACE = {"filters": hp.choice("filters", [2, 3]), "drop": hp.uniform("drop", 0, 0.5)}


class Hours(keras.callbacks.Callback):  # type: ignore[misc]
    """A clock by which each epoch takes an hour, and a count of the epochs trained."""

    def __init__(self) -> None:
        super().__init__()
        self.here = SimpleNamespace(epochs=0)

    def __call__(self) -> float:
        return time.monotonic() + 3600 * self.here.epochs

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.here.epochs += 1


def objective(clock: Hours, epochs: int = 6) -> Any:
    """Return an objective that trains a convolutional model with Dropout."""

    def train(point: dict[str, Any]) -> dict[str, Any]:
        model = keras.Sequential(
            [
                keras.Input((4, 4, 1)),
                keras.layers.Conv2D(point["filters"], 2),
                keras.layers.Dropout(point["drop"]),
                keras.layers.Flatten(),
                keras.layers.Dense(1),
            ]
        )
        model.compile(keras.optimizers.Adam(0.01), "mse")
        # Each run has its own clock, which restoring a backup does not set back.
        callbacks = [clock, TrialBackup(clock=clock, ignore=["Hours.here"])]
        fitted = model.fit(X, Y, 8, epochs=epochs, verbose=0, callbacks=callbacks)
        losses = fitted.history["loss"]
        return {"loss": losses[-1], "status": "ok", "losses": losses, "model": model}

    return train


def search(store: DriveStore, name: str, train: Any, **options: Any) -> Any:
    options = {"max_evals": 3, "seed": 4, "algo": "rand", "progress": False} | options
    return resume_search(train, space=SPACE, name=name, store=store, **options)


def test_a_trials_model_is_gone_before_its_memory_is_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No reference keeps a trial's model, and so its memory, until the next trial."""
    made: list[weakref.ref[Any]] = []
    alive: list[bool] = []

    def train(point: dict[str, Any]) -> dict[str, Any]:
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        made.append(weakref.ref(model))
        return {"loss": point["drop"], "status": "ok", "model": model}

    def look(_: object) -> None:
        gc.collect()
        alive.append(made[-1]() is not None)

    monkeypatch.setattr(memory, "keras_grew", lambda _: True)
    monkeypatch.setattr(memory, "free_memory", look)
    search(tmp_path, "s", train, max_evals=2)  # type: ignore[arg-type]
    assert alive == [False, False]


def losses(result: Any) -> list[Any]:
    return [document["result"]["losses"] for document in result.trials.trials]


def files(store: DriveStore, folder: str) -> dict[str, int]:
    """Return the sizes of all files under a folder of the store, by path."""
    found: dict[str, int] = {}
    for entry in store.list(folder):
        if entry.is_folder:
            below = files(store, entry.id)
            found |= {f"{entry.name}/{path}": size for path, size in below.items()}
        else:
            found[entry.name] = entry.size
    return found


def test_a_deadline_stops_a_search_between_epochs_and_the_next_run_goes_on(
    drive_emulator: DriveEmulator,
) -> None:
    """Runs limited by `max_time` train no epoch twice and end like a run without a deadline."""
    store = DriveStore.connect()
    clock = Hours()
    done, epochs = [], []
    for _ in range(2):
        clock.here.epochs = 0
        stopped = search(store, "stopped", objective(clock), max_time="11h30m")
        done.append((stopped.done, stopped.finished))
        epochs.append(clock.here.epochs)
    assert done == [(1, False), (3, True)]
    assert epochs == [11, 7], "eighteen in all: none was trained twice"
    whole = search(store, "whole", objective(Hours()))
    assert losses(stopped) == losses(whole)
    for one, other in zip(
        stopped.best_model.get_weights(), whole.best_model.get_weights(), strict=True
    ):
        assert np.array_equal(one, other)


def test_the_best_loss_of_an_unfinished_search_warns(drive_emulator: DriveEmulator) -> None:
    """A search stopped by `max_time` returns a result whose best loss warns with counts."""
    store = DriveStore.connect()
    result = search(store, "s", objective(Hours(), 3), max_time="4h30m")
    assert result.done == 1
    with pytest.warns(UnfinishedSearchWarning, match="1 of 3"):
        assert result.best_loss == result.trials.losses()[0]


def test_no_trial_is_begun_that_cannot_end_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without backups, the longest trial so far predicts how much time the next one needs."""
    clock = Hours()
    for module in (loop, stopping_rules):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock, time=time.time))

    def long(point: dict[str, Any]) -> float:
        clock.here.epochs += 3
        return float(point["drop"])

    options = {"name": "s", "store": tmp_path, "algo": "rand", "max_evals": 9, "progress": False}
    assert resume_search(long, space=SPACE, max_time="8h", **options).done == 2
    clock.here.epochs = 0
    assert resume_search(long, space=SPACE, max_time="10h", **options).done == 2 + 3


def test_the_folder_of_a_search_holds_its_best_model_and_no_other(
    drive_emulator: DriveEmulator,
) -> None:
    """After three trials `best/` has one model, `backups/` and its trash take no space."""
    store = DriveStore.connect()
    result = search(store, "s", objective(Hours(), 2))
    (folder,) = [entry.id for entry in store.list(store.root, name="s")]
    kept = files(store, folder)
    best = [path for path in kept if path.startswith("best/")]
    assert best == [f"best/trial-{result.best_trial['tid']:05d}-loss-{result.best_loss:.6g}.keras"]
    assert not [path for path in kept if path.startswith("backups/")]
    (backups,) = [entry.id for entry in store.list(folder, name="backups")]
    trashed = store.list_trash(backups)
    assert trashed
    assert not any(entry.size for entry in trashed)
    records = sum(size for path, size in kept.items() if not path.startswith("best/"))
    assert records < kept[best[0]], "no record holds a model"


def test_a_full_drive_costs_the_model_and_tells_its_size(drive_emulator: DriveEmulator) -> None:
    """If Drive lacks space for the best model, a warning gives its size and the search finishes."""
    store = DriveStore.connect()
    assert store.free_space() is None or store.free_space() > 10**6
    drive_emulator.set_quota(store.account, 12_000)
    with pytest.warns(
        TrainingWarning, match=r"best/trial.*MB\) was not kept: only 0.0 MB are left"
    ):
        result = search(store, "s", objective(Hours(), 1), max_evals=1)
    assert result.finished
    assert not [path for path in files(store, store.root) if ".keras" in path]


@pytest.mark.parametrize(("what", "todo"), [("History", "x.history"), ("Ridge", "attachments")])
def test_an_object_in_a_result_is_named_with_what_to_do(
    tmp_path: Path, what: str, todo: str
) -> None:
    """The error names the class of the object, where it is in the result, and the remedy."""

    def returns(point: dict[str, Any]) -> dict[str, Any]:
        if what == "History":
            value: Any = keras.callbacks.History()
        else:
            value = pytest.importorskip("sklearn.linear_model").Ridge()
        return {"loss": 1.0, "status": "ok", "fitted": value}

    with pytest.raises(TypeError, match=rf"result\['fitted'\] is a .*{what}, .*{todo}"):
        resume_search(returns, space=SPACE, name="s", store=tmp_path, max_evals=1, progress=False)
