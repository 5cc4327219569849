"""The memory of a process as a store: the contract, and what its name tells apart."""

import uuid

import pytest

from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.memory import MemoryStore
from tests.store.contract import Reopen, StoreContract


class TestContract(StoreContract):
    @pytest.fixture
    def reopen(self) -> Reopen:
        name = uuid.uuid4().hex
        return lambda: MemoryStore(name)


def test_stores_of_two_names_are_two_stores() -> None:
    """Also by their location, which a name of another process never equals."""
    one, two = open_store("memory:one-of-two"), open_store("memory:two-of-two")
    one.create(*one.reserve(1), None, name="s", parent=one.root)
    assert [len(store.list(store.root)) for store in (one, two)] == [1, 0]
    assert one.location != two.location
    assert one.location != "memory:one-of-two"
