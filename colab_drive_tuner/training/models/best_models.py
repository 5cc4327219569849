"""The best models of a search, stored as `best/*.keras`.

A model is saved in the training thread, because Keras is not thread-safe, and uploaded in the
background. Listings lag, so a worse model is moved to the trash only after `keep` better ones have
been read by id; a model missing from a listing may be kept longer, but is never lost.
"""

import contextlib
import math
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colab_drive_tuner.errors import (
    IdTakenError,
    NotFoundError,
    QuotaError,
    TrainingWarning,
)
from colab_drive_tuner.journal.folder.creation import (
    BEST_MODELS,
    find_or_create_subfolder,
    find_subfolders,
)
from colab_drive_tuner.journal.folder.lookup import exists
from colab_drive_tuner.local_files import scratch_folder
from colab_drive_tuner.store.protocol import Entry, Store, read_count, read_number
from colab_drive_tuner.text import text_of
from colab_drive_tuner.training.models.safe_loading import load_keras_file
from colab_drive_tuner.training.trial_backup_files import EPOCH, TID
from colab_drive_tuner.training.upload_queue import UploadQueue
from colab_drive_tuner.warn_user import warn_user


@dataclass(frozen=True, order=True)
class KeptModel:
    """A model in `best/`, or queued for upload; better models sort first."""

    loss: float
    tid: int
    id: str = field(compare=False)
    size: int = field(compare=False)
    path: Path | None = field(compare=False, default=None)
    """The local file of a model that is queued for upload."""

    @property
    def name(self) -> str:
        """File name in `best/`."""
        return f"trial-{self.tid:05d}-loss-{self.loss:.6g}.keras"

    def __str__(self) -> str:
        return f"{BEST_MODELS}/{self.name} ({self.size / 1e6:.1f} MB)"


class BestModels:
    """The best `keep` models of the search in `folder`, over all of its runs; `keep=0`: none.

    `epoch` distinguishes the search's history from those before a restart, whose trials had the
    same numbers; their models are not touched. A failed upload does not end the training; the next
    `offer` or `close` emits a `TrainingWarning`.
    """

    def __init__(self, store: Store, folder: str, keep: int = 1, *, epoch: str = "") -> None:
        self._store, self._folder, self._keep, self._epoch = store, folder, keep, epoch
        self._uploads = UploadQueue[Path, KeptModel](
            "best-models", self._upload_if_best, self._failed, lambda w: min(w, key=w.__getitem__)
        )
        # _changed guards the attributes below, except _best_folder and _reserved of the thread.
        self._changed, self._pending = self._uploads.changed, self._uploads.waiting
        self._stored: dict[str, KeptModel] = {}
        self._listed = self._closing = False
        self._local: Path | None = None
        self._best_folder: str | None = None
        self._reserved: dict[Path, str] = {}

    @property
    def stored(self) -> list[KeptModel]:
        """Models known to be in `best/`, best first; empty before the store was asked."""
        with self._changed:
            return sorted(self._stored.values())

    def offer(self, model: Any, *, tid: int, loss: float | None) -> bool:
        """Save `model` if it is among the best known; return True if it is queued for upload."""
        self._uploads.warn()
        if self._keep == 0 or loss is None or not math.isfinite(loss):
            return False
        with self._changed:
            others = [m for m in self._known() if m.tid != tid]
            if self._closing or sum((m.loss, m.tid) < (loss, tid) for m in others) >= self._keep:
                return False
        path = None
        try:
            if self._local is None:
                self._local = Path(tempfile.mkdtemp(prefix=f"colab-drive-tuner-{os.getpid()}-"))
            path = self._local / f"{tid}-{time.monotonic_ns()}.keras"
            model.save(path)
            size = path.stat().st_size
        except Exception as error:  # noqa: BLE001 - a user's get_config can fail in any way
            if path is not None:
                path.unlink(missing_ok=True)
            warn_user(
                f"The model of trial {tid} is among the best, but cannot be saved. "
                f"{type(error).__name__}: {text_of(error).strip()}",
                TrainingWarning,
            )
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
        """Return the model of trial `tid` or the best one; None if it was not kept."""
        with self._changed:
            known = self._listed and any(tid in (None, m.tid) for m in self._known())
        if not known:
            self._list()
        with scratch_folder() as scratch:
            copy = scratch / "model.keras"
            # Twice, because the upload of a queued model may end between the two steps.
            for _ in range(2):
                with self._changed:
                    wanted = sorted(m for m in self._known() if tid in (None, m.tid))
                for kept in wanted:
                    if self._fetch(kept, copy):
                        what = f"The model of trial {kept.tid} ({BEST_MODELS}/{kept.name})"
                        return load_keras_file(
                            copy, what=what, custom_objects=custom_objects, safe_mode=safe_mode
                        )
        return None

    def close(self, timeout: float | None = None) -> list[str]:
        """Wait for uploads, discard the rest, and return its description; `load` still works."""
        with self._changed:
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
        """Copy a kept model to `copy`; return False if it no longer exists."""
        try:
            if kept.path is not None:
                shutil.copyfile(kept.path, copy)
            else:
                self._store.fetch(kept.id, copy)
        except FileNotFoundError:  # NotFoundError is a subclass
            return False
        return True

    def _list(self) -> None:
        """Add the models that a listing shows; it may lag, so none is removed."""
        folders = find_subfolders(self._store, self._folder, BEST_MODELS)
        shown = [entry for folder in folders for entry in self._store.list(folder)]
        models = {entry.id: kept for entry in shown if (kept := self._parse(entry))}
        with self._changed:
            self._best_folder = self._best_folder or next(iter(folders), None)
            self._stored = models | self._stored
            self._listed = True

    def _upload_if_best(self, path: Path, kept: KeptModel) -> None:
        if not self._listed:
            self._list()
        if sum(other < kept for other in self.stored if other.tid != kept.tid) < self._keep:
            self._upload(path, kept)
        path.unlink(missing_ok=True)

    def _failed(self, path: Path, kept: KeptModel, error: Exception) -> str:
        path.unlink(missing_ok=True)
        return f"{kept} was not kept: {str(error) or repr(error)}"

    def _upload(self, path: Path, kept: KeptModel) -> None:
        """Store one model, then trash those worse than the best `keep`."""
        free = self._store.free_space()
        if free is not None and kept.size > free:
            raise QuotaError(f"only {free / 1e6:.1f} MB are left in the store.")
        self._best_folder = self._best_folder or find_or_create_subfolder(
            self._store, self._folder, BEST_MODELS
        )
        if path not in self._reserved:
            self._reserved[path] = self._store.reserve(1)[0]
        entry_id = self._reserved[path]
        properties = {
            "cdt_kind": "model",
            TID: str(kept.tid),
            "cdt_loss": repr(kept.loss),
            EPOCH: self._epoch,
        }
        # IdTakenError: an earlier attempt succeeded, but its answer was lost.
        with contextlib.suppress(IdTakenError):
            self._store.create(
                entry_id, path, name=kept.name, parent=self._best_folder, properties=properties
            )
        with self._changed:
            self._stored[entry_id] = KeptModel(kept.loss, kept.tid, entry_id, kept.size)
        self._trash_worse(entry_id)

    def _trash_worse(self, newest: str) -> None:
        """Trash models that are worse than `keep` others whose existence is verified."""
        while True:
            stored = self.stored
            one_each: dict[int, KeptModel] = {}
            for kept in sorted(stored, key=lambda m: m.id != newest):
                one_each.setdefault(kept.tid, kept)  # of a trial that ran again, the newest
            keep = {m.id: m for m in sorted(one_each.values())[: self._keep]}
            worse = [m for m in stored if m.id not in keep]
            if not worse:
                return
            gone = [m for m in keep.values() if not exists(self._store, m.id)]
            for kept in gone or worse:
                if not gone:
                    with contextlib.suppress(NotFoundError):
                        self._store.trash(kept.id)
                with self._changed:
                    self._stored.pop(kept.id, None)

    def _parse(self, entry: Entry) -> KeptModel | None:
        """Return the model in a file; None if it is not one, or of another history."""
        properties = entry.properties
        try:
            if (properties.get("cdt_kind"), properties.get(EPOCH, "")) != ("model", self._epoch):
                return None
            loss, tid = read_number(properties, "cdt_loss"), read_count(properties, TID)
        except (KeyError, ValueError):
            return None
        return KeptModel(loss, tid, entry.id, entry.size)
