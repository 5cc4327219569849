"""Lookup of a search's folder by its name, among duplicate folders and with lagging listings."""

import threading
from collections.abc import Callable, Iterator

import pytest

from colab_drive_tuner.errors import (
    IdTakenError,
    SearchBusyError,
    SearchFolderError,
    SearchTakenOverError,
    StoreError,
)
from colab_drive_tuner.journal import Journal, maintenance
from colab_drive_tuner.journal.chain import chain
from colab_drive_tuner.journal.chain.record import Claimant, Record, decode_record, encode_record
from colab_drive_tuner.journal.folder.creation import (
    create_folder,
    make_search_folder,
    withdraw,
)
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.journal.folder.properties import search_folder
from colab_drive_tuner.store.protocol import Entry
from tests.journal.faulty_store import FaultyStore, append_acknowledged
from tests.journal.list_state import RULES
from tests.processes import wait_until


class LaggingStore(FaultyStore):
    """A store whose listings are empty while `lagging` is set."""

    lagging = True

    def list(self, parent: str, *, name: str | None = None) -> list[Entry]:
        return [] if self.lagging else super().list(parent, name=name)


class WithdrawingStore(FaultyStore):
    """A store in which a folder is withdrawn while a session writes its first record into it."""

    withdrawn: tuple[str, str] | None = None

    def create(self, entry_id, *args, **options) -> Entry:
        if self.withdrawn is not None and entry_id == self.withdrawn[1]:
            own, self.withdrawn = search_folder(self.stat(self.withdrawn[0])), None
            withdraw(self, own, create_in(self, "a search"))
            raise IdTakenError("The creator of the folder was faster.")
        return super().create(entry_id, *args, **options)


@pytest.fixture
def lagging(tmp_path):
    """An empty store whose listings lag."""
    return LaggingStore(tmp_path / "store")


def waiting(store: LaggingStore, looks: int, then: Callable[[], object]) -> Callable[[float], None]:
    """Return a `sleep` whose n-th call runs `then` and lets the listing catch up."""
    calls: list[float] = []

    def sleep(seconds: float) -> None:
        calls.append(seconds)
        if len(calls) == looks:
            then()
            store.lagging = False

    return sleep


def test_the_creator_waits_until_its_folder_is_listed(lagging):
    """The creator lists again until its own folder shows, and with it any earlier folder."""
    caught_up: list[bool] = []
    folder = create_folder(lagging, "s", waiting(lagging, 4, lambda: caught_up.append(True)))
    assert caught_up
    assert find_folder(lagging, "s") == folder


def test_a_listing_that_never_catches_up_is_an_error(lagging):
    """If the new folder is never listed, the creator raises StoreError.

    It cannot know whether another folder was earlier.
    """
    with pytest.raises(StoreError, match="is not listed yet"):
        create_folder(lagging, "s", lambda seconds: None)


@pytest.mark.parametrize("other_is", ["earlier", "later"])
def test_of_two_folders_the_earlier_one_wins(lagging, tmp_path, other_is):
    """The creator of the later folder withdraws it by a `moved` record in place of record 0.

    Any writer in that folder collides with this record.
    """
    other = FaultyStore(tmp_path / "store")
    other.later = -60.0 if other_is == "earlier" else 60.0
    made: list[str] = []
    sleep = waiting(lagging, 2, lambda: made.append(create_in(other)))
    folder = create_folder(lagging, "s", sleep)
    if other_is == "later":
        assert [one.id for one in folder.duplicates] == made
        return
    assert [folder.id] == made
    assert find_folder(lagging, "s") == folder, "the other one lies in the trash"
    (loser,) = lagging.list_trash(lagging.root)
    moved = decode_record(lagging.read_trashed(loser.properties["cdt_first"]), "record 0")
    assert (moved.kind, moved.target) == ("moved", folder.id)


def test_an_older_folder_is_withdrawn_if_a_younger_one_has_records(lagging, tmp_path):
    """A younger folder with records wins, because the older folder was visible to nobody before."""
    other = FaultyStore(tmp_path / "store")
    other.later = 60.0
    made: list[str] = []
    sleep = waiting(lagging, 2, lambda: made.append(create_in(other, begun_as="s")))
    folder = create_folder(lagging, "s", sleep)
    assert [folder.id] == made
    assert find_folder(lagging, "s") == folder
    (withdrawn,) = lagging.list_trash(lagging.root)
    moved = decode_record(lagging.read_trashed(withdrawn.properties["cdt_first"]), "record 0")
    assert (moved.kind, moved.target) == ("moved", folder.id)


class BeginningStore(FaultyStore):
    """A store in which another runtime begins a search during `find_marked`."""

    beginning = ""

    def find_marked(self, *args, **options) -> list[Entry]:
        found = super().find_marked(*args, **options)
        if self.beginning:
            begin_in(self, self.beginning, "a search")
            self.beginning = ""
        return found


def test_a_search_that_begins_in_a_younger_folder_meanwhile_is_found(tmp_path, machine):
    """A search that begins in a younger folder during the lookup is found.

    The older folder, which readers would find by the name, is withdrawn.
    """
    store, slept = BeginningStore(tmp_path / "store"), list[float]()
    store.beginning = younger = create_in(store, "a search")
    store.later = -60.0
    create_in(store, "a search")
    store.later = 0.0
    journal = Journal.open(store, "a search", RULES, sleep=slept.append)
    with pytest.raises(SearchBusyError, match="process 1,"):
        journal.claim(lambda state: b"", on_busy="error", notify=lambda text: None)
    assert len(slept) == 1
    found = find_folder(store, "a search")
    assert (found.id, found.duplicates) == (younger, ())
    assert Journal.open(store, "a search", RULES).exists
    assert len(store.list_trash(store.root)) == 1


def test_the_creator_of_a_folder_that_another_runtime_withdrew_uses_the_winner(lagging, tmp_path):
    """A new folder that is trashed before its creator lists it does not end in an error."""
    other = FaultyStore(tmp_path / "store")
    other.later = 60.0
    made: list[str] = []

    def withdraw_the_other() -> None:
        made.append(create_in(other, begun_as="s"))
        (own,) = (one for one in other.list(other.root) if one.id != made[0])
        assert withdraw(other, search_folder(own), made[0])

    assert create_folder(lagging, "s", waiting(lagging, 2, withdraw_the_other)).id == made[0]


def test_a_half_withdrawn_folder_is_ignored(store, machine):
    """A folder with a `moved` record that is not yet in the trash does not hide the search."""
    younger = create_in(store, "a search", "a search")
    store.later = -60.0
    older = search_folder(store.stat(create_in(store, "a search")))
    store.later = 0.0
    assert chain.end_chain(store, chain.Head(0, "", (older.first,)), older.id, younger)
    journal = Journal.open(store, "a search", RULES, sleep=lambda seconds: None)
    assert journal.exists
    with pytest.raises(SearchBusyError, match="process 1,"):
        journal.claim(lambda state: b"", on_busy="error", notify=lambda text: None)
    assert [entry.id for entry in store.list(store.root)] == [younger]


@pytest.mark.parametrize("killed", ["before records/", "before its claim"])
def test_readers_find_the_search_beside_an_older_empty_folder(store, open_journal, killed):
    """A folder whose creator was killed before its first claim does not hide the search.

    Whoever claims ends it, so that nobody begins the search in it later.
    """
    journal = open_journal(store)
    append_acknowledged(journal, 1)
    journal.close()
    store.later = -60.0
    older = search_folder(store.stat(create_in(store, "a search")))
    if killed == "before its claim":
        store.create(older.records, None, name="records", parent=older.id)
    store.later = 0.0
    assert Journal.open(store, "a search", RULES).state.items == [1]
    assert find_folder(store, "a search").empty == (older,)
    again = open_journal(store, claim=False)
    again.claim(lambda state: b"", notify=lambda text: None)
    again.close()
    assert [entry.id for entry in store.list_trash(store.root)] == [older.id]
    assert decode_record(store.read_trashed(older.first), "record 0").target == journal.folder


def test_a_runtime_that_begins_in_an_older_empty_folder_is_not_overwritten(store, open_journal):
    """If the older folder is begun while somebody claims, both folders are one search."""
    younger = create_in(store, "a search", "a search")
    store.later = -60.0
    older = create_in(store, "a search")
    store.later = 0.0
    journal = open_journal(store, claim=False)
    begin_in(store, older, "a search")
    with pytest.raises(SearchBusyError, match="process 1,"):
        journal.claim(lambda state: b"", on_busy="error", notify=lambda text: None)
    assert journal.folder == older
    assert {entry.id for entry in store.list(store.root)} == {older, younger}


def test_an_older_folder_with_a_file_and_a_search_of_another_store_are_an_error(store, machine):
    """An older folder that holds a file, no records, and one begun in another store are an error.

    Readers show what is in the older one: nothing.
    """
    create_in(store, "a search", "a search", home="another store")
    store.later = -60.0
    older = create_in(store, "a search")
    store.create(store.reserve(1)[0], b"notes", name="notes.txt", parent=older)
    store.later, slept = 0.0, list[float]()
    journal = Journal.open(store, "a search", RULES, sleep=slept.append)
    assert not journal.exists
    with pytest.raises(SearchFolderError, match=r"older .* in which nothing is recorded"):
        journal.claim(lambda state: b"", notify=lambda text: None)
    assert len(slept) == 3


def test_a_claim_in_a_folder_that_is_withdrawn_meanwhile_goes_to_the_winner(
    tmp_path, open_journal, monkeypatch
):
    """A claim that collides with the `moved` record of its folder is made in the winning folder."""
    monkeypatch.setattr(chain, "_READ_PAUSES", (0.0,))
    store = WithdrawingStore(tmp_path / "store")
    loser = create_folder(store, "a search")
    store.withdrawn = (loser.id, loser.first)
    journal = open_journal(store)
    append_acknowledged(journal, 1)
    assert journal.folder == find_folder(store, "a search").id != loser.id


class EventfulStore(FaultyStore):
    """A store that runs the next of `events` just before each `stat` and `list_trash`."""

    events: Iterator[Callable[[], object]]
    one_at_a_time = threading.Lock()

    def stat(self, entry_id: str) -> Entry:
        self._happen()
        return super().stat(entry_id)

    def list_trash(self, parent: str) -> list[Entry]:
        self._happen()
        return super().list_trash(parent)

    def _happen(self) -> None:
        with self.one_at_a_time:  # several threads call this at once
            next(self.events, lambda: None)()


@pytest.mark.parametrize("looks", range(8))
@pytest.mark.parametrize("more", range(4))
def test_a_folder_may_be_withdrawn_between_any_two_requests(looks, more, tmp_path, machine):
    """If a folder is ended and trashed during a lookup, the search is found elsewhere."""
    other, store = FaultyStore(tmp_path / "store"), EventfulStore(tmp_path / "store")
    older = search_folder(other.stat(create_in(other, "a search")))
    other.later = 60.0

    def withdraw() -> None:
        younger = create_in(other, "a search", "a search")
        assert chain.end_chain(other, chain.Head(0, "", (older.first,)), older.id, younger)

    nothing: list[Callable[[], object]] = [lambda: None]
    store.events = iter(
        [*nothing * looks, withdraw, *nothing * more, lambda: other.trash(older.id)]
    )
    journal = Journal.open(store, "a search", RULES, sleep=lambda seconds: None)
    with pytest.raises(SearchBusyError, match="process 1,"):
        journal.claim(lambda state: b"", on_busy="error", notify=lambda text: None)


@pytest.mark.parametrize("other_is", ["earlier", "later", "earlier and empty", "another's"])
@pytest.mark.parametrize("session", ["first", "second"])
def test_the_owner_of_a_young_search_lists_again(
    store, open_journal, machine, monkeypatch, session, other_is
):
    """The owner of a new search lists again, as an earlier folder of another may show late.

    A folder without records, or of another search, does not take the search over.
    """
    monkeypatch.setattr(maintenance, "DUPLICATE_CHECKS", (3600.0,))
    if session == "second":
        open_journal(store).close()
        machine("second")
    ours = open_journal(store)
    store.later = 60.0 if other_is == "later" else -60.0
    begun_as = {"earlier and empty": "", "another's": "another"}.get(other_is, "a search")
    create_in(store, "a search", begun_as)
    store.later = 0.0
    looks = ours._own.maintenance._duplicate_checks
    looks[:] = [0.0, 0.0]  # the folder exists now; the second look follows the first one
    wait_until(lambda: not looks)
    if other_is != "earlier":
        append_acknowledged(ours, 1)
        return
    wait_until(lambda: ours._own.writer.lost is not None)
    with pytest.raises(SearchTakenOverError, match="the other's folder was first"):
        ours.raise_if_lost()


def test_the_owner_of_an_old_search_does_not_list_again(store, open_journal):
    """Any folder that was created at the same moment as an old search has been listed by then."""
    open_journal(store).close()
    store.later = 3600.0
    assert open_journal(store)._own.maintenance._duplicate_checks == []


def test_a_rebuilt_chain_does_not_compete_with_its_search(
    store, open_journal, tmp_path, monkeypatch
):
    """A chain rebuilt in a given folder looks for no duplicates and leaves the search as it was."""
    monkeypatch.setattr(maintenance, "DUPLICATE_CHECKS", (0.0,))
    first = open_journal(store)
    append_acknowledged(first, 1)
    first.close()
    folder = make_search_folder(store, "a search", "repairing")
    rebuilt = Journal(store, "a search", RULES, folder=folder, spool_folder=tmp_path / "spool")
    rebuilt.claim(lambda state: b"", notify=lambda text: None)
    assert rebuilt._own.maintenance._duplicate_checks == []
    append_acknowledged(rebuilt, 2, 3)
    rebuilt.close()
    again = Journal(store, "a search", RULES, folder=folder)
    again.refresh()
    assert (again.state.items, again.holder()) == ([2, 3], None)
    search = Journal.open(store, "a search", RULES)
    assert (search.folder, search.state.items) == (first.folder, [1])


def create_in(store: FaultyStore, name: str = "s", begun_as: str = "", **claim: str) -> str:
    """Create a search's folder without a lookup, begin the search if asked, and return its id."""
    own, first, records, export = store.reserve(4)
    properties = {"cdt_kind": "search", "cdt_first": first, "cdt_records": records}
    store.create(
        own, None, name=name, parent=store.root, properties=properties | {"cdt_export": export}
    )
    if begun_as:
        begin_in(store, own, begun_as, **claim)
    return own


def begin_in(store: FaultyStore, own: str, name: str, **claim: str) -> None:
    """Write the first claim of a search into its folder, as another runtime."""
    folder = search_folder(store.stat(own))
    store.create(folder.records, None, name="records", parent=own)
    fields = {"reason": "new", "home": store.root, "account": store.account} | claim
    claimant = Claimant("0" * 32, 1, "host", fields.pop("account"), "a runtime")
    frozen = encode_record(
        Record(
            pos=0,
            kind="claim",
            owner="0" * 32,
            prev="",
            more=store.reserve(4),
            claimant=claimant,
            search=name,
            **fields,
        )
    )
    chain.create(store, frozen, folder.first, folder.records)
