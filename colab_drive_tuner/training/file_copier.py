"""Copies of a search's models, backups and other files, from one search's folder into another."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from colab_drive_tuner.errors import ChecksumError, IdTakenError, StoreError, UnavailableError
from colab_drive_tuner.local_files import scratch_folder, sha256_of
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.training.artifacts import (
    EPOCH,
    TID,
    StoreArtifacts,
    find_folders,
    find_or_create_folder,
)
from colab_drive_tuner.training.artifacts import FOLDER as BACKUPS
from colab_drive_tuner.training.best_models import FOLDER as BEST

NewEpoch = Callable[[str], str | None]
"""The history that a file belongs to in the copy, given the one that it belongs to; None: none."""
_MODEL_MARKS = (TID, "cdt_loss")


@contextlib.contextmanager
def scratch_file() -> Iterator[Path]:
    """A place for one file at a time, on its way."""
    with scratch_folder() as scratch:
        yield scratch / "copy.part"


def model_files(store: Store, folder: str) -> list[Entry]:
    """The models of a search, of all of its histories."""
    return [
        entry
        for home in find_folders(store, folder, BEST)
        for entry in store.list(home)
        if not entry.is_folder and entry.properties.get("cdt_kind") == "model"
    ]


@dataclass
class FileCopier:
    """Copies files between the folders of two searches, in one store or in two."""

    source: Store
    target: Store
    old: str
    """The folder of the search that is copied from."""
    new: str
    """The folder of the search that is copied to."""
    troubles: list[str] | None = None
    """Where what cannot be copied is noted; None: it raises."""
    written: dict[str, str] = field(default_factory=dict)
    """The sha256 of each file that was created, by its id."""

    def models(self, new_epoch: NewEpoch) -> None:
        """Copy the models."""
        home = ""
        with scratch_file() as path:
            for entry in model_files(self.source, self.old):
                epoch = new_epoch(entry.properties.get(EPOCH, ""))
                if epoch is None:
                    continue
                with self._noting(entry.name):
                    home = home or self.home(BEST)
                    marks = {"cdt_kind": "model", EPOCH: epoch}
                    self.file(entry, path, home, marks, keep=_MODEL_MARKS)

    def backups(self, unfinished: Collection[int], old_epoch: str, new_epoch: str) -> None:
        """Copy the backups of unfinished trials of one history."""
        with scratch_file() as path:
            for tid in sorted(unfinished):
                before = StoreArtifacts(self.source, self.old, tid, epoch=old_epoch)
                after = StoreArtifacts(self.target, self.new, tid, epoch=new_epoch)
                for name in before.names():
                    with self._noting(f"backup {name} of trial {tid}"):
                        if before.get(name, path):
                            sent = sha256_of(path)
                            after.put(name, path)
                            if not after.get(name, path) or sha256_of(path) != sent:
                                raise ChecksumError("It is not what was written: try again.")

    def file(
        self,
        entry: Entry,
        path: Path,
        parent: str,
        marks: dict[str, str],
        keep: Collection[str] = (),
    ) -> None:
        """Copy one file by way of `path`, with `marks` and those of its own properties to keep."""
        self.source.fetch(entry.id, path)
        kept = {key: entry.properties[key] for key in keep if key in entry.properties}
        self.create(path, name=entry.name, parent=parent, properties=kept | marks)

    def create(
        self,
        content: bytes | Path,
        *,
        name: str,
        parent: str,
        properties: Mapping[str, str] | None = None,
        entry_id: str = "",
    ) -> str:
        """Create a file in the target, and note its checksum; return its id."""
        entry_id = entry_id or self.target.reserve(1)[0]
        with contextlib.suppress(IdTakenError):  # ours: an earlier send of it got through
            self.target.create(entry_id, content, name=name, parent=parent, properties=properties)
        self.written[entry_id] = sha256_of(content)
        return entry_id

    def home(self, name: str) -> str:
        """The folder of that name in the target's search, made where it is missing."""
        return find_or_create_folder(self.target, self.new, name)

    def verify(self) -> None:
        """Read back what was created; raises `ChecksumError` where it is not what was sent."""
        with scratch_file() as path:
            for entry_id, sha256 in self.written.items():
                self.target.fetch(entry_id, path)
                if sha256_of(path) != sha256:
                    raise ChecksumError(
                        f"{self.target.url(entry_id)} is not what was written there: try again."
                    )

    @contextlib.contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        try:
            yield
        except UnavailableError:
            raise
        except StoreError as error:
            if self.troubles is None:
                raise
            self.troubles.append(f"{what} could not be copied: {error}")


def backup_files(store: Store, folder: str) -> list[Entry]:
    """All backups that are listed, to see how large they are."""
    return [entry for home in find_folders(store, folder, BACKUPS) for entry in store.list(home)]
