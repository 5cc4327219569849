"""Protocol that every store implements: Google Drive, a local folder, memory."""

import builtins
import math
import shlex
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from colab_drive_tuner.errors import NotFoundError, RefusedError, UsageError

NO_ROOT = "not made yet"
"""Stands for the id of the root folder until that folder is created."""
LATEST_TIME = 253_402_300_799.0
"""The end of the year 9999, in seconds since 1970: the latest time that a date can show."""
_MAX_COUNT = 2**53
CLOCK_TOLERANCE = 60.0
"""Seconds by which a time may lie in the future without being impossible."""
LIST_LAG_SECONDS = 600.0
"""Age after which an entry is certain to be listed: Drive's listings lag by minutes at most."""


@dataclass(frozen=True)
class Entry:
    """A file or folder in a store, as the store describes it."""

    id: str
    name: str
    parent: str
    created: float
    """Creation time in seconds since 1970, by the store's own clock."""
    size: int = 0
    """Size in bytes; 0 for a folder."""
    is_folder: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)
    trashed: bool = False
    """Whether it is in the trash; only `find_marked` and `list_trash` return such entries."""
    damage: str = ""
    """Why the entry cannot be used, if only its name is known; only `list` returns such entries."""


def oldest_first(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries in the order of their creation."""
    return sorted(entries, key=lambda entry: (entry.created, entry.id))


def command_line(store: str, words: Sequence[str], arguments: Sequence[str]) -> str:
    """Return a command line of this package; `store` is the value of `--store`, or empty."""
    named = ["--store", store] if store else []
    # A name that begins with a dash would be taken for an option.
    end = ["--"] if any(argument.startswith("-") for argument in arguments) else []
    return shlex.join(["colab-drive-tuner", *named, *words, *end, *arguments])


class Store(Protocol):
    """A tree of files in which an id can be used only once.

    Two guarantees: `create` succeeds only once for an id, whoever calls it, and `read` sees every
    finished create. Consistency ends there: a `list` may lag by minutes, and of two concurrent
    calls of `set_properties` or `replace` the last one wins.

    - Several threads call one object at the same time, and a process that has one may fork: parent
      and child can both use it.
    - `create` returns when the file would survive a power cut, unless the store ends with its
      process.
    - Nothing is written before `ensure_root`, the first `create` or properties of the root. Until
      then, `list` of the root is empty or raises `NotFoundError`, and `find_marked` finds nothing.
    - Errors of the medium become `UnavailableError` if waiting may help, `QuotaError` if space is
      missing, else `RefusedError` or another `StoreError`.
    """

    location: str
    """Identity of the store: equal for two objects if and only if they show the same files."""
    is_shared: bool
    """Whether other machines may use the store at the same time; False for one of this machine."""
    needs_google_account: bool = False
    """Whether the store is used with the sign-in to Google; `doctor` then checks that first."""
    local_path: Path | None = None
    """The folder of a folder store: `open_store(local_path)` opens this same store, and `url` of an
    entry is its path in it. None for any other store, also one that is a single local file.
    """
    environment: Mapping[str, str] | None = None
    """Variables (name and value) with which `open_store()` in another process opens this store.

    None if no other process can find it: the store ends with its process.
    """
    trash_location: str
    """Description of where users find trashed files."""
    account: str
    """The acting account: reserved ids are valid only for the account that reserved them.

    "local" if only this machine uses the store, where no ids are reserved for anybody.
    """
    root: str
    """The id of the folder that contains the searches; `NO_ROOT` until that exists in Drive."""

    @property
    def exists(self) -> bool:
        """Whether the store has been created, with the first search in it at the latest."""
        return self.root != NO_ROOT

    def check_usable(self) -> str:
        """Return an observation for `doctor`, as a sentence; writes nothing.

        Raises `StoreError` if the store cannot be read or is known to refuse new searches.
        """
        if self.exists:
            self.list(self.root)
        return f"searches are kept in {self.url(self.root)}, which can be read."

    @property
    def option(self) -> str:
        """The value of `--store` for this store; empty if the command line finds it without one."""
        return ""

    def command(self, verb: str, *arguments: str, options: Sequence[str] = ()) -> str:
        """Return a command line for this store that users can copy."""
        return f"`{command_line(self.option, [verb, *options], arguments)}`"

    def url(self, entry_id: str) -> str:
        """Return a link or path at which users can look at the entry."""

    def for_search(self, name: str) -> Self:
        """Return this store for use within one search.

        Only folder stores override this. Copies of a search's folder may contain the same ids; the
        returned store resolves such ids in the folder with this name.
        """
        del name  # in other stores the files of a copy have new ids
        return self

    def ensure_root(self) -> None:
        """Create the root folder if it does not exist; called before the first write.

        `root` and `location` do not change afterwards, because local state is stored under them.
        """
        return  # in other stores `root` always exists

    def free_space(self) -> int | None:
        """Return the bytes that are left; None if there is no limit or it is unknown."""
        return None

    def now(self) -> float:
        """Return the store's own clock, in seconds since 1970."""
        return time.time()

    def reserve(self, count: int) -> list[str]:
        """Return `count` unique ids that no other caller gets."""
        return [uuid.uuid4().hex for _ in range(count)]

    def create(
        self,
        entry_id: str,
        content: bytes | Path | None,
        *,
        name: str,
        parent: str,
        properties: Mapping[str, str] | None = None,
    ) -> Entry:
        """Create a file (or a folder, if `content` is None) under a reserved id.

        Raises `IdTakenError` if anything was ever created under the id; perhaps by an earlier
        attempt of the same call, whose answer was lost.
        """

    def read(self, entry_id: str) -> bytes:
        """Return a file's content, or raise `NotFoundError`."""

    def read_unverified(self, entry_id: str) -> bytes:
        """Like `read`, in one request without checksum; for content that has its own checksum."""
        return self.read(entry_id)

    def fetch(self, entry_id: str, path: Path) -> None:
        """Download a file to `path`, which is replaced atomically, in constant memory."""

    def is_used(self, entry_id: str) -> bool:
        """Whether something was created under the id, also if it was deleted since.

        False if only a `create` can show it.
        """
        del entry_id
        return False

    def stat(self, entry_id: str) -> Entry:
        """Return a file's or folder's entry; raise `NotFoundError` if it is missing or trashed."""

    def list(self, parent: str, *, name: str | None = None) -> list[Entry]:
        """List a folder's direct children, optionally only those with this exact name; may lag."""

    def find_marked(
        self, properties: Mapping[str, str], *, or_named: str | None = None
    ) -> builtins.list[Entry]:
        """List all entries, also trashed ones, with these properties or that name; may lag."""

    def set_properties(self, entry_id: str, properties: Mapping[str, str]) -> None:
        """Set properties of a file, a folder or the root; an empty value removes one.

        Key and value together have at most 124 bytes.
        """

    def rename(self, entry_id: str, name: str, properties: Mapping[str, str] | None = None) -> None:
        """Rename a folder directly in the root, and set properties in the same step.

        The caller checks beforehand whether another folder has the name.
        """

    def replace(self, entry_id: str, content: bytes) -> None:
        """Replace the content of a convenience copy, or of what is obsolete; never of a record."""

    def trash(self, entry_id: str) -> None:
        """Move a file or folder to the trash, where the user can restore it."""

    def restore(self, entry_id: str) -> None:
        """Move a folder directly in the root out of the trash again, under its name."""

    def list_trash(self, parent: str) -> builtins.list[Entry]:
        """List a folder's trashed children, including those trashed together with it."""

    def read_trashed(self, entry_id: str) -> bytes:
        """Like `read`, also for files in the trash."""

    def reindex(self, entry_id: str, ids: Mapping[str, str]) -> Entry:
        """Rebuild a damaged folder's index from the files in it.

        Files that the index still describes keep their ids; `ids` maps the paths of others to their
        ids.
        """
        del ids
        raise UsageError(f"{entry_id} is not a folder of this machine: it has no index to rebuild.")

    def names_in(self, folder: str) -> set[str]:
        """Return the names of everything in a folder, including files added by other programs."""
        return {entry.name for entry in self.list(folder)}

    def encloses(self, other: "Store", folder: str) -> bool:
        """Whether `other` is inside that folder of this store, or among this store's own files."""
        del other, folder
        return False

    def duplicates(self) -> builtins.list[Entry]:
        """List younger folders at the same path as the root; searches are found in all of them."""
        return []

    def abandoned(self, before: float) -> builtins.list[Path]:
        """List local files of killed creates that were last modified before that time."""
        del before
        return []


def check_properties(properties: Mapping[str, str]) -> None:
    """Raise `UsageError` for properties that Drive could not store."""
    for key, value in properties.items():
        if len(key.encode()) + len(value.encode()) > 124:
            raise UsageError(
                f"The property {key!r} is too long: key and value may have 124 bytes at most."
            )


def discard(store: Store, entry_id: str) -> None:
    """Move an obsolete backup or snapshot to the trash, emptied: files in the trash take up space.

    Each epoch of a long search discards a backup, several times as large as the model, and every
    64 records a snapshot, which is as large as the search so far.
    """
    with suppress(NotFoundError, RefusedError):
        store.replace(entry_id, b"")
    with suppress(NotFoundError):
        store.trash(entry_id)


# Readers of property values, which anybody with access to the store may have set. They raise
# ValueError for values that this package never writes.


def read_number(properties: Mapping[str, str], key: str) -> float:
    """Return a property as a finite number."""
    number = float(properties.get(key, ""))
    if not math.isfinite(number):
        raise ValueError(f"property {key} is not a finite number")
    return number


def read_count(properties: Mapping[str, str], key: str) -> int:
    """Return a property as an integer >= 0."""
    count = int(properties.get(key, ""))
    if not 0 <= count <= _MAX_COUNT:
        raise ValueError(f"property {key} is not a count")
    return count


def read_time(properties: Mapping[str, str], key: str, now: float | None = None) -> float:
    """Return a property as a time in seconds since 1970, not later than `now` if given."""
    seconds = read_number(properties, key)
    if not 0 <= seconds <= (LATEST_TIME if now is None else now + CLOCK_TOLERANCE):
        raise ValueError(f"property {key} is not a possible time")
    return seconds
