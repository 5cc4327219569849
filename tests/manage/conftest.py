"""Stores for the tests of managing searches: folders, memory, and Drives of two accounts."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.drive.requests.endpoint import emulator_authorizer, find_endpoint
from colab_drive_tuner.store.drive import DriveStore
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.store.memory import MemoryStore
from colab_drive_tuner.store.protocol import Store

Opener = Callable[[str], Store]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `fsync` do nothing: these tests simulate no power cuts."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """A function that opens a store by kind and name: `folder:a`, `memory:b`, `account:c`."""

    def open_one(place: str) -> Store:
        kind, _, word = place.partition(":")
        if kind == "folder":
            return FolderStore(tmp_path / word)
        if kind == "memory":
            return MemoryStore(f"{tmp_path}/{word}")
        emulator = request.getfixturevalue("drive_emulator")
        emulator.allow(kind, f"{kind}@example.com")
        endpoint = find_endpoint()
        client = DriveClient(emulator_authorizer(kind, endpoint.origin), endpoint=endpoint)
        return DriveStore(client, word)

    return open_one
