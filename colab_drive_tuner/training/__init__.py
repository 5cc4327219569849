"""What happens inside a Keras trial: seeds, backups of half-done trials, best models, memory.

Nothing here imports Keras until a trial has: the modules are named where they are used, and
`TrialBackup` is made when it is first asked for, because its base class is Keras's.
"""

from typing import TYPE_CHECKING, Any

from colab_drive_tuner.training.backup.interrupted import TrialInterrupted
from colab_drive_tuner.training.memory import KerasSettings, free_memory, keras_grew, keras_settings
from colab_drive_tuner.training.models.result import is_keras_model, split_result
from colab_drive_tuner.training.seeds import seed_trial, training_seed

if TYPE_CHECKING:
    from colab_drive_tuner.training.artifacts import StoreArtifacts, sweep_backups
    from colab_drive_tuner.training.backup.callback import TrialBackup
    from colab_drive_tuner.training.backup.writer import drop_backups, flush_backups, has_backups
    from colab_drive_tuner.training.models.best_models import BestModels

__all__ = [
    "BestModels",
    "KerasSettings",
    "StoreArtifacts",
    "TrialBackup",
    "TrialInterrupted",
    "drop_backups",
    "flush_backups",
    "free_memory",
    "has_backups",
    "is_keras_model",
    "keras_grew",
    "keras_settings",
    "seed_trial",
    "split_result",
    "sweep_backups",
    "training_seed",
]

_LAZY = {
    "BestModels": "models.best_models",
    "StoreArtifacts": "artifacts",
    "TrialBackup": "backup.callback",
    "drop_backups": "backup.writer",
    "flush_backups": "backup.writer",
    "has_backups": "backup.writer",
    "sweep_backups": "artifacts",
}


def __getattr__(name: str) -> Any:
    """Import what needs more than the standard library only once it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
