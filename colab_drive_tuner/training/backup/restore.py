"""Restore the newest usable backup of a `fit`, completely or not at all."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from colab_drive_tuner.errors import ChecksumError, StoreError, TrainingWarning
from colab_drive_tuner.local_files import scratch_folder
from colab_drive_tuner.training.backup import callback_state
from colab_drive_tuner.training.backup.callback_files import prepare_file_restore
from colab_drive_tuner.training.backup.model_state import prepare_restore
from colab_drive_tuner.training.backup.variable_paths import (
    IncompatibleBackupError,
    TrainableChangedError,
)
from colab_drive_tuner.training.backup.writer import BackupWriter, backup_name, read_backup
from colab_drive_tuner.training.trial import RunningTrial
from colab_drive_tuner.user_warnings import warn_user

_MALFORMED = (
    *(TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError),
)
"""Errors of reading a file with a valid checksum whose content is not a backup."""


@dataclass(frozen=True)
class Fit:
    """The `fit` to resume."""

    trial: RunningTrial
    writer: BackupWriter
    number: int
    epochs: int

    def warn(self, message: str) -> None:
        """Emit a `TrainingWarning` about the trial."""
        warn_user(f"Trial {self.trial.tid}: {message}", TrainingWarning)


def restore_newest_backup(
    fit: Fit, model: Any, callbacks: list[Any], build_rest: Callable[[], None]
) -> tuple[int, bool]:
    """Restore the newest usable backup; return the number of epochs done and if `fit` ended."""
    try:
        candidates = [epoch for epoch in fit.writer.epochs(fit.number) if epoch <= fit.epochs]
    except StoreError as error:
        fit.warn(f"its backups could not be listed, so it starts from its first epoch: {error}")
        return 0, False
    troubles: list[str] = []
    done, over = 0, False
    for epoch in candidates:
        try:
            tree = _read(fit, epoch)
            if tree is None:
                continue
            _restore(fit, tree, model, callbacks, build_rest)
        except TrainableChangedError as error:
            troubles.append(f"the backup after epoch {epoch} cannot be used: {error}")
            break  # an older backup would reach the same change
        except (IncompatibleBackupError, StoreError) as error:
            was_read = isinstance(error, IncompatibleBackupError | ChecksumError)
            trouble = "cannot be used" if was_read else "could not be read"
            troubles.append(f"the backup after epoch {epoch} {trouble}: {error}".rstrip("."))
        else:
            done, over = epoch, tree["over"]
            pace = fit.writer.artifacts.pace
            pace.epoch = max(pace.epoch, tree["longest_epoch"])
            break
    if troubles:
        start = f"resumes after epoch {done}" if done else "starts from its first epoch"
        fit.warn(f"{'; '.join(troubles)}. It {start}.")
    return done, over


def _restore(
    fit: Fit, tree: Any, model: Any, callbacks: list[Any], build_rest: Callable[[], None]
) -> None:
    """Prepare every part of the state before changing any."""
    try:
        steps = [
            callback_state.prepare_restore(callbacks, tree["callbacks"]),
            prepare_file_restore(callbacks, tree["files"], fit.writer.artifacts.get),
            prepare_restore(model, tree["model"], build_rest),
            fit.trial.reports.prepare_restore(tree["reports"]),
        ]
        tree["over"] = bool(tree["over"])
        if not 0 <= tree["longest_epoch"] < math.inf:
            raise ValueError(f"an epoch of {tree['longest_epoch']} seconds")
    except _MALFORMED as error:
        raise ChecksumError(
            f"it is not a readable backup ({type(error).__name__}: {error})"
        ) from error
    for step in steps:
        step()
    fit.writer.record_references(fit.number, tree["epoch"], tree["files"])


def _read(fit: Fit, epoch: int) -> Any:
    """Return the backup after `epoch` epochs, or None; raise `ChecksumError` if damaged."""
    name = backup_name(fit.number, epoch)
    with scratch_folder() as scratch:
        path = scratch / name
        if not fit.writer.artifacts.get(name, path):
            return None
        tree = read_backup(path)
    wanted = (fit.trial.tid, fit.trial.seed, fit.number, epoch)
    if not isinstance(tree, dict) or wanted != tuple(
        tree.get(key) for key in ("tid", "seed", "fit", "epoch")
    ):
        raise ChecksumError(f"{name} belongs to another epoch or trial")
    return tree
