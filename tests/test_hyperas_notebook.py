"""The unmodified hyperas package in a real kernel: killed once, then resumed."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hyperopt import Trials, fmin, hp, rand

from tests.kernel import KernelDiedError, run_cells

if find_spec("hyperas") is None:
    pytest.skip("hyperas is not installed", allow_module_level=True)

SETUP = "!echo pip install hyperas\nimport colab_drive_tuner as cdt; session = cdt.setup()"
IMPORTS = """%%time
from fractions import Fraction
from pathlib import Path
from hyperopt import Trials, STATUS_OK, rand
from hyperas import optim
from hyperas.distributions import choice, uniform
runs = []
class Halved:
    def __call__(self, x):
        return float(x / 2)
"""
MAGIC = "%matplotlib inline"  # fails without matplotlib; the cells after it still run
DATA = """def data():
    x_train, y_train = [1, 2], [3]
    return x_train, y_train
"""
MODEL = """def model(x_train, y_train):
    units = {{choice([32, 64])}}
    rate = {{uniform(0, 0.5)}}
    runs.append(1)
    if len(runs) == 4 and not Path("died").exists():
        Path("died").touch()
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    return {"loss": rate + units + Halved()(Fraction(1)), "status": STATUS_OK}
"""
SEARCH = """best_run, best_model = optim.minimize(model, data, rand.suggest, 6,
    session.trials("recipe"{more}), [Halved], notebook_name={name}, verbose=False)
trials = session.trials("recipe")
print("LOSSES", trials.losses(), best_run)
print("FILES", sorted(p.name for p in Path().iterdir()))
"""
BROKEN = "this cell was never run: ("
ALL = (SETUP, MAGIC, IMPORTS, BROKEN, DATA, MODEL)


def write(path: Path, *cells: str, encoding: str = "utf-8") -> None:
    made = [{"cell_type": "code", "source": cell, "metadata": {}, "outputs": []} for cell in cells]
    notebook = {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_bytes(json.dumps(notebook, ensure_ascii=False).encode(encoding))


NAMES = {
    "as hyperas wants it": "'Study'",
    "with its suffix": "'Study.ipynb'",
    "with a path": "'deeper/Study'",
    "with a whole path": "str(Path('deeper/Study.ipynb').resolve())",
    "a stale copy without the imports": "'stale'",
    "not UTF-8": "'latin'",
    "no such file": "'absent'",
    "none at all": "None",
}
"""Values that users pass as `notebook_name`, by the file they refer to."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The output of the notebook that was killed and run again, and of each `notebook_name`."""
    work = tmp_path_factory.mktemp("recipe")
    (work / "deeper").mkdir()
    for path in (work / "Study.ipynb", work / "deeper" / "Study.ipynb"):
        write(path, *ALL)
    write(work / "stale.ipynb", SETUP, MODEL.replace("units", "width"))
    write(work / "latin.ipynb", "name = 'Größe'", *ALL, encoding="latin-1")
    environment = {
        "KERAS_BACKEND": "numpy",  # Keras 3, without the start-up time of TensorFlow
        "COLAB_DRIVE_TUNER_STORE": str(tmp_path_factory.mktemp("store")),
        "XDG_STATE_HOME": str(tmp_path_factory.mktemp("state")),
    }
    run = [SETUP, MAGIC, IMPORTS, DATA, MODEL]
    first = SEARCH.format(name="'Study'", more="")
    with pytest.raises(KernelDiedError):
        run_cells([*run, first], work, environment)
    assert not (work / "temp_model.py").exists()
    searches = [
        SEARCH.replace('"recipe"', f'"recipe {n}"').format(name=name, more=", seed=1337")
        for n, name in enumerate(NAMES.values())
    ]
    timed = "%%time\n" + DATA + MODEL
    texts = run_cells([*run, first, *searches, timed, first], work, environment)
    return dict(
        zip(["setup", "killed", *NAMES, "timed"], [texts[2], *texts[5:-2], texts[-1]], strict=True)
    )


@pytest.fixture(scope="module")
def expected():
    """The losses of plain hyperopt with the default `rseed` of hyperas."""
    trials = Trials()
    space = {"units": hp.choice("units", [32, 64]), "rate": hp.uniform("rate", 0, 0.5)}
    fmin(
        lambda values: values["rate"] + values["units"] + 0.5,
        space,
        algo=rand.suggest,
        max_evals=6,
        trials=trials,
        rstate=np.random.default_rng(1337),
        verbose=False,
    )
    return trials.losses()


@pytest.mark.parametrize("name", ["killed", *NAMES])
def test_the_recipe_runs(name, shown, expected):
    """Each kind of `notebook_name` gives plain hyperopt's trials and leaves no temp_model.py.

    A notebook's class among the `functions` is used, although Python cannot read its source.
    """
    assert f"LOSSES {expected}" in shown[name]
    assert "temp_model" not in shown[name].partition("FILES")[2]


def test_skipped_cells_and_missing_notebooks_are_named(shown):
    """A cell that is not valid Python, and a notebook that does not exist, are named."""
    assert "hyperas: skipped code cell 4 of Study.ipynb" in shown["with its suffix"]
    assert (
        "absent.ipynb does not exist; imports come from the running session"
        in shown["no such file"]
    )
    assert "hyperas 0.4.1 runs on Keras" in shown["setup"]
    assert "skipped" not in shown["a stale copy without the imports"]


def test_a_model_in_a_timed_cell_is_refused_with_the_remedy(shown):
    """A `%%time` cell hides a model's source; the error names the function and what to do."""
    assert "hyperas cannot read the source of model()" in shown["timed"]
    assert "cell without %%time" in shown["timed"]
