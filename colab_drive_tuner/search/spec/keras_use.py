"""Detection of Keras in an objective: in its code, and in the user's code that it calls.

Keras is seeded at the start of a trial, so it must be imported before an objective that imports it
while it runs. An objective that does not use Keras must not wait for TensorFlow.
"""

import re
import sys
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from itertools import chain
from pathlib import Path
from types import FunctionType
from typing import Any

from colab_drive_tuner.search.spec.user_objects import is_users_file, names_in, reachable

_KERAS = re.compile(r"(tf_?)?keras\w*(\..*)?|tensorflow\w*(\..*)?")
_KERAS_IN_TEXT = re.compile(r"\b(tf_?)?keras|\btensorflow")


def load_keras_for(objective: Any) -> bool:
    """Import Keras if the objective uses it; return whether it was imported."""
    if not uses_keras(objective):
        return False
    try:
        import_module("keras")
    except ImportError:  # the objective raises the error itself, if it reaches that line
        return False
    return True


def uses_keras(objective: Any) -> bool:
    """Return whether the objective, or a function that it may call, names Keras or TensorFlow."""
    values = chain([objective], (value for _, value in reachable(objective, called=True)))
    return any(
        any(map(_names_keras, set(names_in(value.__code__))))
        for value in values
        if isinstance(value, FunctionType)
    )


def _names_keras(name: str) -> bool:
    if _KERAS.fullmatch(name):
        return True
    # A module that is not imported yet: the function imports it while it runs.
    root = name.partition(".")[0]
    return root.isidentifier() and root not in sys.modules and _file_names_keras(root)


@cache
def _file_names_keras(module: str) -> bool:
    """Return whether the module's file is the user's own and uses Keras."""
    found = PathFinder.find_spec(module)
    if found is None or found.origin is None or not is_users_file(found.origin):
        return False
    try:
        return bool(_KERAS_IN_TEXT.search(Path(found.origin).read_text("utf-8", "replace")))
    except OSError:
        return False
