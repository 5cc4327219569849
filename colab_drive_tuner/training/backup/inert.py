"""Objects that a callback may hold and that are no state of a training: its means, not its memory.

Functions, files, locks, loggers, datasets, and what draws progress or sends it somewhere. A new
process makes its own; a backup leaves those alone.
"""

import functools
import io
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from colab_drive_tuner.training.backup.kinds import KINDS

FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, type, functools.partial)

_STANDARD = frozenset(
    {
        *("_thread", "threading", "concurrent", "multiprocessing", "asyncio", "subprocess"),
        *("logging", "io", "_io", "csv", "_csv", "tempfile", "contextlib", "weakref", "_weakref"),
        *("re", "socket", "ssl", "http", "urllib", "sqlite3", "argparse", "ctypes", "inspect"),
        *("types", "typing", "abc", "operator", "importlib", "_frozen_importlib", "zoneinfo"),
    }
)
"""Modules of the standard library whose objects are handles, patterns, or pieces of the language.
"""

_INSTALLED = frozenset(
    {
        *("tqdm", "rich", "IPython", "ipywidgets", "ipykernel", "matplotlib", "plotly", "seaborn"),
        *("wandb", "mlflow", "neptune", "comet_ml", "clearml", "aim", "tensorboard"),
        *("tensorboardX", "requests", "urllib3", "google", "googleapiclient", "fsspec", "gcsfs"),
        *("keras", "tensorflow", "jax", "jaxlib", "torch", "optree", "tree"),
    }
)
"""Packages that show or send progress, and frameworks: what they have as state is saved before
this is asked."""


def is_inert(value: Any) -> bool:
    """Whether a value may stay as the running process has made it."""
    if type(value) in KINDS:
        return False
    if isinstance(value, (*FUNCTIONS, ModuleType, io.IOBase, np.dtype, np.ufunc)):
        return True
    root = type(value).__module__.partition(".")[0]
    return root in _STANDARD | _INSTALLED and not is_iterator(value)


def is_iterator(value: Any) -> bool:
    """Whether it remembers how far it was read, and tells nobody."""
    return hasattr(type(value), "__next__") and not isinstance(value, io.IOBase)
