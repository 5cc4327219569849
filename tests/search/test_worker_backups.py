"""Keras trials killed in a worker in mid-epoch resume from their backup in another worker."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hyperopt import STATUS_OK

from colab_drive_tuner.errors import UnavailableError
from colab_drive_tuner.search.executors.loky import LokyExecutor, loky_executor
from colab_drive_tuner.training.backup.writer import get_writer
from colab_drive_tuner.training.trial import running_trial
from colab_drive_tuner.training.trial_backup_files import TrialBackupFiles
from tests.search.test_executors import run

EPOCHS, DEADLY = 5, 3


@pytest.fixture(scope="module")
def trainers() -> Iterator[LokyExecutor]:
    """A worker process that trains with JAX; after its death another one replaces it."""
    pytest.importorskip("jax")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "jax")
        with loky_executor(1) as pool:
            pool.submit(os.getpid).result()  # start the process while the variable is set
            yield pool


def fit(x: float, folder: Path, *, killed: bool) -> dict[str, Any]:
    """Train for EPOCHS epochs; with `killed`, the first attempt dies in one of them."""
    import keras
    import numpy as np

    from colab_drive_tuner.training.backup.trial_backup import TrialBackup

    trial = running_trial()
    assert trial is not None
    trained: list[int] = []

    class Deadly(keras.callbacks.Callback):
        """Kills its process in an epoch, once the previous epoch's backup is in the store."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            trained.append(epoch)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if killed and trial.attempt == 1 and trained[-1] == DEADLY:
                while not list(folder.glob(f"backups/*epoch-{DEADLY:05d}.backup")):
                    time.sleep(0.02)
                os.kill(os.getpid(), signal.SIGKILL)

    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dropout(0.4), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(10.0 ** (-2 - abs(x) / 10)), "mse")
    data = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")
    options: dict[str, Any] = {"epochs": EPOCHS, "batch_size": 16, "verbose": 0}
    done = model.fit(data[:, :4], data[:, 4:], callbacks=[TrialBackup(), Deadly()], **options)
    losses = [float(loss) for loss in done.history["loss"]]
    return {"loss": losses[-1], "status": STATUS_OK, "losses": losses, "trained": trained}


def test_a_trial_resumes_in_the_epoch_in_which_its_worker_was_killed(
    trainers: LokyExecutor, tmp_path: Path
) -> None:
    """Another worker continues from the stored backup and gets an undisturbed trial's losses."""
    options: dict[str, Any] = {"max_evals": 1, "executor": trainers}
    calm = run(tmp_path, lambda x: fit(x, tmp_path / "calm", killed=False), name="calm", **options)
    died = run(tmp_path, lambda x: fit(x, tmp_path / "died", killed=True), name="died", **options)
    (undisturbed,), (resumed,) = calm.trials.results, died.trials.results
    assert undisturbed["trained"] == list(range(EPOCHS))
    assert resumed["trained"] == list(range(DEADLY, EPOCHS))
    assert resumed["losses"] == undisturbed["losses"]


def test_a_result_is_recorded_although_its_backups_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backups of a trial that has ended only use space."""

    def objective(x: float) -> float:
        get_writer(running_trial().artifacts)  # type: ignore[union-attr, arg-type]
        return x

    def silent(_: TrialBackupFiles) -> list[str]:
        raise UnavailableError("the store is away")

    monkeypatch.setattr(TrialBackupFiles, "names", silent)  # in this process only
    with loky_executor(1) as pool:
        result = run(tmp_path, objective, name="a", max_evals=2, executor=pool)
    assert len(result.trials.results) == 2
