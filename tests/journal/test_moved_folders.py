"""Search folders that a user renamed, moved, trashed or copied on Drive's web page."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.emulator import DriveEmulator
from colab_drive_tuner.errors import SearchDamagedError, SearchFolderError, SearchNotFoundError
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.journal.folder.properties import NAMED, Property
from colab_drive_tuner.manage.copy_search import copy_search
from colab_drive_tuner.manage.naming import remove_search, rename_search
from colab_drive_tuner.manage.restore_history import restore_search
from colab_drive_tuner.rerun.runs import read_rerun_status
from colab_drive_tuner.search.results.read_search import read_search, read_status
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.store.drive import DEFAULT_FOLDER, DriveStore
from tests.journal.list_state import RULES, item
from tests.journal.test_folder import create_in
from tests.search.sample_searches import SPACE, sample_objective

NAME = "a search"


@dataclass
class Drive:
    """Changes that a user can make to files and folders on Drive's web page."""

    client: DriveClient

    def change(self, file_id: str, body: dict[str, Any], **options: Any) -> None:
        request = self.client._calls.files.update(fileId=file_id, body=body, **options)
        self.client._calls.run(request, "a change by hand", dict)

    def rename(self, file_id: str, name: str) -> None:
        self.change(file_id, {"name": name})

    def trash(self, file_id: str) -> None:
        self.change(file_id, {"trashed": True})

    def restore(self, file_id: str) -> None:
        self.change(file_id, {"trashed": False})

    def move(self, file_id: str, parent: str) -> None:
        old = ",".join(self.client.get(file_id).parents)
        self.change(file_id, {}, addParents=parent, removeParents=old)

    def delete(self, file_id: str) -> None:
        request = self.client._calls.files.delete(fileId=file_id)
        self.client._calls.policy.run(
            lambda: self.client._calls.transport.send(request, "a deletion"), "a deletion"
        )

    def copy(self, file_id: str, name: str = NAME) -> str:
        """Create another folder with the same properties, as scripts that copy folders do."""
        old = self.client.get(file_id)
        made = self.client.create_folder(
            name, parent=old.parents[0], properties=dict(old.properties)
        )
        return made.id


@pytest.fixture
def drive(drive_emulator: DriveEmulator) -> Drive:
    return Drive(DriveClient.connect())


@pytest.fixture
def run(drive: Drive, machine: Callable[[str], None]) -> Callable[..., str]:
    """A function that runs one session, records the values and returns the folder's id."""

    def run_once(
        *values: object, name: str = NAME, folder: str = DEFAULT_FOLDER, **how: Any
    ) -> str:
        messages: list[str] = []
        store = DriveStore(drive.client, folder)
        journal = Journal.open(store, name, RULES, sleep=lambda seconds: None)
        journal.claim(lambda state: b"", notify=messages.append, **how)
        for value in values:
            journal.append(item(value), durable=True)
        folder_id = journal.folder
        journal.close()
        run_once.messages = messages
        return folder_id

    return run_once


def recorded(drive: Drive, name: str = NAME) -> list[Any]:
    """Return the items that any reader finds under the name."""
    items: list[Any] = Journal.open(DriveStore(drive.client), name, RULES).state.items
    return items


MACHINES = pytest.mark.parametrize("where", ["first", "second"])
"""The machine that ran the search, which has noted its folder, and another machine."""


@MACHINES
def test_a_trashed_search_is_not_begun_anew(drive, run, machine, where):
    """A trashed search is an error that links to it; once restored, it resumes."""
    folder = run(1)
    drive.trash(folder)
    machine(where)
    with pytest.raises(SearchFolderError, match=r"in the trash.*restore.*restart=True") as raised:
        run(2)
    assert DriveStore(drive.client).url(folder) in str(raised.value)
    drive.restore(folder)
    assert run(2) == folder
    assert recorded(drive) == [1, 2]


@MACHINES
def test_a_renamed_search_resumes_by_its_new_name_only(drive, run, machine, where):
    """The old name of a search is an error that tells the new one, until it is renamed back."""
    folder = run(1)
    drive.rename(folder, "new name")
    machine(where)
    with pytest.raises(SearchFolderError, match=r"renamed to 'new name'.*use that name"):
        run(2)
    assert run(2, name="new name") == folder
    assert recorded(drive, "new name") == [1, 2]
    with pytest.raises(SearchFolderError, match="renamed to 'new name'"):
        run(3)
    drive.rename(folder, NAME)
    assert run(3) == folder
    assert recorded(drive) == [1, 2, 3]


@MACHINES
@pytest.mark.parametrize(
    ("act", "words"),
    [
        ("trash", "is in the trash.*restore it there"),
        ("move", "was moved elsewhere.*move it back"),
        ("rename", "was renamed to 'new name'.*use that name"),
    ],
)
def test_every_command_says_where_a_moved_search_is(drive, run, machine, where, act, words):
    """Whoever names a search that was moved by hand learns where it is, and nothing is changed."""
    folder, store = run(1), DriveStore(drive.client)
    elsewhere = drive.client.create_folder("elsewhere", parent="root").id
    arguments = {"trash": (), "move": (elsewhere,), "rename": ("new name",)}[act]
    getattr(drive, act)(folder, *arguments)
    machine(where)
    before = drive.client.get(folder)
    for use in (
        lambda: read_status(store, NAME),
        lambda: read_rerun_status(store, NAME),
        lambda: remove_search(store, NAME),
        lambda: rename_search(store, NAME, "third"),
        lambda: copy_search(store, NAME, "drive:another"),
        lambda: restore_search(store, NAME),
        lambda: read_search(store, NAME),
    ):
        with pytest.raises(SearchFolderError, match=words) as raised:
            use()
        assert store.url(folder) in str(raised.value)
        assert "restart=True" not in str(raised.value)
    assert drive.client.get(folder) == before


def test_a_name_that_no_search_can_have_is_not_recommended(drive, run):
    """A folder that got such a name is to be renamed back."""
    drive.rename(run(1), "a/b")
    with pytest.raises(SearchFolderError, match=r"renamed to 'a/b'.*rename it back\. "):
        run(2)


def test_a_reader_says_where_else_a_search_of_the_name_is(drive, run):
    """A search that is not found is looked for in other stores: this one may have been renamed."""
    folder = run(1)
    drive.rename(DriveStore(drive.client).root, "old searches")
    with pytest.raises(SearchNotFoundError, match="exists in another folder") as raised:
        read_status(DriveStore(drive.client), NAME)
    assert DriveStore(drive.client).url(folder) in str(raised.value)


def test_a_study_that_was_moved_is_not_told_of_restarts(drive):
    """`restart=True` is for searches; a new study needs another name."""
    pytest.importorskip("optuna")
    from colab_drive_tuner.optuna_backend import optuna_storage

    store = DriveStore(drive.client)
    optuna_storage("a study", store=store).close()
    drive.trash(find_folder(store, "a study").id)
    with pytest.raises(SearchFolderError, match=r"restore it there.*another name") as raised:
        optuna_storage("a study", store=store)
    assert "restart" not in str(raised.value)


@MACHINES
def test_every_former_name_leads_to_the_search(drive, run, machine, where):
    """Each former name of a search renamed twice is an error that tells the current one."""
    folder = run(1)
    drive.rename(folder, "second")
    run(name="second")
    drive.rename(folder, "third")
    machine(where)
    for old in (NAME, "second"):
        with pytest.raises(SearchFolderError, match="renamed to 'third'"):
            run(name=old)
    assert run(name="third") == folder


@MACHINES
@pytest.mark.parametrize("renamed", [False, True])
def test_a_moved_search_is_not_begun_anew(drive, run, machine, where, renamed):
    """A moved or renamed search is an error that says how to undo that; then it resumes."""
    folder, root = run(1), DriveStore(drive.client).root
    elsewhere = drive.client.create_folder("elsewhere", parent="root").id
    drive.move(folder, elsewhere)
    if renamed:
        drive.rename(folder, "other")
    machine(where)
    words = "moved elsewhere and was renamed to 'other'.*rename it back" if renamed else "moved"
    with pytest.raises(SearchFolderError, match=words):
        run(2)
    drive.move(folder, root)
    drive.rename(folder, NAME)
    assert run(2) == folder


@MACHINES
@pytest.mark.parametrize("act", ["trash", "rename", "move"])
def test_a_search_can_be_begun_anew_beside_the_old_one(drive, run, machine, where, act):
    """`force_new=True` begins a new search, which later sessions find without it."""
    old = run(1)
    elsewhere = drive.client.create_folder("elsewhere", parent="root").id
    {
        "trash": drive.trash,
        "rename": lambda f: drive.rename(f, "x"),
        "move": lambda f: drive.move(f, elsewhere),
    }[act](old)
    machine(where)
    new = run(2, force_new=True)
    assert new != old
    assert run(3) == new
    assert recorded(drive) == [2, 3]


@pytest.mark.parametrize("lag", [600.0, -1.0])
def test_a_restored_search_beside_a_new_one_is_an_error(drive, run, monkeypatch, lag):
    """Two searches begun on purpose are both named, however close their creation times."""
    old = run(1)
    drive.trash(old)
    monkeypatch.setattr("colab_drive_tuner.journal.folder.creation.LIST_LAG_SECONDS", lag)
    new = run(2, force_new=True)
    drive.restore(old)
    with pytest.raises(SearchFolderError, match="Two searches are called") as raised:
        run(3)
    for folder in (old, new):
        assert folder in str(raised.value)
    drive.rename(old, "old")
    assert run(3) == new
    assert recorded(drive) == [2, 3]
    assert recorded(drive, "old") == [1]


@pytest.mark.parametrize("older", [True, False])
def test_a_search_renamed_to_anothers_name_is_not_merged_with_it(drive, run, older):
    """Searches created at the same moment under different names keep their own results."""
    if older:
        other = run(1, name="other")
    own = run(2)
    if not older:
        other = run(1, name="other")
    drive.rename(other, NAME)
    with pytest.raises(SearchFolderError, match="Two searches are called") as raised:
        run(3)
    assert own in str(raised.value)
    assert other in str(raised.value)
    drive.rename(other, "third")
    assert run(3) == own
    assert recorded(drive) == [2, 3]
    assert run(4, name="third") == other
    assert recorded(drive, "third") == [1, 4]
    drive.rename(other, NAME)  # its third name
    with pytest.raises(SearchFolderError, match="Two searches are called"):
        run(5)


@MACHINES
@pytest.mark.parametrize("altered", ["kind", "marks", "forged", "everything"])
@pytest.mark.parametrize("act", ["rename", "move", "move and rename"])
def test_a_renamed_or_moved_folder_with_altered_properties_is_found(
    drive, run, machine, where, altered, act
):
    """A folder renamed or moved, with its properties altered, is an error that says the remedy."""
    folder, root = run(1), DriveStore(drive.client).root
    run(2)
    alter(drive, folder, altered)
    if "move" in act:
        drive.move(folder, drive.client.create_folder("elsewhere", parent="root").id)
    if "rename" in act:
        drive.rename(folder, "other")
    machine(where)
    with pytest.raises(SearchFolderError, match=rf"{folder}.*repair.*restart=True") as raised:
        run(3)
    assert ("move it back" in str(raised.value)) == ("move" in act)
    run(name="a new one")
    assert run.messages == []
    drive.move(folder, root)
    drive.rename(folder, NAME)
    with pytest.raises(SearchFolderError, match=r"holds its records.*repair"):
        run(3)


def alter(drive: Drive, folder: str, how: str) -> None:
    """Alter the properties of a search's folder, or of its files too, as a co-editor can."""
    marks = dict.fromkeys(drive.client.get(folder).properties)
    forged = {
        Property.HOME: "elsewhere",
        "cdt_first": "nowhere",
        "cdt_records": "nowhere",
        Property.KIND: "x",
    }
    change = {"kind": {Property.KIND: "archived"}, "forged": forged}.get(how, marks)
    drive.change(folder, {"properties": change})
    if how == "everything":
        records = drive.client.list_folder(folder, "records")[0].id
        for file in drive.client.list_folder(records):
            if file.properties:
                drive.change(file.id, {"properties": dict.fromkeys(file.properties)})


@MACHINES
@pytest.mark.parametrize("altered", ["removed", "other", "all"])
def test_a_folder_that_lost_its_kind_is_an_error(drive, run, machine, where, altered):
    """Any editor can alter the kind property: the error names the folder and the remedy."""
    folder = run(1)
    marks = dict.fromkeys(drive.client.get(folder).properties)
    mark = {"removed": {Property.KIND: None}, "other": {Property.KIND: "archived"}, "all": marks}[
        altered
    ]
    drive.change(folder, {"properties": mark})
    machine(where)
    with pytest.raises(
        SearchFolderError, match=rf"{folder}.*{Property.KIND}.*repair.*restart=True"
    ):
        run(2)
    assert run(2, force_new=True) != folder


@MACHINES
def test_an_empty_folder_in_the_place_of_a_search_is_not_used(drive, run, machine, where):
    """A folder that got a renamed search's name and properties is not used for a new search."""
    folder = run(1)
    planted = drive.copy(folder)
    drive.rename(folder, "other")
    fresh = DriveStore(drive.client).reserve(2)
    drive.change(planted, {"properties": {"cdt_first": fresh[0], "cdt_records": fresh[1]}})
    machine(where)
    with pytest.raises(SearchFolderError, match="renamed to 'other'"):
        run(2)


@MACHINES
def test_a_search_whose_ids_were_altered_is_not_begun_in_its_own_folder(drive, run, machine, where):
    """New ids for record 0 and the folder of records do not make a search look new."""
    folder = run(1)
    fresh = DriveStore(drive.client).reserve(2)
    drive.change(folder, {"properties": {"cdt_first": fresh[0], "cdt_records": fresh[1]}})
    machine(where)
    with pytest.raises(SearchFolderError, match=rf"{folder}.*holds its records.*repair"):
        run(2)


def test_a_search_whose_name_another_took_is_reported(drive, run):
    """If another search took the name, the machine that ran this one reports its folder once."""
    folder = run(1)
    drive.rename(folder, "other")
    other = DriveStore(drive.client)
    create_in(other, NAME, NAME)
    run(2, on_busy="takeover")
    assert folder in run.messages[0]
    run(3)
    assert run.messages == []


def test_a_new_search_reads_no_other_search(drive, run, drive_emulator):
    """However many searches there are, a new one reads none and sends one property query."""
    for number in range(3):
        run(1, name=f"search {number}")
    ids = [file.id for file in drive.client.find("record-000000.cdt")]
    drive_emulator.clear_log()
    run(1, name="new")
    asked = requests(drive_emulator)
    assert len(ids) == 3
    assert not any(file_id in request for request in asked for file_id in ids)
    assert sum("properties has" in request for request in asked) == 1


def requests(drive_emulator: DriveEmulator) -> list[str]:
    """Return the path and the decoded query of each request."""
    return [unquote_plus(f"{entry['path']}?{entry['query']}") for entry in drive_emulator.log]


@pytest.mark.parametrize("act", ["rename", "move"])
def test_a_run_continues_in_its_renamed_or_moved_folder(drive, machine, act):
    """A rename or move during a run is reported once, and the run records into the same folder."""
    messages: list[str] = []
    journal = Journal.open(DriveStore(drive.client), NAME, RULES, sleep=lambda seconds: None)
    journal.claim(lambda state: b"", notify=messages.append)
    folder = journal.folder
    if act == "rename":
        drive.rename(folder, "other")
    else:
        drive.move(folder, drive.client.create_folder("elsewhere", parent="root").id)
    journal.append(item(1), durable=True)
    journal.close()
    (message,) = messages
    assert ("renamed to 'other'" if act == "rename" else "moved elsewhere") in message
    if act == "rename":
        assert recorded(drive, "other") == [1]


@pytest.mark.parametrize("what", ["records", "the last record"])
def test_a_file_that_was_moved_out_of_the_folder_is_named(drive, run, what):
    """The error has a link to it and says to move it back; then the search resumes."""
    folder = run(1)
    records = find_folder(DriveStore(drive.client), NAME).records
    moved = records
    if what == "the last record":
        files = {file.name: file.id for file in drive.client.list_folder(records)}
        moved = files[max(name for name in files if name.startswith("record"))]
    home = drive.client.get(moved).parents[0]
    drive.move(moved, drive.client.create_folder("elsewhere", parent="root").id)
    with pytest.raises(SearchDamagedError, match="move it back") as raised:
        run(2)
    assert DriveStore(drive.client).url(moved) in str(raised.value)
    drive.move(moved, home)
    assert run(2) == folder
    assert recorded(drive) == [1, 2]


def test_records_in_the_trash_are_reported(drive, run):
    """Records in the trash can be read and written, until Drive empties it: this is reported."""
    folder = run(1)
    drive.trash(find_folder(DriveStore(drive.client), NAME).records)
    assert run(2) == folder
    (message,) = run.messages
    assert "has its records in the trash" in message
    assert recorded(drive) == [1, 2]


def test_a_run_continues_in_its_renamed_local_folder(store, open_journal):
    """A rename of the folder during a run is no outage: the run records everything in it."""
    messages: list[str] = []
    journal = open_journal(store, claim=False)
    journal.claim(lambda state: b"", notify=messages.append)
    journal.append(item(1), durable=True)
    assert journal.flush(200)
    root = Path(store.url(store.root))
    (root / NAME).rename(root / "other")
    journal.append(item(2), durable=True)
    assert journal.flush(200)
    journal.close()
    assert Journal.open(store, "other", RULES).state.items == [1, 2]
    assert (root / "other" / "trials.pkl").exists()
    (message,) = messages
    assert "renamed to 'other'" in message


def test_a_users_own_folder_is_no_search(drive, run):
    """A user's folder is not used, even if it has the search's name and a folder of records."""
    own = drive.client.create_folder(NAME, parent=DriveStore(drive.client).root)
    drive.client.create_folder("records", parent=own.id)
    assert run(1) != own.id


@pytest.mark.parametrize("act", ["rename", "move"])
def test_a_renamed_or_moved_store_is_reported(drive, run, machine, act):
    """A new search says where the old one of its name is, if the store was renamed or moved."""
    folder = run(1)
    store = drive.client.get(folder).parents[0]
    if act == "rename":
        drive.rename(store, "old searches")
    else:
        drive.move(store, drive.client.create_folder("elsewhere", parent="root").id)
    machine("second")
    assert run(2) != folder
    assert folder in run.messages[0]
    run(3)
    assert run.messages == []


def test_a_permanently_deleted_search_is_reported_and_begun_anew(drive, run):
    """The machine that ran a permanently deleted search reports it once and starts it again."""
    drive.delete(run(1))
    run(2)
    assert "deleted permanently" in run.messages[0]
    run(3)
    assert run.messages == []
    assert recorded(drive) == [2, 3]


def test_a_store_in_the_trash_is_an_error(drive, run):
    """If the store's folder is in the trash, its searches are reported as being there with it."""
    folder = run(1)
    drive.trash(DriveStore(drive.client).root)
    with pytest.raises(SearchFolderError, match=r"in the trash, with.*restore that folder"):
        run(2)
    drive.restore(drive.client.get(folder).parents[0])
    assert run(2) == folder


def test_a_search_of_that_name_in_another_store_is_another_search(drive, run):
    """A search of the same name in another store, trashed or not, is ignored."""
    other = run(1, folder="other place")
    assert run(2) != other
    drive.trash(other)
    drive.trash(run(name="fresh", folder="other place"))
    run(name="fresh")
    assert recorded(drive) == [2]


def test_a_shared_folder_with_forged_properties_is_ignored(drive, run):
    """A folder of another store counts only in the trash, whatever properties it has."""
    marks = {
        Property.KIND: "search",
        Property.HOME: "somewhere",
        f"{NAMED}{sha256(b'new').hexdigest()[:16]}": "1",
    }
    shared = drive.client.create_folder("new", parent="root", properties=marks).id
    assert [file.id for file in drive.client.find_marked(marks)] == [shared]
    assert run(1, name="new") != shared


def test_an_empty_folder_in_the_trash_is_no_search(drive, run):
    """A trashed folder without a record does not prevent a new search."""
    store = DriveStore(drive.client)
    run(1)
    folder = find_folder(store, NAME)
    drive.delete(folder.first)
    drive.trash(folder.id)
    assert run(2) != folder.id


def test_a_lagging_listing_is_no_error(drive, run, monkeypatch):
    """A search that is missing from the listing is found by its properties, or by the noted id."""
    folder, listing = run(1), DriveStore.list

    def lagging(store, parent, *, name=None):
        return [] if name == NAME else listing(store, parent, name=name)

    monkeypatch.setattr(DriveStore, "list", lagging)
    assert run(2) == folder
    monkeypatch.setattr(DriveStore, "find_marked", lambda store, properties, **how: [])
    assert run(3) == folder, "this machine has noted it"


def test_a_listed_folder_needs_no_property_query(drive, run, drive_emulator):
    """If the folder is listed by its name, no property query is sent."""
    run(1)
    drive_emulator.clear_log()
    run(2)
    assert not any("properties has" in request for request in requests(drive_emulator))


def test_resume_search_reports_a_trashed_search(drive, machine):
    """`resume_search` raises the error, and starts again with `restart=True`."""

    def go_on(**options: Any) -> Any:
        return resume_search(
            sample_objective, space=SPACE, name=NAME, max_evals=2, seed=1, progress=False, **options
        )

    go_on()
    folder = find_folder(DriveStore(drive.client), NAME)
    drive.trash(folder.id)
    with pytest.raises(SearchFolderError, match="restart=True"):
        go_on()
    assert len(go_on(restart=True).trials) == 2
    assert find_folder(DriveStore(drive.client), NAME).id != folder.id


@pytest.mark.parametrize("copies", [1, 2])
@MACHINES
def test_a_copy_of_the_folder_is_no_duplicate(drive, run, machine, where, copies):
    """Copies of the folder, and copies of copies, are ignored, and the search resumes."""
    folder = run(1)
    for _ in range(copies):
        made = drive.copy(folder if copies == 1 else find_folder(DriveStore(drive.client), NAME).id)
        drive.copy(made)
    machine(where)
    found = find_folder(DriveStore(drive.client), NAME)
    assert (found.id, found.duplicates) == (folder, ())
    assert run(2) == folder
    assert run(3) == folder
    assert recorded(drive) == [1, 2, 3]
    assert run.messages == []


def test_a_copy_under_another_name_is_not_taken_for_the_search(drive, run):
    """With the search in the trash, the error names the search and not its copy."""
    folder = run(1)
    drive.copy(folder, "Copy of a search")
    drive.trash(folder)
    with pytest.raises(SearchFolderError, match="is in the trash"):
        run(2)
    drive.restore(folder)
    assert run(2) == folder


def test_a_copy_alone_is_no_search(drive, run):
    """A copy without records is an error, not a search; the restored search resumes."""
    folder = run(1)
    drive.copy(folder)
    drive.trash(folder)
    with pytest.raises(SearchFolderError, match="a copy without its records") as raised:
        run(2)
    assert folder in str(raised.value)
    drive.restore(folder)
    assert run(2) == folder
    assert recorded(drive) == [1, 2]


def test_a_copy_with_an_earlier_date_is_no_duplicate(store, open_journal, machine):
    """A copy in a folder store can have any date: the folder with the records is the search."""
    journal = open_journal(store)
    journal.append(item(1), durable=True)
    journal.close()
    folder = find_folder(store, NAME)
    store.later = -3600.0
    properties = dict(store.stat(folder.id).properties)
    store.create(*store.reserve(1), None, name=NAME, parent=store.root, properties=properties)
    store.later = 0.0
    machine("second")
    again = open_journal(store)
    again.append(item(2), durable=True)
    again.close()
    assert find_folder(store, NAME) == folder
    assert Journal.open(store, NAME, RULES).state.items == [1, 2]


@pytest.mark.parametrize("begun_as", ["", NAME])
def test_a_real_duplicate_is_ended(store, open_journal, begun_as):
    """A folder with another record 0, created at the same moment, is ended by a `moved` record."""
    journal = open_journal(store)
    journal.append(item(1), durable=True)
    journal.close()
    store.later = 60.0
    create_in(store, NAME, begun_as)
    store.later = 0.0
    again = open_journal(store)
    (duplicate,) = find_folder(store, NAME).duplicates
    assert again.folder != duplicate.id
    (moved,) = [entry for entry in store.list(duplicate.id) if not entry.is_folder]
    assert b"moved" in store.read(moved.id)


@pytest.mark.parametrize(
    ("later", "claim"),
    [
        (60.0, {"begun_as": "another"}),
        (60.0, {"begun_as": NAME, "reason": "anew"}),
        (60.0, {"begun_as": NAME, "reason": "rebuilt"}),
        (60.0, {"begun_as": NAME, "account": "another@example.com"}),
        (60.0, {"begun_as": NAME, "home": "another"}),
        (-60.0, {"begun_as": "another"}),
        (-60.0, {"begun_as": NAME, "account": "another@example.com"}),
        (-60.0, {"begun_as": NAME, "home": "another"}),
    ],
)
def test_equal_properties_do_not_merge_two_searches(store, open_journal, claim, later):
    """Two folders whose records 0 do not agree are an error, and neither is written to."""
    journal = open_journal(store)
    journal.append(item(1), durable=True)
    journal.close()
    ours = find_folder(store, NAME)
    store.later = later
    theirs = create_in(store, NAME, **claim)
    store.later = 0.0
    store.set_properties(
        theirs,
        dict(store.stat(ours.id).properties)
        | {key: store.stat(theirs).properties[key] for key in ("cdt_first", "cdt_records")},
    )
    before = [store.list(folder) for folder in (ours.id, theirs, ours.records)]
    with pytest.raises(SearchFolderError, match="Two searches are called") as raised:
        open_journal(store)
    assert store.url(theirs) in str(raised.value)
    assert before == [store.list(folder) for folder in (ours.id, theirs, ours.records)]


def test_an_older_empty_folder_takes_no_search_over(store, open_journal):
    """An older folder without records, which any co-editor can add, does not replace the search.

    If it holds a file, it stays. With `force_new=True` the error names it.
    """
    journal = open_journal(store)
    journal.append(item(1), durable=True)
    journal.close()
    ours = find_folder(store, NAME)
    store.later = -60.0
    planted = create_in(store, NAME)
    store.later = 0.0
    notes = store.create(store.reserve(1)[0], b"notes", name="notes.txt", parent=planted)
    assert find_folder(store, NAME).id == planted
    assert open_journal(store).folder == ours.id
    assert store.list(planted) == [notes]
    with pytest.raises(SearchFolderError, match="the empty one") as raised:
        open_journal(store, force_new=True)
    assert store.url(planted) in str(raised.value)
