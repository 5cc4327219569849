"""One `fit` of one trial: when it is backed up, where it goes on, and when it stops."""

import sys
from collections.abc import Callable, Collection
from typing import Any, NoReturn

import keras

from colab_drive_tuner.errors import TrainingWarning
from colab_drive_tuner.training.backup import callback_state, restore
from colab_drive_tuner.training.backup.callback_files import CallbackFiles
from colab_drive_tuner.training.backup.model_state import capture_model, symbolic_build, trained_in
from colab_drive_tuner.training.backup.pack import CannotSaveError
from colab_drive_tuner.training.backup.variables import walk
from colab_drive_tuner.training.backup.writer import BackupWriter
from colab_drive_tuner.training.fit_frames import TrainingLoop
from colab_drive_tuner.training.pruner import Pruner
from colab_drive_tuner.training.seeds import seed_epoch, training_seed
from colab_drive_tuner.trial import RunningTrial, TrialInterrupted
from colab_drive_tuner.user_warnings import warn_user

_SLACK = 1.1
"""The next epoch, and the next upload, may take so many times the longest one so far."""

_PUT_AWAY = 30.0
"""Seconds to wait for the store where a backup must be out of the way before the next run."""


class BackupCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """A callback of ours: no state of a training."""


class FitBackup(BackupCallback):
    """The last callback of one `fit`, which sees what all others have done."""

    def __init__(
        self,
        trial: RunningTrial,
        writer: BackupWriter,
        loop: TrainingLoop,
        ignore: Collection[str],
        every: float | None,
        clock: Callable[[], float],
    ) -> None:
        super().__init__()
        # Not those of the list: one that the user has made may have neither.
        self.set_params({"epochs": loop.epochs, "verbose": loop.fit.get("verbose")})
        self.set_model(loop.model)
        self._trial, self._writer = trial, writer
        self._fit = writer.next_fit()
        self._pace = writer.artifacts.pace
        self._callbacks, self._batches = loop.callbacks, loop.fit.get("epoch_iterator")
        self._ignore, self._every, self._clock = ignore, every, clock
        self._resumed: int | None = None
        self._told = False

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002 - Keras hands it over
        """Restore the newest backup of this `fit` that can be used, and begin after it."""
        others = self._others()
        self._memory = callback_state.CallbackMemory(others, self._ignore)
        self._files = CallbackFiles(others)
        total = self.params["epochs"]
        # What building draws, it draws as in a first attempt.
        keras.utils.set_random_seed(self._seed(1))
        done, over = restore.restore_newest(
            restore.Fit(self._trial, self._writer, self._fit, total),
            self.model,
            others,
            lambda: symbolic_build(self.model, self._batches),
        )
        self._batches = None
        if done and self.params["verbose"]:
            sys.stdout.write(f"Trial {self._trial.tid} goes on after epoch {done} of {total}.\n")
        # Never 0, which Keras would not heed; None: where the caller of `fit` wants to begin.
        self.model._initial_epoch = (max(total, done) if over else done) or None
        self._resumed = None if over or done >= total else done or None
        self._trained = trained_in(self.model) if self._resumed else []
        keras.utils.set_random_seed(self._seed(done + 1))
        self._saved = self._began = self._clock()
        if not over and done < total and self._is_late(self._began):
            self._stop(done)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras hands it over
        """Check that `fit` goes on where it was told to, with the model that it was told of."""
        if self._resumed not in (None, epoch):
            raise RuntimeError(
                f"Keras {keras.__version__} began at epoch {epoch} and not at {self._resumed}: "
                "this version cannot resume a trial. Remove TrialBackup, or use another Keras."
            )
        if self._resumed is not None and trained_in(self.model) != self._trained:
            self._begin_anew()
        self._resumed = None
        self.model._initial_epoch = None  # heeded; a `fit` after one that raised begins anew

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras hands it over
        """Hand a backup to the writer, if it is time for one; stop before the deadline."""
        done = epoch + 1
        now = self._clock()
        others = self._others()
        callback_state.make_plain(c for c in others if isinstance(c, keras.callbacks.History))
        self._pace.epoch = max(self._pace.epoch, now - self._began)
        over = bool(self.model.stop_training) or done >= self.params["epochs"]
        late = not over and self._is_late(now)
        if over or late or self._every is None or now - self._saved >= self._every:
            self._save(done, over, others)
            self._saved = now
        if late:
            self._stop(done)
        seed_epoch(self._seed(done + 1))
        self._began = self._clock()

    def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002 - Keras hands it over
        """Leave `fit` as if nobody had been here."""
        self.model._initial_epoch = None
        self._callbacks.remove(self)
        # What the model function draws next is the same whether epochs were skipped or not.
        keras.utils.set_random_seed(
            training_seed(self._trial.seed, self._trial.tid, fit=self._fit + 1)
        )

    def _others(self) -> list[Any]:
        """All callbacks but ours, which are no state of a training."""
        return [c for c in self._callbacks if not isinstance(c, BackupCallback | Pruner)]

    def _seed(self, epoch: int) -> int:
        """The seed of what is drawn from here to the end of an epoch, counted from 1."""
        return training_seed(self._trial.seed, self._trial.tid, epoch, self._fit)

    def _save(self, done: int, over: bool, others: list[Any]) -> None:
        """Copy all that a later process needs, and let the writer store it; or say why not."""
        parts = dict(walk(self.model))
        try:
            tree = {
                "tid": self._trial.tid,
                "seed": self._trial.seed,
                "fit": self._fit,
                "epoch": done,
                "over": over,
                "longest_epoch": self._pace.epoch,
                "reports": self._trial.reports.dump(),
                "callbacks": self._memory.capture(others, frozenset(map(id, parts.values()))),
                "model": capture_model(self.model, parts),
                "files": self._files.capture(),
            }
        except CannotSaveError as error:
            name = str(error).partition(" ")[0]
            self._tell(
                f"no backup is made of it, because {error} is not data that a backup can hold. "
                "After a kill it begins anew. Keep such a thing outside of the callback, or, if "
                f"it is not state of the training, name it: TrialBackup(ignore=[{name!r}])."
            )
        except OSError as error:
            self._tell(f"no backup is made, because a callback's file cannot be read: {error}")
        else:
            self._writer.submit(self._fit, done, tree)

    def _tell(self, message: str) -> None:
        """Warn, once in a `fit`."""
        if not self._told:
            self._told = True
            warn_user(f"Trial {self._trial.tid}: {message}", TrainingWarning)

    def _is_late(self, now: float) -> bool:
        """Whether the next epoch, with its backup, may end after the trial's deadline."""
        if self._trial.deadline is None:
            return False
        needed = _SLACK * (self._pace.epoch + self._pace.upload)
        return now + needed > self._trial.deadline

    def _begin_anew(self) -> None:
        """Put the backups away and raise `TrialInterrupted`: the next run begins at epoch 0."""
        self._tell(
            "a callback changes `trainable`, so that it cannot go on from its backup. The backup "
            "was put away and the run ends: run it again, and the trial begins at its first epoch."
        )
        self._writer.drop()
        self._writer.wait(_PUT_AWAY)
        self._interrupt(0, stored=True)

    def _stop(self, done: int) -> None:
        """Flush, as long as the deadline allows, and raise `TrialInterrupted`."""
        deadline = self._trial.deadline or 0.0
        self._writer.wait(max(0.0, deadline - self._clock()))
        self._interrupt(done, stored=done == 0 or self._writer.is_stored(self._fit, done))

    def _interrupt(self, done: int, *, stored: bool) -> NoReturn:
        self.model._initial_epoch = None
        raise TrialInterrupted(tid=self._trial.tid, fit=self._fit, epoch=done, stored=stored)
