"""Where searches are kept: one interface, Drive and a local folder behind it, and which one it is.

`open_store` decides once and for everybody. The default that `setup()` hands down is the only
state in here.
"""

import os
from pathlib import Path

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.store.protocol import Entry, Store

__all__ = ["Entry", "Store", "open_store", "set_default_store"]

VARIABLE = "COLAB_DRIVE_TUNER_STORE"

_default: Store | None = None


def set_default_store(store: Store | None) -> None:
    """From now on `open_store()` returns `store`; with None it decides afresh."""
    global _default  # noqa: PLW0603 - the one default of this process, as the module says
    _default = store


def open_store(spec: Store | Path | str | None = None) -> Store:
    """The store to use: `spec`, else what the environment names, else the default, else Drive.

    A path is a local folder, made where it does not exist. Raises `UsageError` for a folder that
    cannot be a store, and `CredentialsError` where it would be Drive and nobody is signed in.
    """
    if spec is None:
        spec = os.environ.get(VARIABLE) or _default
    if spec is None:
        from colab_drive_tuner.drive import DriveClient
        from colab_drive_tuner.store.drive import DriveStore

        return DriveStore(DriveClient.connect())
    if isinstance(spec, str | Path):
        if not str(spec).strip():
            raise UsageError(f"The store is an empty text; name a folder, or unset {VARIABLE}.")
        from colab_drive_tuner.store.folder import FolderStore

        return FolderStore(spec)
    if not hasattr(spec, "reserve"):
        raise UsageError(f"store={spec!r} is neither a store nor the path of a folder.")
    return spec
