"""`TrialBackup`: a Keras callback by which a half-finished trial goes on in its middle.

How it works. `fit` gives a callback no say in where it begins, but for `model._initial_epoch`: the
trainers of TensorFlow, JAX and PyTorch read it right after `on_train_begin`, for the sake of
Keras's own BackupAndRestore. This callback sets it too, and checks that `fit` heeded it. State is
taken and given back after all other callbacks have had their turn: the callback list that calls us
gets a last member for one `fit`. Every epoch begins with a seed of its own, interrupted or not, so
that what an epoch draws depends on nothing before it.

Exact on CPU for arrays, Dropout, augmentation layers and shuffling by `fit`. Where the data keeps
its own place, resuming cannot know it: `tf.data` with a `shuffle` that reshuffles each iteration,
`steps_per_epoch` that is not one pass over the data, a `PyDataset` that shuffles in `on_epoch_end`,
a generator; nor is `tf.random` inside a layer exact. There a resumed trial is a fair one, but not
the same; `reshuffle_each_iteration=False`, or drawing the order from NumPy's global generator when
an epoch begins, makes data exact. Files that callbacks write on the runtime's disk are not backed
up.
"""

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from colab_drive_tuner.errors import ChecksumError, StoreError, UsageError
from colab_drive_tuner.training import state
from colab_drive_tuner.training.container import read_container
from colab_drive_tuner.training.epoch_seed import seed_epoch
from colab_drive_tuner.training.interrupted import TrialInterrupted
from colab_drive_tuner.training.notices import TrainingWarning
from colab_drive_tuner.training.seeds import training_seed
from colab_drive_tuner.training.writer import BackupWriter, backup_name, writer_of
from colab_drive_tuner.trial import RunningTrial, running_trial

_SLACK = 1.1
"""The next epoch, and the next upload, may take so many times the longest one so far."""


class TrialBackup(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Back the trial up at every epoch's end, in the background, and go on from there after a kill.

    With `every_seconds`, at an epoch's end only if so much time has passed since the last backup.
    `fit(..., callbacks=[TrialBackup()])` is all it takes, in each `fit` of a model function; `fit`
    then returns the history of all epochs. Outside of a search it does nothing, and says so.
    """

    def __init__(
        self, every_seconds: float | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        if every_seconds is not None and not every_seconds >= 0:
            raise UsageError(f"every_seconds={every_seconds} is no length of time: give seconds.")
        self._every = every_seconds
        self._clock = clock

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Join the callbacks of this `fit` a second time, as the last of them."""
        trial = running_trial()
        if trial is None or trial.artifacts is None:
            warnings.warn(
                "TrialBackup does nothing here: no search runs that could keep backups.",
                TrainingWarning,
                stacklevel=2,
            )
            return
        callbacks = _calling(self)
        if any(isinstance(callback, _Last) for callback in callbacks.callbacks):
            return  # given twice
        writer = writer_of(trial.artifacts)
        last = _Last(trial, writer, callbacks, self._every, self._clock)
        last.set_params(self.params)
        last.set_model(self.model)
        # Keras is going through this list right now and comes to the new member in its turn.
        callbacks.callbacks.append(last)


class _Last(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """One `fit` of one trial, seen after every other callback."""

    def __init__(
        self,
        trial: RunningTrial,
        writer: BackupWriter,
        callbacks: Any,
        every: float | None,
        clock: Callable[[], float],
    ) -> None:
        super().__init__()
        self._trial, self._writer = trial, writer
        self._fit = writer.next_fit(trial)
        self._callbacks = callbacks
        self._every, self._clock = every, clock
        self._resumed: int | None = None

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        self._before = state.remembered(self._others())
        done, over = self._restore()
        total = self.params.get("epochs", 0)
        # Never 0, which Keras would not heed; None: where the caller of `fit` wants to begin.
        self.model._initial_epoch = (max(total, done) if over else done) or None
        self._resumed = None if over or done >= total else done or None
        keras.utils.set_random_seed(self._seed(done + 1))
        self._taken = self._began = self._clock()
        if not over and done < total and self._is_late(self._began):
            self._stop(done)

    def on_epoch_begin(
        self,
        epoch: int,
        logs: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> None:
        if self._resumed not in (None, epoch):
            raise RuntimeError(
                f"Keras {keras.__version__} began at epoch {epoch} and not at {self._resumed}: "
                "this version cannot resume a trial. Remove TrialBackup, or use another Keras."
            )
        self._resumed = None
        self.model._initial_epoch = None  # heeded; a `fit` after one that raised begins anew

    def on_epoch_end(
        self,
        epoch: int,
        logs: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> None:
        done = epoch + 1
        now = self._clock()
        self._writer.longest_epoch = max(self._writer.longest_epoch, now - self._began)
        over = bool(self.model.stop_training) or done >= self.params.get("epochs", 0)
        late = not over and self._is_late(now)
        if over or late or self._every is None or now - self._taken >= self._every:
            self._writer.submit(self._fit, done, self._snapshot(done, over))
            self._taken = now
        if late:
            self._stop(done)
        seed_epoch(self._seed(done + 1))
        self._began = self._clock()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        self.model._initial_epoch = None
        self._callbacks.callbacks.remove(self)
        # What the model function draws next is the same whether epochs were skipped or not.
        keras.utils.set_random_seed(
            training_seed(self._trial.seed, self._trial.tid, fit=self._fit + 1)
        )

    def _others(self) -> list[Any]:
        return [c for c in self._callbacks.callbacks if not isinstance(c, TrialBackup | _Last)]

    def _seed(self, epoch: int) -> int:
        """The seed of what is drawn from here to the end of an epoch, counted from 1."""
        return training_seed(self._trial.seed, self._trial.tid, epoch, self._fit)

    def _snapshot(self, done: int, over: bool) -> dict[str, Any]:
        return {
            "tid": self._trial.tid,
            "seed": self._trial.seed,
            "fit": self._fit,
            "epoch": done,
            "over": over,
            "longest_epoch": self._writer.longest_epoch,
            "model": state.capture_model(self.model),
            "callbacks": state.changed(self._others(), self._before),
        }

    def _restore(self) -> tuple[int, bool]:
        """Set the newest usable backup; return how many epochs are done, and if that was all."""
        total = self.params.get("epochs", 0)
        try:
            candidates = [epoch for epoch in self._writer.epochs(self._fit) if epoch <= total]
        except StoreError as error:
            self._say(
                f"its backups could not be looked up, so it begins at its first epoch: {error}"
            )
            return 0, False
        for epoch in candidates:
            try:
                tree = self._read(epoch)
                if tree is None:
                    continue
                state.restore_model(self.model, tree["model"])
            except (ChecksumError, state.DoesNotFitError) as error:
                self._say(
                    f"the backup after epoch {epoch} cannot be used: {str(error).rstrip('.')}. "
                    "It goes on from the one before, or begins at its first epoch."
                )
                continue
            except StoreError as error:
                self._say(f"the backup after epoch {epoch} could not be read: {error}")
                continue
            if lost := state.remind(self._others(), tree["callbacks"]):
                self._say(f"what these callbacks remembered fits no callback here: {lost}")
            self._writer.longest_epoch = max(self._writer.longest_epoch, tree["longest_epoch"])
            if self.params.get("verbose"):
                sys.stdout.write(
                    f"Trial {self._trial.tid} goes on after epoch {epoch} of {total}.\n"
                )
            return epoch, tree["over"]
        return 0, False

    def _read(self, epoch: int) -> Any:
        """The backup after `epoch` epochs; None if there is none; `ChecksumError` if damaged."""
        name = backup_name(self._fit, epoch)
        with tempfile.TemporaryDirectory(prefix=f"colab-drive-tuner-{os.getpid()}-") as scratch:
            path = Path(scratch) / name
            if not self._writer.artifacts.get(name, path):
                return None
            tree = read_container(path)
        wanted = (self._trial.tid, self._trial.seed, self._fit, epoch)
        if not isinstance(tree, dict) or wanted != tuple(
            tree.get(key) for key in ("tid", "seed", "fit", "epoch")
        ):
            raise ChecksumError(f"{name} is that of another epoch or trial")
        return tree

    def _say(self, message: str) -> None:
        where = f"Trial {self._trial.tid}: "
        warnings.warn(where + message, TrainingWarning, stacklevel=2)

    def _is_late(self, now: float) -> bool:
        """Whether the next epoch, with its backup, may end after the trial's deadline."""
        if self._trial.deadline is None:
            return False
        needed = _SLACK * (self._writer.longest_epoch + self._writer.longest_upload)
        return now + needed > self._trial.deadline

    def _stop(self, done: int) -> None:
        """Flush, as long as the deadline allows, and raise `TrialInterrupted`."""
        deadline = self._trial.deadline or 0.0
        self._writer.wait(max(0.0, deadline - self._clock()))
        self.model._initial_epoch = None
        raise TrialInterrupted(
            tid=self._trial.tid,
            fit=self._fit,
            epoch=done,
            stored=done == 0 or self._writer.is_stored(self._fit, done),
        )


def _calling(callback: Any) -> Any:
    """The list of callbacks that is calling `callback` at this moment.

    Keras hands a callback its model and nothing of its fellows, whose states a backup needs; the
    list is found as the `self` of one of the frames below.
    """
    frame = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.callbacks.CallbackList) and callback in owner.callbacks:
            return owner
        frame = frame.f_back  # type: ignore[assignment]
    raise UsageError("TrialBackup works in `fit(callbacks=[...])`, or in a keras CallbackList.")
