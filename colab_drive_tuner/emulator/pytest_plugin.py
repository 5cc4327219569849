"""The public pytest fixture: `pytest_plugins = ["colab_drive_tuner.emulator.pytest_plugin"]`."""

from collections.abc import Iterator

import pytest

from .server import DriveEmulator


@pytest.fixture
def drive_emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[DriveEmulator]:
    """An empty Drive in a thread; clients of this package are pointed at it by the environment."""
    with DriveEmulator() as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        yield emulator
