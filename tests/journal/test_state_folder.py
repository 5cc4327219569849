"""Damage in this machine's state folder: the check names it, and searches still run."""

import errno
import os
import resource
from pathlib import Path

import pytest

from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.errors import SearchError, StoreError
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.journal.open_searches import unregister
from colab_drive_tuner.journal.spool import spool as spool_module
from colab_drive_tuner.journal.spool.spool import Spool
from colab_drive_tuner.machine import is_this_machine, machine_id, state_folder
from colab_drive_tuner.search.results.read_search import _died_here
from colab_drive_tuner.store.drive import DriveStore
from colab_drive_tuner.troubleshoot.clean.local_leftovers import spools
from colab_drive_tuner.troubleshoot.clean.removal import is_held
from colab_drive_tuner.troubleshoot.doctor.context import CheckContext
from colab_drive_tuner.troubleshoot.doctor.machine_probes import machine_state
from tests.file_damage import empty, put_folder, put_pipe
from tests.journal.faulty_store import append_acknowledged
from tests.journal.list_state import RULES
from tests.search.sample_searches import run_in_fork

NAME = "a search"


def bytes_of_no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00 no text")


def other_words(path: Path) -> None:
    path.write_text("something else entirely\nin two lines\n")


def endless(path: Path) -> None:
    path.write_text("[" * 100_000)


def a_dangling_link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.with_name("nowhere"))


def a_giant(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(1 << 40)  # takes no room on disk


DAMAGES = [
    *(
        bytes_of_no_text,
        empty,
        put_folder,
        other_words,
        endless,
        a_dangling_link,
        put_pipe,
        a_giant,
    ),
]


def problems_here() -> list[str]:
    """Return doctor's warnings about the state folder."""
    return [finding.text for finding in machine_state(CheckContext()) if finding.level == "warning"]


@pytest.fixture
def left(store, machine) -> Path:
    """The spool folder of a killed session, with its notes and a free lock."""
    journal = Journal.open(store, NAME, RULES)
    journal.claim(lambda state: b"", notify=lambda text: None)
    append_acknowledged(journal, 1)
    journal.note_running(7)
    own = journal._own
    own.writer.stop()
    own.maintenance.stop(30.0)
    own.spool.release()
    folder = own.spool.folder
    unregister(folder)
    journal._own = None
    assert problems_here() == []
    assert {path.name for path in folder.iterdir()} >= {"about.txt", "owners", "running", "search"}
    return folder


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["machine", "about.txt", "owners", "running", "search"])
def test_a_damaged_note_is_named_and_the_search_resumes(store, left, name, damage):
    """The check names a damaged note, of any damage; the search resumes and replaces it."""
    path = state_folder() / name if name == "machine" else left / name
    damage(path)
    harmless = damage is empty and name == "owners"  # empty means that nobody claimed
    assert [problem for problem in problems_here() if str(path) in problem] or harmless
    list(spools(store))
    messages: list[str] = []
    journal = Journal.open(store, NAME, RULES, sleep=lambda seconds: None)
    journal.claim(lambda state: b"", on_busy="takeover", notify=messages.append)
    append_acknowledged(journal, 2)
    journal.note_running(8)
    assert Spool(store.location, NAME).last_running() == 8
    journal.close()
    assert Journal.open(store, NAME, RULES).state.items == [1, 2]
    problems = problems_here()
    assert all("has been moved aside" in problem for problem in problems), problems


def test_undamaged_notes_are_read(store, left):
    """Undamaged notes have an effect: otherwise the test of damaged notes would prove nothing."""
    spool = Spool(store.location, NAME)
    claim = Journal.open(store, NAME, RULES)._reader.head.claim
    assert spool.has_claimed(claim.owner)
    assert spool.last_running() == 7
    assert is_this_machine(claim.claimant.machine)
    assert not is_this_machine("another")


@pytest.mark.parametrize("damage", [put_folder, a_dangling_link])
def test_a_lock_that_cannot_be_taken_is_named(store, left, damage):
    """The check and the error name the lock and the remedy.

    It is not moved aside, because a live run may hold one.
    """
    lock = left / "lock"
    damage(lock)
    assert any(str(lock) in problem for problem in problems_here())
    with pytest.raises(SearchError, match="remove it") as raised:
        Journal.open(store, NAME, RULES).claim(lambda state: b"")
    assert str(lock) in str(raised.value)
    list(spools(store))
    assert is_held(store, NAME)
    holder = Journal.open(store, NAME, RULES).holder()
    assert not _died_here(holder), "unknown, so nobody is stopped"
    lock.rmdir() if lock.is_dir() else lock.unlink()
    journal = Journal.open(store, NAME, RULES)
    journal.claim(lambda state: b"", notify=lambda text: None)
    journal.close()


def test_a_disk_that_maps_no_file_notes_no_trial(store, machine, monkeypatch):
    """Some network file systems refuse to map a file: the note is missing, the search goes on."""

    def refuse(*_):
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(spool_module.mmap, "mmap", refuse)
    journal = Journal.open(store, NAME, RULES)
    journal.claim(lambda state: b"", notify=lambda text: None)
    journal.note_running(7)
    journal.note_running(8)
    append_acknowledged(journal, 1)
    journal.close()
    assert Journal.open(store, NAME, RULES).state.items == [1]


def test_a_machine_id_is_made_once(machine):
    """The machine id is made again only if its file is damaged; that file is kept."""
    first = machine_id()
    assert machine_id() == first
    path = state_folder() / "machine"
    path.write_bytes(b"\xff")
    second = machine_id()
    assert second != first
    assert machine_id() == second
    (aside,) = state_folder().glob("machine.damaged-*")
    assert aside.read_bytes() == b"\xff"


def test_a_state_folder_that_cannot_be_made_is_named(machine):
    """The check, and whatever needs the folder, name a state folder that cannot be created."""
    place = Path(os.environ["XDG_STATE_HOME"])
    place.parent.mkdir(parents=True)
    place.write_text("a file")
    with pytest.raises(StoreError, match="XDG_STATE_HOME"):
        machine_id()
    (problem,) = problems_here()
    assert str(place) in problem


@pytest.mark.parametrize("damage", [put_folder, other_words])
def test_a_damaged_spool_folder_is_named(store, left, damage):
    """Something else in place of a search's spool folder, or of the folder of all, is named."""
    strange = left.parent / "0123"
    damage(strange)
    assert any(str(strange) in problem for problem in problems_here())
    list(spools(store))
    away = left.parent.rename(left.parent.with_name("away"))
    left.parent.write_text("a file")
    assert any(str(left.parent) in problem for problem in problems_here())
    with pytest.raises(SearchError, match="remove what is in its way, or set XDG_STATE_HOME"):
        Spool(store.location, NAME)
    assert away.is_dir()


def test_a_damaged_spool_file_is_named(store, left):
    """The check names a damaged spool file before a run moves it aside."""
    spool = Spool(store.location, NAME)
    segment = spool.new_file("epoch")
    segment.add([(b"item", ())])
    segment.close()
    content = segment.path.read_bytes()
    segment.path.write_bytes(content[:-1] + b"x")
    (problem,) = problems_here()
    assert str(segment.path) in problem


def test_doctor_warns_of_damaged_notes(store, left):
    """Doctor warns of a damaged note, and reports undamaged ones as ok."""
    assert [finding.level for finding in machine_state(CheckContext())] == ["ok"]
    (left / "owners").write_bytes(b"\xff")
    (finding,) = machine_state(CheckContext())
    assert finding.level == "warning"
    assert str(left / "owners") in finding.text


def test_a_full_disk_keeps_no_search_from_running(machine, drive_emulator):
    """If the state folder takes no byte, a message says so, and Drive gets every item."""

    def run_twice() -> None:
        store = DriveStore(DriveClient.connect())
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        messages: list[str] = []
        for value in (1, 2):
            journal = Journal.open(store, NAME, RULES)
            journal.claim(lambda state: b"", notify=messages.append)
            journal.note_running(value)
            append_acknowledged(journal, value)
            journal.close()
        assert len(messages) == 2
        assert all("is lost if this process dies" in text for text in messages)

    assert run_in_fork(run_twice) == 0
    assert Journal.open(DriveStore(DriveClient.connect()), NAME, RULES).state.items == [1, 2]
