"""The guards in conftest.py: no network but loopback, and a fresh user's environment."""

import os
import socket
from pathlib import Path

import pytest

from tests.conftest import SLOWEST_FILES, TESTS


def test_nothing_leaves_this_machine(only_loopback: list[str]) -> None:
    """A connection to another machine fails with an OSError, and its host is recorded."""
    with socket.socket() as outgoing, pytest.raises(OSError, match="this machine only"):
        outgoing.connect(("192.0.2.1", 80))
    with pytest.raises(OSError, match="this machine only"):
        socket.create_connection(("example.invalid", 80))
    assert only_loopback == ["192.0.2.1", "example.invalid"]
    only_loopback.clear()


def test_loopback_is_reachable() -> None:
    """Servers that a test starts itself can be reached by name and by number."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            socket.create_connection((host, port)).close()


def test_the_user_is_new() -> None:
    """The home folder is empty, and no variable of the package is set."""
    assert list(Path.home().iterdir()) == []
    assert not [name for name in os.environ if name.startswith("COLAB_DRIVE_TUNER_")]


def test_the_files_that_run_first_exist() -> None:
    """A renamed file keeps its place in the order of the tests."""
    assert [name for name in SLOWEST_FILES if not (TESTS / name).exists()] == []
