"""Store in the memory of this process, for tests, examples and temporary searches."""

import builtins
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from colab_drive_tuner.errors import IdTakenError, NotFoundError, RefusedError
from colab_drive_tuner.local_files import replace_file
from colab_drive_tuner.store.protocol import Entry, Store, check_properties, oldest_first

_ROOT = "root"


@dataclass
class _Files:
    """The files of one store: entries, including trashed ones, and their content by id."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    entries: dict[str, Entry] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)


_stores: dict[str, _Files] = {}
"""The stores of this process by name; objects with the same name share their files."""


class MemoryStore(Store):
    """A `Store` whose files end with the process; `name` distinguishes several stores."""

    account = "local"
    root = _ROOT
    is_shared = False
    trash_location = "the memory of this process"

    def __init__(self, name: str = "") -> None:
        self._name = name
        self._files = files = _stores.setdefault(name, _Files())
        files.entries.setdefault(_ROOT, Entry(_ROOT, name, "", 0.0, is_folder=True))
        # The random id distinguishes it from a store of that name in another process.
        self.location = f"memory:{name}:{files.id}"

    def __repr__(self) -> str:
        return f"MemoryStore({self._name!r})"

    def url(self, entry_id: str) -> str:
        """Return the path of names, for display only."""
        entry = self.stat(entry_id)
        if entry_id == _ROOT:
            return f"memory:{self._name}"
        return f"{self.url(entry.parent)}/{entry.name}"

    def create(
        self,
        entry_id: str,
        content: bytes | Path | None,
        *,
        name: str,
        parent: str,
        properties: Mapping[str, str] | None = None,
    ) -> Entry:
        check_properties(properties or {})
        held = content.read_bytes() if isinstance(content, Path) else content
        with self._files.lock:
            if not self.stat(parent).is_folder:
                raise RefusedError(f"{self.url(parent)} is a file: it cannot contain files.")
            if entry_id in self._files.entries:
                raise IdTakenError(f"The id {entry_id}, asked for {name!r}, was used in {self!r}.")
            made = Entry(
                id=entry_id,
                name=name,
                parent=parent,
                created=self.now(),
                size=len(held or b""),
                is_folder=held is None,
                properties=dict(properties or {}),
            )
            if held is not None:
                self._files.contents[entry_id] = bytes(held)
            self._files.entries[entry_id] = made  # last: who sees it may read it
            return made

    def read(self, entry_id: str) -> bytes:
        self.stat(entry_id)
        return self.read_trashed(entry_id)

    def fetch(self, entry_id: str, path: Path) -> None:
        content = self.read(entry_id)
        replace_file(path, lambda sink: sink.write(content))

    def stat(self, entry_id: str) -> Entry:
        entry = self._find(entry_id)
        if self._is_in_trash(entry):
            raise NotFoundError(f"{entry.name!r} ({entry_id}) is in the trash of {self!r}.")
        return entry

    def list(self, parent: str, *, name: str | None = None) -> builtins.list[Entry]:
        self.stat(parent)
        return [
            entry
            for entry in self._oldest_first()
            if entry.parent == parent and not entry.trashed and name in (None, entry.name)
        ]

    def find_marked(
        self, properties: Mapping[str, str], *, or_named: str | None = None
    ) -> builtins.list[Entry]:
        return [
            replace(entry, trashed=self._is_in_trash(entry))
            for entry in self._oldest_first()
            if properties.items() <= entry.properties.items() or entry.name == or_named
        ]

    def set_properties(self, entry_id: str, properties: Mapping[str, str]) -> None:
        check_properties(properties)
        with self._files.lock:
            entry = self.stat(entry_id)
            merged = {**entry.properties, **properties}
            merged = {key: value for key, value in merged.items() if value}
            self._files.entries[entry_id] = replace(entry, properties=merged)

    def rename(self, entry_id: str, name: str, properties: Mapping[str, str] | None = None) -> None:
        with self._files.lock:
            self.set_properties(entry_id, properties or {})
            self._files.entries[entry_id] = replace(self.stat(entry_id), name=name)

    def replace(self, entry_id: str, content: bytes) -> None:
        with self._files.lock:
            entry = self.stat(entry_id)
            if entry.is_folder:
                raise RefusedError(f"{self.url(entry_id)} is a folder: it has no content.")
            self._files.entries[entry_id] = replace(entry, size=len(content))
            self._files.contents[entry_id] = bytes(content)

    def trash(self, entry_id: str) -> None:
        """Mark the entry as trashed, which hides it and everything in it."""
        if entry_id == _ROOT:
            raise RefusedError(f"{self!r} is the store itself and is not put into a trash.")
        with self._files.lock:
            self._files.entries[entry_id] = replace(self.stat(entry_id), trashed=True)

    def restore(self, entry_id: str) -> None:
        with self._files.lock:
            self._files.entries[entry_id] = replace(self._find(entry_id), trashed=False)

    def list_trash(self, parent: str) -> builtins.list[Entry]:
        return [
            replace(entry, trashed=True)
            for entry in self._oldest_first()
            if entry.parent == parent and self._is_in_trash(entry)
        ]

    def read_trashed(self, entry_id: str) -> bytes:
        if self._find(entry_id).is_folder:
            raise RefusedError(f"{entry_id} is a folder: it has no content.")
        return self._files.contents[entry_id]

    def _is_in_trash(self, entry: Entry | None) -> bool:
        """Return whether the entry or a folder above it was trashed."""
        while entry is not None:
            if entry.trashed:
                return True
            entry = self._files.entries.get(entry.parent)
        return False

    def _find(self, entry_id: str) -> Entry:
        try:
            return self._files.entries[entry_id]
        except KeyError:
            raise NotFoundError(f"There is no file {entry_id!r} in {self!r}.") from None

    def _oldest_first(self) -> builtins.list[Entry]:
        with self._files.lock:
            return oldest_first(e for e in self._files.entries.values() if e.id != _ROOT)
