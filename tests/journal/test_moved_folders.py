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
from colab_drive_tuner.errors import SearchFolderError
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.journal.folder.lookup import HOME, KIND, NAMED, find_folder
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.store.drive import DEFAULT_FOLDER, DriveStore
from tests.journal.list_state import RULES, item
from tests.journal.test_folder import create_in
from tests.search.sample_searches import SPACE, sample_objective

NAME = "a search"


@dataclass
class Drive:
    """The pages of Drive, in which a user may do anything to a file or folder."""

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
        """Make another folder with the same properties, as scripts that copy folders do."""
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
    """One session of a search, which records the values; returns the id of the folder."""

    def run_once(
        *values: object, name: str = NAME, folder: str = DEFAULT_FOLDER, **how: Any
    ) -> str:
        said: list[str] = []
        store = DriveStore(drive.client, folder)
        journal = Journal.open(store, name, RULES, sleep=lambda seconds: None)
        journal.claim(lambda state: b"", notify=said.append, **how)
        for value in values:
            journal.append(item(value), durable=True)
        folder_id = journal.folder
        journal.close()
        run_once.said = said
        return folder_id

    return run_once


def recorded(drive: Drive, name: str = NAME) -> list[Any]:
    """The items that anybody reads under the name."""
    items: list[Any] = Journal.open(DriveStore(drive.client), name, RULES).state.items
    return items


MACHINES = pytest.mark.parametrize("where", ["first", "second"])
"""The machine that ran the search before, which has noted its folder, and another one."""


@MACHINES
def test_a_trashed_search_is_not_begun_anew(drive, run, machine, where):
    """The error says that it lies in the trash; restored there, it goes on."""
    folder = run(1)
    drive.trash(folder)
    machine(where)
    with pytest.raises(SearchFolderError, match=r"in the trash.*restore.*restart=True") as told:
        run(2)
    assert DriveStore(drive.client).url(folder) in str(told.value)
    drive.restore(folder)
    assert run(2) == folder
    assert recorded(drive) == [1, 2]


@MACHINES
def test_a_renamed_search_goes_on_by_its_new_name_only(drive, run, machine, where):
    """By its old one it is an error that tells the new one, until it is renamed back."""
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
def test_every_name_that_a_search_has_borne_leads_to_it(drive, run, machine, where):
    """Also where it was renamed twice."""
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
    """The error says to move it back (and to rename it back); then it goes on."""
    folder, root = run(1), DriveStore(drive.client).root
    elsewhere = drive.client.create_folder("elsewhere", parent="root").id
    drive.move(folder, elsewhere)
    if renamed:
        drive.rename(folder, "other")
    machine(where)
    words = "moved elsewhere and renamed to 'other'.*rename it back" if renamed else "moved"
    with pytest.raises(SearchFolderError, match=words):
        run(2)
    drive.move(folder, root)
    drive.rename(folder, NAME)
    assert run(2) == folder


@MACHINES
@pytest.mark.parametrize("act", ["trash", "rename", "move"])
def test_a_search_can_be_begun_anew_beside_the_old_one(drive, run, machine, where, act):
    """When asked to, and from then on without being asked."""
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
def test_restored_beside_the_new_one_both_are_named(drive, run, monkeypatch, lag):
    """Two searches that were begun on purpose are not one, however soon the second one was."""
    old = run(1)
    drive.trash(old)
    monkeypatch.setattr("colab_drive_tuner.journal.folder.duplicate_folders.LIST_LAG_SECONDS", lag)
    new = run(2, force_new=True)
    drive.restore(old)
    with pytest.raises(SearchFolderError, match="Two searches are called") as told:
        run(3)
    for folder in (old, new):
        assert folder in str(told.value)
    drive.rename(old, "old")
    assert run(3) == new
    assert recorded(drive) == [2, 3]
    assert recorded(drive, "old") == [1]


@pytest.mark.parametrize("older", [True, False])
def test_a_search_that_gets_anothers_name_is_not_merged_with_it(drive, run, older):
    """Made at the same moment, but under another name: neither gets the other's results."""
    if older:
        other = run(1, name="other")
    own = run(2)
    if not older:
        other = run(1, name="other")
    drive.rename(other, NAME)
    with pytest.raises(SearchFolderError, match="Two searches are called") as told:
        run(3)
    assert own in str(told.value)
    assert other in str(told.value)
    drive.rename(other, "third")
    assert run(3) == own
    assert recorded(drive) == [2, 3]
    assert run(4, name="third") == other
    assert recorded(drive, "third") == [1, 4]
    drive.rename(other, NAME)  # by now it has borne three names
    with pytest.raises(SearchFolderError, match="Two searches are called"):
        run(5)


@MACHINES
@pytest.mark.parametrize("altered", ["kind", "marks", "forged", "everything"])
@pytest.mark.parametrize("act", ["rename", "move", "move and rename"])
def test_a_search_is_found_whatever_was_done_to_its_folder(
    drive, run, machine, where, altered, act
):
    """Renamed or moved, and its properties altered, at once: an error that says the way back."""
    folder, root = run(1), DriveStore(drive.client).root
    run(2)
    alter(drive, folder, altered)
    if "move" in act:
        drive.move(folder, drive.client.create_folder("elsewhere", parent="root").id)
    if "rename" in act:
        drive.rename(folder, "other")
    machine(where)
    with pytest.raises(SearchFolderError, match=rf"{folder}.*repair.*restart=True") as told:
        run(3)
    assert ("move it back" in str(told.value)) == ("move" in act)
    run(name="a new one")
    assert run.said == []
    drive.move(folder, root)
    drive.rename(folder, NAME)
    with pytest.raises(SearchFolderError, match=r"holds its records.*repair"):
        run(3)


def alter(drive: Drive, folder: str, how: str) -> None:
    """What a co-editor can do to the properties of a search's folder, and of what lies in it."""
    marks = dict.fromkeys(drive.client.get(folder).properties)
    forged = {HOME: "elsewhere", "cdt_first": "nowhere", "cdt_records": "nowhere", KIND: "x"}
    change = {"kind": {KIND: "archived"}, "forged": forged}.get(how, marks)
    drive.change(folder, {"properties": change})
    if how == "everything":
        records = drive.client.list_folder(folder, "records")[0].id
        for file in drive.client.list_folder(records):
            if file.properties:
                drive.change(file.id, {"properties": dict.fromkeys(file.properties)})


@MACHINES
@pytest.mark.parametrize("altered", ["removed", "other", "all"])
def test_a_folder_that_lost_its_mark_is_not_begun_beside(drive, run, machine, where, altered):
    """Whoever may edit it can alter the property: the error names the folder and the way out."""
    folder = run(1)
    marks = dict.fromkeys(drive.client.get(folder).properties)
    mark = {"removed": {KIND: None}, "other": {KIND: "archived"}, "all": marks}[altered]
    drive.change(folder, {"properties": mark})
    machine(where)
    with pytest.raises(SearchFolderError, match=rf"{folder}.*{KIND}.*repair.*restart=True"):
        run(2)
    assert run(2, force_new=True) != folder


@MACHINES
def test_an_empty_folder_in_the_place_of_a_search_is_not_begun_in(drive, run, machine, where):
    """Somebody renamed the search's folder and gave another one its name and its mark."""
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
    """New ids for record 0 and the folder of records would make it look like a new search."""
    folder = run(1)
    fresh = DriveStore(drive.client).reserve(2)
    drive.change(folder, {"properties": {"cdt_first": fresh[0], "cdt_records": fresh[1]}})
    machine(where)
    with pytest.raises(SearchFolderError, match=rf"{folder}.*holds its records.*repair"):
        run(2)


def test_a_search_that_another_took_the_place_of_is_told_of(drive, run):
    """Begun anew elsewhere, or put there by a co-editor: the machine that ran the other says so."""
    folder = run(1)
    drive.rename(folder, "other")
    other = DriveStore(drive.client)
    create_in(other, NAME, NAME)
    run(2, on_busy="takeover")
    assert folder in run.said[0]
    run(3)
    assert run.said == []


def test_a_new_search_costs_two_questions(drive, run, drive_emulator):
    """However many searches there are, nothing of them is read before it begins."""
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
    """Path and query of each request, as a person reads them."""
    return [unquote_plus(f"{entry['path']}?{entry['query']}") for entry in drive_emulator.log]


@pytest.mark.parametrize("act", ["rename", "move"])
def test_a_run_goes_on_in_its_folder_whatever_it_is_called(drive, machine, act):
    """What is done to it meanwhile is told once; under its new name the search goes on."""
    said: list[str] = []
    journal = Journal.open(DriveStore(drive.client), NAME, RULES, sleep=lambda seconds: None)
    journal.claim(lambda state: b"", notify=said.append)
    folder = journal.folder
    if act == "rename":
        drive.rename(folder, "other")
    else:
        drive.move(folder, drive.client.create_folder("elsewhere", parent="root").id)
    journal.append(item(1), durable=True)
    journal.close()
    (told,) = said
    assert ("renamed to 'other'" if act == "rename" else "moved elsewhere") in told
    if act == "rename":
        assert recorded(drive, "other") == [1]


def test_records_in_the_trash_are_told_of(drive, run):
    """Drive reads and writes there as elsewhere, until it empties the trash."""
    folder = run(1)
    drive.trash(find_folder(DriveStore(drive.client), NAME).records)
    assert run(2) == folder
    (told,) = run.said
    assert "has its records in the trash" in told
    assert recorded(drive) == [1, 2]


def test_a_run_in_a_local_folder_goes_on_where_that_is_renamed(store, open_journal):
    """It is no outage: everything is recorded, in the folder that it was begun in."""
    said: list[str] = []
    journal = open_journal(store, claim=False)
    journal.claim(lambda state: b"", notify=said.append)
    journal.append(item(1), durable=True)
    assert journal.flush(20)
    root = Path(store.url(store.root))
    (root / NAME).rename(root / "other")
    journal.append(item(2), durable=True)
    assert journal.flush(20)
    journal.close()
    assert Journal.open(store, "other", RULES).state.items == [1, 2]
    assert (root / "other" / "trials.pkl").exists()
    (told,) = said
    assert "renamed to 'other'" in told


def test_a_folder_of_a_persons_own_is_no_search(drive, run):
    """It bears the name, and even holds a folder of records: not of ours."""
    own = drive.client.create_folder(NAME, parent=DriveStore(drive.client).root)
    drive.client.create_folder("records", parent=own.id)
    assert run(1) != own.id


@pytest.mark.parametrize("act", ["rename", "move"])
def test_a_store_that_was_renamed_is_told_of(drive, run, machine, act):
    """The searches in it are not begun anew without a word."""
    folder = run(1)
    store = drive.client.get(folder).parents[0]
    if act == "rename":
        drive.rename(store, "old searches")
    else:
        drive.move(store, drive.client.create_folder("elsewhere", parent="root").id)
    machine("second")
    assert run(2) != folder
    assert folder in run.said[0]
    run(3)
    assert run.said == []


def test_a_search_deleted_for_good_is_told_of_and_begun_anew(drive, run):
    """Nothing of it is left; the machine that had noted it says so once."""
    drive.delete(run(1))
    run(2)
    assert "deleted permanently" in run.said[0]
    run(3)
    assert run.said == []
    assert recorded(drive) == [2, 3]


def test_the_folder_of_all_searches_in_the_trash_is_noticed(drive, run):
    """Its searches lie there with it."""
    run(1)
    drive.trash(DriveStore(drive.client).root)
    with pytest.raises(SearchFolderError, match="is in the trash"):
        run(2)


def test_a_search_of_that_name_in_another_store_is_another_search(drive, run):
    """There or in the trash out of there, it is nobody's concern."""
    other = run(1, folder="other place")
    assert run(2) != other
    drive.trash(other)
    drive.trash(run(name="fresh", folder="other place"))
    run(name="fresh")
    assert recorded(drive) == [2]


def test_a_folder_that_somebody_shares_under_a_name_is_not_ours(drive, run):
    """Whatever properties it has: one of another store counts only in the trash, with its store."""
    marks = {KIND: "search", HOME: "somewhere", f"{NAMED}{sha256(b'new').hexdigest()[:16]}": "1"}
    shared = drive.client.create_folder("new", parent="root", properties=marks).id
    assert [file.id for file in drive.client.find_marked(marks)] == [shared]
    assert run(1, name="new") != shared


def test_an_empty_folder_in_the_trash_is_no_search(drive, run):
    """One in which nothing was ever recorded keeps nobody from beginning."""
    store = DriveStore(drive.client)
    run(1)
    folder = find_folder(store, NAME)
    drive.delete(folder.first)
    drive.trash(folder.id)
    assert run(2) != folder.id


def test_a_listing_that_lags_is_no_alarm(drive, run, monkeypatch):
    """What is not listed by its name, and lies where it should, is the search."""
    folder, listing = run(1), DriveStore.list

    def lagging(store, parent, *, name=None):
        return [] if name == NAME else listing(store, parent, name=name)

    monkeypatch.setattr(DriveStore, "list", lagging)
    assert run(2) == folder
    monkeypatch.setattr(DriveStore, "find_marked", lambda store, properties, **how: [])
    assert run(3) == folder, "this machine has noted it"


def test_nobody_asks_where_the_folder_is_listed(drive, run, drive_emulator):
    """Then it costs no question more."""
    run(1)
    drive_emulator.clear_log()
    run(2)
    assert not any("properties has" in request for request in requests(drive_emulator))


def test_a_search_for_anybody_says_so_before_it_trains(drive, machine):
    """`resume_search` raises the error, and begins anew where it is asked to."""

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
def test_a_copy_of_the_folder_is_no_rival(drive, run, machine, where, copies):
    """Nor is a copy of the copy: the search goes on where it was, and nothing ends it."""
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
    assert run.said == []


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
    """Its records are not in it: nobody writes there, and with the search restored it goes on."""
    folder = run(1)
    drive.copy(folder)
    drive.trash(folder)
    with pytest.raises(SearchFolderError, match="a copy without its records") as told:
        run(2)
    assert folder in str(told.value)
    drive.restore(folder)
    assert run(2) == folder
    assert recorded(drive) == [1, 2]


def test_a_copy_that_counts_as_older_is_no_rival(store, open_journal, machine):
    """In a folder store times can say anything; what tells is where the records lie."""
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
def test_a_rival_is_still_one(store, open_journal, begun_as):
    """A folder with another record 0 that was created at the same moment is ended and merged."""
    journal = open_journal(store)
    journal.append(item(1), durable=True)
    journal.close()
    store.later = 60.0
    create_in(store, NAME, begun_as)
    store.later = 0.0
    again = open_journal(store)
    (rival,) = find_folder(store, NAME).duplicates
    assert again.folder != rival.id
    (moved,) = [entry for entry in store.list(rival.id) if not entry.is_folder]
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
def test_properties_alone_make_no_two_searches_one(store, open_journal, claim, later):
    """What each record 0 says decides: nothing is written into either folder."""
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
    with pytest.raises(SearchFolderError, match="Two searches are called") as told:
        open_journal(store)
    assert store.url(theirs) in str(told.value)
    assert before == [store.list(folder) for folder in (ours.id, theirs, ours.records)]


def test_an_older_empty_folder_takes_no_search_over(store, open_journal):
    """Whoever may add to the store's folder could make one, of any age."""
    journal = open_journal(store)
    journal.append(item(1), durable=True)
    journal.close()
    ours = find_folder(store, NAME)
    store.later = -60.0
    planted = create_in(store, NAME)
    store.later = 0.0
    assert find_folder(store, NAME).id == planted
    assert open_journal(store).folder == ours.id
    assert store.list(planted) == []
    with pytest.raises(SearchFolderError, match="the empty one") as told:
        open_journal(store, force_new=True)
    assert store.url(planted) in str(told.value)
