"""The agent in a rerun's runtime: credentials in memory, and a watchdog that ends the runtime."""

import os
import stat
import sys
import threading
import time
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat import v4

from colab_drive_tuner.rerun.runners import agent
from tests.processes import run_python, wait_until

LOAD = """
import os
from colab_drive_tuner.rerun.runners import agent
agent.load_credentials_file({path!r}, "me@example.com")
named = os.environ["COLAB_DRIVE_TUNER_CREDENTIALS"]
print(open(named).read(), open(named).read() == "secret", os.path.exists({path!r}))
import subprocess
print(subprocess.run(["cat", named], capture_output=True, text=True).stdout)
print(os.environ["COLAB_DRIVE_TUNER_ACT_AS"])
"""
WATCH = """
from colab_drive_tuner.rerun.runners import agent
agent.HEARTBEAT_SECONDS = 0.1
agent.start_watchdog(
    {deadline}, idle_seconds={idle}, release=lambda: open({released!r}, "w").close()
)
"""


def run_cells(*cells: str) -> NotebookClient:
    """Start a real kernel, run the cells in it and return its client."""
    client = NotebookClient(v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells]))
    client.create_kernel_manager()
    client.start_new_kernel(env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
    client.start_new_kernel_client()
    for number, cell in enumerate(client.nb.cells):
        client.execute_cell(cell, number)
    return client


def end(client: NotebookClient) -> None:
    client._cleanup_kernel()


def test_credentials_are_readable_from_memory_and_in_no_file(tmp_path: Path) -> None:
    """The process and its children read the credentials repeatedly; the file is deleted."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "credentials.json").write_text("secret")
    done = run_python("-c", LOAD.format(path=str(folder / "credentials.json")))
    assert done.stdout.split() == ["secret", "True", "False", "secret", "me@example.com"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("stop", ["idle", pytest.param("deadline", marks=pytest.mark.long)])
def test_an_idle_runtime_is_released(tmp_path: Path, stop: str) -> None:
    """A runtime is released after an idle time or after its deadline, but not during a cell."""
    released = tmp_path / "released"
    deadline = None if stop == "idle" else time.time() - agent.GRACE_SECONDS + 2
    watching = WATCH.format(deadline=deadline, idle=600, released=str(released))
    # The idle time is short only within the cell, because a slow kernel is idle before it, too.
    busy = "get_ipython().events.callbacks['pre_run_cell'][-1].__self__.idle_seconds = 0.2"
    busy += f"\nimport os, time; time.sleep(1); print(os.path.exists({str(released)!r}))"
    client = run_cells(watching, *([busy] if stop == "idle" else []))
    try:
        if stop == "idle":
            printed = [output.text for output in client.nb.cells[1].outputs]
            assert "".join(printed) == "False\n"
        wait_until(released.exists)
    finally:
        end(client)


def test_a_release_that_fails_is_tried_again() -> None:
    """An error of Colab's function leaves no runtime allocated for ever."""
    tried = list[int]()

    def release() -> None:
        tried.append(1)
        if len(tried) < 3:
            raise ConnectionError("no answer")

    agent._Watchdog(0.01, time.time() - 1, None, release).run()
    assert len(tried) == 3


def test_the_runtime_is_released_to_colab(monkeypatch: pytest.MonkeyPatch) -> None:
    """`google.colab.runtime.unassign` is called on Colab; elsewhere nothing happens."""
    from types import ModuleType

    agent._unassign()
    called = threading.Event()
    package, runtime = ModuleType("google.colab"), ModuleType("google.colab.runtime")
    runtime.unassign = called.set  # type: ignore[attr-defined]
    package.runtime = runtime  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab", package)
    monkeypatch.setitem(sys.modules, "google.colab.runtime", runtime)
    agent._unassign()
    assert called.is_set()


def test_the_prepared_folder_is_private(tmp_path: Path) -> None:
    """The folder has mode 0700 and its file 0600 before it contains a secret."""
    from colab_drive_tuner.rerun.runners.colab import _PREPARE, _READY

    folder = tmp_path / "room"
    code = _PREPARE.format(
        folder=str(folder), version="0.1.0", install="nothing", deadline=None, idle=60.0
    )
    done = run_python("-c", f"import os; os.umask(0)\n{code}")
    assert _READY in done.stdout
    assert _READY not in code
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "credentials.json").stat().st_mode) == 0o600
