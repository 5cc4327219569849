"""The newest backup of a `fit` that can be used, restored as a whole or not at all."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from colab_drive_tuner.errors import ChecksumError, StoreError, TrainingWarning
from colab_drive_tuner.local_files import scratch_folder
from colab_drive_tuner.training.backup import callback_state
from colab_drive_tuner.training.backup.callback_files import prepare_files
from colab_drive_tuner.training.backup.model_state import prepare_restore
from colab_drive_tuner.training.backup.variables import DoesNotFitError, TrainableChangedError
from colab_drive_tuner.training.backup.writer import BackupWriter, backup_name, read_backup
from colab_drive_tuner.trial import RunningTrial
from colab_drive_tuner.user_warnings import warn_user

_MALFORMED = (
    *(TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError),
)
"""What reading data fails with that is whole and yet not what a backup holds."""


@dataclass(frozen=True)
class Fit:
    """Which `fit` of which trial goes on."""

    trial: RunningTrial
    writer: BackupWriter
    number: int
    epochs: int

    def warn(self, message: str) -> None:
        """Tell the user about the trial."""
        warn_user(f"Trial {self.trial.tid}: {message}", TrainingWarning)


def restore_newest(
    fit: Fit, model: Any, callbacks: list[Any], build_rest: Callable[[], None]
) -> tuple[int, bool]:
    """Set the newest usable backup; return how many epochs are done, and if that was all."""
    try:
        candidates = [epoch for epoch in fit.writer.epochs(fit.number) if epoch <= fit.epochs]
    except StoreError as error:
        fit.warn(f"its backups could not be looked up, so it begins at its first epoch: {error}")
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
            break  # an older one would go on to the same change
        except (DoesNotFitError, StoreError) as error:
            is_there = isinstance(error, DoesNotFitError | ChecksumError)
            trouble = "cannot be used" if is_there else "could not be read"
            troubles.append(f"the backup after epoch {epoch} {trouble}: {error}".rstrip("."))
        else:
            done, over = epoch, tree["over"]
            pace = fit.writer.artifacts.pace
            pace.epoch = max(pace.epoch, tree["longest_epoch"])
            break
    if troubles:
        where = f"goes on after epoch {done}" if done else "begins at its first epoch"
        fit.warn(f"{'; '.join(troubles)}. It {where}.")
    return done, over


def _restore(
    fit: Fit, tree: Any, model: Any, callbacks: list[Any], build_rest: Callable[[], None]
) -> None:
    """Prepare everything, and only then change anything."""
    try:
        steps = [
            callback_state.prepare_restore(callbacks, tree["callbacks"]),
            prepare_files(callbacks, tree["files"], fit.writer.artifacts.get),
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
    fit.writer.refer(fit.number, tree["epoch"], tree["files"])


def _read(fit: Fit, epoch: int) -> Any:
    """The backup after `epoch` epochs; None if there is none; `ChecksumError` if damaged."""
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
        raise ChecksumError(f"{name} is that of another epoch or trial")
    return tree
