"""Stores that keep searches: one interface, Drive, a local folder or memory behind it.

`open_store` decides once and for everybody which one it is. The default that `setup()` hands down
is the only state in here.
"""

import re
from collections.abc import Callable
from pathlib import Path

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.store.protocol import Entry, Store

__all__ = ["Entry", "Store", "open_store", "set_default_store"]

_default: Store | None = None


def set_default_store(store: Store | None) -> None:
    """From now on `open_store()` returns `store`; with None it decides afresh."""
    global _default  # noqa: PLW0603 - the one default of this process, as the module says
    _default = store


def open_store(spec: Store | Path | str | None = None) -> Store:
    """The store to use: `spec`, else what the environment names, else the default, else Drive.

    Args:
        spec: A store, the path of a folder on this machine, `folder:PATH`, `drive:` or
            `drive:FOLDER` for Google Drive, or `memory:NAME`, which lives and ends with this
            process. None: what the environment variable COLAB_DRIVE_TUNER_STORE names, else the
            default of `setup()`, else Google Drive. A folder that is missing is made when a search
            first begins in it.

    Returns:
        The store; opening it writes nothing.

    Raises:
        UsageError: `spec` cannot be a store, or begins with a scheme that is not known.
        CredentialsError: It would be Drive, and nobody is signed in.

    Example:
        >>> import colab_drive_tuner as cdt
        >>> cdt.open_store("memory:demo").list("root")
        []
    """
    if spec is None:
        spec = Variable.STORE.get() or _default
    if spec is None:
        return _drive("")
    if isinstance(spec, Path):
        return _folder(str(spec))
    if isinstance(spec, str):
        if not spec.strip():
            raise UsageError(
                f"The store is an empty text; name a folder, or unset {Variable.STORE}."
            )
        scheme = _SCHEME.match(spec)
        if scheme is None or Path(spec).exists():
            return _folder(spec)
        if scheme[1] not in _OPENERS:
            known = ", ".join(f"{name}:" for name in sorted(_OPENERS))
            raise UsageError(
                f"The store {spec!r} begins with {scheme[1]!r}, which is not a kind of store. "
                f"Known are {known} and the path of a folder (one with a colon is written "
                f"./{spec}); Google Drive is used where no store is named."
            )
        return _OPENERS[scheme[1]](spec[scheme.end() :])
    if not hasattr(spec, "reserve"):
        raise UsageError(f"store={spec!r} is neither a store nor the path of a folder.")
    return spec


def _folder(path: str) -> Store:
    from colab_drive_tuner.store.folder import FolderStore

    return FolderStore(path)


def _drive(place: str) -> Store:
    from colab_drive_tuner.store.drive import DEFAULT_FOLDER, DriveStore

    return DriveStore.connect(place or DEFAULT_FOLDER)


def _memory(name: str) -> Store:
    from colab_drive_tuner.store.memory import MemoryStore

    return MemoryStore(name)


_OPENERS: dict[str, Callable[[str], Store]] = {
    "drive": _drive,
    "folder": _folder,
    "memory": _memory,
}
"""What opens the store behind `SCHEME:REST`, given the rest. A new kind of store is named here."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
"""Two letters at least: `C:\\searches` is a path."""
