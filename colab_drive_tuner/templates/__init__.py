"""`{{...}}` templates in a model function become a hyperopt space, by syntax tree.

hyperas rewrites the text of notebooks; here the function's own syntax tree is changed and compiled
again under its own file name and line numbers, so that tracebacks, pdb and warnings show the user's
own lines, and helpers, globals and closures are simply the user's.
"""

from colab_drive_tuner.templates.compiled import Callee, CompiledModel, compile_model
from colab_drive_tuner.templates.data import bind_data, local_names, named_arguments, returned_names
from colab_drive_tuner.templates.find import DISTRIBUTIONS
from colab_drive_tuner.templates.loading import DataArguments, load_data
from colab_drive_tuner.templates.quiet import try_drawing
from colab_drive_tuner.templates.source import read_source

__all__ = [
    "DISTRIBUTIONS",
    "Callee",
    "CompiledModel",
    "DataArguments",
    "bind_data",
    "compile_model",
    "load_data",
    "local_names",
    "named_arguments",
    "read_source",
    "returned_names",
    "try_drawing",
]
