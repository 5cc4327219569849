"""The public pytest fixture: `pytest_plugins = ["colab_drive_tuner.emulator.pytest_plugin"]`.

Only projects that name the plugin load it. Loading it imports neither the server nor a web
framework: they are imported by the first test that uses the fixture.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .drive_emulator import DriveEmulator


@pytest.fixture
def drive_emulator(monkeypatch: pytest.MonkeyPatch) -> "Iterator[DriveEmulator]":
    """An empty Drive in a thread; environment variables point clients of this package at it."""
    from .drive_emulator import DriveEmulator
    from .server import require_packages

    try:
        require_packages()
    except ModuleNotFoundError as error:
        pytest.fail(str(error), pytrace=False)
    with DriveEmulator() as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        yield emulator
