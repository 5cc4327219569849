"""Programs in a new interpreter, and waiting for what another process or thread does."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).parents[1]


def run_python(
    *arguments: object,
    status: int | None = 0,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run Python with this checkout on its path; assert its exit status, return its outputs."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert status in (None, done.returncode), done.stderr[-3000:]
    return done


@contextmanager
def running_python(
    *arguments: object, ready: str = "", environment: Mapping[str, str] | None = None, **more: Any
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start Python, and yield it and its first line of output with `ready`; kill it at the end."""
    with subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment or {}),
        stdout=subprocess.PIPE,
        text=True,
        **more,
    ) as process:
        try:
            assert process.stdout is not None
            line = next((line for line in process.stdout if ready in line), "")
            assert line, f"it ended without {ready!r}"
            yield process, line
        finally:
            process.kill()


@contextmanager
def jupyter_server(
    folder: Path, *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a Jupyter server, and yield its address; its log and `runtime` are in the folder.

    The server writes its address some time before it listens there.
    """
    runtime = folder / "runtime"
    command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", *options]
    with (folder / "jupyter.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--ServerApp.port=0"],
            cwd=folder,
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "JUPYTER_RUNTIME_DIR": str(runtime)}
            | dict(environment or {}),
            stdout=log,
            stderr=log,
        )

    def listening() -> str:
        assert process.poll() is None, (folder / "jupyter.log").read_text()
        with suppress(OSError, json.JSONDecodeError):  # not there, not complete, does not listen
            info = json.loads(next(runtime.glob("jpserver-*.json"), runtime).read_text())
            socket.create_connection((info["hostname"], info["port"])).close()
            return str(info["url"])
        return ""

    try:
        yield wait_until(listening)
    finally:
        process.terminate()
        process.wait(60)


def wait_until(holds: Callable[[], T], seconds: float = 200.0) -> T:
    """Poll until `holds()` is true, and return it; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found
