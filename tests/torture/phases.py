"""Log of the phases that a session is in, readable after a SIGKILL.

The package has no hooks for tests: its functions are wrapped here, in the tested process. Each
phase has a slot in a file, written with `os.pwrite` as it is entered and left; what reached the
kernel survives the process. Acknowledged records are logged the same way.
"""

import functools
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PHASES = (
    "open",
    "claim",
    "suggest",
    "train",
    "send",
    "acknowledge",
    "snapshot",
    "hint",
    "export",
    "close",
)
_SLOT = struct.Struct("<II")


def phases_under_way(path: Path) -> list[str]:
    """Return the phases that a dead process was in, from its log at `path`."""
    content = path.read_bytes() if path.exists() else b""
    depths = [depth for depth, _entered in _SLOT.iter_unpack(content)]
    return [phase for phase, depth in zip(PHASES, depths, strict=False) if depth]


def times_entered(path: Path, phase: str) -> int:
    """Return how often the process entered the phase, from its log at `path`."""
    content = path.read_bytes() if path.exists() else b""
    entered = [entered for _depth, entered in _SLOT.iter_unpack(content)]
    return dict(zip(PHASES, entered, strict=False)).get(phase, 0)


def acknowledged_in(path: Path) -> list[tuple[int, str]]:
    """Return position and sha256 of the acknowledged records; skip torn lines."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = (line.split() for line in lines if line.endswith("\n"))
    return [(int(pos), sha) for pos, sha in whole]


class PhaseLog:
    """The phase log of one session; kills the session where `plan` says so.

    A plan is (phase, "enter" | "leave" | "inside", which entry of it, seconds of delay inside).
    """

    def __init__(self, folder: Path, plan: tuple[str, str, int, float] | None) -> None:
        self._file = os.open(folder / "phases", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.pwrite(self._file, bytes(_SLOT.size * len(PHASES)), 0)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._acknowledged = os.open(folder / "acknowledged", flags)
        self._slots = {phase: [0, 0] for phase in PHASES}
        self._lock = threading.Lock()
        self._plan = plan

    def enter(self, phase: str) -> None:
        """Record that the phase begins."""
        self._write(phase, 1)
        self._strike(phase, "enter")

    def leave(self, phase: str) -> None:
        """Record that the phase ends."""
        self._strike(phase, "leave")
        self._write(phase, -1)

    @contextmanager
    def within(self, phase: str) -> Iterator[None]:
        """Record the phase around a block."""
        self.enter(phase)
        try:
            yield
        finally:
            self.leave(phase)

    def wrap(self, owner: Any, name: str, phase: str) -> None:
        """Record `phase` around each call of `owner.name`."""
        inner = getattr(owner, name)

        @functools.wraps(inner)
        def within(*args: Any, **options: Any) -> Any:
            with self.within(phase):
                return inner(*args, **options)

        setattr(owner, name, within)

    def acknowledge(self, pos: int, sha: str) -> None:
        """Record the acknowledgement of a record."""
        os.write(self._acknowledged, f"{pos} {sha}\n".encode())

    def _write(self, phase: str, step: int) -> None:
        with self._lock:
            slot = self._slots[phase]
            slot[0] += step
            slot[1] += step > 0
            os.pwrite(self._file, _SLOT.pack(*slot), _SLOT.size * PHASES.index(phase))

    def _strike(self, phase: str, when: str) -> None:
        if self._plan is None or self._plan[0] != phase or self._slots[phase][1] != self._plan[2]:
            return
        if self._plan[1] == when:
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._plan[1] == "inside" and when == "enter":
            threading.Thread(target=_kill_after, args=(self._plan[3],), daemon=True).start()


def _kill_after(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def instrument(log: PhaseLog) -> None:
    """Wrap the package's functions in this process, so that they log their phases."""
    from colab_drive_tuner.journal import claim_and_takeover, journal, maintenance, reader, writer
    from colab_drive_tuner.journal.spool import spool
    from colab_drive_tuner.search.loop.sequential import Loop
    from colab_drive_tuner.search.trials import stored_trials as trials

    _wrap_opening(log, trials)
    log.wrap(reader.Reader, "refresh", "open")
    log.wrap(journal.Journal, "claim", "claim")
    log.wrap(Loop, "_ask", "suggest")
    log.wrap(spool.SpoolFileWriter, "acknowledge", "acknowledge")
    log.wrap(maintenance, "save_snapshot", "snapshot")
    log.wrap(maintenance.Maintenance, "_export", "export")
    log.wrap(journal.Journal, "close", "close")
    _wrap_sending(log, claim_and_takeover, writer)


def _wrap_opening(log: PhaseLog, trials: Any) -> None:
    """Log opening a store as a phase, and wrap the class of the opened store.

    It is wrapped once, as soon as it is known, whatever its kind.
    """
    inner, wrapped = trials.open_store, set()

    def opening(*args: Any) -> Any:
        with log.within("open"):
            store = inner(*args)
        kind = type(store)
        if kind not in wrapped:
            wrapped.add(kind)
            kind.set_properties = _hinting(log, kind.set_properties)
        return store

    trials.open_store = opening


def _wrap_sending(log: PhaseLog, claim_and_takeover: Any, writer: Any) -> None:
    """Log two phases: sending ends with the answer, acknowledging begins with it."""
    create, advance, claim = (
        writer.create,
        writer.Writer._create_record,
        claim_and_takeover.ClaimAttempt._create_claim,
    )
    acknowledging = threading.local()

    def sending(*args: Any) -> bool:
        with log.within("send"):
            done: bool = create(*args)
        if done:
            log.enter("acknowledge")
            acknowledging.entered = True
        return done

    def advancing(self: Any, frozen: Any, deadline: float | None) -> bool:
        acknowledging.entered = False
        done: bool = advance(self, frozen, deadline)
        if done:
            log.acknowledge(frozen.pos, frozen.sha)
        if acknowledging.entered:
            log.leave("acknowledge")
        return done

    def claiming(self: Any, frozen: Any) -> bool:
        done: bool = claim(self, frozen)
        if done:
            log.acknowledge(frozen.pos, frozen.sha)
        return done

    writer.create, writer.Writer._create_record = sending, advancing
    claim_and_takeover.ClaimAttempt._create_claim = claiming


def _hinting(log: PhaseLog, mark: Callable[..., float]) -> Callable[..., float]:
    def hinting(self: Any, entry_id: str, properties: dict[str, str]) -> float:
        if "cdt_hint" not in properties:
            return mark(self, entry_id, properties)
        with log.within("hint"):
            return mark(self, entry_id, properties)

    return hinting
