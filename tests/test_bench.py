"""`scripts/bench --quick`: it runs, and its counts are within their limits."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "scripts" / "benchmarks"


def bench(*arguments):
    """Run `scripts/bench` and return its rows as lists of cells."""
    done = subprocess.run(
        [sys.executable, BENCH, "--quick", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]


@pytest.fixture(scope="module")
def drive_rows():
    """Rows of Drive calls and bytes, counted from the emulator's log."""
    return bench("--only", "drive")


def test_a_trial_of_a_second_is_about_one_call(drive_rows):
    """150 trials of a second each need 1 to 1.3 Drive calls a trial, fewer if calls take longer.

    About thirty of the calls open and close the search. On a busy machine a trial can end while the
    call for the one before it is under way; then the next call records both.
    """
    (what, _, result, *_) = drive_rows[0]
    assert what.startswith("Drive calls per trial, 150 trials")
    assert 0.5 <= float(result) <= 1.3


def test_only_new_bytes_are_uploaded(drive_rows):
    """150 trials upload at most a fifth of what an upload of all Trials after each trial would."""
    found = re.fullmatch(r"1/(\d+)", drive_rows[1][2])
    assert int(found[1]) >= 5


def test_short_trials_share_their_calls(drive_rows):
    """1,500 trials of a millisecond share their calls: at most 0.05 a trial, more if it is slow.

    The limit grows with the time that a trial takes, because slower trials need more calls.
    """
    took = float(re.search(r"([\d.]+) ms of loop", " ".join(drive_rows[2]))[1])
    assert float(drive_rows[2][2]) <= 0.05 * max(1.0, took / 2.0)


def test_a_search_is_read_in_eight_round_trips():
    """Resuming needs at most 8 round trips: folder, search, snapshot, and the records after it."""
    ((_, _, depth, met, _),) = bench("--only", "resume")
    assert int(depth) <= 8
    assert met == "yes"


def test_the_loop_gives_the_points_of_plain_hyperopt():
    """The loops over a folder and over Drive give the points of plain hyperopt, by rand and tpe."""
    rows = bench("--only", "loop")
    assert len(rows) == 6
    assert all("the same points" in result for _, _, result, *_ in rows)


def test_suggestions_are_the_points_of_hyperopt():
    """TPE over three spaces and annealing suggest the same points as hyperopt itself."""
    rows = bench("--only", "suggest")
    assert len(rows) == 4
    assert all("the same points" in result for _, _, result, *_ in rows)


def test_an_import_loads_nothing_heavy():
    """Importing the package loads neither hyperopt nor another package of its size."""
    ((*_, details),) = bench("--only", "import")
    assert details.endswith(": none")
