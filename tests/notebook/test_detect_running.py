"""Detection of the running notebook from Colab's session list."""

import sys
import time
from types import ModuleType, SimpleNamespace

import pytest

from colab_drive_tuner.notebook import detect_running
from colab_drive_tuner.notebook.detect_running import (
    RunningNotebook,
    content_in_browser,
    running_notebook,
)
from tests.fakes import google_colab
from tests.fakes.bare_machine import bare_machine  # noqa: F401 - a fixture
from tests.fakes.colab_sessions import SessionsServer, entry

pytestmark = pytest.mark.usefixtures("bare_machine")
ID = "1jXfAbCdEfGhIjKlMnOpQrStUvWxYz012"


def on_colab(monkeypatch, server, page=None):
    """Set Colab's environment, with its session list answered by `server`."""
    google_colab.install(monkeypatch, page or google_colab.Page(attached=False))
    monkeypatch.setenv("COLAB_JUPYTER_IP", "127.0.0.1")
    monkeypatch.setenv("KMP_TARGET_PORT", str(server.port))


@pytest.mark.parametrize(
    "name",
    [
        "quickstart.ipynb",
        'Bob\'s "best" run.ipynb',
        "🧪 Versuch.ipynb",
        "a/b\\c.ipynb",
        "100% sure.ipynb",
        "a%20b.ipynb",
        "no ending",
    ],
)
def test_colab_lists_the_notebook_by_its_quoted_name_and_its_id(monkeypatch, name):
    """Names with quotes, emoji, slashes and percent signs are decoded correctly."""
    with SessionsServer([entry(name, f"fileId={ID}")]) as server:
        on_colab(monkeypatch, server)
        assert running_notebook() == RunningNotebook(name, drive_id=ID)


@pytest.mark.parametrize(
    "path",
    [
        "https://github.com/me/it/blob/main/quick.ipynb",
        "fileId=https%3A//github.com/me/it/blob/main/quick.ipynb",
        "/github/me/it/blob/main/quick.ipynb",
    ],
)
def test_a_notebook_opened_from_elsewhere_has_no_drive_id(monkeypatch, path):
    """A notebook from GitHub has a name, but no id of a file in Drive."""
    with SessionsServer([entry("quick.ipynb", path)]) as server:
        on_colab(monkeypatch, server)
        assert running_notebook() == RunningNotebook("quick.ipynb", elsewhere=True)
        server.entries = [entry("quick.ipynb", "quick.ipynb")]
        assert running_notebook() == RunningNotebook("quick.ipynb")


def test_an_empty_list_and_no_page_mean_that_nothing_is_known(monkeypatch):
    """Without listed sessions and a page, as with Colab's command line, nothing is detected."""
    with SessionsServer([]) as server:
        on_colab(monkeypatch, server)
        assert running_notebook() is None


def test_the_kernel_id_selects_one_of_several_notebooks(monkeypatch):
    """Without the kernel's id none of several notebooks is selected."""
    with SessionsServer(
        [entry("one", "fileId=" + "1" * 33, kernel="k1"), entry("two", f"fileId={ID}", kernel="k2")]
    ) as server:
        on_colab(monkeypatch, server)
        assert running_notebook() is None
        monkeypatch.setattr(detect_running, "_kernel_id", lambda: "k2")
        assert running_notebook() == RunningNotebook("two", drive_id=ID)


@pytest.mark.parametrize("way", ["blocks", "drips"])
def test_an_endpoint_that_never_answers_is_given_up(monkeypatch, way):
    """If the session list does not answer in time, the notebook's name comes from the page."""
    monkeypatch.setattr(detect_running, "TIMEOUT_SECONDS", 0.2)
    page = google_colab.Page({"cells": [], "metadata": {"colab": {"name": "mine.ipynb"}}})
    with SessionsServer(**{way: True}) as server:
        on_colab(monkeypatch, server, page)
        started = time.monotonic()
        assert running_notebook() == RunningNotebook("mine.ipynb")
        assert time.monotonic() - started < 60


def test_an_endpoint_that_is_gone_or_invalid_is_not_an_error(monkeypatch):
    """On a refused connection, other JSON or an error page no notebook is detected."""
    with SessionsServer([]) as server:
        on_colab(monkeypatch, server)
        for entries in ({"message": "x"}, [None, 3, {"path": 7}], [{"kernel": []}]):
            server.entries = entries if isinstance(entries, list) else [entries]
            assert running_notebook() is None
        for status, body in (
            (500, b"[]"),
            (200, b"<html>"),
            (200, b"\xff\x00"),
            (200, b"[" * 10**5),
        ):
            server.status, server.body = status, body
            assert running_notebook() is None
    assert running_notebook() is None


def test_a_page_that_blocks_for_ever_shows_no_content(monkeypatch):
    """Reading the open content from a page that blocks ends after a timeout."""
    monkeypatch.setattr(detect_running, "TIMEOUT_SECONDS", 0.05)
    google_colab.install(monkeypatch, google_colab.Page(blocks=True))
    assert content_in_browser() is None


def vscode(monkeypatch, path):
    """Simulate that VS Code runs the notebook at `path`."""
    module = ModuleType("IPython")
    module.get_ipython = lambda: SimpleNamespace(user_ns={"__vsc_ipynb_file__": str(path)})
    monkeypatch.setitem(sys.modules, "IPython", module)


def test_vs_code_names_the_file_where_the_kernel_sees_it(monkeypatch, tmp_path):
    """With a local kernel in VS Code the notebook's path is on this disk."""
    path = tmp_path / "a\\b 🧪.ipynb"
    path.write_text("{}")
    vscode(monkeypatch, path)
    assert running_notebook() == RunningNotebook("a\\b 🧪.ipynb", path=path)


@pytest.mark.parametrize("path", ["/home/me/x y.ipynb", "c:\\Users\\me\\x y.ipynb"])
def test_vs_code_on_a_remote_kernel_gives_the_name_only(monkeypatch, path):
    """With Colab in VS Code the path is one of the user's own computer."""
    vscode(monkeypatch, path)
    assert running_notebook() == RunningNotebook("x y.ipynb", elsewhere=True)


@pytest.mark.parametrize("name", ["x" * 300 + ".ipynb", "\0.ipynb"])
def test_a_name_that_this_machine_does_not_allow_is_from_elsewhere(monkeypatch, tmp_path, name):
    """A name that only other systems allow is that of a notebook elsewhere, and no error."""
    vscode(monkeypatch, f"{tmp_path}/{name}")
    assert running_notebook() == RunningNotebook(name, elsewhere=True)


def test_jupyters_variable_gives_the_path_without_a_session_list(monkeypatch, bare_machine):  # noqa: F811
    """If the session list needs a password, the path comes from JPY_SESSION_NAME."""
    path = bare_machine / "lab.ipynb"
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    assert running_notebook() is None
    path.write_text("{}")
    assert running_notebook() == RunningNotebook("lab.ipynb", path=path)
