"""Labs in which sessions run; sessions still running at the end of a test are killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.harness import Lab
from tests.torture.places import drive_place, folder_place


@pytest.fixture
def folder_lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab whose store is a folder."""
    lab = Lab(folder_place(tmp_path / "store"), tmp_path)
    yield lab
    lab.close()


@pytest.fixture
def drive_lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab whose store is a Drive without faults, until `place.misbehave()`."""
    with drive_place(faults=True, seed=11) as place:
        place.behave()
        lab = Lab(place, tmp_path)
        yield lab
        lab.close()


@pytest.fixture(params=["folder", "drive"])
def lab(request: pytest.FixtureRequest) -> Lab:
    """Both labs, one after the other."""
    found: Lab = request.getfixturevalue(f"{request.param}_lab")
    return found
