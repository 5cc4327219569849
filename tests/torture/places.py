"""Stores for the torture tests: a local folder, or a Drive with faults."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from colab_drive_tuner.emulator import DriveEmulator

LIST_LAG = 0.6
"""Maximum lag of listings in seconds; the creation of a search waits longer."""


@dataclass(frozen=True)
class Place:
    """A store that sessions in other processes use."""

    variables: dict[str, str]
    """Environment variables that name the store."""
    emulator: DriveEmulator | None = None
    faulty: bool = False

    def misbehave(self) -> None:
        """Restore the faults that `behave` removed."""
        if self.emulator is None or not self.faulty:
            return
        fault = self.emulator.faults.add
        fault("list_lag", seconds=LIST_LAG)
        fault("latency", seconds=0.004, jitter=0.012)
        # Lost answers: the call took effect. Those of creates test whether a 409 is understood.
        fault("reset", api="drive.files.create", when="after", probability=0.05)
        fault("reset", when="after", probability=0.02)
        fault("reset", when="before", probability=0.02)
        fault("error", status=503, probability=0.02)
        # A create that arrives late: its sender may be dead, and another session the owner.
        fault("late", api="drive.files.create", seconds=0.4, probability=0.03)

    def behave(self) -> None:
        """Remove all faults."""
        if self.emulator is not None:
            self.emulator.faults.clear()

    def outage(self, seconds: float | None = None) -> None:
        """Answer no calls, for `seconds` or until `behave`."""
        assert self.emulator is not None
        self.emulator.faults.add("outage", **({} if seconds is None else {"until": seconds}))


def folder_place(path: Path) -> Place:
    """Return a folder on this machine as the store."""
    return Place({"COLAB_DRIVE_TUNER_STORE": str(path)})


@contextlib.contextmanager
def drive_place(*, faults: bool, seed: int = 0) -> Iterator[Place]:
    """Run an emulated Drive in a separate process as the store."""
    with DriveEmulator(process=True, seed=seed) as emulator:
        place = Place(emulator.environment, emulator, faults)
        place.misbehave()
        yield place


PLACES: dict[str, Callable[[Path, bool, int], contextlib.AbstractContextManager[Place]]] = {
    "folder": lambda folder, _faults, _seed: contextlib.nullcontext(folder_place(folder / "store")),
    "drive": lambda _folder, faults, seed: drive_place(faults=faults, seed=seed),
}
"""Functions that open a store of each kind, given a folder, whether it has faults, and a seed."""
