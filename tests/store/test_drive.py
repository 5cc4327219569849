"""Drive as a store keeps the same contract as a folder."""

import pytest

from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.emulator import DriveEmulator
from colab_drive_tuner.errors import NotFoundError
from colab_drive_tuner.store import drive as module
from colab_drive_tuner.store.drive import DEFAULT_FOLDER, DriveStore
from tests.store.contract import Reopen, StoreContract


class TestContract(StoreContract):
    @pytest.fixture
    def reopen(self, drive_emulator: object) -> Reopen:
        return lambda: DriveStore(DriveClient.connect())


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
            store._place = DEFAULT_FOLDER
        return stores

    def test_both_see_both_when_they_look_again(
        self, stores: list[DriveStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At first each knows its own; each goes on to make what it makes in its own."""
        each = [[f"of {store.root}"] for store in stores]
        assert [names(store) for store in stores] == each
        monkeypatch.setattr(module, "_LOOK_SECONDS", -1.0)
        assert [names(store) for store in stores] == [sorted([*each[0], *each[1]])] * 2
        assert stores[0].root != stores[1].root

    def test_of_an_old_folder_nobody_is_asked_again(
        self,
        stores: list[DriveStore],
        drive_emulator: DriveEmulator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Lists lag by minutes, so after these minutes it is known."""
        monkeypatch.setattr(module, "_LOOK_SECONDS", -1.0)
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


def test_looking_makes_no_folder(drive_emulator: DriveEmulator) -> None:
    """With `create=False` a missing folder is an error."""
    with pytest.raises(NotFoundError):
        DriveStore(DriveClient.connect(), create=False)
    assert DriveClient.connect().find(DEFAULT_FOLDER) == []
