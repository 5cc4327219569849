"""`TrialBackup`: a Keras callback by which a half-finished trial goes on in its middle.

How it works. `fit` gives a callback no say in where it begins, but for `model._initial_epoch`: the
trainers of TensorFlow, JAX and PyTorch read it right after `on_train_begin`, for the sake of
Keras's own BackupAndRestore. This callback sets it too, and checks that `fit` heeded it. State is
saved and restored after all other callbacks have had their turn: the callback list that calls us
gets a last member for one `fit`, `FitBackup`. Every epoch begins with a seed of its own,
interrupted or not, so that what an epoch draws depends on nothing before it.
"""

import time
from collections.abc import Callable, Collection
from typing import Any

import keras

from colab_drive_tuner.errors import TrainingWarning, UsageError
from colab_drive_tuner.training.backup.fit import BackupCallback, FitBackup
from colab_drive_tuner.training.backup.writer import writer_of
from colab_drive_tuner.training.fit_frames import calling_loop
from colab_drive_tuner.trial import running_trial
from colab_drive_tuner.user_warnings import warn_user

_UNREACHED = (
    "TrialBackup keeps nothing in workers that do not reach the store by a path: a trial whose "
    "worker dies begins again. It works where the store is a folder that the workers see under the "
    "same path (store='/shared/searches')."
)

_OWN_LOOP = (
    "TrialBackup keeps nothing of this training, which is not Keras's `fit`: a loop of your own "
    "cannot be told at which epoch to go on. After a kill the trial begins anew. Write what is "
    "special about it as the model's train_step, and call fit."
)


class TrialBackup(BackupCallback):
    """Back the trial up at every epoch's end, in the background, and go on from there after a kill.

    `fit(..., callbacks=[TrialBackup()])` is all it takes, in each `fit` of a model function; `fit`
    then returns the history of all epochs. Outside of a search it does nothing, and says so.

    Args:
        every_seconds: Back up at an epoch's end only if so much time has passed since the last
            backup. None, the default: at every epoch's end.
        ignore: Attributes of other callbacks that are not state, as `"Class.attribute"`. They are
            neither saved nor restored, and do not keep the trial from being resumed.
        clock: The time in seconds, as `time.monotonic` tells it.

    Raises:
        UsageError: `every_seconds` is negative, or `fit` has Keras's BackupAndRestore as well.

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
        if every_seconds is not None and not every_seconds >= 0:
            raise UsageError(
                f"every_seconds must be a number of seconds >= 0, got {every_seconds}."
            )
        if isinstance(ignore, str):
            raise UsageError(f"ignore={ignore!r} is one text: give a list, [{ignore!r}].")
        self._every, self._ignore, self._clock = every_seconds, ignore, clock

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002 - Keras hands it over
        """Add `FitBackup` to the callbacks of this `fit`, as the last of them."""
        trial = running_trial()
        if trial is not None and trial.artifacts is None and trial.notices is not None:
            trial.notices.append(_UNREACHED)
            return
        if trial is None or trial.artifacts is None:
            warn_user(
                "TrialBackup does nothing here: no search runs that could keep backups.",
                TrainingWarning,
            )
            return
        loop = calling_loop(self)
        if not loop.fit:
            warn_user(_OWN_LOOP, TrainingWarning)
            return
        if any(isinstance(callback, FitBackup) for callback in loop.callbacks):
            return  # given twice
        if any(isinstance(one, keras.callbacks.BackupAndRestore) for one in loop.callbacks):
            raise UsageError(
                "fit has BackupAndRestore beside TrialBackup, and both would say at which epoch "
                "training goes on. Remove BackupAndRestore: TrialBackup does its work."
            )
        writer = writer_of(trial.artifacts)
        last = FitBackup(trial, writer, loop, self._ignore, self._every, self._clock)
        # Keras is going through this list right now and comes to the new member in its turn.
        loop.callbacks.append(last)
