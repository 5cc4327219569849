"""The background writer of one trial's backups: the training thread only hands copies over.

A newer backup of a `fit` replaces one that still waits, so slow or absent storage costs backups,
never training time, and at most two copies of a model are held. A backup file proves itself whole:

    magic, 8 bytes | plain data with arrays, as `checkpoint.codec` writes it | sha256 of all that
"""

import hashlib
import mmap
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from colab_drive_tuner.checkpoint.codec.codec import CodecError, decode, encode_pieces
from colab_drive_tuner.errors import ChecksumError, StoreError
from colab_drive_tuner.local_files import scratch_folder
from colab_drive_tuner.training.uploads import Uploads
from colab_drive_tuner.trial import Artifacts

GENERATIONS = 2
_DROP = -1
"""In place of a `fit`: that all backups are to be dropped."""
_MAGIC, _DIGEST = b"CDTBACK2", 32
_NAME = re.compile(r"fit-(\d+)-epoch-(\d+)\.backup")


def backup_name(fit: int, epoch: int) -> str:
    """The name under which the state after `epoch` epochs of the trial's n-th `fit` is kept."""
    return f"fit-{fit:03d}-epoch-{epoch:05d}.backup"


class BackupWriter:
    """Everything about the backups of one trial that outlives a single `fit` call."""

    def __init__(self, artifacts: Artifacts) -> None:
        self.artifacts = artifacts
        self._fits = 0
        self._names: set[str] | None = None
        self._refers: dict[str, set[str]] = {}
        """By backup, the names of the files beside it that it needs, as far as they are known."""
        self._uploads = Uploads[int, tuple[int, Mapping[str, Any]]](
            "trial-backup",
            self._store,
            lambda fit, job, error: f"A backup of the trial could not be kept: {error}",
        )
        self._state = self._uploads.state
        self.wait, self.warn = self._uploads.wait, self._uploads.warn

    def next_fit(self) -> int:
        """Which `fit` call of the trial this is, from 0."""
        self._fits += 1
        return self._fits - 1

    def epochs(self, fit: int) -> list[int]:
        """Epochs of `fit` of which a backup is kept, newest first. Asks the store once a trial."""
        if self._names is None:
            self._names = set(self.artifacts.names())
        return sorted((epoch for f, epoch in map(_parsed, self._names) if f == fit), reverse=True)

    def submit(self, fit: int, epoch: int, tree: Mapping[str, Any]) -> None:
        """Keep `tree` as the state after `epoch` epochs; returns at once."""
        self._uploads.submit(fit, (epoch, tree))
        self.warn()

    def is_stored(self, fit: int, epoch: int) -> bool:
        """Whether the state after `epoch` epochs lies in the store."""
        with self._state:
            waits = fit in self._uploads.waiting
            return not waits and backup_name(fit, epoch) in (self._names or ())

    def drop(self) -> None:
        """Forget all backups, in the background: the trial's result is safe."""
        with self._state:
            self._uploads.cancel()
            self._uploads.submit(_DROP, (0, {}))

    def _store(self, fit: int, job: tuple[int, Mapping[str, Any]]) -> None:
        if fit != _DROP:
            self._keep(fit, *job)
            return
        try:
            for name in sorted(self._names or ()):
                self.artifacts.drop(name)
                self._lose(name)
        except (StoreError, OSError):
            with self._state:
                self._names = None  # what is left is swept when the search is next opened

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
        with scratch_folder() as scratch:
            path = scratch / name
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
            self._lose(name)

    def _lose(self, name: str) -> None:
        with self._state:
            (self._names or set()).discard(name)
            self._refers.pop(name, None)


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
            raise ChecksumError(f"{path.name} is not a backup of this version.")
        try:
            return decode(content)
        except CodecError as error:
            raise ChecksumError(f"{path.name} is not a readable backup: {error}") from error


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
