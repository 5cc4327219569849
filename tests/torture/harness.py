"""Harness that starts sessions as processes, kills them and checks the search afterwards."""

import itertools
import json
import multiprocessing
import os
import pickle
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.torture.phases import PHASES, acknowledged_in, phases_under_way, times_entered
from tests.torture.places import Place
from tests.torture.session import Session, changed, check, plain, run

LEASE = {"STALE_SECONDS": 0.8, "BEAT_SECONDS": 0.2, "SENDER_SHARE": 0.05}
"""Short times in seconds, and a sender that writes more records than usual for so few trials."""
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.torture.session", "tests.torture.run_check"])
_PATIENCE = 400.0
"""Seconds after which a session that should have ended counts as hanging."""


class Running:
    """A session in a separate process."""

    def __init__(self, work: Callable[[Session], None], session: Session) -> None:
        self.session = session
        # The process redirects its standard streams to its log before anything else.
        self._process = SERVER.Process(target=work, args=(session,), daemon=True)
        self._process.start()
        self.begun = time.monotonic()

    @property
    def log(self) -> Path:
        """The folder of the session's files."""
        return Path(self.session.log)

    @property
    def output(self) -> str:
        """The session's printed output."""
        path = self.log / "output"
        return path.read_text() if path.exists() else ""

    @property
    def outcome(self) -> dict[str, Any]:
        """The session's own report: {"error": class name or None, "says": message}."""
        outcome: dict[str, Any] = json.loads((self.log / "outcome.json").read_text())
        return outcome

    @property
    def alive(self) -> bool:
        """Whether the process exists, running or stopped by a signal."""
        return self._process.is_alive()

    @property
    def under_way(self) -> list[str]:
        """The phases that the session is in, or was in when it died."""
        return phases_under_way(self.log / "phases")

    @property
    def trained(self) -> int:
        """The number of trials that the session has begun."""
        return times_entered(self.log / "phases", "train")

    def signal(self, number: int) -> None:
        """Send the session a signal."""
        pid = self._process.pid
        assert pid is not None
        if self.alive:
            os.kill(pid, number)

    def wait(self, seconds: float = _PATIENCE) -> int | None:
        """Return the exit status, negative for a signal; None if the session still runs."""
        self._process.join(max(0.0, seconds))
        return self._process.exitcode

    def end(self) -> int:
        """Wait for the exit status; kill a session that hangs, and fail the test."""
        status = self.wait()
        if status is None:
            self.kill()
            raise AssertionError(f"the session hangs; its output: {self.output}")
        return status

    def kill(self) -> int:
        """Send SIGKILL and return the exit status."""
        self.signal(signal.SIGKILL)
        self._process.join()
        status = self._process.exitcode
        assert status is not None
        return status

    def wait_for(self, done: Callable[[], object], what: str, seconds: float = 200.0) -> None:
        """Wait until `done()`; the session must not end before."""
        deadline = time.monotonic() + seconds
        while not done():
            assert self.alive, f"it ended before {what}; its output: {self.output}"
            assert time.monotonic() < deadline, f"no {what} in {seconds:.0f} s: {self.output}"
            time.sleep(0.005)

    def acknowledged(self) -> list[tuple[int, str]]:
        """Return position and sha256 of the records acknowledged so far."""
        return acknowledged_in(self.log / "acknowledged")


class Lab:
    """A store, simulated machines, and the sessions that run on them."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place, self.folder = place, folder
        self._numbers = itertools.count()
        self._sessions: list[Running] = []

    def session(self, name: str, machine: str = "first", **values: Any) -> Session:
        """Return a session on one of the machines, by default with short leases."""
        values.setdefault("constants", dict(LEASE))
        home = self.folder / "machines" / machine
        home.mkdir(parents=True, exist_ok=True)
        return Session(name, self.place.variables, str(home), "", **values)

    def start(self, session: Session, work: Callable[[Session], None] = run) -> Running:
        """Start a session."""
        log = self.folder / "sessions" / f"{next(self._numbers):04d}"
        log.mkdir(parents=True)
        running = Running(work, changed(session, log=str(log)))
        if work is run:
            self._sessions.append(running)
        return running

    def finish(self, session: Session) -> Running:
        """Run a session and assert that it succeeds."""
        running = self.start(session)
        status = running.end()
        assert status == 0, f"exit status {status}: {_complaint(running)}"
        return running

    def found(self, session: Session) -> dict[str, Any]:
        """Remove the store's faults and return what another process reads."""
        self.place.behave()
        stranger = changed(session, machine=str(self.folder / "stranger"))
        reader = self.start(stranger, check)
        assert reader.end() == 0, reader.output
        found: dict[str, Any] = pickle.loads((reader.log / "found.pkl").read_bytes())
        return found

    def judge(self, session: Session, *, taken_over: bool = False) -> dict[str, Any]:
        """Assert the guarantees for a finished search; return what was read."""
        found = self.found(session)
        expected = plain(session.algo, session.max_evals, session.seed)
        assert found["tids"] == list(range(session.max_evals)), f"not each once: {found}"
        assert found["points"] == expected, "equal to plain hyperopt"
        for running in self.sessions_of(session.name):
            for pos, sha in running.acknowledged():
                assert (pos, sha) in found["records"], (
                    f"record {pos} was acknowledged to {running.log.name} and is not in the chain"
                )
        assert not found["in the way"], f"files in the way: {found['in the way']}"
        if self.sessions_of(session.name)[-1].acknowledged():
            # If the last kill came after the last trial, the last session had nothing to do.
            assert not found["holder"], "it was released"
            assert found["copy"] == expected, "trials.pkl holds it, too"
        # The working directory of a session is its log.
        known = {"phases", "acknowledged", "output", "outcome.json", "traceback"}
        for running in self.sessions_of(session.name):
            assert {path.name for path in running.log.iterdir()} <= known
        assert taken_over or not self.complaints(session.name)
        return found

    def sessions_of(self, name: str) -> list[Running]:
        """Return all sessions of a search so far."""
        return [running for running in self._sessions if running.session.name == name]

    def complaints(self, name: str) -> list[str]:
        """Return the tracebacks that sessions printed."""
        complaints = [_complaint(running) for running in self.sessions_of(name)]
        return [text for text in complaints if "Traceback" in text]

    def close(self) -> None:
        """Kill the sessions that still run."""
        for running in self._sessions:
            if running.alive:
                running.kill()


def _complaint(running: Running) -> str:
    outcome = running.log / "outcome.json"
    return running.output + (outcome.read_text() if outcome.exists() else "")


@dataclass
class Report:
    """Statistics of the phases in which the kills happened."""

    kills: int = 0
    searches: int = 0
    sessions: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    """Number of kills in each phase."""
    between: int = 0
    """Number of kills outside all phases."""
    seconds: float = 0.0

    @property
    def missed(self) -> list[str]:
        """Return the phases without a kill."""
        return [phase for phase in PHASES if not self.hits[phase]]

    def check_progress(self, kills: int) -> None:
        """Fail after so many kills or searches that the missed phases will never be hit."""
        assert max(self.kills - kills, self.searches) < kills + 60, (
            f"no kill fell in {self.missed} in {self.kills} kills and {self.searches} searches"
        )

    def __str__(self) -> str:
        lines = [
            (
                f"{self.kills} kills in {self.searches} searches, {self.sessions} sessions, "
                f"{self.seconds:.0f} s; kills by the phases under way:"
            )
        ]
        lines += [f"  {phase:12} {self.hits[phase]:5}" for phase in PHASES]
        return "\n".join([*lines, f"  {'(none)':12} {self.between:5}"])


def kill_anywhere(
    lab: Lab,
    algo: str,
    *,
    kills: int,
    max_evals: int,
    rng: random.Random,
    machines: int = 2,
    tell: Callable[[str], None] = lambda text: None,
) -> Report:
    """Run and judge searches under kills until `kills` happened and every phase was hit.

    Two of three kills come at random times within the duration of a whole run; the others are aimed
    at a phase, at first those missed so far.
    """
    report, begun = Report(), time.monotonic()
    calm = lab.session(f"{algo}-calm", algo=algo, max_evals=max_evals, nap=0.002)
    lab.found(calm)  # the first process takes longer to start
    started = time.monotonic()
    lab.finish(calm)
    whole = time.monotonic() - started
    uninterrupted = lab.judge(calm)
    while report.kills < kills or report.missed:
        report.check_progress(kills)
        report.searches += 1
        lab.place.misbehave()
        search = changed(calm, name=f"{algo}-{report.searches}")
        enough = max(6, kills // 3)
        for number in itertools.count():
            session = _drawn(search, rng, lab, machines)
            plan = _plan(report, rng) if rng.random() < 0.4 or report.kills >= kills else None
            session = changed(session, plan=plan if number < enough else None)
            running = lab.start(session)
            report.sessions += 1
            if plan is None and number < enough:
                running.wait(rng.uniform(0.0, whole * 0.8))
                running.signal(signal.SIGKILL)
            status = running.end()
            if status == -signal.SIGKILL:
                _count(report, running.under_way)
                if lab.place.faulty and rng.random() < 0.05:
                    lab.place.outage(rng.uniform(0.1, 0.8))
            elif status == 0:
                break
            else:
                raise AssertionError(f"exit status {status}: {_complaint(running)}")
        found = lab.judge(search)
        assert found["points"] == uninterrupted["points"]
        tell(f"{search.name}: {report.kills} kills, missed so far: {report.missed}")
    report.seconds = time.monotonic() - begun
    return report


def _count(report: Report, under_way: list[str]) -> None:
    report.kills += 1
    report.hits.update(under_way)
    report.between += not under_way


def _drawn(search: Session, rng: random.Random, lab: Lab, machines: int) -> Session:
    """Draw a session of the search: machine, public function and block sizes."""
    machine = rng.choice(["m0", "m0", "m0", *(f"m{n}" for n in range(machines))])
    home = lab.folder / "machines" / machine
    home.mkdir(parents=True, exist_ok=True)
    return changed(
        search,
        machine=str(home),
        by=rng.choice(["resume_search", "fmin"]),
        options={"max_attempts": sys.maxsize},
        constants=LEASE
        | {
            "SNAPSHOT_RECORDS": rng.choice([2, 5, 64]),
            "EXPORT_SECONDS": rng.choice([0.2, 300.0]),
            "ID_BLOCK": rng.choice([2, 3, 128]),
            "ID_RESERVE": rng.choice([1, 40]),
        },
    )


def _plan(report: Report, rng: random.Random) -> tuple[str, str, int, float]:
    phase = rng.choice(report.missed or PHASES)
    when = rng.choice(["enter", "leave", "inside"])
    entry = 1 if phase in ("open", "claim", "close") else rng.choice([1, 1, 2, 5])
    if phase in report.missed and report.kills > 20:
        when, entry = rng.choice(["enter", "leave"]), 1
    return phase, when, entry, rng.uniform(0.0, 0.004)
