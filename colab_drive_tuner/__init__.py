"""Hyperparameter searches that outlive Google Colab runtimes.

    import colab_drive_tuner as cdt; session = cdt.setup()
    result = cdt.resume_search(model, data, name="mnist-cnn", max_evals=50)

Run both lines again after a disconnect: the search continues. `help(cdt.resume_search)` explains
every argument; so does `help` of each name below.

    setup, Session                       the first line of a notebook: sign in, find the notebook
    resume_search, SearchResult          run or resume a search
    DriveTrials                          `trials=` for hyperopt.fmin or hyperas
    TrialBackup, Pruner, running_trial   inside a trial: resume it, stop it early
    loky_executor, ray_executor          run trials in parallel
    list_searches, read_status           look at searches, also from elsewhere
    copy_search, move_search, rename_search, remove_search, export_trials, import_trials
    list_histories, restore_search       go back to before a restart
    optuna_storage, from_optuna          Optuna studies
    open_store, DriveClient              a folder, Google Drive
    errors                               every error and warning

Public names are loaded when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from colab_drive_tuner import errors as errors
from colab_drive_tuner.version import __version__ as __version__

if TYPE_CHECKING:
    from colab_drive_tuner.drive.client import DriveClient as DriveClient
    from colab_drive_tuner.manage.copy_search import copy_search as copy_search
    from colab_drive_tuner.manage.copy_search import move_search as move_search
    from colab_drive_tuner.manage.naming import remove_search as remove_search
    from colab_drive_tuner.manage.naming import rename_search as rename_search
    from colab_drive_tuner.manage.restore_history import SearchHistory as SearchHistory
    from colab_drive_tuner.manage.restore_history import list_histories as list_histories
    from colab_drive_tuner.manage.restore_history import restore_search as restore_search
    from colab_drive_tuner.notebook.find import Notebook as Notebook
    from colab_drive_tuner.notebook.find import find_notebook as find_notebook
    from colab_drive_tuner.notebook.local_copy import download_notebook as download_notebook
    from colab_drive_tuner.optuna_backend import StudyStorage as StudyStorage
    from colab_drive_tuner.optuna_backend import optuna_storage as optuna_storage
    from colab_drive_tuner.search.drive_trials import DriveTrials as DriveTrials
    from colab_drive_tuner.search.executors.loky import loky_executor as loky_executor
    from colab_drive_tuner.search.executors.ray import ray_executor as ray_executor
    from colab_drive_tuner.search.results.exchange.from_optuna import from_optuna as from_optuna
    from colab_drive_tuner.search.results.exchange.import_export import (
        export_trials as export_trials,
    )
    from colab_drive_tuner.search.results.exchange.import_export import (
        import_trials as import_trials,
    )
    from colab_drive_tuner.search.results.read_search import list_searches as list_searches
    from colab_drive_tuner.search.results.read_search import read_status as read_status
    from colab_drive_tuner.search.results.result import SearchResult as SearchResult
    from colab_drive_tuner.search.results.result import TrialResult as TrialResult
    from colab_drive_tuner.search.resume import resume_search as resume_search
    from colab_drive_tuner.search.trials.search_status import SearchStatus as SearchStatus
    from colab_drive_tuner.session import Session as Session
    from colab_drive_tuner.session import setup as setup
    from colab_drive_tuner.store import open_store as open_store
    from colab_drive_tuner.training.backup.trial_backup import TrialBackup as TrialBackup
    from colab_drive_tuner.training.pruner import Pruner as Pruner
    from colab_drive_tuner.training.trial import RunningTrial as RunningTrial
    from colab_drive_tuner.training.trial import running_trial as running_trial

_MODULES = {
    "DriveClient": "drive.client",
    "DriveTrials": "search.drive_trials",
    "Notebook": "notebook.find",
    "Pruner": "training.pruner",
    "RunningTrial": "training.trial",
    "SearchHistory": "manage.restore_history",
    "SearchResult": "search.results.result",
    "SearchStatus": "search.trials.search_status",
    "Session": "session",
    "StudyStorage": "optuna_backend",
    "TrialBackup": "training.backup.trial_backup",
    "TrialResult": "search.results.result",
    "copy_search": "manage.copy_search",
    "download_notebook": "notebook.local_copy",
    "export_trials": "search.results.exchange.import_export",
    "find_notebook": "notebook.find",
    "from_optuna": "search.results.exchange.from_optuna",
    "import_trials": "search.results.exchange.import_export",
    "list_histories": "manage.restore_history",
    "list_searches": "search.results.read_search",
    "loky_executor": "search.executors.loky",
    "move_search": "manage.copy_search",
    "open_store": "store",
    "optuna_storage": "optuna_backend",
    "ray_executor": "search.executors.ray",
    "read_status": "search.results.read_search",
    "remove_search": "manage.naming",
    "rename_search": "manage.naming",
    "restore_search": "manage.restore_history",
    "resume_search": "search.resume",
    "running_trial": "training.trial",
    "setup": "session",
}


__all__ = ["errors", *_MODULES]  # noqa: PLE0604 - they are strings


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        place = f": it is {__name__}.errors.{name}" if hasattr(errors, name) else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{place}")
    try:
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    except errors.MissingExtraError as error:
        return _without_extra(name, str(error))
    globals()[name] = value
    return value


def _without_extra(name: str, message: str) -> Any:
    """Return a function that raises the error: `import *` and `help` need each name."""

    def missing(*_arguments: object, **_options: object) -> None:
        raise errors.MissingExtraError(message)

    missing.__name__ = missing.__qualname__ = name
    missing.__doc__ = message
    return missing


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
