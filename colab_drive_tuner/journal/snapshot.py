"""Snapshots, which save readers most of a long chain; not needed for correctness (SNAPSHOT)."""

import contextlib
import zlib
from collections.abc import Callable
from typing import Any

from colab_drive_tuner.errors import IdTakenError, NotFoundError, SearchDamagedError
from colab_drive_tuner.journal.chain.chain import Head, head_from
from colab_drive_tuner.journal.chain.fields import decoding, typed
from colab_drive_tuner.journal.chain.record import frame, unframe
from colab_drive_tuner.journal.folder.lookup import HINT, SearchFolder
from colab_drive_tuner.store.protocol import Store

LARGEST_RATIO = 20
"""Upper limit of a state's size beyond 1 MiB, relative to its compressed size; typical: 5."""


def save_snapshot(store: Store, folder: SearchFolder, head: Head, state: bytes) -> str:
    """Upload the state of exactly the records before `head`, set the hint; return the id."""
    (entry_id,) = store.reserve(1)
    # Level 1 already makes it five times smaller, at a cost that training does not notice.
    packed = zlib.compress(state, 1)
    if len(state) > _max_size(packed):  # a reader would refuse this ratio
        packed = zlib.compress(state, 0)
    content = frame({"head": head, "state": packed})
    name = f"snapshot-{head.pos:06d}.cdt"
    with contextlib.suppress(IdTakenError):  # created by an earlier send: the id is only ours
        store.create(entry_id, content, name=name, parent=folder.records)
    store.set_properties(folder.id, {HINT: entry_id})
    return entry_id


def load_snapshot(
    store: Store, entry_id: str, load: Callable[[bytes], Any]
) -> tuple[Head, Any] | None:
    """Return the head and state in a snapshot; None, if it is gone or damaged: read from id0."""
    what = "The snapshot"
    try:
        body = unframe(store.read_unverified(entry_id), what)
        with decoding(what):
            packed = typed(body["state"], bytes)
            unzip = zlib.decompressobj()
            state = unzip.decompress(packed, _max_size(packed))
            if not unzip.eof:
                raise ValueError("its state is truncated, or far larger than its file")
            head = head_from(body["head"])
        return head, load(state)
    except (NotFoundError, SearchDamagedError):
        return None  # the records are authoritative and are read instead


def _max_size(packed: bytes) -> int:
    """Upper limit of a state's size, so that a small file cannot fill the memory."""
    return (1 << 20) + LARGEST_RATIO * len(packed)
