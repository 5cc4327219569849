"""Side effects of installing this package on programs that do not use it: almost none."""

import json
from pathlib import Path

import pytest

from tests.processes import run_python

ROOT = Path(__file__).parents[1]
FACE = {
    "colab_drive_tuner",
    "colab_drive_tuner.errors",
    "colab_drive_tuner.text",
    "colab_drive_tuner.version",
}
"""Modules that `import colab_drive_tuner` itself loads."""


def python(*arguments, cwd):
    """Run Python with this checkout on its path and return its output."""
    done = run_python("-W", "error", *arguments, folder=cwd, status=None)
    assert done.returncode in (0, 1), done.stderr[-3000:]
    return done.stdout


STATE = """
import atexit, gc, json, logging, os, signal, sys, threading, warnings

def state():
    handlers = {str(s): str(signal.getsignal(s)) for s in signal.valid_signals()}
    return {
        "environment": dict(os.environ),
        "signals": handlers,
        "path": list(sys.path),
        "finders": [str(finder) for finder in [*sys.meta_path, *sys.path_hooks]],
        "warnings": [str(entry) for entry in warnings.filters],
        "hooks": [str(hook) for hook in (sys.excepthook, sys.displayhook, sys.unraisablehook)],
        "threads": [thread.name for thread in threading.enumerate()],
        "at exit": atexit._ncallbacks(),
        "logging": str(logging.getLogger().handlers),
        "collector": [gc.get_threshold(), gc.isenabled()],
        "directory": os.getcwd(),
        "files": sorted(os.listdir()),
    }
"""

PAPERMILL = (
    STATE
    + """
from importlib.metadata import entry_points
(ours,) = [e for e in entry_points(group="papermill.io") if e.name == "drive://"]
modules, before = set(sys.modules), state()
handler = ours.load()
new, after = set(sys.modules) - modules, state()
print(json.dumps({
    "changed": [key for key in before if before[key] != after[key]],
    "ours": sorted(name for name in new if name.startswith("colab_drive_tuner")),
    "others": sorted({name.partition(".")[0] for name in new} - {"colab_drive_tuner"}
                     - sys.stdlib_module_names),
    "handler": hasattr(handler, "read") and hasattr(handler, "write"),
}))
"""
)


def test_papermill_loads_a_handler_and_nothing_else(tmp_path):
    """Papermill's entry point loads two small modules and has no side effects."""
    seen = json.loads(python("-c", PAPERMILL, cwd=tmp_path))
    rerun = {"colab_drive_tuner.rerun", "colab_drive_tuner.rerun.drive_notebooks"}
    assert seen == {"changed": [], "ours": sorted(FACE | rerun), "others": [], "handler": True}


def test_papermill_keeps_its_own_handlers(tmp_path):
    """Paths and http addresses keep papermill's own handlers; drive:// has the package's."""
    pytest.importorskip("papermill")
    code = (
        "import json, sys, papermill.iorw as io\n"
        "node = io.load_notebook_node('a.ipynb')\n"
        "io.write_ipynb(node, 'b.ipynb')\n"
        "kinds = [io.papermill_io.get_handler(p).__module__.partition('.')[0]\n"
        "         for p in ('a.ipynb', 'http://x/a.ipynb', 'drive://a.ipynb')]\n"
        "print(json.dumps([kinds, [n for n in sys.modules if n.startswith('colab_drive_tuner')]]))"
    )
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "a.ipynb").write_text(json.dumps(notebook))
    kinds, ours = json.loads(python("-W", "default", "-c", code, cwd=tmp_path).splitlines()[-1])
    assert kinds == ["papermill", "papermill", "colab_drive_tuner"]
    assert len(ours) == len(FACE) + 2
    assert (tmp_path / "b.ipynb").exists()


OURS = """
import sys

def test_of_another_project(request):
    ours = sorted(name for name in sys.modules if name.startswith("colab_drive_tuner"))
    web = [name for name in ("starlette", "uvicorn", "numpy", "requests") if name in sys.modules]
    try:
        request.getfixturevalue("drive_emulator")
    except Exception as error:
        print("SEEN", ours, web, type(error).__name__)
"""


def run_pytest(folder, *options):
    """Run pytest in another project's folder and return its output."""
    return python("-m", "pytest", "-rA", "-p", "no:cacheprovider", *options, cwd=folder)


def test_pytest_loads_nothing_of_this_package(tmp_path):
    """Another project's run loads no module and has no fixture of this package."""
    (tmp_path / "test_other.py").write_text(OURS)
    out = run_pytest(tmp_path)
    assert "SEEN [] [] FixtureLookupError" in out
    assert "1 passed" in out
    assert "colab" not in out.replace(str(tmp_path), "")


def test_the_plugin_costs_nothing_until_a_test_uses_it(tmp_path):
    """A project that names the plugin needs a web framework only for tests that use its fixture."""
    (tmp_path / "conftest.py").write_text(
        "import sys\n"
        "sys.modules['starlette'] = sys.modules['uvicorn'] = None  # as if not installed\n"
        "pytest_plugins = ['colab_drive_tuner.emulator.pytest_plugin']\n"
    )
    (tmp_path / "test_other.py").write_text(
        "import sys\n\n"
        "def test_of_theirs():\n"
        "    print('SEEN', sorted(n for n in sys.modules if n.startswith('colab_drive_tuner')))\n\n"
        "def test_of_ours(drive_emulator):\n    pass\n"
    )
    out = run_pytest(tmp_path)
    emulator = {"colab_drive_tuner.emulator", "colab_drive_tuner.emulator.pytest_plugin"}
    assert f"SEEN {sorted(FACE | emulator)}" in out
    assert "1 passed, 1 error" in out
    assert "needs starlette: pip install 'colab-drive-tuner[emulator]'." in out


def test_a_projects_own_drive_emulator_fixture_wins(tmp_path):
    """A project's own `drive_emulator` fixture replaces that of the plugin."""
    (tmp_path / "conftest.py").write_text(
        "import pytest\n"
        "pytest_plugins = ['colab_drive_tuner.emulator.pytest_plugin']\n"
        "@pytest.fixture\n"
        "def drive_emulator():\n"
        "    return 'their own'\n"
    )
    (tmp_path / "test_other.py").write_text(
        "def test_of_theirs(drive_emulator):\n    assert drive_emulator == 'their own'\n"
    )
    assert "1 passed" in run_pytest(tmp_path)


def test_the_emulator_starts_where_nest_asyncio_was_applied() -> None:
    """nest_asyncio, which many notebooks apply, replaces `asyncio.run`; the emulator starts."""
    pytest.importorskip("nest_asyncio")
    script = (
        "import nest_asyncio; nest_asyncio.apply()\n"
        "from colab_drive_tuner.emulator import DriveEmulator\n"
        "with DriveEmulator() as emulator: print(emulator.call('GET', '')['emulator'])\n"
    )
    assert run_python("-c", script).stdout == "drive\n"
