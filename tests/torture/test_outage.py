"""Store outages, and stops by the user: training continues, and the user is informed."""

import signal
import time

import pytest

from colab_drive_tuner.checkpoint.record_items import TrialEnd
from tests.torture.harness import Lab, Running
from tests.torture.session import changed

LONG = pytest.mark.long


def training(lab: Lab, **values: object) -> Running:
    """Start a session and wait until it is in the middle of its search."""
    options = {"max_evals": 30, "nap": 0.05} | values
    running = lab.start(lab.session("s", **options))
    running.wait_for(lambda: len(running.acknowledged()) > 3, "a few records")
    return running


def test_an_outage_of_seconds(drive_lab: Lab) -> None:
    """Training continues during a short outage, and pending items are recorded afterwards."""
    running = training(drive_lab)
    drive_lab.place.outage(seconds=0.8)
    assert running.end() == 0, running.output
    drive_lab.judge(running.session)


@pytest.mark.parametrize("by", ["resume_search", pytest.param("fmin", marks=LONG)])
def test_an_outage_for_the_rest_of_the_run(drive_lab: Lab, by: str) -> None:
    """All trials run; the end names the pending items and their file; the next run records them."""
    gate = drive_lab.folder / "gate"
    running = training(drive_lab, by=by, closing_patience=0.5, gate=(15, str(gate)))
    drive_lab.place.outage()
    gate.touch()
    assert running.end() == 0, running.output
    assert "entries are not acknowledged yet. They are kept in" in running.output
    assert "the next run on this machine records them" in running.output
    drive_lab.place.behave()
    again = drive_lab.finish(changed(running.session, plan=("train", "enter", 1, 0.0)))
    assert "train" not in again.under_way, "nothing was left to train"
    drive_lab.judge(running.session)


def test_killed_in_an_outage(drive_lab: Lab) -> None:
    """The next session on the machine records the spooled ends; the trials do not run again."""
    gate = drive_lab.folder / "gate"
    running = training(drive_lab, max_evals=40, gate=(35, str(gate)))
    drive_lab.place.outage()
    running.wait_for(lambda: running.trained > 35, "the trial at the gate")
    time.sleep(0.4)  # until the ends before it are spooled
    running.kill()
    gate.touch()
    drive_lab.place.behave()
    again = drive_lab.finish(running.session)
    drive_lab.judge(running.session)
    assert again.trained < 20, "trials that had ended ran again"


def test_killed_in_an_outage_and_resumed_elsewhere(drive_lab: Lab) -> None:
    """Another machine runs the lost trials itself; the first one's spool then adds nothing."""
    running = training(drive_lab, max_evals=20)
    drive_lab.place.outage()
    time.sleep(0.4)
    running.kill()
    drive_lab.place.behave()
    elsewhere = drive_lab.session("s", "second", max_evals=20)
    drive_lab.finish(elsewhere)
    drive_lab.finish(changed(running.session, max_evals=22))
    drive_lab.judge(changed(running.session, max_evals=22))


@pytest.mark.parametrize(
    ("number", "status", "weather"),
    [
        pytest.param(signal.SIGINT, 130, "calm", id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 143, "calm", id="SIGTERM"),
        pytest.param(signal.SIGINT, 130, "away", id="Ctrl-C, Drive away", marks=LONG),
        pytest.param(signal.SIGTERM, 143, "away", id="SIGTERM, Drive away", marks=LONG),
    ],
)
def test_a_stop_by_the_user(drive_lab: Lab, number: int, status: int, weather: str) -> None:
    """A stop flushes and releases in seconds, or names the file of pending items in an outage."""
    running = training(drive_lab, max_evals=400)
    if weather != "calm":
        drive_lab.place.outage()
        time.sleep(0.2)
    running.signal(number)
    assert running.wait(100) == status, running.output
    if number == signal.SIGINT:
        says = running.outcome["says"]
        assert "Run it again to continue." in says
        assert "\n" not in says
    if weather != "calm":
        assert "They are kept in" in running.output
    found = drive_lab.found(running.session)
    if weather == "calm":
        assert not found["holder"]
        ended = [tid for tid, end in found["ends"].items() if end == TrialEnd.DONE]
        assert ended == list(range(len(ended)))
        assert len(found["tids"]) - len(ended) in (0, 1), "all but the one that was stopped"
    drive_lab.place.behave()
    drive_lab.finish(changed(running.session, max_evals=len(found["tids"]) + 2, nap=0.0))
