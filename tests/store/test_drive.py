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
    """Create a folder directly in the root."""
    return store.create(*store.reserve(1), None, name=name, parent=store.root)


def names(store: DriveStore) -> list[str]:
    return sorted(entry.name for entry in store.list(store.root))


class TestDuplicateRoots:
    """Two runtimes created the store's folder at the same moment: both folders are searched."""

    @pytest.fixture
    def stores(self, drive_emulator: DriveEmulator) -> list[DriveStore]:
        """A store in each folder; the creator of the younger one did not see the older."""
        client = DriveClient.connect()
        for _ in range(2):
            client.create_folder(DEFAULT_FOLDER, parent="root")
        older, younger = client.folders(DEFAULT_FOLDER)
        stores = [DriveStore(client, folder.id) for folder in (older, younger)]
        for store in stores:
            store.create(*store.reserve(1), None, name=f"of {store.root}", parent=store.root)
            store._folder_spec = DEFAULT_FOLDER
        return stores

    def test_both_list_both_once_the_cache_expires(
        self, stores: list[DriveStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At first each lists its own folder, later both; each keeps its own root."""
        each = [[f"of {store.root}"] for store in stores]
        assert [names(store) for store in stores] == each
        monkeypatch.setattr(module, "_CACHE_SECONDS", -1.0)
        assert [names(store) for store in stores] == [sorted([*each[0], *each[1]])] * 2
        assert stores[0].root != stores[1].root

    def test_an_old_folder_is_not_queried_again(
        self,
        stores: list[DriveStore],
        drive_emulator: DriveEmulator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Once listings no longer lag, the duplicates are known and not queried again."""
        monkeypatch.setattr(module, "_CACHE_SECONDS", -1.0)
        monkeypatch.setattr(module, "LIST_LAG_SECONDS", -1.0)
        drive_emulator.clear_log()
        assert len(names(stores[0])) == 1
        assert len(drive_emulator.log) == 1

    def test_a_later_store_lists_both(self, stores: list[DriveStore]) -> None:
        """A store that is opened later has the older root, and lists and trashes in both."""
        later = DriveStore.connect()
        assert later.root == stores[0].root
        assert names(later) == sorted(f"of {store.root}" for store in stores)
        (lost,) = later.list(later.root, name=f"of {stores[1].root}")
        later.trash(lost.id)
        assert [entry.id for entry in later.list_trash(later.root)] == [lost.id]


class TestMissingFolder:
    """A path that does not exist, mistyped or new, is created by the first write only."""

    @pytest.fixture
    def store(self, drive_emulator: DriveEmulator) -> DriveStore:
        return DriveStore.connect("Lab/Typo")

    def test_reading_creates_no_folder(self, store: DriveStore) -> None:
        """Each request that reads says that there is no such folder."""
        for ask in (store.list, store.list_trash, store.stat):
            with pytest.raises(NotFoundError, match=r"no folder 'Lab/Typo' in the Google Drive of"):
                ask(store.root)
        assert store.url(store.root) == "drive:Lab/Typo"
        assert store.free_space()
        assert not store.duplicates()
        assert store.client.list_folder("root") == []

    def test_the_first_write_creates_it(self, store: DriveStore) -> None:
        """Concurrent writes create the folder once, and another process finds it."""
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda n: create(store, str(n)), range(4)))
        assert {entry.parent for entry in made} == {store.root}
        assert DriveStore.connect("Lab/Typo").root == store.root
        assert len(store.list(store.root)) == 4

    def test_a_folder_that_another_creates_meanwhile_is_found(self, store: DriveStore) -> None:
        """Reads and writes find the folder, and no second one is created."""
        late, other = DriveStore.connect("Lab/Typo"), DriveStore.connect("Lab/Typo")
        made = create(other, "s")
        assert [entry.id for entry in store.list(store.root)] == [made.id]
        late.ensure_root()
        assert store.root == late.root == other.root
        assert store.location == late.location == other.location

    def test_a_new_folder_that_no_listing_shows_yet(
        self, store: DriveStore, drive_emulator: DriveEmulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The creator of a folder can use it before any listing shows it."""
        monkeypatch.setattr(module, "_CACHE_SECONDS", -1.0)
        drive_emulator.faults.add("list_lag", seconds=3600)
        store.ensure_root()
        assert store.list(store.root) == []

    def test_an_id_is_checked_at_once(self, drive_emulator: DriveEmulator) -> None:
        """An id that does not exist is an error at once, because no write could create it."""
        with pytest.raises(NotFoundError, match="looks like an id"):
            DriveStore.connect(DriveClient.connect().generate_ids(1)[0])
