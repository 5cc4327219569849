"""The best models of a search, kept as `best/*.keras`; loading them is the only way back.

A model is saved in the thread that trains, because Keras is not safe elsewhere, and uploaded in the
background. Listings lag, so a worse model goes to the trash only once `keep` better ones have been
seen under their own ids; one that a listing does not show yet is kept for longer, never lost.
"""

import contextlib
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colab_drive_tuner.errors import (
    IdTakenError,
    NotFoundError,
    QuotaError,
    TrainingWarning,
    UsageError,
)
from colab_drive_tuner.journal.folder.marked_folders import exists
from colab_drive_tuner.local_files import scratch_folder
from colab_drive_tuner.store.protocol import Entry, Store, read_count, read_number
from colab_drive_tuner.training.artifacts import EPOCH, TID, find_folders, find_or_create_folder
from colab_drive_tuner.training.safe_loading import load_keras_file
from colab_drive_tuner.training.upload_queue import UploadQueue
from colab_drive_tuner.user_warnings import warn_user

FOLDER = "best"


@dataclass(frozen=True, order=True)
class KeptModel:
    """One model in `best/`, or on its way there; the better one is smaller."""

    loss: float
    tid: int
    id: str = field(compare=False)
    size: int = field(compare=False)
    path: Path | None = field(compare=False, default=None)
    """Where it lies on this machine while it is on its way."""

    @property
    def name(self) -> str:
        """Its name in `best/`."""
        return f"trial-{self.tid:05d}-loss-{self.loss:.6g}.keras"

    def __str__(self) -> str:
        return f"{FOLDER}/{self.name} ({self.size / 1e6:.1f} MB)"


class BestModels:
    """The best `keep` models of the search in `folder`, over all of its runs; `keep=0`: none.

    `epoch` tells the search's history from those before it was restarted, whose trials had the same
    numbers; their models stay where they are. `room` tells how many bytes the store can still take
    (None: no limit known). Upload trouble is warned about by the next `offer` or by `close`, as
    `TrainingWarning`; it never ends a training.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        keep: int = 1,
        *,
        epoch: str = "",
        room: Callable[[], int | None] | None = None,
    ) -> None:
        if keep < 0:
            raise UsageError(f"keep_models must be an integer >= 0, got {keep}: 0 keeps none.")
        self._store, self._folder, self._keep, self._room = store, folder, keep, room
        self._epoch = epoch
        self._uploads = UploadQueue[Path, KeptModel](
            "best-models", self._keep_or_pass, self._failed, lambda w: min(w, key=w.__getitem__)
        )
        # All below is guarded by _state, but for what only the thread uses: _home and _reserved.
        self._state, self._pending = self._uploads.state, self._uploads.waiting
        self._stored: dict[str, KeptModel] = {}
        self._looked = self._closing = False
        self._local: Path | None = None
        self._home: str | None = None
        self._reserved: dict[Path, str] = {}

    @property
    def stored(self) -> list[KeptModel]:
        """What is known to lie in `best/`, best first; empty before anything was asked."""
        with self._state:
            return sorted(self._stored.values())

    def offer(self, model: Any, *, tid: int, loss: float | None) -> bool:
        """Keep `model` if it is among the best known; True if it is now on its way.

        Saving happens here, in tens of milliseconds for a small model; the upload elsewhere.
        """
        self._uploads.warn()
        if self._keep == 0 or loss is None or not math.isfinite(loss):
            return False
        with self._state:
            others = [m for m in self._known() if m.tid != tid]
            if self._closing or sum((m.loss, m.tid) < (loss, tid) for m in others) >= self._keep:
                return False
            if self._local is None:
                self._local = Path(tempfile.mkdtemp(prefix=f"colab-drive-tuner-{os.getpid()}-"))
            path = self._local / f"{tid}-{time.monotonic_ns()}.keras"
        try:
            model.save(path)
            size = path.stat().st_size
        except Exception as error:  # noqa: BLE001 - a user's get_config can fail in any way
            path.unlink(missing_ok=True)
            message = f"The model of trial {tid} is among the best, but cannot be saved: {error!r}"
            warn_user(message, TrainingWarning)
            return False
        self._uploads.submit(path, KeptModel(float(loss), tid, "", size, path))
        return True

    def load(
        self,
        tid: int | None = None,
        *,
        custom_objects: Mapping[str, Any] | None = None,
        safe_mode: bool = True,
    ) -> Any | None:
        """The model of trial `tid`, or the best one; None where none is kept.

        Raises `ModelError` for a Lambda layer unless `safe_mode=False`, and for a class that Keras
        does not know here; `UnavailableError` where the store gives no answer.
        """
        with self._state:
            known = self._looked and any(tid in (None, m.tid) for m in self._known())
        if not known:
            self._look()
        with scratch_folder() as scratch:
            copy = scratch / "model.keras"
            # Twice, because one that was on its way the first time may have arrived meanwhile.
            for _ in range(2):
                with self._state:
                    wanted = sorted(m for m in self._known() if tid in (None, m.tid))
                for kept in wanted:
                    if self._fetch(kept, copy):
                        what = f"The model of trial {kept.tid} ({FOLDER}/{kept.name})"
                        return load_keras_file(
                            copy, what=what, custom_objects=custom_objects, safe_mode=safe_mode
                        )
        return None

    def close(self, timeout: float | None = None) -> list[str]:
        """Wait for what is on its way, at most `timeout` seconds; return what still is, in words.

        Nothing is uploaded afterwards, and what is left is dropped; `load` goes on working.
        """
        with self._state:
            self._closing = self._uploads.hurry = True
            local, self._local = self._local, None
        self._uploads.wait(timeout)
        left = sorted(self._uploads.cancel())
        if local is not None:
            shutil.rmtree(local, ignore_errors=True)
        self._uploads.warn()
        return [str(kept) for kept in left]

    def _known(self) -> list[KeptModel]:
        return [*self._stored.values(), *self._pending.values()]

    def _fetch(self, kept: KeptModel, copy: Path) -> bool:
        """Copy a kept model to `copy`; False if it is not there any more."""
        try:
            if kept.path is not None:
                shutil.copyfile(kept.path, copy)
            else:
                self._store.fetch(kept.id, copy)
        except FileNotFoundError:  # NotFoundError is one, too
            return False
        return True

    def _look(self) -> None:
        """Learn what lies in `best/`: a listing is believed only in what it shows."""
        folders = find_folders(self._store, self._folder, FOLDER)
        shown = [entry for folder in folders for entry in self._store.list(folder)]
        models = {entry.id: kept for entry in shown if (kept := self._described(entry))}
        with self._state:
            self._home = self._home or next(iter(folders), None)
            self._stored = models | self._stored
            self._looked = True

    def _keep_or_pass(self, path: Path, kept: KeptModel) -> None:
        if not self._looked:
            self._look()
        if sum(other < kept for other in self.stored if other.tid != kept.tid) < self._keep:
            self._upload(path, kept)
        path.unlink(missing_ok=True)

    def _failed(self, path: Path, kept: KeptModel, error: Exception) -> str:
        path.unlink(missing_ok=True)
        return f"{kept} was not kept: {error}"

    def _upload(self, path: Path, kept: KeptModel) -> None:
        """Store one model, then trash what is worse than the best `keep`."""
        free = self._room() if self._room else None
        if free is not None and kept.size > free:
            raise QuotaError(f"only {free / 1e6:.1f} MB are left in the store.")
        self._home = self._home or find_or_create_folder(self._store, self._folder, FOLDER)
        if path not in self._reserved:
            self._reserved[path] = self._store.reserve(1)[0]
        entry_id = self._reserved[path]
        marks = {
            "cdt_kind": "model",
            TID: str(kept.tid),
            "cdt_loss": repr(kept.loss),
            EPOCH: self._epoch,
        }
        # The id is ours alone: taken means that an earlier attempt arrived and its answer was lost.
        with contextlib.suppress(IdTakenError):
            self._store.create(entry_id, path, name=kept.name, parent=self._home, properties=marks)
        with self._state:
            self._stored[entry_id] = KeptModel(kept.loss, kept.tid, entry_id, kept.size)
        self._thin(entry_id)

    def _thin(self, newest: str) -> None:
        """Trash what is worse than `keep` others that are there for certain."""
        while True:
            stored = self.stored
            one_each: dict[int, KeptModel] = {}
            for kept in sorted(stored, key=lambda m: m.id != newest):
                one_each.setdefault(kept.tid, kept)  # a trial that ran again leaves its newest
            keep = {m.id: m for m in sorted(one_each.values())[: self._keep]}
            worse = [m for m in stored if m.id not in keep]
            if not worse:
                return
            gone = [m for m in keep.values() if not exists(self._store, m.id)]
            for kept in gone or worse:
                if not gone:
                    with contextlib.suppress(NotFoundError):
                        self._store.trash(kept.id)
                with self._state:
                    self._stored.pop(kept.id, None)

    def _described(self, entry: Entry) -> KeptModel | None:
        """What our marks on a file say; None for a file that is not ours, or of another history."""
        marks = entry.properties
        try:
            if (marks.get("cdt_kind"), marks.get(EPOCH, "")) != ("model", self._epoch):
                return None
            loss, tid = read_number(marks, "cdt_loss"), read_count(marks, TID)
        except (KeyError, ValueError):
            return None
        return KeptModel(loss, tid, entry.id, entry.size)
