"""The public names, and the cost of importing the package."""

import inspect
import re
from collections.abc import Callable, Iterator

import pytest

import colab_drive_tuner
from colab_drive_tuner import hyperas_style
from tests.processes import run_python

PUBLIC = [
    "DriveClient",
    "DriveTrials",
    "Notebook",
    "Pruner",
    "RunningTrial",
    "SearchHistory",
    "SearchResult",
    "SearchStatus",
    "Session",
    "StudyStorage",
    "TrialBackup",
    "TrialResult",
    "copy_search",
    "download_notebook",
    "errors",
    "export_trials",
    "find_notebook",
    "from_optuna",
    "import_trials",
    "list_histories",
    "list_searches",
    "loky_executor",
    "move_search",
    "open_store",
    "optuna_storage",
    "ray_executor",
    "read_status",
    "remove_search",
    "rename_search",
    "restore_search",
    "resume_search",
    "running_trial",
    "setup",
]

HYPERAS_STYLE = ["VotingModel", "best_ensemble", "best_models", "minimize"]

HEAVY = (
    "google.auth",
    "googleapiclient",
    "hyperopt",
    "keras",
    "msgpack",
    "numpy",
    "requests",
    "rich",
    "scipy",
    "tensorflow",
    "typer",
)


def test_the_public_names() -> None:
    """`__all__` has exactly the names listed here: a change is made in both or in none."""
    assert sorted(getattr(colab_drive_tuner, "__all__", [])) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_explained(name: str) -> None:
    """Each public name exists and has a docstring, as have its public methods."""
    found = getattr(colab_drive_tuner, name)
    assert name in dir(colab_drive_tuner)
    assert inspect.getdoc(found), f"{name} has no docstring"
    if inspect.isclass(found):
        for attribute, value in vars(found).items():
            if not attribute.startswith("_") and (callable(value) or isinstance(value, property)):
                assert inspect.getdoc(value), f"{name}.{attribute} has no docstring"


MADE_BY_US = {
    "Notebook",
    "Pruner",
    "RunningTrial",
    "SearchHistory",
    "SearchResult",
    "SearchStatus",
    "Session",
}
"""Classes that the package returns and users do not create."""


def callables(name: str) -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield a public function, or a class and its public methods, each with its title."""
    found = getattr(colab_drive_tuner, name, None) or getattr(hyperas_style, name)
    if inspect.isclass(found):
        for attribute, value in vars(found).items():
            if not attribute.startswith("_") and inspect.isfunction(value):
                yield f"{name}.{attribute}", value
    if callable(found) and name not in MADE_BY_US:
        yield name, found


CALLED_BY_KERAS = {"on_train_begin", "on_epoch_end", "set_model", "set_params"}


@pytest.mark.parametrize("name", [*(name for name in PUBLIC if name != "errors"), *HYPERAS_STYLE])
def test_help_explains_every_argument(name: str) -> None:
    """The docstring of each public callable explains each of its arguments."""
    for title, function in callables(name):
        if title.rpartition(".")[2] in CALLED_BY_KERAS:
            continue
        text = inspect.getdoc(function) or ""
        for argument in inspect.signature(function).parameters.keys() - {"self"}:
            explained = re.search(rf"^ +\*{{0,2}}{argument}[:,] \S", text, re.MULTILINE)
            assert explained, f"{title}() does not explain {argument}"


def test_completion_offers_public_names_alone() -> None:
    """`dir()` of the package lists its public names, and not what it imports itself."""
    offered = {name for name in dir(colab_drive_tuner) if not name.startswith("__")}
    assert offered == set(PUBLIC)
    assert "__version__" in dir(colab_drive_tuner)


def test_an_error_at_the_top_is_told_where_it_is() -> None:
    """Errors are in a module of their own, where one may not look first."""
    with pytest.raises(AttributeError, match=r"it is colab_drive_tuner\.errors\.SearchBusyError"):
        _ = colab_drive_tuner.SearchBusyError


def test_names_without_their_extra_are_there_and_name_it() -> None:
    """Without Keras and Optuna, `help` and `import *` work; a use says what to install."""
    run_python(
        "-c",
        """
import pydoc, sys
from importlib.abc import MetaPathFinder

class Without(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("keras", "optuna", "tensorflow"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Without())
from colab_drive_tuner import *
import colab_drive_tuner as cdt

assert "resume_search" in pydoc.render_doc(cdt)
for use, extra in ((TrialBackup, "tensorflow"), (optuna_storage, "optuna")):
    try:
        use("s")
    except errors.MissingExtraError as error:
        assert f"[{extra}]" in str(error), error
    else:
        raise AssertionError(use)
""",
    )


def test_an_import_loads_nothing_heavy() -> None:
    """`import colab_drive_tuner` loads none of the heavy packages."""
    program = "import sys, colab_drive_tuner; print('\\n'.join(sys.modules))"
    loaded = run_python("-c", program).stdout.split()
    assert "colab_drive_tuner" in loaded
    assert set(loaded).isdisjoint(HEAVY)
