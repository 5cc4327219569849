"""Clients against the emulator, whose pauses between attempts take no time."""

import pytest

from colab_drive_tuner.credentials import FixedToken
from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.drive.endpoint import find_endpoint
from colab_drive_tuner.drive.retry import RetryPolicy


class Clock:
    """A monotonic clock that only pauses move."""

    def __init__(self):
        self.time = 0.0
        self.pauses = []

    def __call__(self):
        return self.time

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.time += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def client(drive_emulator, clock):
    policy = RetryPolicy(60.0, sleep=clock.sleep, clock=clock)
    client = DriveClient(FixedToken(drive_emulator.token), endpoint=find_endpoint(), policy=policy)
    yield client
    client.close()


@pytest.fixture
def root(client):
    return client.create_folder("tests", parent="root").id
