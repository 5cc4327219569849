"""Programs in a new interpreter, and waiting for what another process or thread does."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
        timeout=300,
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


def wait_until(holds: Callable[[], T], seconds: float = 60.0) -> T:
    """Poll until `holds()` is true, and return it; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found
