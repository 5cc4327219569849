"""`{{...}}` templates in a model function become a hyperopt space, by syntax tree.

hyperas rewrites the text of notebooks; here the function's own syntax tree is changed and compiled
again under its own file name and line numbers, so that tracebacks, pdb and warnings show the user's
own lines, and helpers, globals and closures are simply the user's.
"""

from colab_drive_tuner.templates.compiled_model import Callee as Callee
from colab_drive_tuner.templates.compiled_model import CompiledModel as CompiledModel
from colab_drive_tuner.templates.compiled_model import compile_model as compile_model
from colab_drive_tuner.templates.data_arguments import bind_data as bind_data
from colab_drive_tuner.templates.data_arguments import local_names as local_names
from colab_drive_tuner.templates.data_arguments import named_arguments as named_arguments
from colab_drive_tuner.templates.data_arguments import returned_names as returned_names
from colab_drive_tuner.templates.data_cache import DataArguments as DataArguments
from colab_drive_tuner.templates.data_cache import load_data as load_data
from colab_drive_tuner.templates.function_source import read_source as read_source
from colab_drive_tuner.templates.parser import DISTRIBUTIONS as DISTRIBUTIONS
from colab_drive_tuner.templates.suppress_warnings import try_sampling as try_sampling
