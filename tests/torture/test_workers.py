"""Drivers with several trials in flight, killed repeatedly."""

import random
import signal
from pathlib import Path

import pytest

from colab_drive_tuner.checkpoint.record_items import TrialEnd
from colab_drive_tuner.search.drive_trials import DriveTrials
from tests.search.sample_searches import run_in_fork
from tests.torture import driver_deaths


def test_a_poison_trial_on_threads_is_given_up_alone(tmp_path: Path) -> None:
    """A trial that kills the process of all threads is given up; those beside it end."""
    deaths = 0
    while run_in_fork(lambda: driver_deaths.poisoned(tmp_path, 4)) == -signal.SIGKILL:
        deaths += 1
        assert deaths <= 4, "the poison trial is never given up"
    entries = DriveTrials("search", store=tmp_path / "store").log.history.trials
    given_up = [tid for tid, entry in entries.items() if entry.end == TrialEnd.GIVEN_UP]
    assert given_up == [4]
    assert [entry.end for tid, entry in entries.items() if tid != 4] == [TrialEnd.DONE] * 11


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
def test_drivers_killed_in_phases_drawn_at_random(seed: int, tmp_path: Path) -> None:
    """After ten deaths in random phases the search ends with every trial."""
    rng = random.Random(seed)
    for number in range(10):
        phase = rng.choice(list(driver_deaths.PHASES))
        # Far enough apart that no trial has ended before the kill is aimed at it.
        driver_deaths.die_in(tmp_path, phase, number * 12 + rng.randrange(3), most=124)
    driver_deaths.session(tmp_path, 124)
    driver_deaths.judge(tmp_path, 124)
