"""Several runtimes on one search: exactly one continues, and no result of the others is lost."""

import re
import signal
from pathlib import Path

import pytest

from colab_drive_tuner.checkpoint.record_items import ItemKind, read_items
from colab_drive_tuner.journal.spool.spool_file import read_spool_file
from tests.processes import wait_until
from tests.torture.harness import LEASE, Lab, Running
from tests.torture.places import LIST_LAG
from tests.torture.session import Session, changed

LONG = pytest.mark.long
CASES = [
    pytest.param("folder", 5),
    pytest.param("drive", 2),
    pytest.param("folder", 2, marks=LONG),
    pytest.param("drive", 5, marks=LONG),
]


def endings(contenders: list[Running]) -> list[str]:
    """Return how each session ended: "" for success, otherwise the error's name."""
    for contender in contenders:
        assert contender.end() in (0, 3), contender.output
    return [contender.outcome["error"] or "" for contender in contenders]


def kept_trials(loser: Running) -> list[int]:
    """Return the trials whose ends are in the local files that the loser's error names."""
    says = loser.outcome["says"]
    named = re.search(r"kept in (.+?);", says)
    assert named is not None, says
    folder = Path(named[1])
    assert folder.is_dir(), says
    kept = []
    for path in folder.glob("*.spool"):
        for spooled, _ in read_spool_file(path).items:
            kept += [
                item.tid for item in read_items(spooled, "a kept item") if item.kind == ItemKind.END
            ]
    return kept


def overtaken(contenders: list[Running]) -> list[Running]:
    """Return the sessions that lost the search after they had claimed it."""
    return [
        contender
        for contender in contenders
        if contender.outcome["error"] == "SearchTakenOverError"
    ]


def resume_losers(lab: Lab, losers: list[Running]) -> None:
    """Run the search once more on each loser's machine, so that its spool is replayed."""
    for loser in losers:
        lab.finish(changed(loser.session, options={"on_busy": "wait"}))


def judge(lab: Lab, search: Session) -> None:
    lab.judge(search, taken_over=True)


@pytest.mark.parametrize(("lab", "many"), CASES, indirect=["lab"])
def test_sessions_that_start_at_once(lab: Lab, many: int) -> None:
    """Of several sessions that start at once, one claims; the others' error names it."""
    search = lab.session("s", max_evals=2)
    lab.finish(search)
    # An owner that is not scheduled for seconds must not count as dead here.
    constants, gate = LEASE | {"STALE_SECONDS": 5.0}, lab.folder / "gate"
    search = changed(search, max_evals=12, gate=(2, str(gate)), constants=constants)
    contenders = [
        lab.start(changed(search, machine=lab.session("s", f"contender {n}").machine))
        for n in range(many)
    ]
    wait_until(lambda: sum(contender.alive for contender in contenders) <= 1)
    gate.touch()
    ends = endings(contenders)
    assert sorted(ends) == [""] + ["SearchBusyError"] * (many - 1)
    assert all(
        "held by" in contender.outcome["says"]
        for contender in contenders
        if contender.outcome["error"]
    )
    judge(lab, search)


@pytest.mark.parametrize(("lab", "many"), CASES, indirect=["lab"])
def test_sessions_that_take_over(lab: Lab, many: int) -> None:
    """The last to claim continues; each loser stops at its next write and keeps its last trial."""
    search = lab.session("s", max_evals=4)
    lab.finish(search)
    # A loser that has run many trials waits until the winner has claimed; the winner is fast.
    search = changed(search, max_evals=40 * many, nap=0.15, options={"on_busy": "takeover"})
    losers: list[Running] = []
    gate = lab.folder / "gate"
    for number in range(many - 1):
        machine = lab.session("s", f"contender {number}").machine
        waits_at = (35 * (number + 1), str(gate))
        losers.append(loser := lab.start(changed(search, machine=machine, gate=waits_at)))
        # The next session comes at any moment: during a trial, a send, or between them.
        loser.wait_for(lambda: len(loser.acknowledged()) > 2, "a few records")
    search = changed(search, machine=lab.session("s", "winner").machine, nap=0.01)
    contenders = [*losers, winner := lab.start(search)]
    winner.wait_for(winner.acknowledged, "its claim")
    gate.touch()
    assert endings(contenders) == ["SearchTakenOverError"] * len(losers) + [""]
    for loser in losers:
        assert kept_trials(loser), "the trial that it could not record"
    resume_losers(lab, losers)
    judge(lab, search)
    assert winner.outcome["error"] is None


@pytest.mark.parametrize(
    ("lab", "phase", "resume"),
    [
        pytest.param("folder", "train", "when it has ended"),
        pytest.param("drive", "send", "while the other runs"),
        pytest.param("folder", "send", "while the other runs", marks=LONG),
        pytest.param("folder", "train", "while the other runs", marks=LONG),
        pytest.param("drive", "send", "when it has ended", marks=LONG),
        pytest.param("drive", "train", "when it has ended", marks=LONG),
    ],
    indirect=["lab"],
)
def test_a_session_that_was_paused_past_its_lease(lab: Lab, phase: str, resume: str) -> None:
    """A session paused in a write or trial and overtaken stops, and its results are kept."""
    search, gate = lab.session("s", max_evals=100, nap=0.03), lab.folder / "gate"
    paused = lab.start(changed(search, nap=0.06, gate=(90, str(gate))))  # it does not end before
    paused.wait_for(
        lambda: len(paused.acknowledged()) > 3 and phase in paused.under_way, f"a {phase}"
    )
    paused.signal(signal.SIGSTOP)
    other = lab.start(changed(search, machine=lab.session("s", "second").machine))
    if resume == "when it has ended":
        assert other.end() == 0, other.output
    else:
        other.wait_for(lambda: "train" in other.under_way, "the takeover")
    gate.touch()
    paused.signal(signal.SIGCONT)
    assert endings([paused, other]) == ["SearchTakenOverError", ""]
    assert kept_trials(paused)
    resume_losers(lab, [paused])
    judge(lab, search)


def test_a_write_that_arrives_after_the_takeover(drive_lab: Lab) -> None:
    """A dead owner's late create is in the chain before the claim, or changes nothing."""
    for number in range(2):
        search = drive_lab.session(f"s{number}", max_evals=80, nap=0.05)
        dead = drive_lab.start(search)
        dead.wait_for(lambda: len(dead.acknowledged()) > 3, "a few records")  # noqa: B023 - waits here
        drive_lab.place.emulator.faults.add(
            "late", api="drive.files.create", seconds=0.2 + 0.6 * number, times=1
        )
        dead.wait_for(
            lambda: any(rule["struck"] for rule in drive_lab.place.emulator.faults.rules), "a send"
        )
        dead.kill()
        options = {"on_busy": "takeover", "max_attempts": 9}
        second = drive_lab.session(search.name, "second").machine
        drive_lab.finish(changed(search, machine=second, options=options))
        judge(drive_lab, search)


@pytest.mark.parametrize(("lab", "many"), CASES, indirect=["lab"])
def test_first_creation_converges(lab: Lab, many: int) -> None:
    """Concurrent first sessions, with lagging listings, leave one search like plain hyperopt's."""
    warm = lab.session("warm", max_evals=1)
    lab.finish(warm)  # creates the store's folder
    for number in range(1 if many == 2 else 3):
        if lab.place.emulator is not None:
            lab.place.emulator.faults.add("list_lag", seconds=LIST_LAG)
        constants = LEASE | {"DUPLICATE_CHECKS": (0.2, LIST_LAG, 2 * LIST_LAG)}
        search = lab.session(f"s{number}", max_evals=60, nap=0.1, constants=constants)
        contenders = [
            lab.start(changed(search, machine=lab.session("s", f"contender {n}").machine))
            for n in range(many)
        ]
        ends = endings(contenders)
        assert ends.count("") == 1, ends
        output = [contender.outcome for contender in contenders]
        assert set(ends) <= {"", "SearchBusyError", "SearchTakenOverError"}, output
        lab.place.behave()
        resume_losers(lab, overtaken(contenders))
        judge(lab, search)


def test_the_folder_of_all_searches_is_made_once(drive_lab: Lab) -> None:
    """Two sessions that start at once in an empty Drive leave searches that are both found."""
    emulator = drive_lab.place.emulator
    emulator.faults.add("list_lag", seconds=LIST_LAG)
    contenders = [
        drive_lab.start(drive_lab.session(name, name, max_evals=4)) for name in ("one", "two")
    ]
    assert endings(contenders) == ["", ""]
    drive_lab.place.behave()
    for contender in contenders:
        judge(drive_lab, contender.session)


def test_processes_of_one_machine_in_an_empty_drive(drive_lab: Lab) -> None:
    """Processes that may each create the store's folder do not take a live one for dead."""
    drive_lab.place.emulator.faults.add("list_lag", seconds=LIST_LAG)
    search = drive_lab.session("s", max_evals=40, nap=0.12)
    contenders = [drive_lab.start(search) for _ in range(5)]
    ends = endings(contenders)
    assert ends.count("") == 1, ends
    drive_lab.place.behave()
    resume_losers(drive_lab, overtaken(contenders))
    judge(drive_lab, search)
