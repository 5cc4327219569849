"""Labs in which sessions run; sessions still running at the end of a test are killed."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.harness import Lab
from tests.torture.places import PLACES


@contextlib.contextmanager
def opened(kind: str, folder: Path) -> Iterator[Lab]:
    """Open a lab with a store of that kind, without faults until `place.misbehave()`."""
    with PLACES[kind](folder, True, 11) as place:
        place.behave()
        lab = Lab(place, folder)
        yield lab
        lab.close()


@pytest.fixture
def folder_lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab whose store is a folder."""
    with opened("folder", tmp_path) as lab:
        yield lab


@pytest.fixture
def drive_lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab whose store is a Drive without faults, until `place.misbehave()`."""
    with opened("drive", tmp_path) as lab:
        yield lab


@pytest.fixture(params=PLACES)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A lab for each kind of store in turn."""
    with opened(request.param, tmp_path) as lab:
        yield lab
