"""Drive as a store keeps the same contract as a folder."""

import pytest

from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.store.drive import DriveStore
from tests.store.contract import Reopen, StoreContract


class TestContract(StoreContract):
    @pytest.fixture
    def reopen(self, drive_emulator: object) -> Reopen:
        return lambda: DriveStore(DriveClient.connect())
