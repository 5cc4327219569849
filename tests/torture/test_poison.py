"""A trial that kills every runtime is given up, and no other trial is."""

import signal
from pathlib import Path

import pytest

from colab_drive_tuner.checkpoint.record_items import TrialEnd
from tests.torture.harness import LEASE, Lab
from tests.torture.session import changed, plain

ATTEMPTS = 3


def runs_until_done(lab: Lab, search, *, fresh: bool, limit: int) -> int:
    """Start sessions until one succeeds; return how many died."""
    for deaths in range(limit + 1):
        machine = f"{search.name} {deaths}" if fresh else "first"
        running = lab.start(changed(search, machine=lab.session("s", machine).machine))
        status = running.end()
        if status == 0:
            return deaths
        assert status == -signal.SIGKILL, running.output
    raise AssertionError(f"still dying after {limit} deaths")


CASES = [
    pytest.param("folder", False, 0.0, [0, 5], id="the same machine"),
    pytest.param("drive", True, 0.0, [5], id="fresh machines"),
    *(
        pytest.param(
            store, fresh, nap, [0, 5, 11], marks=pytest.mark.long, id=f"{store}-{fresh}-{nap}"
        )
        for store in ("folder", "drive")
        for fresh in (False, True)
        for nap in (0.0, 0.02)
    ),
]


@pytest.mark.parametrize(("lab", "fresh", "nap", "poisons"), CASES, indirect=["lab"])
def test_a_poison_trial_is_given_up(lab: Lab, fresh: bool, nap: float, poisons: list[int]) -> None:
    """A poison trial is given up after `max_attempts` deaths or one more, even if it dies at once.

    No other trial is given up, and with `retry_failed` it can run again.
    """
    for poison in poisons:
        search = lab.session(
            f"p{poison}",
            max_evals=12,
            nap=nap,
            poison=(poison,),
            options={"max_attempts": ATTEMPTS},
        )
        deaths = runs_until_done(lab, search, fresh=fresh, limit=ATTEMPTS + 1)
        assert ATTEMPTS <= deaths <= ATTEMPTS + 1
        found = lab.found(search)
        assert found["tids"] == list(range(12))
        assert found["ends"] == {
            tid: TrialEnd.GIVEN_UP if tid == poison else TrialEnd.DONE for tid in range(12)
        }, "no innocent trial"
        result = found["results"][poison]
        assert result["status"] == "fail"
        assert f"{ATTEMPTS} runtimes died" in result["reason"]
        points = [(tid, vals) for tid, vals, _result in found["points"]]
        assert points == [(tid, vals) for tid, vals, _result in plain("rand", 12, 3)]
        healed = changed(search, poison=(), options={"retry_failed": True})
        lab.finish(changed(healed, machine=lab.session("s", f"p{poison} healed").machine))
        lab.judge(search)


def test_two_poison_trials_in_a_row(folder_lab: Lab) -> None:
    """Each of two poison trials costs its own deaths, and both are given up."""
    search = folder_lab.session(
        "s", max_evals=8, poison=(3, 4), options={"max_attempts": 2}, algo="anneal"
    )
    deaths = runs_until_done(folder_lab, search, fresh=False, limit=6)
    assert 4 <= deaths <= 6
    ends = folder_lab.found(search)["ends"]
    assert [tid for tid, end in ends.items() if end == TrialEnd.GIVEN_UP] == [3, 4]


@pytest.mark.long
@pytest.mark.parametrize("ahead", [30, 90, 200])
def test_far_ahead_of_the_store(drive_lab: Lab, ahead: int) -> None:
    """A poison trial that ran far ahead of a slow Drive, on machines that are gone, is given up."""
    drive_lab.place.emulator.faults.add("latency", seconds=0.2)
    search = drive_lab.session(
        "s", max_evals=ahead + 10, poison=(ahead,), options={"max_attempts": ATTEMPTS}
    )
    deaths = runs_until_done(drive_lab, search, fresh=True, limit=ATTEMPTS + 1)
    assert ATTEMPTS <= deaths <= ATTEMPTS + 1
    ends = drive_lab.found(search)["ends"]
    assert [tid for tid, end in ends.items() if end == TrialEnd.GIVEN_UP] == [ahead]


def test_kills_from_outside_give_no_trial_up(folder_lab: Lab, tmp_path: Path) -> None:
    """A search that is killed in one trial after the other ends them all, and gives none up."""
    search = folder_lab.session(
        "s", max_evals=20, nap=0.01, constants=dict(LEASE), options={"max_attempts": 2}
    )
    for _ in range(8):
        # It ends the trial in which the one before it died, and dies in the next one.
        running = folder_lab.start(changed(search, plan=("train", "leave", 2, 0.0)))
        assert running.end() in (0, -signal.SIGKILL), running.output
    folder_lab.finish(search)
    ends = folder_lab.found(search)["ends"]
    assert ends == dict.fromkeys(range(20), TrialEnd.DONE)
