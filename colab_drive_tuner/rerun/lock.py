"""Cross-machine lock: one rerun per search at a time, so that no second runtime is allocated.

Within a machine a file lock is reliable. Across machines the lock is advisory: a property of the
search's folder is written, and read again a few seconds later; the last writer has the lock. The
property is renewed during the run, and expires if its machine dies. If the advisory lock fails, a
runtime is started in vain; the search itself is protected by its chain.
"""

import contextlib
import hashlib
import secrets
import time
from collections.abc import Callable, Iterator

from filelock import FileLock, Timeout

from colab_drive_tuner.errors import StoreError
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.machine import machine_id, state_folder
from colab_drive_tuner.progress_bars import call_periodically
from colab_drive_tuner.store.protocol import Store, read_time

RENEW_SECONDS = 60.0
EXPIRE_SECONDS = 200.0
SETTLE_SECONDS = 3.0
_PROPERTY = "cdt_rerun"


class RerunLockedError(Exception):
    """Another machine or process is rerunning this search; the message says which."""


@contextlib.contextmanager
def rerun_lock(
    store: Store, search: str, sleep: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Hold the lock of a search during the block; raise `RerunLockedError` if it is taken."""
    store.ensure_root()  # holds the property if the search does not exist yet
    digest = hashlib.sha256(f"{store.location}\0{search}".encode()).hexdigest()[:16]
    folder = state_folder() / "rerun"
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / f"{digest}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RerunLockedError(f"Search {search!r} is being rerun by this machine.") from None
    try:
        with _store_lock(store, search, digest, sleep):
            yield
    finally:
        lock.release()


@contextlib.contextmanager
def _store_lock(
    store: Store, search: str, digest: str, sleep: Callable[[float], None]
) -> Iterator[None]:
    found = find_folder(store, search)
    folder_id = found.id if found is not None else store.root
    key = _PROPERTY if found is not None else f"{_PROPERTY}_{digest}"
    machine = machine_id()[:12]
    ours = f"{machine}-{secrets.token_hex(8)}"
    holder = _holder(store, folder_id, key)
    # A property set by this machine belongs to a dead process: this process has the file lock.
    if holder is not None and not holder.startswith(machine):
        raise RerunLockedError(f"Search {search!r} is being rerun by another machine.")
    store.set_properties(folder_id, {key: f"{ours} {store.now():.0f}"})
    if store.is_shared:  # otherwise the file lock is enough
        sleep(SETTLE_SECONDS)
    if _holder(store, folder_id, key) != ours:
        raise RerunLockedError(f"Search {search!r} is being rerun by another machine.")

    def renew() -> None:
        with contextlib.suppress(StoreError):  # advisory; the next renewal may succeed
            store.set_properties(folder_id, {key: f"{ours} {store.now():.0f}"})

    try:
        with call_periodically(renew, RENEW_SECONDS, "colab-drive-tuner-lock"):
            yield
    finally:
        with contextlib.suppress(StoreError):  # it expires by itself
            store.set_properties(folder_id, {key: ""})


def _holder(store: Store, folder_id: str, key: str) -> str | None:
    """Return the holder of the advisory lock; None if it is free or has expired."""
    who, _, when = store.stat(folder_id).properties.get(key, "").partition(" ")
    now = store.now()
    try:
        fresh = now - read_time({key: when}, key, now) < EXPIRE_SECONDS
    except ValueError:
        return None
    return who if fresh else None
