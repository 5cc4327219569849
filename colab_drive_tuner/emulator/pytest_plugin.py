"""The public pytest fixture: `pytest_plugins = ["colab_drive_tuner.emulator.pytest_plugin"]`.

Only projects that name it have it. Loading it imports neither server nor web framework: those come
with the first test that asks for the fixture.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .server import DriveEmulator


@pytest.fixture
def drive_emulator(monkeypatch: pytest.MonkeyPatch) -> "Iterator[DriveEmulator]":
    """An empty Drive in a thread; clients of this package are pointed at it by the environment."""
    from .server import DriveEmulator

    try:
        for needed in ("starlette", "uvicorn"):
            import_module(needed)
    except ImportError as error:
        pytest.fail(
            f"The fixture drive_emulator needs {error.name}: pip install "
            "'colab-drive-tuner[emulator]'.",
            pytrace=False,
        )
    with DriveEmulator() as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        yield emulator
