"""The store contract in a process's memory, and stores kept apart by their names."""

import uuid
from pathlib import Path

import pytest

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.rerun.rerunner import Rerunner
from colab_drive_tuner.rerun.runners.local import LocalRunner
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.memory import MemoryStore
from colab_drive_tuner.troubleshoot.clean import find_leftovers
from colab_drive_tuner.troubleshoot.doctor import examine
from tests.fakes.bare_machine import bare_machine  # noqa: F401 - a fixture
from tests.store.contract import Reopen, StoreContract
from tests.store.searches import run_search, trial_points


class TestContract(StoreContract):
    @pytest.fixture
    def reopen(self) -> Reopen:
        name = uuid.uuid4().hex
        return lambda: MemoryStore(name)


def test_stores_of_two_names_are_two_stores() -> None:
    """Memory stores of two names share no entries.

    Their locations contain more than the name, so that another process never has the same.
    """
    one, two = open_store("memory:one-of-two"), open_store("memory:two-of-two")
    one.create(*one.reserve(1), None, name="s", parent=one.root)
    assert [len(store.list(store.root)) for store in (one, two)] == [1, 0]
    assert one.location != two.location
    assert one.location != "memory:one-of-two"


def test_a_search_in_memory_resumes_and_is_examined(
    bare_machine: object,  # noqa: F811 - the fixture
) -> None:
    """Doctor says that the store ends with its process; clean finds no leftovers."""
    spec = f"memory:{uuid.uuid4().hex}"
    run_search(spec, "a", 3)
    run_search(spec, "a", 5)
    assert len(trial_points(spec, "a")) == 5
    found = {finding.about: finding for finding in examine(spec)}
    assert "ends with its process" in found["store"].text
    assert "not kept in Google Drive" in found["credentials"].text
    assert "no limit is known" in found["quota"].text
    assert found["search 'a'"].level == "ok"
    assert find_leftovers(store=spec) == []
    store = open_store(spec)
    (entry,) = store.list(store.root)
    store.trash(entry.id)
    assert store.trash_location == "the memory of this process"


def test_a_rerun_cannot_see_a_store_in_memory(tmp_path: Path) -> None:
    """A rerun is another process: a store in memory is refused before it starts."""
    program = tmp_path / "train.py"
    program.write_text("open('begun', 'w')")
    with pytest.raises(UsageError, match="exists only in this process"):
        Rerunner(open_store("memory:x"), str(program), "s", LocalRunner()).once()
    assert not program.with_name("begun").exists()
