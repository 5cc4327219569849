"""The machine: its state folder, which outlives processes, and its random id.

Whatever lies there may be damaged, or be something else than it should. What nothing depends on is
put aside under a name of its own and made anew.
"""

import logging
import os
import re
import secrets
from pathlib import Path

from platformdirs import user_state_path

from colab_drive_tuner.errors import StoreError

_ID = re.compile(rb"[0-9a-f]{32}")

log = logging.getLogger(__name__)


def state_folder() -> Path:
    """Where this machine keeps what must outlive a process; raises `StoreError`."""
    place = user_state_path("colab-drive-tuner", appauthor=False)
    try:
        make_folder(place)
    except OSError as error:
        raise StoreError(
            f"The state folder {place} of this machine cannot be made ({error.strerror}): remove "
            f"what is in its way, or set XDG_STATE_HOME to a folder that can be written."
        ) from error
    return place


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; their names are on the disk when this returns."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no folder, and keeps names in a journal
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def machine_id() -> str:
    """A random id of this machine's state folder, made when first asked for.

    A damaged one is put aside and made anew. All that follows is that a search held here counts as
    held by another machine until it ends: who may write is decided by the chain, and whether a
    session is dead by the lock. Where the disk takes nothing, the id is this call's only.
    """
    path = state_folder() / "machine"
    known = _read_id(path)
    if known is not None:
        return known
    made = secrets.token_hex(16)
    fresh = path.with_name(f"machine.{secrets.token_hex(8)}")
    try:
        fresh.write_text(made)
        if os.path.lexists(path):
            set_aside(path)
        os.link(fresh, path)
    except FileExistsError:
        pass  # another process was first: its id is the machine's
    except OSError as error:
        log.warning("The id of this machine cannot be kept in %s: %s", path, error)
    finally:
        fresh.unlink(missing_ok=True)
    return _read_id(path) or made


def is_this_machine(machine: str) -> bool:
    """Whether that is this machine's id; writes nothing."""
    return _read_id(state_folder() / "machine") == machine


def has_valid_id(path: Path) -> bool:
    """Whether a file `machine` holds an id."""
    return _read_id(path) is not None


def set_aside(path: Path) -> Path:
    """Rename what cannot be used, so that nothing is lost; returns where it is now."""
    return path.rename(path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}"))


def _read_id(path: Path) -> str | None:
    try:
        content = path.read_bytes() if path.is_file() else b""  # a pipe would be waited for
    except OSError:
        return None  # not there yet; or a folder, or unreadable: then it is put aside
    return content.decode("ascii") if _ID.fullmatch(content) else None
