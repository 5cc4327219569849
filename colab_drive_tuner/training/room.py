"""How much a store can still take, asked before a model is sent there.

A store need not know, so this is no part of its protocol: Drive tells an account's quota, and a
folder lies on a disk.
"""

import shutil
from pathlib import Path

from colab_drive_tuner.store.protocol import Store


def room_in(store: Store) -> int | None:
    """Bytes that are left; None where there is no limit, or none that is known."""
    from colab_drive_tuner.store.folder import FolderStore

    if isinstance(store, FolderStore):
        return shutil.disk_usage(Path(store.url(store.root))).free
    from colab_drive_tuner.store.drive import DriveStore

    if isinstance(store, DriveStore):
        # A shared drive has limits of its own, and a service account owns nothing anywhere else.
        quota = store.client.quota()
        if store.folder.drive_id is not None or not quota.limit:
            return None
        return max(0, quota.limit - quota.used)
    return None
