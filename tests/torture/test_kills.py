"""SIGKILL at any time: no acknowledged record is lost, and the result is as uninterrupted."""

import random
from pathlib import Path

import pytest

from tests.torture.harness import Lab, Report, kill_anywhere
from tests.torture.phases import PHASES
from tests.torture.places import PLACES, drive_place


@pytest.mark.parametrize("algo", ["tpe", "anneal"])
@pytest.mark.parametrize("kind", [kind for kind in PLACES if kind != "drive"])
def test_kills_without_faults(kind: str, algo: str, tmp_path: Path) -> None:
    """After kills in every phase on two machines, all trials equal plain hyperopt's."""
    with PLACES[kind](tmp_path, False, 0) as place:
        lab = Lab(place, tmp_path)
        kill_anywhere(lab, algo, kills=12, max_evals=24, rng=random.Random(f"{algo} 1"))


@pytest.mark.parametrize("counts", [{"kills": 132}, {"kills": 12, "searches": 72}])
def test_kills_that_miss_a_phase_end(counts: dict[str, int]) -> None:
    """A phase that no session enters fails the test by its name, even without more kills."""
    report = Report(**counts)
    report.hits.update(set(PHASES) - {"hint"})
    with pytest.raises(AssertionError, match=r"no kill fell in \['hint'\]"):
        report.check_progress(12)
    Report(kills=12, searches=20).check_progress(12)


def test_kills_on_a_faulty_drive(tmp_path: Path) -> None:
    """The search is right with lagging listings, lost or late answers, errors and outages."""
    with drive_place(faults=True, seed=5) as place:
        kill_anywhere(
            Lab(place, tmp_path), "rand", kills=6, max_evals=8, rng=random.Random(2), machines=1
        )


@pytest.mark.long
@pytest.mark.parametrize("algo", ["rand", "tpe", "anneal"])
@pytest.mark.parametrize("faults", [False, True], ids=["calm", "faulty"])
@pytest.mark.timeout(1800)
def test_hundreds_of_kills_on_drive(algo: str, faults: bool, tmp_path: Path) -> None:
    """After 100 kills on Drive, with and without faults, all trials equal plain hyperopt's.

    The 26 trials go past TPE's 20 random ones.
    """
    with drive_place(faults=faults, seed=7) as place:
        lab = Lab(place, tmp_path)
        kill_anywhere(lab, algo, kills=100, max_evals=26, rng=random.Random(f"{algo} {faults}"))


@pytest.mark.long
@pytest.mark.parametrize("algo", ["rand", "tpe", "anneal"])
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", [kind for kind in PLACES if kind != "drive"])
def test_hundreds_of_kills_without_faults(kind: str, algo: str, tmp_path: Path) -> None:
    """After 150 kills on three machines all trials equal plain hyperopt's.

    The 26 trials go past TPE's 20 random ones.
    """
    with PLACES[kind](tmp_path, False, 0) as place:
        lab = Lab(place, tmp_path)
        kill_anywhere(lab, algo, kills=150, max_evals=26, rng=random.Random(algo), machines=3)
