"""Clients against one emulator, each test as a new account, with pauses that take no time."""

import itertools
import threading

import pytest

from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.drive.endpoint import find_endpoint
from colab_drive_tuner.drive.retry import RetryPolicy
from colab_drive_tuner.drive.signing import at_emulator
from colab_drive_tuner.emulator import DriveEmulator

_numbers = itertools.count(1)


class Clock(threading.local):
    """A monotonic clock that only pauses move; each thread has one, as pauses pass side by side."""

    def __init__(self):
        self.time = 0.0
        self.pauses = []

    def __call__(self):
        return self.time

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.time += seconds


@pytest.fixture(scope="session")
def running_emulator():
    with DriveEmulator() as emulator:
        yield emulator


@pytest.fixture
def account():
    """The account of this test alone: its Drive is empty."""
    return f"user{next(_numbers)}@example.com"


@pytest.fixture
def drive_emulator(running_emulator, account, monkeypatch):
    token = f"token-of-{account}"
    running_emulator.faults.clear()
    running_emulator.allow(token, account, refresh_token=token)
    running_emulator.clear_log()
    monkeypatch.setenv("DRIVE_EMULATOR_HOST", running_emulator.url)
    monkeypatch.setenv("DRIVE_EMULATOR_TOKEN", token)
    yield running_emulator
    running_emulator.faults.clear()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def patience():
    """How long a client tries one call, in seconds of its clock."""
    return 60.0


@pytest.fixture
def client(drive_emulator, clock, patience):
    endpoint = find_endpoint()
    policy = RetryPolicy(patience, sleep=clock.sleep, clock=clock)
    signer = at_emulator(endpoint.emulator_token, endpoint.origin)
    client = DriveClient(signer, endpoint=endpoint, policy=policy)
    yield client
    client.close()


@pytest.fixture
def root(client):
    return client.create_folder("tests", parent="root").id
