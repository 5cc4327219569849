"""`TrialBackup`: Keras callback that resumes an unfinished trial from its last completed epoch.

A callback can choose the first epoch of `fit` only through `model._initial_epoch`: the TensorFlow,
JAX and PyTorch trainers read it right after `on_train_begin`, to support Keras's own
BackupAndRestore. This callback sets it too, and checks that `fit` started there. State is saved and
restored after all other callbacks have run: `TrialBackup` appends a `FitBackup` to the callback
list for the duration of one `fit`. Every epoch is seeded separately, interrupted or not, so the
random numbers of an epoch do not depend on earlier epochs.
"""

import time
from collections.abc import Callable, Collection
from typing import Any

from colab_drive_tuner.errors import TrainingWarning, UsageError, optional_import
from colab_drive_tuner.training.trial import as_number, running_trial
from colab_drive_tuner.warn_user import warn_user

with optional_import("Keras is not installed: pip install 'colab-drive-tuner[tensorflow]'."):
    import keras

    from colab_drive_tuner.training.backup.fit_backup import BackupCallback, FitBackup, LastLogs
    from colab_drive_tuner.training.backup.writer import get_writer
    from colab_drive_tuner.training.training_loop import find_training_loop

_UNREACHED = (
    "TrialBackup saves nothing in workers that cannot open the store by its path: a trial whose "
    "worker dies starts again. It works if the store is a folder that the workers see under the "
    "same path (store='/shared/searches')."
)

_OWN_LOOP = (
    "TrialBackup saves nothing in this training loop, which is not Keras's `fit`: it cannot set "
    "the first epoch of a custom loop. After a kill the trial starts from its first epoch. "
    "Implement the custom part as the model's train_step, and call fit."
)


class TrialBackup(BackupCallback):
    """Back up the trial after every epoch, in the background, and resume from there after a kill.

    Pass it to each `fit` of a model function: `fit(..., callbacks=[TrialBackup()])`. `fit` then
    returns the history of all epochs. Outside a search it only emits a `TrainingWarning`.

    Args:
        every_seconds: Minimum time between two backups, in seconds; backups are made at the end of
            an epoch. None, the default: back up after every epoch.
        ignore: Attributes of other callbacks that are not training state, as `"Class.attribute"`.
            They are neither saved nor restored, and do not prevent the trial from being resumed.
        clock: Function that returns the time in seconds, such as `time.monotonic`.

    Raises:
        UsageError: `every_seconds` is negative or no number, `ignore` is a string, or `fit` has
            Keras's BackupAndRestore as well.

    Example:
        ```python
        model.fit(x, y, epochs=20, callbacks=[TrialBackup(every_seconds=600)])
        ```
    """

    def __init__(
        self,
        every_seconds: float | None = None,
        *,
        ignore: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        if every_seconds is not None and not as_number("every_seconds", every_seconds) >= 0:
            raise UsageError(
                f"every_seconds must be a number of seconds >= 0, got {every_seconds}."
            )
        if isinstance(ignore, str):
            raise UsageError(f"ignore={ignore!r} is one text: give a list, [{ignore!r}].")
        self._every, self._ignore, self._clock = every_seconds, ignore, clock

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002 - passed by Keras
        """Append a `FitBackup` to the callbacks of this `fit`."""
        trial = running_trial()
        if trial is not None and trial.artifacts is None and trial.notices is not None:
            trial.notices.append(_UNREACHED)
            return
        if trial is None or trial.artifacts is None:
            warn_user(
                "TrialBackup does nothing here: no search is running in this thread that could "
                "store backups.",
                TrainingWarning,
            )
            return
        loop = find_training_loop(self)
        if not loop.fit:
            warn_user(_OWN_LOOP, TrainingWarning)
            return
        if any(isinstance(callback, FitBackup) for callback in loop.callbacks):
            return  # TrialBackup was passed twice
        if any(isinstance(c, FitBackup) and c.trial is trial for c in loop.outer):
            return  # this fit belongs to an epoch, which is repeated or skipped as a whole
        if any(isinstance(c, keras.callbacks.BackupAndRestore) for c in loop.callbacks):
            raise UsageError(
                "fit has both BackupAndRestore and TrialBackup, and both set the first epoch of "
                "the training. Remove BackupAndRestore: TrialBackup replaces it."
            )
        writer, last_logs = get_writer(trial.artifacts), LastLogs()
        # Keras is iterating over this list: it calls this callback again, and the appended one.
        loop.callbacks.insert(0, last_logs)
        loop.callbacks.append(
            FitBackup(trial, writer, loop, last_logs, self._ignore, self._every, self._clock)
        )
