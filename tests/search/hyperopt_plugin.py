"""A pytest plugin that replaces `Trials` by `DriveTrials` in hyperopt's own tests."""

import functools
import itertools
import sys
import tempfile
from typing import Any

import hyperopt

from colab_drive_tuner.search.drive_trials import DriveTrials

_folder = tempfile.TemporaryDirectory()
_numbers = itertools.count()
_fmin, _trials = hyperopt.fmin, hyperopt.Trials


class StoredTrials(DriveTrials):
    """DriveTrials with the arguments of `hyperopt.Trials`; each instance is a new search."""

    def __init__(self, exp_key: str | None = None, refresh: bool = True) -> None:
        name = f"search-{next(_numbers)}"
        super().__init__(name, store=_folder.name, exp_key=exp_key, notify=lambda _: None)


@functools.wraps(_fmin)
def fmin(*args: Any, **options: Any) -> Any:
    """`hyperopt.fmin`, with `StoredTrials` where it would create `Trials` itself."""
    made_by_fmin = {"points_to_evaluate", "trials_save_file", "trials"} & options.keys()
    if len(args) < 7 and not made_by_fmin:
        options["trials"] = StoredTrials()
    return _fmin(*args, **options)


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Replace `Trials` and `fmin` in every module of hyperopt's tests."""
    for module in {item.module for item in items}:
        for name, value in list(vars(module).items()):
            if value is _trials:
                setattr(module, name, StoredTrials)
            elif value is _fmin:
                setattr(module, name, fmin)


def pytest_unconfigure() -> None:
    """Print the number of searches created, so that a run without any is noticed."""
    sys.stdout.write(f"\nsearches: {next(_numbers)}\n")
    _folder.cleanup()
