"""Copying of models, backups and other files from one search's folder to another."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from colab_drive_tuner.errors import ChecksumError, IdTakenError, StoreError, UnavailableError
from colab_drive_tuner.journal.folder.creation import (
    BEST_MODELS,
    find_or_create_subfolder,
    list_subfolder,
)
from colab_drive_tuner.local_files import scratch_folder, sha256_of
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.training.trial_backup_files import EPOCH, TID, TrialBackupFiles

NewEpoch = Callable[[str], str | None]
"""Maps the history of a file to its history in the copy; None: do not copy the file."""
_MODEL_PROPERTIES = (TID, "cdt_loss")


@contextlib.contextmanager
def scratch_file() -> Iterator[Path]:
    """Yield a local path for one file at a time."""
    with scratch_folder() as scratch:
        yield scratch / "copy.part"


def model_files(store: Store, folder: str) -> list[Entry]:
    """List the models of all histories of a search."""
    return [
        entry
        for entry in list_subfolder(store, folder, BEST_MODELS)
        if not entry.is_folder and entry.properties.get("cdt_kind") == "model"
    ]


@dataclass
class FileCopier:
    """Copies files between the folders of two searches, in one store or in two."""

    source: Store
    target: Store
    old: str
    """The folder of the source search."""
    new: str
    """The folder of the target search."""
    troubles: list[str] | None = None
    """Collects descriptions of files that cannot be copied; None: their errors are raised."""
    written: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each created file, by id."""

    def models(self, new_epoch: NewEpoch) -> None:
        """Copy the models."""
        best = ""
        with scratch_file() as path:
            for entry in model_files(self.source, self.old):
                epoch = new_epoch(entry.properties.get(EPOCH, ""))
                if epoch is None:
                    continue
                with self._collect_errors(entry.name):
                    best = best or self.target_folder(BEST_MODELS)
                    properties = {"cdt_kind": "model", EPOCH: epoch}
                    self.file(entry, path, best, properties, keep=_MODEL_PROPERTIES)

    def backups(self, unfinished: Collection[int], old_epoch: str, new_epoch: str) -> None:
        """Copy the backups of unfinished trials of one history."""
        with scratch_file() as path:
            for tid in sorted(unfinished):
                before = TrialBackupFiles(self.source, self.old, tid, epoch=old_epoch)
                after = TrialBackupFiles(self.target, self.new, tid, epoch=new_epoch)
                for name in before.names():
                    with self._collect_errors(f"backup {name} of trial {tid}"):
                        if before.get(name, path):
                            sent = sha256_of(path)
                            after.put(name, path)
                            if not after.get(name, path) or sha256_of(path) != sent:
                                raise ChecksumError(
                                    "The copy differs from the original: try again."
                                )

    def file(
        self,
        entry: Entry,
        path: Path,
        parent: str,
        properties: dict[str, str],
        keep: Collection[str] = (),
    ) -> None:
        """Copy one file through `path`, with `properties` and those of its own named in `keep`."""
        self.source.fetch(entry.id, path)
        kept = {key: entry.properties[key] for key in keep if key in entry.properties}
        self.create(path, name=entry.name, parent=parent, properties=kept | properties)

    def create(
        self,
        content: bytes | Path,
        *,
        name: str,
        parent: str,
        properties: Mapping[str, str] | None = None,
        entry_id: str = "",
    ) -> str:
        """Create a file in the target, and record its checksum; return its id."""
        entry_id = entry_id or self.target.reserve(1)[0]
        with contextlib.suppress(IdTakenError):  # the id is ours: an earlier attempt succeeded
            self.target.create(entry_id, content, name=name, parent=parent, properties=properties)
        self.written[entry_id] = sha256_of(content)
        return entry_id

    def target_folder(self, name: str) -> str:
        """Return the id of a folder in the target search; create it if there is none."""
        return find_or_create_subfolder(self.target, self.new, name)

    def verify(self) -> None:
        """Read back all created files; raise `ChecksumError` if one differs from what was sent."""
        with scratch_file() as path:
            for entry_id, sha256 in self.written.items():
                self.target.fetch(entry_id, path)
                if sha256_of(path) != sha256:
                    raise ChecksumError(
                        f"{self.target.url(entry_id)} differs from what was written: try again."
                    )

    @contextlib.contextmanager
    def _collect_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except UnavailableError:
            raise
        except StoreError as error:
            if self.troubles is None:
                raise
            self.troubles.append(f"{what} could not be copied: {error}")
