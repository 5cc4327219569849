"""`FitBackup`: callback that backs up, resumes and, before a deadline, stops one `fit`."""

import math
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NoReturn

import keras

from colab_drive_tuner.errors import ChecksumError, StoreError, TrainingWarning
from colab_drive_tuner.local_files import scratch_folder
from colab_drive_tuner.training.backup import callback_state
from colab_drive_tuner.training.backup.callback_files import CallbackFiles, prepare_file_restore
from colab_drive_tuner.training.backup.model_state import (
    capture_model,
    prepare_model_restore,
    symbolic_build,
    trainable_paths,
)
from colab_drive_tuner.training.backup.pack import CannotSaveError, pack_or_none
from colab_drive_tuner.training.backup.unpack import Unpacker
from colab_drive_tuner.training.backup.variable_paths import (
    IncompatibleBackupError,
    TrainableChangedError,
    walk,
)
from colab_drive_tuner.training.backup.writer import BackupWriter, backup_name, read_backup
from colab_drive_tuner.training.pruner import Pruner
from colab_drive_tuner.training.seeding import seed_epoch, training_seed
from colab_drive_tuner.training.training_loop import TrainingLoop
from colab_drive_tuner.training.trial import RunningTrial, TrialInterrupted
from colab_drive_tuner.warn_user import warn_user

_SAFETY_FACTOR = 1.1
"""The next epoch and the next upload are assumed to take at most this times the longest so far."""

_DROP_TIMEOUT = 30.0
"""Seconds to wait for the store to drop backups that the next run must not restore."""

_MALFORMED = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""Errors of reading a file with a valid checksum whose content is not a backup."""


class BackupCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Base of this package's backup callbacks, which hold no training state."""


class LastLogs(BackupCallback):
    """First callback of one `fit`: gives `on_train_end` the logs of the last epoch.

    Keras passes none if no epoch is left to train, and callbacks read the final loss there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.logs: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - passed by Keras
        """Copy the logs before other callbacks add to them, as Keras does."""
        self.logs = dict(logs)

    def on_train_end(self, logs: Any = None) -> None:
        """Complete the logs; Keras passes the same dict to all callbacks."""
        logs.update(self.logs)


class FitBackup(BackupCallback):
    """Last callback of one `fit`, called after all others have updated their state."""

    def __init__(
        self,
        trial: RunningTrial,
        writer: BackupWriter,
        loop: TrainingLoop,
        last_logs: LastLogs,
        ignore: Collection[str],
        every: float | None,
        clock: Callable[[], float],
    ) -> None:
        super().__init__()
        # A CallbackList made by the user may have neither, so they come from the loop.
        self.set_params({"epochs": loop.epochs, "verbose": loop.fit.get("verbose")})
        self.set_model(loop.model)
        self.trial, self._writer = trial, writer
        self._fit, self._last_logs = writer.next_fit(), last_logs
        self._pace = writer.artifacts.pace
        self._callbacks, self._batches = loop.callbacks, loop.fit.get("epoch_iterator")
        self._ignore, self._every, self._clock = ignore, every, clock
        self._resumed: int | None = None
        """The epoch at which `fit` must start, until it has started."""
        self._began = self._saved = 0.0
        """Times, by the clock, when the running epoch began and when a backup was last due."""
        self._warned = False

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002 - passed by Keras
        """Restore the newest usable backup of this `fit`, and start after its epoch."""
        others = self._others()
        self._states = callback_state.CallbackStates(others, self._ignore)
        self._files = CallbackFiles(others)
        total = self.params["epochs"]
        # Building the model draws the same random numbers as in a first attempt.
        keras.utils.set_random_seed(self._seed(1))
        done, over = self._restore_newest(others)
        self._batches = None
        if done and self.params["verbose"]:
            resumed = f"Trial {self.trial.tid} resumes after epoch {done} of {total}."
            print(resumed)  # noqa: T201 - next to the epochs that Keras prints
        # Keras ignores 0; None means `initial_epoch` as passed to `fit`.
        self.model._initial_epoch = (total if over else done) or None
        self._resumed = None if over else done or None
        self._trained = trainable_paths(self.model) if self._resumed else []
        keras.utils.set_random_seed(self._seed(done + 1))
        self._saved = self._began = self._clock()
        if not over and self._is_late(self._began):
            self._stop(done)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - passed by Keras
        """Check that `fit` starts at the requested epoch, with the same trainable variables."""
        if self._resumed not in (None, epoch):
            raise RuntimeError(
                f"Keras {keras.__version__} started at epoch {epoch} and not at {self._resumed}: "
                "this version cannot resume a trial. Remove TrialBackup, or use another Keras."
            )
        if self._resumed is not None and trainable_paths(self.model) != self._trained:
            self._restart()
        self._resumed = None
        self.model._initial_epoch = None  # Keras has read it; the next `fit` must not

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - passed by Keras
        """Submit a backup to the writer if one is due; stop before the deadline."""
        done = epoch + 1
        now = self._clock()
        others = self._others()
        callback_state.convert_histories_to_floats(
            c for c in others if isinstance(c, keras.callbacks.History)
        )
        self._pace.epoch = max(self._pace.epoch, now - self._began)
        over = bool(self.model.stop_training) or done >= self.params["epochs"]
        late = not over and self._is_late(now)
        if over or late or self._every is None or now - self._saved >= self._every:
            self._save(done, others)
            self._saved = now
        if late:
            self._stop(done)
        seed_epoch(self._seed(done + 1))
        self._began = self._clock()

    def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002 - passed by Keras
        """Remove the callbacks of this `fit`, and seed what follows it."""
        self.model._initial_epoch = None
        self._callbacks.remove(self._last_logs)
        self._callbacks.remove(self)
        # The model function draws the same numbers next whether epochs were skipped or not.
        keras.utils.set_random_seed(
            training_seed(self.trial.seed, self.trial.tid, fit=self._fit + 1)
        )

    def _others(self) -> list[Any]:
        """The callbacks that may hold training state: all but those of this package."""
        return [c for c in self._callbacks if not isinstance(c, BackupCallback | Pruner)]

    def _seed(self, epoch: int) -> int:
        """Return the seed for everything drawn until the end of `epoch`, counted from 1."""
        return training_seed(self.trial.seed, self.trial.tid, epoch, self._fit)

    def _restore_newest(self, others: list[Any]) -> tuple[int, bool]:
        """Restore the newest usable backup; return the number of epochs done and if `fit` ended."""
        try:
            epochs = self._writer.epochs(self._fit)
        except StoreError as error:
            self._warn(
                f"its backups could not be listed, so it starts from its first epoch: {error}"
            )
            return 0, False
        troubles: list[str] = []
        done, over = 0, False
        for epoch in epochs:
            try:
                tree = self._read(epoch)
                if tree is None:
                    continue
                self._restore(tree, others)
            except TrainableChangedError as error:
                troubles.append(f"the backup after epoch {epoch} cannot be used: {error}")
                break  # an older backup would reach the same change
            except (IncompatibleBackupError, OSError) as error:  # the store's, or of a full disk
                was_read = isinstance(error, IncompatibleBackupError | ChecksumError)
                trouble = "cannot be used" if was_read else "could not be read"
                troubles.append(f"the backup after epoch {epoch} {trouble}: {error}".rstrip("."))
            else:
                done, over = epoch, tree["stopped"] or epoch >= self.params["epochs"]
                if over:  # the model function may read it after `fit`
                    self.model.stop_training = tree["stopped"]
                self._pace.epoch = max(self._pace.epoch, tree["longest_epoch"])
                break
        if troubles:
            start = f"resumes after epoch {done}" if done else "starts from its first epoch"
            self._warn(f"{'; '.join(troubles)}. It {start}.")
        return done, over

    def _read(self, epoch: int) -> Any:
        """Return the backup after `epoch` epochs, or None; raise if it is damaged or too late."""
        if epoch > self.params["epochs"]:
            raise IncompatibleBackupError(f"fit now ends after epoch {self.params['epochs']}")
        name = backup_name(self._fit, epoch)
        with scratch_folder() as scratch:
            path = scratch / name
            if not self._writer.artifacts.get(name, path):
                return None
            tree = read_backup(path)
        wanted = {**self._identity(), "epoch": epoch}
        if not isinstance(tree, dict) or wanted != {key: tree.get(key) for key in wanted}:
            raise ChecksumError(f"{name} belongs to another epoch or trial")
        return tree

    def _restore(self, tree: Any, others: list[Any]) -> None:
        """Restore all of the state; every part is checked before any is changed."""
        try:
            steps: list[Callable[[], object]] = [
                callback_state.prepare_callback_restore(others, tree["callbacks"]),
                prepare_file_restore(others, tree["files"], self._writer.artifacts.get),
                prepare_model_restore(
                    self.model, tree["model"], lambda: symbolic_build(self.model, self._batches)
                ),
                self.trial.reports.prepare_restore(tree["reports"]),
                partial(self._last_logs.logs.update, Unpacker().unpack(tree.get("logs")) or {}),
            ]
            if not 0 <= tree["longest_epoch"] < math.inf or type(tree["stopped"]) is not bool:
                raise ValueError("its times are invalid")
        except _MALFORMED as error:
            raise ChecksumError(
                f"it is not a readable backup ({type(error).__name__}: {error})"
            ) from error
        for step in steps:
            step()
        self._writer.record_references(self._fit, tree["epoch"], tree["files"])

    def _identity(self) -> dict[str, int]:
        return {"tid": self.trial.tid, "seed": self.trial.seed, "fit": self._fit}

    def _save(self, done: int, others: list[Any]) -> None:
        """Copy the training state and submit it to the writer; warn if it cannot be saved."""
        parts = dict(walk(self.model))
        try:
            tree = {
                **self._identity(),
                "epoch": done,
                "stopped": bool(self.model.stop_training),
                "longest_epoch": self._pace.epoch,
                "logs": pack_or_none(self._last_logs.logs),
                "reports": self.trial.reports.dump(),
                "callbacks": self._states.capture(others, frozenset(map(id, parts.values()))),
                "model": capture_model(self.model, parts),
                "files": self._files.capture(),
            }
        except CannotSaveError as error:
            name = str(error).partition(" ")[0]
            self._warn_once(
                f"no backup is made of it, because {error} is not data that a backup can hold. "
                "After a kill the trial starts from its first epoch. Keep such an object outside "
                f"the callback or, if it is not training state: TrialBackup(ignore=[{name!r}])."
            )
        except OSError as error:
            self._warn_once(f"no backup is made, because a callback's file cannot be read: {error}")
        else:
            self._writer.submit(self._fit, done, tree)

    def _warn_once(self, message: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(message)

    def _warn(self, message: str) -> None:
        warn_user(f"Trial {self.trial.tid}: {message}", TrainingWarning)

    def _is_late(self, now: float) -> bool:
        """Return whether the next epoch, with its backup, may end after the trial's deadline."""
        if self.trial.deadline is None:
            return False
        needed = _SAFETY_FACTOR * (self._pace.epoch + self._pace.upload)
        return now + needed > self.trial.deadline

    def _restart(self) -> None:
        """Drop the backups and raise `TrialInterrupted`: the next run starts at epoch 0."""
        self._warn_once(
            "a callback changes `trainable`, so it cannot resume from its backup. The backup was "
            "moved to the trash and the run ends: run it again, and the trial starts from its "
            "first epoch."
        )
        self._writer.drop()
        self._writer.wait(_DROP_TIMEOUT)
        self._interrupt(0, stored=True)

    def _stop(self, done: int) -> None:
        """Flush the backups until the deadline at most, and raise `TrialInterrupted`."""
        deadline = self.trial.deadline or 0.0
        self._writer.wait(max(0.0, deadline - self._clock()))
        self._interrupt(done, stored=done == 0 or self._writer.is_stored(self._fit, done))

    def _interrupt(self, done: int, *, stored: bool) -> NoReturn:
        self.model._initial_epoch = None
        raise TrialInterrupted(tid=self.trial.tid, fit=self._fit, epoch=done, stored=stored)
