"""The store contract on Drive."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.emulator import DriveEmulator
from colab_drive_tuner.errors import NotFoundError
from colab_drive_tuner.store import Entry
from colab_drive_tuner.store import drive as module
from colab_drive_tuner.store.drive import DEFAULT_FOLDER, DriveStore
from tests.store.contract import Reopen, StoreContract


class TestContract(StoreContract):
    @pytest.fixture
    def reopen(self, drive_emulator: object) -> Reopen:
        return lambda: DriveStore(DriveClient.connect())


def create(store: DriveStore, name: str) -> Entry:
    """A folder directly in the root."""
    return store.create(*store.reserve(1), None, name=name, parent=store.root)


def names(store: DriveStore) -> list[str]:
    return sorted(entry.name for entry in store.list(store.root))


class TestTwins:
    """Two runtimes made the folder at the same moment: searches in either are found."""

    @pytest.fixture
    def stores(self, drive_emulator: DriveEmulator) -> list[DriveStore]:
        """One store in the older folder, which was not shown to the maker of the younger one."""
        client = DriveClient.connect()
        for _ in range(2):
            client.create_folder(DEFAULT_FOLDER, parent="root")
        older, younger = client.folders(DEFAULT_FOLDER)
        stores = [DriveStore(client, folder.id) for folder in (older, younger)]
        for store in stores:
            store.create(*store.reserve(1), None, name=f"of {store.root}", parent=store.root)
            store._folder_spec = DEFAULT_FOLDER
        return stores

    def test_both_see_both_when_they_look_again(
        self, stores: list[DriveStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At first each knows its own; each goes on to make what it makes in its own."""
        each = [[f"of {store.root}"] for store in stores]
        assert [names(store) for store in stores] == each
        monkeypatch.setattr(module, "_CACHE_SECONDS", -1.0)
        assert [names(store) for store in stores] == [sorted([*each[0], *each[1]])] * 2
        assert stores[0].root != stores[1].root

    def test_of_an_old_folder_nobody_is_asked_again(
        self,
        stores: list[DriveStore],
        drive_emulator: DriveEmulator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Lists lag by minutes, so after these minutes it is known."""
        monkeypatch.setattr(module, "_CACHE_SECONDS", -1.0)
        monkeypatch.setattr(module, "LIST_LAG_SECONDS", -1.0)
        drive_emulator.clear_log()
        assert len(names(stores[0])) == 1
        assert len(drive_emulator.log) == 1

    def test_who_comes_later_sees_both(self, stores: list[DriveStore]) -> None:
        """And makes things in the older one."""
        later = DriveStore.connect()
        assert later.root == stores[0].root
        assert names(later) == sorted(names(stores[0]) + names(stores[1]))
        (lost,) = stores[1].list(stores[1].root)
        later.trash(lost.id)
        assert [entry.id for entry in later.list_trash(later.root)] == [lost.id]


class TestMissingFolder:
    """A path that leads nowhere, mistyped or new, is made by the first write and nothing else."""

    @pytest.fixture
    def store(self, drive_emulator: DriveEmulator) -> DriveStore:
        return DriveStore.connect("Lab/Typo")

    def test_reading_makes_none(self, store: DriveStore) -> None:
        """Whatever is asked says that there is no such folder."""
        for ask in (store.list, store.list_trash, store.stat):
            with pytest.raises(NotFoundError, match=r"no folder 'Lab/Typo' in the Google Drive of"):
                ask(store.root)
        assert store.url(store.root) == "drive:Lab/Typo"
        assert store.free_space()
        assert not store.duplicates()
        assert store.client.list_folder("root") == []

    def test_the_first_write_makes_it(self, store: DriveStore) -> None:
        """Once, by whichever thread; another process finds it then."""
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda n: create(store, str(n)), range(4)))
        assert {entry.parent for entry in made} == {store.root}
        assert DriveStore.connect("Lab/Typo").root == store.root
        assert len(store.list(store.root)) == 4

    def test_what_others_make_meanwhile_is_found(self, store: DriveStore) -> None:
        """By reading, and by writing, which makes no second folder."""
        late, other = DriveStore.connect("Lab/Typo"), DriveStore.connect("Lab/Typo")
        made = create(other, "s")
        assert [entry.id for entry in store.list(store.root)] == [made.id]
        late.ensure_root()
        assert store.root == late.root == other.root
        assert store.location == late.location == other.location

    def test_a_new_one_that_no_list_shows_yet(
        self, store: DriveStore, drive_emulator: DriveEmulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its maker knows that it is there."""
        monkeypatch.setattr(module, "_CACHE_SECONDS", -1.0)
        drive_emulator.faults.add("list_lag", seconds=3600)
        store.ensure_root()
        assert store.list(store.root) == []

    def test_an_id_is_checked_at_once(self, drive_emulator: DriveEmulator) -> None:
        """No write could make that one."""
        with pytest.raises(NotFoundError, match="looks like an id"):
            DriveStore.connect(DriveClient.connect().generate_ids(1)[0])
