"""The hyperas package itself, unmodified, on Keras 3 and today's hyperopt."""

import json
import os
import re
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

from colab_drive_tuner.errors import NotebookError
from colab_drive_tuner.hyperas import compat as hyperas_compat
from colab_drive_tuner.notebook.cells import global_names, notebook_imports
from tests.processes import run_python

PROLOGUE = """
import os, sys, traceback
from colab_drive_tuner.hyperas import compat as hyperas_compat

sys.excepthook = traceback.print_exception  # as notebooks do, with the lines that linecache knows

messages = []
hyperas_compat.enable(messages.append)
hyperas_compat.enable(messages.append)
assert "keras" not in sys.modules and "hyperas" not in sys.modules and not messages
from hyperas import optim
from hyperas.distributions import choice, uniform
from hyperopt import Trials, rand, fmin, hp, STATUS_OK
from pathlib import Path
import numpy

STUDY = "constant of the session"

def helper(n):
    return n / 2

def data():
    classes = 10
    x = [1, 2, 3]
    return x, classes

def model(x, classes):
    rate = {{uniform(0, 1)}}
    layers = {{choice([2, 4])}}
    return {"loss": rate + sum(x) + classes + helper(layers), "status": STATUS_OK,
            "study": STUDY, "model": Path(str(layers)).name}
"""


@pytest.fixture
def run(tmp_path):
    """Run a script after the prologue in its own process and an empty folder.

    Most tests use a stand-in for Keras that lacks what Keras 3 lacks, because the real one takes
    seconds to start.
    """
    for package in ("hyperas", "nbconvert"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    for name in ("__init__", "models"):
        module = tmp_path / "lib" / "keras" / f"{name}.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text('"""Keras without YAML."""\n')

    def run(text, status=0, real_keras=False, environment=None):
        script = tmp_path / "script.py"
        script.write_text(PROLOGUE + textwrap.dedent(text), "utf-8")
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        path = [str(Path(hyperas_compat.__file__).parents[2])]
        path += [] if real_keras else [str(tmp_path / "lib")]
        environment = (environment or {}) | {"PYTHONPATH": os.pathsep.join(path)}
        options = {"environment": environment, "folder": work, "status": status}
        done = run_python("-W", "ignore", script, **options)
        return done.stdout if status == 0 else done.stderr

    return run


def write_notebook(path, *cells, encoding="utf-8"):
    made = [{"cell_type": "code", "source": cell, "metadata": {}, "outputs": []} for cell in cells]
    text = json.dumps({"cells": made, "metadata": {}, "nbformat": 4}, ensure_ascii=False)
    path.write_bytes(text.encode(encoding))


def test_a_warning_points_at_the_call_of_minimize(run):
    """A SearchChangedWarning names the user's file, not one of hyperopt, hyperas or its module.

    For a changed model it shows the changed lines.
    """
    output = run(
        """
        import warnings
        from hyperopt import anneal
        from colab_drive_tuner import DriveTrials

        sys.modules.pop("keras")  # the stand-in: a search would ask it for its settings

        def changed(x, classes):
            rate = {{uniform(0, 1)}}
            layers = {{choice([2, 4])}}
            return {"loss": rate - sum(x) + classes + helper(layers), "status": STATUS_OK}

        def search(model, algo, total):
            trials = DriveTrials("s", store="searches")
            optim.minimize(model, data, algo, total, trials, verbose=False)

        search(model, rand.suggest, 1)
        warnings.simplefilter("always")
        for one, algo, total in ((model, anneal.suggest, 2), (changed, anneal.suggest, 3)):
            with warnings.catch_warnings(record=True) as caught:
                search(one, algo, total)
            caught = [one for one in caught if one.category.__name__ == "SearchChangedWarning"]
            print([one.filename for one in caught], "rate - sum(x)" in str(caught[0].message))
        """
    )
    for lines in (False, True):
        assert re.search(rf"^\['\S+/script.py'\] {lines}$", output, re.MULTILINE), output


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_minimize_is_seeded_and_leaves_no_trace(run, tmp_path):
    """A search gives plain hyperopt's points for `rseed` and leaves no file.

    After `disable()`, hyperas is as it was.
    """
    work = tmp_path / "work"
    work.mkdir()
    write_notebook(
        work / "My study.ipynb",
        "!pip install -q hyperas\n%matplotlib inline\nfrom pathlib import Path",
        "%%time\nfrom hyperopt import STATUS_OK",
        "this was never run",
        encoding="latin-1",
    )
    (work / "temp_model.py").write_text("MINE = 1\n")
    run(
        """
        from hyperopt import fmin as plain_fmin
        import keras, hyperas.optim, hyperopt
        (message,) = messages
        assert "\\n" not in message and "disable()" in message, message
        assert not hasattr(keras.models, "model_from_yaml")

        def losses(**more):
            trials = Trials()
            best, model_, space = optim.minimize(
                model, data, rand.suggest, 4, trials, rseed=7, verbose=False,
                return_space=True, **more)
            assert list(space) == ["rate", "layers"]
            assert trials.results[0]["study"] == STUDY
            assert model_ in ("2", "4")
            return trials.losses()

        expected = Trials()
        space = {"rate": hp.uniform("rate", 0, 1), "layers": hp.choice("layers", [2, 4])}
        plain_fmin(lambda s: s["rate"] + 16 + s["layers"] / 2, space, rand.suggest, 4,
                   trials=expected, rstate=numpy.random.default_rng(7), verbose=False)
        here = os.getcwd()
        for name in [None, "My study", "My study.ipynb", f"../work/My study",
                     f"{here}/My study.ipynb", "absent"]:
            assert losses(notebook_name=name) == expected.losses(), name
        assert any("code cell 3 of My study.ipynb" in line for line in messages)
        assert any("absent.ipynb does not exist" in line for line in messages)
        assert open("temp_model.py").read() == "MINE = 1\\n"
        import importlib
        sys.modules.pop("temp_model")
        import temp_model
        assert temp_model.MINE == 1
        losses()
        assert sys.modules["temp_model"].MINE == 1

        hyperas_compat.disable()
        assert optim.fmin is hyperopt.fmin
        assert optim.base_minimizer.__code__.co_filename == optim.__file__
        assert not [f for f in sys.meta_path if "colab_drive_tuner" in type(f).__module__]
        for name in ("hyperas.ensemble", "hyperas.optim"):
            sys.modules.pop(name)
        try:
            import hyperas.optim
        except ImportError as error:
            assert "model_from_yaml" in str(error)
        else:
            raise AssertionError("hyperas can be imported without us")
        """,
        real_keras=True,
    )
    files = sorted(path.name for path in work.iterdir() if path.name != "__pycache__")
    assert files == ["My study.ipynb", "temp_model.py"]


def test_a_pruner_is_one_more_callback(run):
    """In a search in a store, a model function prunes by the callback `cdt.Pruner()`."""
    out = run(
        """
        import colab_drive_tuner as cdt
        import keras

        def data():
            x = numpy.random.default_rng(0).normal(size=(16, 2))
            y = x.sum(axis=1)
            return x, y

        def model(x, y):
            network = keras.Sequential([keras.layers.Dense(1)])
            network.compile(keras.optimizers.SGD({{uniform(0, 0.05)}}), "mse", run_eagerly=True)
            fit = network.fit(x, y, epochs=4, verbose=0, validation_split=0.5,
                              callbacks=[cdt.Pruner(min_trials=1)])
            return {"loss": fit.history["val_loss"][-1], "status": STATUS_OK}

        trials = cdt.DriveTrials("pruned", store="searches", seed=1)
        optim.minimize(model, data, rand.suggest, 5, trials, verbose=False)
        print([one.get("pruned_at", 4) == len(one["reported"]["values"]) for one in trials.results])
        print(any(one["pruned"] for one in trials.results))
        """,
        real_keras=True,
    )
    assert f"{[True] * 5}\nTrue" in out


def test_best_models_and_kept_file(run, tmp_path):
    """`best_models` and `best_ensemble` run from a script; `keep_temp` keeps the module's file."""
    out = run(
        """
        common = dict(model=model, data=data, algo=rand.suggest, max_evals=3)
        assert len(optim.best_models(2, trials=Trials(), **common)) == 2
        assert not os.path.exists("temp_model.py")
        vote = optim.best_ensemble(2, trials=Trials(), voting="hard", **common)
        assert len(vote.model_list) == 2
        optim.minimize(trials=Trials(), keep_temp=True, **common)
        assert "keras_fmin_fnct" in open("temp_model.py").read()
        """
    )
    assert ">>> Hyperas search space" in out


def test_failures_leave_nothing(run, tmp_path):
    """An unknown name is refused before data() runs; a failing data() shows its source line.

    A temp_model.py that hyperas did not write is refused. No file is left behind.
    """
    error = run(
        """
        def broken_data():
            open("data_ran", "w").close()
            x, classes = [], 1 / 0
            return x, classes

        def lost(x, classes):
            n = {{choice([1, 2])}}
            return {"loss": n + nowhere, "status": STATUS_OK}

        try:
            optim.minimize(lost, broken_data, rand.suggest, 1, Trials(), verbose=False)
        except ValueError as error:
            assert "uses nowhere," in str(error) and not os.path.exists("data_ran")
        else:
            raise AssertionError("not refused")
        open("temp_model.py", "w").write("MINE = 1")
        try:
            optim.minimize(model, data, rand.suggest, 1, Trials(), verbose=False, keep_temp=True)
        except ValueError as error:
            assert "was not written by hyperas" in str(error)
        else:
            raise AssertionError("not refused")
        os.remove("temp_model.py")
        print("both were refused", file=sys.stderr)
        optim.minimize(model, broken_data, rand.suggest, 1, Trials(), verbose=False)
        """,
        status=1,
    )
    assert "both were refused" in error
    assert "x, classes = [], 1 / 0" in error
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["data_ran"]


def test_functions_that_hyperas_cannot_rewrite(run, tmp_path):
    """Functions that hyperas cannot rewrite are refused before a trial, with the remedy."""
    run(
        """
        x = "the session's own, which no model shall get in place of its argument"

        def one_line(): return [1], 2

        def several_lines():
            x, classes = [1], 2
            return (x,
                    classes)

        def values():
            number = 2
            return [number], number

        def early():
            x, classes = 1, 2
            if x == 1:
                return (1, 2)
            return x, classes

        async def awaiting():
            await f()
            x, classes = 1, 2
            return x, classes

        def sized(size=3):
            x = size
            classes = 2
            return x, classes

        def with_dicts(x, classes):
            n = {{choice([{"a": 1}, {"a": 2}])}}
            return {"loss": n["a"], "status": STATUS_OK}

        def partly_with_dicts(x, classes):
            m = {{choice([1, 2])}}
            n = {{choice([{"a": 1}, {"a": 2}])}}
            return {"loss": n["a"] + m, "status": STATUS_OK}

        def without(x, classes):
            return {"loss": 1, "status": STATUS_OK}

        def unnamed(x, classes):
            return {"loss": [{{choice([1, 2])}}][0], "status": STATUS_OK}

        class Study:
            def method(self, x, classes):
                n = {{choice([1, 2])}}
                return {"loss": n, "status": STATUS_OK}

        def computing():
            def scaled(x): return [2 * one for one in x]

            x, classes = [1], 2
            return scaled(x), classes

        for model_, data_, expected in [
            (model, computing, "the return of computing(), which computes scaled(x): assign it"),
            (model, one_line, "cannot rewrite model() and one_line()"),
            (model, several_lines, "it generates invalid Python, 'classes)'"),
            (model, early, "cannot contain 'return (1, 2)'"),
            (model, awaiting, "cannot contain 'await f()'"),
            (model, values, "gives no value to x, classes: assign them in the body"),
            (model, sized, "without its parameters, and takes"),
            (with_dicts, data, "does not see every template of with_dicts()"),
            (partly_with_dicts, data, "does not see every template of partly_with_dicts()"),
            (without, data, "or there is none"),
            (unnamed, data, "the first template must follow a name"),
            (Study().method, data, "functions that are not indented"),
        ]:
            trials = Trials()
            try:
                optim.minimize(model_, data_, rand.suggest, 1, trials, verbose=False)
            except ValueError as error:
                assert expected in str(error), (expected, str(error))
                assert "use minimize from colab_drive_tuner.hyperas_style" in str(error)
                assert len(trials) == 0
            else:
                raise AssertionError(expected)
        """
    )
    assert not list((tmp_path / "work").iterdir())


def test_a_type_error_in_the_model_is_not_hidden(run):
    """An exception of the model is shown once, as it was raised."""
    error = run(
        """
        def wrong(x, classes):
            n = {{choice([1, 2])}}
            return {"loss": n + "one", "status": STATUS_OK}

        optim.minimize(wrong, data, rand.suggest, 1, Trials(), verbose=False)
        """,
        status=1,
    )
    assert error.count('return {"loss": n + "one"') == 1
    assert "TypeError: unsupported operand" in error


def test_imports_of_a_notebook(tmp_path):
    """Each valid Python cell gives its imports, one a line; an invalid one is named."""
    path = tmp_path / "wild.ipynb"
    messages = []
    write_notebook(
        path,
        "from __future__ import annotations\nimport os.path as p, sys\n",
        "if True:\n    !ls \\\n  --all\n    %cd x\n    import json\nfiles = !ls\nprint?\n?print\n",
        "%%capture out\n# quiet\nfrom a import (b as c,\n d)\n",
        "%%bash\nimport nothing\n",
        "def f():\n    from . import sibling\n    text = '''\n% not magic\n'''\n",
        "import lost\nfor in\n",
        "%%writefile x.py\nimport nothing\n",
        "import sys\nfrom keras.layers import *\n",
    )
    assert notebook_imports(tmp_path / "wild", messages.append) == [
        "import os.path as p",
        "import sys",
        "import json",
        "from a import b as c",
        "from a import d",
        "from . import sibling",
        "from keras.layers import *",
    ]
    assert len(messages) == 1
    assert "skipped code cell 6 of wild.ipynb, which is not valid Python" in messages[0]


@pytest.mark.parametrize(
    ("module", "missing"),
    [("string", {"x"}), ("collections.abc", {"x", "digits"}), ("lost", set())],
)
def test_a_star_import_defines_the_names_of_its_module(module, missing):
    """Other names are still found missing, unless the module has not been imported yet."""
    used, undefined = global_names(f"try:\n    from {module} import *\nexcept: pass\nx, digits", "")
    assert (used, undefined) == ({"x", "digits"}, missing)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_other_encodings(tmp_path, encoding):
    """A notebook in another encoding than UTF-8 is read."""
    write_notebook(tmp_path / "n.ipynb", "import os  # größer", encoding=encoding)
    assert notebook_imports(tmp_path / "n.ipynb") == ["import os"]


def test_invalid_files(tmp_path):
    """A file that is no notebook raises NotebookError."""
    for content in ("no json", "[]", '{"cells": [{}]}'):
        (tmp_path / "bad.ipynb").write_text(content)
        with pytest.raises(NotebookError, match="is not a notebook"):
            notebook_imports(tmp_path / "bad")


def test_enable_imports_nothing_and_disable_restores(tmp_path):
    """In a process without hyperas, `disable()` leaves the import system as it was."""
    hyperas_compat.disable()  # an earlier test's setup() may have enabled it
    before = list(sys.meta_path)
    hyperas_compat.enable()
    try:
        assert len(sys.meta_path) == len(before) + 1
    finally:
        hyperas_compat.disable()
        hyperas_compat.disable()
    assert sys.meta_path == before


def test_objects_among_the_options_are_new_in_every_trial(run):
    """Each trial gets new copies of the options' objects, so that a resumed search is the same."""
    run(
        """
        class Layer:
            def __init__(self, size):
                self.size, self.uses = size, 0

        def layered(x):
            layer = {{choice([Layer(1), Layer(2)])}}
            nested = {{choice([[Layer(3), 4], [Layer(5), 6]])}}
            layer.uses += 1
            nested[0].uses += 1
            return {"loss": layer.uses + nested[0].uses + layer.size / 10, "status": STATUS_OK}

        trials = Trials()
        best, _, space = optim.minimize(
            layered, data, rand.suggest, 6, trials, verbose=False,
            eval_space=True, return_space=True,
        )
        assert {int(loss) for loss in trials.losses()} == {2}, trials.losses()
        assert type(best["layer"]) is Layer and best["layer"].uses == 0
        """
    )


def test_classes_of_a_model_function_are_the_users_own(run):
    """A backup finds the variables in objects of classes that the model function defines."""
    output = run(
        """
        import keras
        from colab_drive_tuner.training.backup.variable_paths import variables_of

        def tracked(x, classes):
            class Tracker:
                def __init__(self):
                    self.calls = keras.Variable(1.0)
            class Net(keras.Model):
                def __init__(self):
                    super().__init__()
                    self.tracker = Tracker()
            rate = {{uniform(0, 1)}}
            return {"loss": rate, "status": STATUS_OK, "found": list(variables_of(Net()))}

        trials = Trials()
        optim.minimize(tracked, data, rand.suggest, 1, trials, verbose=False)
        print(trials.results[0]["found"])
        """,
        real_keras=True,
        environment={"KERAS_BACKEND": "numpy"},
    )
    assert ".tracker.calls" in output
