"""The short form of `scripts/bench`: it runs, and its counts are within their limits."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "scripts" / "benchmarks"


def bench(*arguments):
    """The rows that `scripts/bench` prints, as lists of cells."""
    done = subprocess.run(
        [sys.executable, BENCH, "--quick", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]


@pytest.fixture(scope="module")
def drive_rows():
    """Calls and bytes, as the emulator's log has them."""
    return bench("--only", "drive")


def test_a_trial_of_a_second_is_about_one_call(drive_rows):
    """Of 150 trials; the calls of opening and closing are among them, some thirty."""
    (what, _, result, *_) = drive_rows[0]
    assert what.startswith("Drive calls per trial, 150 trials")
    assert 1 <= float(result) <= 1.3


def test_bytes_grow_with_what_is_new(drive_rows):
    """Uploading all Trials each time is some times as much by 150 trials, and ever more later."""
    found = re.fullmatch(r"1/(\d+)", drive_rows[1][2])
    assert int(found[1]) >= 5


def test_short_trials_share_their_calls(drive_rows):
    """Of 1,500 trials of a millisecond; a machine that takes longer for them makes more calls."""
    took = float(re.search(r"([\d.]+) ms of loop", " ".join(drive_rows[2]))[1])
    assert float(drive_rows[2][2]) <= 0.05 * max(1.0, took / 2.0)


def test_a_search_is_read_in_eight_round_trips():
    """Opening the folder, finding the search, its snapshot, and the records behind it."""
    ((_, _, depth, met, _),) = bench("--only", "resume")
    assert int(depth) <= 8
    assert met == "yes"


def test_the_loop_gives_the_points_of_plain_hyperopt():
    """With rand and tpe, over a folder and over Drive."""
    rows = bench("--only", "loop")
    assert len(rows) == 6
    assert all("the same points" in result for _, _, result, *_ in rows)


def test_suggestions_are_the_points_of_hyperopt():
    """TPE over three spaces, and annealing."""
    rows = bench("--only", "suggest")
    assert len(rows) == 4
    assert all("the same points" in result for _, _, result, *_ in rows)


def test_an_import_loads_nothing_heavy():
    """Neither hyperopt nor anything of its size."""
    ((*_, details),) = bench("--only", "import")
    assert details.endswith(": none")
