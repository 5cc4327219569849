"""Background writer of one trial's backups; the training thread only submits copies.

A newer backup of a `fit` replaces one that is still queued. So slow or unreachable storage costs
backups but no training time, and at most two copies of a model are in memory. File format:

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
from colab_drive_tuner.training.trial_backup_files import TrialBackupFiles
from colab_drive_tuner.training.upload_queue import UploadQueue

GENERATIONS = 2
"""Number of backups kept per `fit`."""
_DROP = -1
"""Key, in place of a `fit`, of the job that drops all backups."""
_MAGIC, _DIGEST = b"CDTBACK2", 32
_NAME = re.compile(r"fit-(\d{1,9})-epoch-(\d{1,9})\.backup")


def backup_name(fit: int, epoch: int) -> str:
    """Return the name of the backup made after `epoch` epochs of the trial's n-th `fit`."""
    return f"fit-{fit:03d}-epoch-{epoch:05d}.backup"


class BackupWriter:
    """Stores and drops the backups of one trial, across all of its `fit` calls."""

    def __init__(self, artifacts: TrialBackupFiles) -> None:
        self.artifacts = artifacts
        self._fits = 0
        """Number of `fit` calls so far."""
        self._submitted = False
        """Whether this process has submitted a backup."""
        self._names: set[str] | None = None
        """Names of the stored files; None: not listed yet."""
        self._references: dict[str, set[str]] = {}
        """Names of the separate files that each backup needs, by backup, as far as known."""
        self._uploads = UploadQueue[int, tuple[int, Mapping[str, Any]]](
            "trial-backup",
            self._store,
            lambda fit, job, error: (
                f"A backup of the trial could not be kept: {str(error) or repr(error)}"
            ),
        )
        self._changed = self._uploads.changed
        self.wait, self.warn = self._uploads.wait, self._uploads.warn

    def next_fit(self) -> int:
        """Count a `fit` call of the trial, and return its number, from 0."""
        self._fits += 1
        return self._fits - 1

    def epochs(self, fit: int) -> list[int]:
        """Return the backed-up epochs of `fit`, newest first; lists the store once per trial.

        Empty if an earlier `fit` was trained here: later backups continue another course of it.
        """
        if self._submitted:
            return []
        if self._names is None:
            self._names = set(self.artifacts.names())
        parsed = map(parse_name, self._names)
        return sorted((epoch for f, epoch in parsed if f == fit), reverse=True)

    def submit(self, fit: int, epoch: int, tree: Mapping[str, Any]) -> None:
        """Queue `tree`, the state after `epoch` epochs, for storing; return immediately."""
        self._submitted = True
        self._uploads.submit(fit, (epoch, tree))
        self.warn()

    def record_references(self, fit: int, epoch: int, files: list[dict[str, Any]]) -> None:
        """Record the separate files that a backup of an earlier process needs."""
        with self._changed:
            self._references[backup_name(fit, epoch)] = {
                str(file["name"]) for file in files if file["content"] is None
            }

    def is_stored(self, fit: int, epoch: int) -> bool:
        """Return whether the state after `epoch` epochs is in the store."""
        with self._changed:
            queued = fit in self._uploads.waiting
            return not queued and backup_name(fit, epoch) in (self._names or ())

    def drop(self) -> None:
        """Drop all backups, in the background."""
        with self._changed:
            self._uploads.cancel()
            self._uploads.submit(_DROP, (0, {}))

    def _store(self, fit: int, job: tuple[int, Mapping[str, Any]]) -> None:
        """Run a job of the queue, in its thread: store a backup, or drop all."""
        if fit != _DROP:
            self._store_backup(fit, *job)
            return
        try:
            self._drop_names(sorted(self._names or ()))
        except (StoreError, OSError):
            with self._changed:
                self._names = None  # the rest is cleaned up when the search is next opened

    def _store_backup(self, fit: int, epoch: int, tree: Mapping[str, Any]) -> None:
        """Store the files that a backup needs, then the backup; then drop unneeded files."""
        began = time.monotonic()
        name = backup_name(fit, epoch)
        with self._changed:
            self._references[name] = set()
        for file in tree["files"]:
            if file.is_large:
                with self._changed:
                    self._references[name].add(file.name)
                    stored = file.name in (self._names or ())
                if not stored:
                    self._put(file.name, file.path)
        with scratch_folder() as scratch:
            path = scratch / name
            write_backup(path, {**tree, "files": [file.as_plain() for file in tree["files"]]})
            self._put(name, path)
        with self._changed:
            pace = self.artifacts.pace
            pace.upload = max(pace.upload, time.monotonic() - began)
        self._drop_unneeded(fit, epoch)

    def _put(self, name: str, path: Path) -> None:
        self.artifacts.put(name, path)
        with self._changed:
            self._names = (self._names or set()) | {name}

    def _drop_unneeded(self, fit: int, epoch: int) -> None:
        """Keep the newest backups of a `fit` and those of earlier ones, with the files they need.

        The trial would have resumed from a later backup, had that fitted today's code.
        """
        with self._changed:
            names = self._names or set()
            backups = {name: place for name in names if (place := parse_name(name))[0] >= 0}
            own = [place for place in backups.values() if place[0] == fit and place[1] <= epoch]
            newest = sorted(own)[-GENERATIONS:]
            kept = {name for name, at in backups.items() if at[0] < fit or at in newest}
            files: set[str] = set()
            # A backup of an earlier process whose references are unknown may need any file.
            if self._references.keys() >= kept:
                files = (
                    names - backups.keys() - set().union(*(self._references[name] for name in kept))
                )
        self._drop_names(sorted(backups.keys() - kept | files))

    def _drop_names(self, names: Iterable[str]) -> None:
        for name in names:
            self.artifacts.drop(name)
            with self._changed:
                (self._names or set()).discard(name)
                self._references.pop(name, None)


def write_backup(path: Path, tree: Any) -> None:
    """Write plain data, including arrays of all Keras dtypes, to `path`."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in (_MAGIC, *encode_pieces(tree, where="backup", foreign=True)):
            digest.update(piece)
            file.write(piece)
        file.write(digest.digest())


def read_backup(path: Path) -> Any:
    """Return what `write_backup` wrote, bit for bit; raise `ChecksumError` for other content."""
    if path.stat().st_size <= len(_MAGIC) + _DIGEST:
        raise ChecksumError(f"{path.name} is not whole: it is too short.")
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as whole,
        whole[:-_DIGEST] as hashed,
        hashed[len(_MAGIC) :] as content,
    ):
        if hashlib.sha256(hashed).digest() != mapped[-_DIGEST:]:
            raise ChecksumError(f"{path.name} is not whole: its checksum differs.")
        if mapped[: len(_MAGIC)] != _MAGIC:
            raise ChecksumError(f"{path.name} is not a backup of this version.")
        try:
            return decode(content)
        except CodecError as error:
            raise ChecksumError(f"{path.name} is not a readable backup: {error}") from error


def get_writer(artifacts: TrialBackupFiles) -> BackupWriter:
    """Return the backup writer of a trial; create it if there is none."""
    if artifacts.writer is None:
        artifacts.writer = BackupWriter(artifacts)
    return artifacts.writer


def flush_backups(trials: Iterable[TrialBackupFiles], timeout: float) -> bool:
    """Wait until all backups and drops have reached the store; False after `timeout` seconds."""
    until = time.monotonic() + timeout
    writers = [artifacts.writer for artifacts in trials if artifacts.writer is not None]
    return all(writer.wait(max(0.0, until - time.monotonic())) for writer in writers)


def parse_name(name: str) -> tuple[int, int]:
    """Return fit and epoch from a backup's name; (-1, -1) for any other name."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else (-1, -1)
