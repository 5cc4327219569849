"""Fixtures of the emulator: one per test module, with a new account for each test."""

import contextlib
import itertools
from collections.abc import Iterator

import pytest

from colab_drive_tuner.emulator import DriveEmulator
from tests.emulator.raw_client import RawClient, fresh_account


@pytest.fixture(scope="module")
def shared_emulator() -> Iterator[DriveEmulator]:
    with DriveEmulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(shared_emulator) -> Iterator[DriveEmulator]:
    """The module's emulator; after each test without faults, and with the real time."""
    yield shared_emulator
    shared_emulator.faults.clear()
    shared_emulator.call("POST", "clock", {"offset": 0})


@pytest.fixture
def person(emulator):
    """A function that creates an account and returns an HTTP session of it."""
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:

        def make(account: str = "", **grant) -> RawClient:
            account = account or fresh_account()
            token = f"token-{account}-{next(numbers)}-{grant.get('client', '')}"
            emulator.allow(token, account, **grant)
            return stack.enter_context(RawClient(emulator.url, token, account))

        yield make


@pytest.fixture
def me(person) -> RawClient:
    return person()
