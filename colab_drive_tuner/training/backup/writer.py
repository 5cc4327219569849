"""The background writer of one trial's backups: the training thread only hands copies over.

A newer backup of a `fit` replaces one that still waits, so slow or absent storage costs backups,
never training time, and at most two copies of a model are held. A backup file proves itself whole:

    magic, 8 bytes | plain data with arrays, as `checkpoint.codec` writes it | sha256 of all that
"""

import hashlib
import mmap
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from colab_drive_tuner.checkpoint.codec import CodecError, decode, encode_pieces
from colab_drive_tuner.errors import (
    ChecksumError,
    StoreError,
    TrainingWarning,
    UnavailableError,
)
from colab_drive_tuner.trial import Artifacts, RunningTrial
from colab_drive_tuner.user_warnings import warn_user

GENERATIONS = 2
_PAUSES = (1.0, 60.0)
_MAGIC, _DIGEST = b"CDTBACK2", 32
_NAME = re.compile(r"fit-(\d+)-epoch-(\d+)\.backup")


def backup_name(fit: int, epoch: int) -> str:
    """The name under which the state after `epoch` epochs of the trial's n-th `fit` is kept."""
    return f"fit-{fit:03d}-epoch-{epoch:05d}.backup"


class BackupWriter:
    """Everything about the backups of one trial that outlives a single `fit` call."""

    def __init__(self, artifacts: Artifacts) -> None:
        self.artifacts = artifacts
        self._trial: RunningTrial | None = None
        self._fits = 0
        self._names: set[str] | None = None
        self._refers: dict[str, set[str]] = {}
        """By backup, the names of the files beside it that it needs, as far as they are known."""
        self._state = threading.Condition()
        self._waiting: dict[int, tuple[int, Mapping[str, Any]]] = {}
        self._thread: threading.Thread | None = None
        self._dropped = False
        self._troubles: list[str] = []

    def next_fit(self, trial: RunningTrial) -> int:
        """Which `fit` call of the trial this is, from 0; an attempt in this process starts anew."""
        if trial is not self._trial:
            self._trial, self._fits, self._dropped = trial, 0, False
        self._fits += 1
        return self._fits - 1

    def epochs(self, fit: int) -> list[int]:
        """Epochs of `fit` of which a backup is kept, newest first. Asks the store once a trial."""
        if self._names is None:
            self._names = set(self.artifacts.names())
        return sorted((epoch for f, epoch in map(_parsed, self._names) if f == fit), reverse=True)

    def submit(self, fit: int, epoch: int, tree: Mapping[str, Any]) -> None:
        """Keep `tree` as the state after `epoch` epochs; returns at once."""
        with self._state:
            self._waiting[fit] = (epoch, tree)
            self._wake()
        self.warn()

    def is_stored(self, fit: int, epoch: int) -> bool:
        """Whether the state after `epoch` epochs lies in the store."""
        with self._state:
            return fit not in self._waiting and backup_name(fit, epoch) in (self._names or ())

    def wait(self, timeout: float | None) -> bool:
        """Wait until nothing is left to do; False if that takes longer than `timeout` seconds."""
        with self._state:
            return self._state.wait_for(lambda: self._thread is None, timeout)

    def drop(self) -> None:
        """Forget all backups, in the background: the trial's result is safe."""
        with self._state:
            self._dropped = True
            self._waiting.clear()
            self._wake()

    def warn(self) -> None:
        """Say in the user's thread what went wrong in the background."""
        with self._state:
            troubles, self._troubles = self._troubles, []
        for trouble in dict.fromkeys(troubles):
            warn_user(trouble, TrainingWarning)

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="trial-backup", daemon=True)
            self._thread.start()
        self._state.notify_all()

    def _work(self) -> None:
        pause = _PAUSES[0]
        while True:
            with self._state:
                if not self._waiting and not (self._dropped and self._names):
                    self._thread = None
                    self._state.notify_all()
                    return
                fit, job = next(iter(self._waiting.items()), (-1, None))
            try:
                if job is None:
                    self._forget()
                else:
                    self._keep(fit, *job)
            except UnavailableError:
                with self._state:
                    if self._dropped:
                        self._names = None  # what is left is swept when the search is next opened
                    self._state.wait(pause)
                pause = min(2 * pause, _PAUSES[1])
                continue
            except (StoreError, OSError) as error:
                with self._state:
                    self._troubles.append(f"A backup of the trial could not be kept: {error}")
                    if self._dropped:
                        self._names = None
            pause = _PAUSES[0]
            with self._state:
                if job is not None and self._waiting.get(fit) is job:
                    del self._waiting[fit]

    def refer(self, fit: int, epoch: int, files: list[dict[str, Any]]) -> None:
        """Note which files a backup of an earlier process needs."""
        with self._state:
            self._refers[backup_name(fit, epoch)] = {
                str(file["name"]) for file in files if file["content"] is None
            }

    def _keep(self, fit: int, epoch: int, tree: Mapping[str, Any]) -> None:
        """Store a backup after the files that it needs, then drop what none needs any more."""
        began = time.monotonic()
        name = backup_name(fit, epoch)
        with self._state:
            self._refers[name] = set()
        for file in tree["files"]:
            if file.is_large:
                with self._state:
                    self._refers[name].add(file.copy.name)
                    stored = file.copy.name in (self._names or ())
                if not stored:
                    self.artifacts.put(file.copy.name, file.copy.path)
                    self._note(file.copy.name)
        with tempfile.TemporaryDirectory(prefix=f"colab-drive-tuner-{os.getpid()}-") as scratch:
            path = Path(scratch) / name
            write_backup(path, {**tree, "files": [file.as_plain() for file in tree["files"]]})
            self.artifacts.put(name, path)
        self._note(name)
        with self._state:
            pace = self.artifacts.pace
            pace.upload = max(pace.upload, time.monotonic() - began)
        self._drop_unneeded(fit)

    def _note(self, name: str) -> None:
        with self._state:
            self._names = (self._names or set()) | {name}

    def _drop_unneeded(self, fit: int) -> None:
        """Drop older backups of a `fit`, and files that no backup needs."""
        with self._state:
            names = self._names or set()
            backups = {name for name in names if _parsed(name)[0] >= 0}
            old = sorted(name for name in backups if _parsed(name)[0] == fit)[:-GENERATIONS]
            kept = backups.difference(old)
            files: set[str] = set()
            if self._refers.keys() >= kept:  # else one of an earlier process may need any of them
                files = names - backups - set().union(*(self._refers[name] for name in kept))
        for name in (*old, *sorted(files)):
            self.artifacts.drop(name)
            with self._state:
                names.discard(name)
                self._refers.pop(name, None)

    def _forget(self) -> None:
        for name in sorted(self._names or ()):
            self.artifacts.drop(name)
            with self._state:
                if self._names:
                    self._names.discard(name)


def write_backup(path: Path, tree: Any) -> None:
    """Write plain data, with arrays of all of Keras's dtypes among it, to `path`."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in (_MAGIC, *encode_pieces(tree, where="backup", foreign=True)):
            digest.update(piece)
            file.write(piece)
        file.write(digest.digest())


def read_backup(path: Path) -> Any:
    """What `write_backup` wrote, bit for bit; `ChecksumError` for anything else."""
    if path.stat().st_size <= len(_MAGIC) + _DIGEST:
        raise ChecksumError(f"{path.name} is not whole: it is too short.")
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as whole,
        whole[:-_DIGEST] as proven,
        proven[len(_MAGIC) :] as content,
    ):
        if hashlib.sha256(proven).digest() != mapped[-_DIGEST:]:
            raise ChecksumError(f"{path.name} is not whole: its checksum differs.")
        if mapped[: len(_MAGIC)] != _MAGIC:
            raise ChecksumError(f"{path.name} is no backup of this version.")
        try:
            return decode(content)
        except CodecError as error:
            raise ChecksumError(f"{path.name} is no readable backup: {error}") from error


def writer_of(artifacts: Artifacts) -> BackupWriter:
    """The writer of one trial's backups, made where there is none yet."""
    writer = artifacts.writer
    if not isinstance(writer, BackupWriter):
        artifacts.writer = writer = BackupWriter(artifacts)
    return writer


def has_backups(artifacts: Artifacts) -> bool:
    """Whether the trial made backups in this process."""
    return artifacts.writer is not None


def drop_backups(artifacts: Artifacts) -> None:
    """Drop the backups of a trial whose result is acknowledged; returns at once.

    Costs nothing for a trial that made none in this process.
    """
    if artifacts.writer is not None:
        artifacts.writer.drop()


def flush_backups(trials: Iterable[Artifacts], timeout: float) -> bool:
    """Wait until every backup, and every drop, has reached the store; False if time runs out."""
    until = time.monotonic() + timeout
    writers = [artifacts.writer for artifacts in trials if artifacts.writer is not None]
    return all(writer.wait(max(0.0, until - time.monotonic())) for writer in writers)


def _parsed(name: str) -> tuple[int, int]:
    """Fit and epoch of a backup's name; (-1, -1) for another name."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else (-1, -1)
