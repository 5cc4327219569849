"""Warnings name the user's file and line, for every public entry point."""

import ast
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hyperopt
import pytest
from hyperopt import hp

import colab_drive_tuner as cdt
from colab_drive_tuner import errors, session
from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.errors import NotebookWarning
from colab_drive_tuner.hyperas import compat as hyperas_compat
from colab_drive_tuner.hyperas_style import minimize
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.warn_user import warn_user
from tests.fakes.bare_machine import bare_machine  # noqa: F401 - a fixture

PACKAGE = Path(cdt.__file__).parent
OURS = tuple(
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, UserWarning)
)
COLAB = "application/vnd.google.colaboratory"
SPACE = {"x": hp.uniform("x", -1, 1)}


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process without a session."""
    monkeypatch.setattr(session, "_last", None)
    yield
    hyperas_compat.disable()


def model(x):
    """A model function with a hyperas template."""
    rate = {{uniform(0, 1)}}  # noqa: F821
    return {"loss": rate + sum(x), "status": "ok"}


def data():
    """The data of `model`."""
    return ([1],)


def resume(store: Any, max_evals: int = 1, algo: str = "rand") -> Any:
    """Run a search by `resume_search`."""
    return cdt.resume_search(
        lambda point: point["x"] ** 2,
        space=SPACE,
        name="s",
        max_evals=max_evals,
        algo=algo,
        store=store,
        progress=False,
    )


def by_resume_search(store: Any) -> None:
    """Change the algorithm, through `resume_search`."""
    resume(store)
    resume(store, 2, "anneal")


def by_fmin(store: Any) -> None:
    """Change the algorithm, through `hyperopt.fmin`."""
    for algo, total in ((hyperopt.rand.suggest, 1), (hyperopt.anneal.suggest, 2)):
        trials = cdt.DriveTrials("s", store=store)
        hyperopt.fmin(
            lambda point: point["x"] ** 2,
            SPACE,
            algo=algo,
            max_evals=total,
            trials=trials,
            verbose=False,
        )


def by_minimize(store: Any) -> None:
    """Change the algorithm, through `hyperas_style.minimize`."""
    for algo, total in ((hyperopt.rand.suggest, 1), (hyperopt.anneal.suggest, 2)):
        minimize(model, data, algo, total, cdt.DriveTrials("s", store=store), verbose=False)


def by_result(store: Any) -> None:
    """Read the result of a search that is not finished."""
    result = resume(store)
    result.max_evals = 5
    _ = result.best_loss


def by_data(store: Any) -> None:
    """Give a generator as data."""
    cdt.resume_search(model, lambda: ((n for n in [1]),), name="g", max_evals=1, store=store)


def by_setup(_: Any) -> None:
    """Set up a session with a notebook that is not found."""
    cdt.setup(notebook="absent")


def by_refresh(_: Any) -> None:
    """Refresh a session with a notebook that is not found."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = cdt.setup(notebook="absent")
    opened.refresh()


def by_download(_: Any) -> None:
    """Download a notebook over a copy that the user edited."""
    client = DriveClient.connect()
    client.create_file("x.ipynb", b'{"cells": []}', parent="root", mime_type=COLAB)
    Path("x.ipynb").write_text("my edits")
    cdt.download_notebook("x", client=client)


def by_clean(_: Any) -> None:
    """Clean a store when the state folder cannot be used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = cdt.setup()
    os.environ["XDG_STATE_HOME"] = "/proc/nowhere"
    opened.clean()


@pytest.mark.parametrize(
    "warn",
    [
        *(by_resume_search, by_fmin, by_minimize, by_result, by_data),
        *(by_setup, by_refresh, by_download, by_clean),
    ],
)
def test_a_warning_names_the_users_file(
    warn: Callable[[Any], None],
    bare_machine: Path,  # noqa: F811
    drive_emulator: Any,
) -> None:
    """Each warning names the user's file, not one of the package or of hyperopt."""
    with pytest.warns(OURS) as caught:
        warn(FolderStore(bare_machine / "store"))
    assert {one.filename for one in caught if issubclass(one.category, OURS)} == {__file__}


def test_a_warning_is_escaped_and_shown_once_a_line() -> None:
    """The text is escaped, shown once a line and filtered, as by `warnings.warn`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        warnings.simplefilter("default")
        for _ in range(2):
            warn_user("red \x1b[31m\nline", NotebookWarning)
        warnings.filterwarnings("ignore", module=__name__)
        warn_user("another", NotebookWarning)
    assert [str(one.message) for one in caught] == ["red \\x1b[31m\nline"]


def test_a_thread_without_a_users_line_warns() -> None:
    """A thread that no line of the user's called still shows its warning."""
    with (
        pytest.warns(NotebookWarning, match="from afar"),
        ThreadPoolExecutor(1) as threads,
    ):
        threads.submit(warn_user, "from afar", NotebookWarning).result()


def test_every_warning_is_given_by_warn_user() -> None:
    """No module uses `warnings.warn`, whose stack level is wrong once a caller is added."""
    calls = {}
    for path in PACKAGE.rglob("*.py"):
        if path.name == "warn_user.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("warn", "warn_explicit"):
                calls[f"{path.name}:{node.lineno}"] = ast.unparse(node)
            if isinstance(node, ast.ImportFrom) and node.module == "warnings":
                calls[f"{path.name}:{node.lineno}"] = ast.unparse(node)
    assert {place: call for place, call in calls.items() if "warn" in call.split(".")[0]} == {}
