"""Small trainings with every source of randomness, and ways to interrupt them."""

import os
import signal
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.training.backup.trial_backup import TrialBackup
from colab_drive_tuner.training.backup.writer import flush_backups
from colab_drive_tuner.training.memory import free_memory
from colab_drive_tuner.training.seeding import seed_trial
from colab_drive_tuner.training.trial import RunningTrial, run_as, running_trial
from colab_drive_tuner.training.trial_backup_files import TrialBackupFiles
from tests.training.flaky_store import create_search_folder, entry_names

SEED = 11
RUN = []
"""The artifacts of the trials that ran in this process."""
X = np.random.default_rng(0).normal(size=(48, 4, 4, 1)).astype("float32")
Y = X.sum(axis=(1, 2, 3))[:, None]


class Killed(BaseException):
    """Simulates the death of the process."""


class KillAt(keras.callbacks.Callback):
    """Raises Killed, or really kills the process, in the middle of an epoch."""

    def __init__(self, epoch, *, really=False, flush=True):
        super().__init__()
        self.epoch, self.really, self.flush = epoch, really, flush
        # Kept in a closure, so that backups do not treat it as the callback's state.
        here = SimpleNamespace(epoch=None)
        self.place = lambda: here

    def on_epoch_begin(self, epoch, logs=None):
        self.place().epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.place().epoch == self.epoch and batch == 1:
            if self.flush:
                flush_backups([running_trial().artifacts], 20)
            if self.really:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Killed


class StatefulCallback(keras.callbacks.Callback):
    """A user's own callback with state."""

    def __init__(self):
        super().__init__()
        self.best, self.lines, self.drawn = np.inf, [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.drawn.append(np.random.rand())

    def on_epoch_end(self, epoch, logs=None):
        self.best = min(self.best, logs["loss"])
        self.lines.append({"epoch": epoch, "loss": logs["loss"]})


class EpochCounter(keras.callbacks.Callback):
    """Records the epochs that are trained."""

    epoch = -1

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.drawn.append(epoch)


def convolutional_model():
    """Return a model with augmentation, convolution, batch normalization and Dropout."""
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.RandomFlip(),
            keras.layers.Conv2D(2, 2),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.4),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    return model


def fit_with_backup(model, epochs, *others, before=(), verbose=0, **options):
    """Call `model.fit` with a TrialBackup among its callbacks."""
    backup = TrialBackup(**options)
    return model.fit(
        X,
        Y,
        epochs=epochs,
        batch_size=16,
        verbose=verbose,
        validation_split=0.25,
        callbacks=[*before, backup, *others],
    )


def training_outcome(model, *histories):
    """Return what must be equal: histories, weights, optimizer and the next random number."""
    return {
        "histories": [(h.epoch, h.history) for h in histories],
        "weights": [w.tobytes() for w in model.get_weights()],
        "optimizer": [np.asarray(v.value).tobytes() for v in model.optimizer.variables],
        "drawn": float(np.random.rand()),
    }


def flush_all_backups(timeout):
    """Wait for the backups of all trials that ran in this process."""
    return flush_backups(RUN, timeout)


def run_trial(store, folder, training, *, tid=3, deadline=None, pace=None):
    """Run `training()` as a trial of a search, as if in a new process."""
    free_memory()
    seed_trial(SEED, tid)
    artifacts = TrialBackupFiles(store, folder, tid, pace=pace)
    RUN.append(artifacts)
    trial = RunningTrial("search", tid, SEED, deadline=deadline, artifacts=artifacts)
    with run_as(trial):
        return training()


def train_once(kill=None, epochs=4):
    """Train for `epochs` epochs, optionally killed in one of them; return the outcome."""
    model = convolutional_model()
    return training_outcome(model, fit_with_backup(model, epochs, *([kill] if kill else [])))


def backup_names(store, folder):
    """Return the names of the backups in the store."""
    assert flush_all_backups(20)
    homes = [e.id for e in FolderStore.list(store, folder, name="backups")]
    return [name for home in homes for name in entry_names(store, home)]


def assert_resumed_equals_whole(store, training, *kills, resumed=None):
    """Assert that a training killed once per item of `kills` equals the uninterrupted one."""
    whole = run_trial(store, create_search_folder(store, "whole"), lambda: training(None))
    folder = create_search_folder(store, "killed")
    for kill in kills:
        with pytest.raises(Killed):
            run_trial(store, folder, lambda kill=kill: training(kill))
    again = run_trial(store, folder, lambda: training(resumed))
    assert again == whole
    return whole


if __name__ == "__main__":  # a process that kills itself, or resumes the trial of a killed one
    root, search, result, number = sys.argv[1:]
    kept, kill_in = FolderStore(root), int(number.rstrip("!"))
    at_once = number.endswith("!")
    kill = KillAt(kill_in, really=True, flush=not at_once) if kill_in >= 0 else None
    ended = run_trial(kept, search, lambda: train_once(kill))
    with open(result, "w") as file:  # noqa: PTH123
        file.write(repr(ended))
