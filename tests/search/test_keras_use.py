"""Keras, which takes seconds to load, is imported only for objectives that use it."""

import json
from pathlib import Path

import numpy as np
import pytest

from colab_drive_tuner.search.spec.user_objects import reachable
from colab_drive_tuner.templates.function_source import is_users_file
from colab_drive_tuner.training import trial
from tests.processes import run_python

HELPERS = """
def network():
    from keras import Sequential
    return Sequential

def forest():
    from sklearn.ensemble import RandomForestClassifier
    return RandomForestClassifier

class Network:
    def build(self):
        return __import__("keras").Sequential

class Forest:
    @staticmethod
    def build():
        return forest()
"""
WHOLE = """
import keras
"""
PROGRAM = """
import functools
import sys
from sklearn.linear_model import LogisticRegression
import helpers
from helpers import Forest, Network, network
from colab_drive_tuner.search.spec.user_objects import load_frameworks

def direct():
    import tensorflow as tf
    return tf.keras

def by_name():
    import importlib
    return importlib.import_module("keras")

def by_helper(x):
    return network()

def by_module(x):
    return helpers.network()

def by_class(x):
    return Network().build()

def by_function(x, func):
    return network(func)

def by_file(x):
    import whole
    return whole

def by_closure():
    build = network
    return lambda x: build()

def decorated(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)
    return inner

def forest():
    return network()

def by_own_function(x):
    return helpers.forest(), forest()

class Callable:
    def __call__(self, x):
        return self.inner(x)

    def inner(self, x):
        return network()

@decorated
def by_wrapper(x):
    return network()

def plain(x):
    '''A model that has nothing to do with keras or tensorflow.'''
    import json
    model = LogisticRegression(C=x)
    return helpers.forest(), Forest.build(), model.fit, json.dumps("keras is a word here")

USES = {
    "direct": direct, "by_name": by_name, "by_helper": by_helper, "by_module": by_module,
    "by_class": by_class, "by_file": by_file, "by_closure": by_closure(),
    "by_wrapper": by_wrapper, "by_partial": functools.partial(by_helper, 1),
    "by_call": Callable(), "by_method": Callable().inner, "plain": plain,
    "by_own_function": by_own_function,
    "by_keyword": functools.partial(by_function, func=plain),
    "plain_partial": functools.partial(plain, 1),
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with modules of a user."""
    (tmp_path / "helpers.py").write_text(HELPERS)
    (tmp_path / "whole.py").write_text(WHOLE)
    return tmp_path


def run(folder: Path, program: str) -> str:
    (folder / "program.py").write_text(program)
    return run_python("program.py", folder=folder).stdout


def test_use_of_keras_is_found_in_reachable_code(folder: Path) -> None:
    """Imports in functions, other files, classes, closures and wrapped functions are found."""
    shown = run(
        folder,
        PROGRAM
        + """
from colab_drive_tuner.search.spec.user_objects import frameworks_of
print([name for name, value in USES.items() if not frameworks_of(value)])
assert "keras" not in sys.modules and "whole" not in sys.modules
""",
    )
    assert shown.strip() == "['plain', 'plain_partial']"


def test_a_file_that_is_written_between_two_runs_is_read(folder: Path) -> None:
    """A module that was missing, or has changed, when its use was first looked at is read again."""
    (folder / "whole.py").unlink()
    run(
        folder,
        PROGRAM
        + """
from pathlib import Path
from colab_drive_tuner.search.spec.user_objects import frameworks_of
assert not frameworks_of(by_file)
for text, found in (("import json", []), ("import keras", ["keras"])):
    Path("whole.py").write_text(text)
    assert frameworks_of(by_file) == found
""",
    )


def test_a_framework_that_cannot_be_loaded_ends_only_what_uses_it(folder: Path) -> None:
    """A broken installation, as with another protobuf, fails in the objective, if it gets there."""
    (folder / "keras.py").write_text("raise TypeError('Descriptors cannot be created directly.')")
    run(folder, PROGRAM + "assert load_frameworks(USES['by_helper']) == ()\n")


def test_a_model_of_scikit_learn_loads_no_tensorflow(folder: Path) -> None:
    """A scikit-learn model, in a template, `minimize` or `fmin`, loads no TensorFlow."""
    run(
        folder,
        """
import sys
import hyperopt
from hyperopt import hp, rand
from sklearn.linear_model import LogisticRegression
import colab_drive_tuner as cdt
from colab_drive_tuner.hyperas_style import minimize

def data():
    return [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]

def model(x, y):
    score = LogisticRegression(C={{uniform(0.1, 2)}}).fit(x, y).score(x, y)
    return {"loss": -score, "status": "ok"}

cdt.resume_search(model, data, name="a", max_evals=2, store="store")
cdt.resume_search(abs, space=hp.uniform("x", 0, 1), name="b", max_evals=2, store="store")
trials = cdt.DriveTrials("c", store="store")
minimize(model, data, algo=rand.suggest, max_evals=2, trials=trials)

def objective(c):
    return -LogisticRegression(C=c).fit(*data()).score(*data())

trials = cdt.DriveTrials("d", store="store")
hyperopt.fmin(objective, hp.uniform("c", 0.1, 2), algo=rand.suggest, max_evals=2, trials=trials)
assert not {"keras", "tensorflow", "jax", "torch"} & sys.modules.keys()
""",
    )


def test_pytorch_is_seeded_for_each_trial_that_uses_it(folder: Path) -> None:
    """An objective that imports PyTorch while it runs finds it seeded from its first trial on."""
    (folder / "torch.py").write_text("def manual_seed(value):\n    globals()['seed'] = value\n")
    run(
        folder,
        """
from hyperopt import hp
import colab_drive_tuner as cdt

def objective(x):
    import torch
    return torch.seed

def losses(executor):
    space = hp.uniform("x", 0, 1)
    name = "s" if executor is None else "parallel"
    result = cdt.resume_search(
        objective, space=space, name=name, max_evals=3, seed=1, store="store", executor=executor
    )
    return result.trials.losses()

if __name__ == "__main__":
    alone = losses(None)
    assert len(set(alone)) == 3
    assert losses(cdt.loky_executor(2)) == alone
""",
    )


def test_files_of_python_and_of_packages_are_not_the_users(tmp_path: Path) -> None:
    """Installed modules, even from a checkout, are not inspected; any other file is the user's."""
    for module in (json, np, pytest, trial):
        assert not is_users_file(module.__file__)
    assert not is_users_file(None)
    assert is_users_file(str(tmp_path / "helpers.py"))


class Node:
    """A member of a linked list."""

    def __init__(self, following: "Node | None") -> None:
        self.following = following


def test_a_long_linked_list_is_followed_to_its_end() -> None:
    """Objects that refer to each other thousands of times in a row end in no RecursionError."""
    first = last = Node(None)
    for _ in range(5000):
        first = Node(first)

    def objective(x: float) -> tuple[float, Node]:
        return x, first

    assert any(value is last for _, value in reachable(objective))
