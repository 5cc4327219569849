"""Workload of `fit` with TrialBackup, with Keras's BackupAndRestore, and with neither."""

import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

MEGABYTES = 10
"""Size of the weights."""


def epochs(*, callback: str, count: int) -> dict[str, float]:
    """Return the median thread time of an epoch in ms, for a model of `MEGABYTES`.

    `cpu`: the thread's CPU time; `wall`: elapsed time.
    """
    import keras
    import numpy as np

    from colab_drive_tuner.store.folder import FolderStore
    from colab_drive_tuner.training.backup.trial_backup import TrialBackup
    from colab_drive_tuner.training.backup.writer import flush_backups
    from colab_drive_tuner.training.trial import RunningTrial, run_as
    from colab_drive_tuner.training.trial_backup_files import TrialBackupFiles

    width = 256
    layers = max(1, round(MEGABYTES * 2**20 / 4 / width**2) - 1)
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((width,))]
        + [keras.layers.Dense(width, use_bias=False) for _ in range(layers)]
        + [keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), "mse")
    x = np.random.default_rng(1).normal(size=(256, width)).astype("float32")
    y = x[:, :1]
    cpu: list[float] = []
    wall: list[float] = []

    class Stopwatch(keras.callbacks.Callback):  # type: ignore[misc]
        """Times at the start of each epoch."""

        def on_epoch_begin(self, *_: Any) -> None:
            cpu.append(time.thread_time())
            wall.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder) / "store")
        home = store.create(store.reserve(1)[0], None, name="search", parent=store.root)
        callbacks: list[Any] = [Stopwatch()]
        if callback == "TrialBackup":
            callbacks.append(TrialBackup())
        elif callback == "BackupAndRestore":
            callbacks.append(
                keras.callbacks.BackupAndRestore(f"{folder}/backup", delete_checkpoint=False)
            )
        artifacts = TrialBackupFiles(store, home.id, 0)
        with run_as(RunningTrial(search="bench", tid=0, seed=1, artifacts=artifacts)):
            model.fit(x, y, batch_size=64, epochs=count + 3, verbose=0, callbacks=callbacks)
        flush_backups([artifacts], 30)
    return {
        "cpu": _median_step(cpu),
        "wall": _median_step(wall),
        "megabytes": model.count_params() * 4 / 2**20,
    }


def _median_step(times: list[float]) -> float:
    """Return the median of steps in milliseconds, without the first ones, which compile."""
    return 1e3 * statistics.median(b - a for a, b in itertools.pairwise(times[2:]))
