"""Conversion of `{{...}}` templates in a model function to a hyperopt space.

hyperas rewrites the text of notebooks. This package changes the function's syntax tree and compiles
it again under the same file name and line numbers, so that tracebacks, pdb and warnings show the
user's own lines, and the function keeps its helpers, globals and closure.
"""

from colab_drive_tuner.templates.compiled_model import CompiledModel as CompiledModel
from colab_drive_tuner.templates.compiled_model import compile_model as compile_model
from colab_drive_tuner.templates.data_cache import DataArguments as DataArguments
from colab_drive_tuner.templates.data_cache import load_data as load_data
from colab_drive_tuner.templates.fresh_options import try_sampling as try_sampling
from colab_drive_tuner.templates.function_source import read_source as read_source
from colab_drive_tuner.templates.parser import DISTRIBUTIONS as DISTRIBUTIONS
