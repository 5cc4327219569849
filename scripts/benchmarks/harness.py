"""Tools for all measurements: fresh processes, an emulated Drive, medians, rows of a table."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colab_drive_tuner.emulator import DriveEmulator

HERE = Path(__file__).parent
LATENCY = 0.2
"""Seconds before each answer of the emulated Drive."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    goal: str
    result: str
    holds: bool | None = None
    """Whether the goal is met; None without a goal or a measurement."""
    details: str = ""
    """Related measurements, and the conditions."""

    def __str__(self) -> str:
        mark = {True: "yes", False: "**no**", None: ""}[self.holds]
        return f"| {self.what} | {self.goal} | {self.result} | {mark} |"


@dataclass(frozen=True)
class Effort:
    """Size of the measurements: full, or a quick form that is valid for counts but not times."""

    quick: bool = False

    def trials(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def repeats(self, full: int) -> int:
        return 1 if self.quick else full

    def latency(self) -> float:
        return 0.02 if self.quick else LATENCY


class MissingError(Exception):
    """A package to compare with is not installed."""


def child(workload: str, environment: dict[str, str] | None = None, **arguments: Any) -> Any:
    """Run a workload, MODULE.FUNCTION, in a fresh process with an empty home; return its answer."""
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        ours = ("COLAB_DRIVE_TUNER_", "DRIVE_EMULATOR_", "XDG_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        done = subprocess.run(
            [sys.executable, HERE / "child.py", workload, json.dumps(arguments)],
            env=kept | {"HOME": home} | (environment or {}),
            cwd=home,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{workload} {arguments} ended with {done.returncode}")
    answer = json.loads(done.stdout.rpartition("\n@")[2])
    if isinstance(answer, dict) and "missing" in answer:
        raise MissingError(answer["missing"])
    return answer


def drive(latency: float) -> DriveEmulator:
    """Return an emulated Drive that will run in a separate process."""
    return DriveEmulator(process=True, latency=latency)


def search(effort: Effort, where: str, **arguments: Any) -> tuple[dict[str, float], list[Any]]:
    """Run a search in Drive or in a folder; return its times and the emulator's log."""
    if where == "folder":
        with tempfile.TemporaryDirectory() as folder:
            return child("searches.search", store=folder, **arguments), []
    with drive(effort.latency()) as emulator:
        return child("searches.search", emulator.environment, **arguments), emulator.log


def medians(repeats: int, measure: Callable[[int], dict[str, float]]) -> dict[str, float]:
    """Return the median of each value over repeats; `measure` gets the repeat's number."""
    found = [measure(n) for n in range(repeats)]
    return {key: statistics.median(one[key] for one in found) for key in found[0]}


def depth(log: list[dict[str, Any]]) -> int:
    """Return the length of the longest sequence of requests without overlap."""
    ended, count = 0.0, 0
    for start, end in sorted(
        ((e["time"], e["time"] + e["seconds"]) for e in log), key=lambda span: span[1]
    ):
        if start >= ended:
            ended, count = end, count + 1
    return count


def traffic(log: list[dict[str, Any]]) -> int:
    """Return the bytes of content and metadata in both directions."""
    return sum(entry["bytes_in"] + entry["bytes_out"] for entry in log)


def python_seconds(code: str) -> tuple[float, str]:
    """Run `code` in a fresh Python; return its duration and output."""
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return time.perf_counter() - begun, done.stdout
