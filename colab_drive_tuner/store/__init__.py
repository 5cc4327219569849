"""Stores for searches: one protocol, implemented for Drive, local folders and memory.

`open_store` selects the store. The default store, set by `setup()`, is the only state here.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.local_files import resolve_path
from colab_drive_tuner.store.protocol import Entry, Store

__all__ = ["Entry", "Store", "open_store", "set_default_store"]

_default: Store | None = None


def set_default_store(store: Store | None) -> None:
    """Make `open_store()` return `store`; with None it selects a store again."""
    global _default  # noqa: PLW0603 - the one default of this process, as the module says
    _default = store


def open_store(spec: Store | Path | str | None = None) -> Store:
    """Open a store: `spec`, else the environment's, else the default, else Google Drive.

    Args:
        spec: A store, the path of a local folder, `folder:PATH`, `drive:` or `drive:FOLDER` for
            Google Drive, or `memory:NAME`, which exists only in this process. None: the value of
            the environment variable COLAB_DRIVE_TUNER_STORE, else the default of `setup()`, else
            Google Drive. A missing folder is created when a search is first created in it.

    Returns:
        The store; opening it writes nothing.

    Raises:
        UsageError: `spec` is not a store, or has an unknown scheme.
        CredentialsError: The store is Google Drive, and nobody is signed in.

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
        scheme, rest = split_scheme(spec)
        return scheme.open(rest)
    if not hasattr(spec, "reserve"):
        raise UsageError(f"store={spec!r} is neither a store nor the path of a folder.")
    return spec


@dataclass(frozen=True)
class Scheme:
    """A kind of store, which is named `SCHEME:REST`."""

    open: Callable[[str], Store]
    """Opens the store, given REST; raises what `open_store` raises."""
    help: str = ""
    """The form and its meaning, for help texts; empty if the store ends with its process."""
    is_path: bool = False
    """Whether REST is a path of this machine."""
    needs_google_account: bool = False
    """As the attribute of the store, for stores that cannot be opened yet."""

    @property
    def is_local(self) -> bool:
        """Whether no other machine can find the store."""
        return self.is_path or not self.help


def split_scheme(spec: str) -> tuple[Scheme, str]:
    """Return the kind of store that a text names, and the rest of the text.

    Raises `UsageError` for an unknown scheme.
    """
    prefix = _PREFIX.match(spec)
    if prefix is None or os.path.exists(spec):  # noqa: PTH110 - any text, perhaps a long one
        return SCHEMES["folder"], spec
    if prefix[1] not in SCHEMES:
        known = ", ".join(f"{name}:" for name in sorted(SCHEMES))
        raise UsageError(
            f"The store {spec!r} begins with {prefix[1]!r}, which is not a kind of store. "
            f"Known are {known} and the path of a folder (one with a colon is written "
            f"./{spec}); Google Drive is used where no store is named."
        )
    return SCHEMES[prefix[1]], spec[prefix.end() :]


def list_forms() -> str:
    """Return the forms of a store's name, for the help of options."""
    return ", or ".join(scheme.help for scheme in SCHEMES.values() if scheme.help)


def absolute_spec(spec: str) -> str:
    """Return a text that names the same store in every working directory."""
    scheme, rest = split_scheme(spec)
    if not scheme.is_path:
        return spec
    return spec.removesuffix(rest) + str(resolve_path(rest))


def _folder(path: str) -> Store:
    from colab_drive_tuner.store.folder import FolderStore

    return FolderStore(path)


def _drive(folder: str) -> Store:
    from colab_drive_tuner.store.drive import DEFAULT_FOLDER, DriveStore

    store = DriveStore.connect(folder or DEFAULT_FOLDER)
    if folder:
        store.environment = {Variable.STORE: f"drive:{folder}"}
    return store


def _memory(name: str) -> Store:
    from colab_drive_tuner.store.memory import MemoryStore

    return MemoryStore(name)


SCHEMES = {
    "folder": Scheme(_folder, "a local folder", is_path=True),
    "drive": Scheme(_drive, "drive: or drive:FOLDER for Google Drive", needs_google_account=True),
    "memory": Scheme(_memory),
}
"""The kinds of store. Add new ones here."""
_PREFIX = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
"""At least two letters, because `C:\\searches` is a path."""
