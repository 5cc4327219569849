"""Cross-machine lock: one rerun per search at a time, so that no second runtime is allocated.

On one machine a lock decides, for certain. Across machines it is advice, a mark on the search's
folder: written, left alone for a moment, and read again; the last writer has it. It is renewed
while the run goes on, and runs out by itself where its machine dies. Were it ever wrong, a runtime
would be started for nothing; the search itself is kept safe by its chain.
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
from colab_drive_tuner.progress_line import call_periodically
from colab_drive_tuner.store.protocol import Store, read_time

RENEWED_EVERY = 60.0
RUNS_OUT_AFTER = 200.0
SETTLES_IN = 3.0
_MARK = "cdt_rerun"


class RerunLockedError(Exception):
    """Another machine or process reruns this search; the message says which."""


@contextlib.contextmanager
def rerun_lock(
    store: Store, search: str, sleep: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Within the block no other rerunner starts this search; raises `RerunLockedError`."""
    store.ensure_root()  # where the search is not begun yet, the mark is put there
    digest = hashlib.sha256(f"{store.location}\0{search}".encode()).hexdigest()[:16]
    folder = state_folder() / "rerun"
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / f"{digest}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RerunLockedError(f"Search {search!r} is being rerun by this machine.") from None
    try:
        with _marked(store, search, digest, sleep):
            yield
    finally:
        lock.release()


@contextlib.contextmanager
def _marked(
    store: Store, search: str, digest: str, sleep: Callable[[float], None]
) -> Iterator[None]:
    found = find_folder(store, search)
    folder_id = found.id if found is not None else store.root
    key = _MARK if found is not None else f"{_MARK}_{digest}"
    machine = machine_id()[:12]
    ours = f"{machine}-{secrets.token_hex(8)}"
    there = _holder(store, folder_id, key)
    # A mark of this machine was left by a process that is dead, or we would not have its lock.
    if there is not None and not there.startswith(machine):
        raise RerunLockedError(f"Search {search!r} is being rerun by another machine.")
    store.set_properties(folder_id, {key: f"{ours} {store.now():.0f}"})
    if store.is_shared:  # else the lock of this machine alone decides
        sleep(SETTLES_IN)
    if _holder(store, folder_id, key) != ours:
        raise RerunLockedError(f"Search {search!r} is being rerun by another machine.")

    def renew() -> None:
        with contextlib.suppress(StoreError):  # advice only; the next one may get through
            store.set_properties(folder_id, {key: f"{ours} {store.now():.0f}"})

    try:
        with call_periodically(renew, RENEWED_EVERY, "colab-drive-tuner-lock"):
            yield
    finally:
        with contextlib.suppress(StoreError):  # it runs out by itself
            store.set_properties(folder_id, {key: ""})


def _holder(store: Store, folder_id: str, key: str) -> str | None:
    """The holder of the lock by the folder's property; None where it has run out."""
    who, _, when = store.stat(folder_id).properties.get(key, "").partition(" ")
    now = store.now()
    try:
        fresh = now - read_time({key: when}, key, now) < RUNS_OUT_AFTER
    except ValueError:
        return None
    return who if fresh else None
