"""The protocol of a store: what a search needs of the place where it is kept."""

import builtins
import math
import shlex
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from colab_drive_tuner.errors import UsageError

NO_ROOT = "not made yet"
"""No id: there is no folder in which searches lie."""
LATEST = 253_402_300_799.0
"""The end of the year 9999, in seconds since 1970: what a date can show."""
_LARGEST = 2**53
_CLOCKS_DIFFER = 60.0
LIST_LAG_SECONDS = 600.0
"""A `list` shows whatever was created so long ago: Drive's lag by minutes at most."""


@dataclass(frozen=True)
class Entry:
    """A file or a folder in a store, as the store describes it."""

    id: str
    name: str
    parent: str
    created: float
    """When it was created, in seconds since 1970 by the store's own clock."""
    size: int = 0
    """Bytes of content; 0 for a folder."""
    is_folder: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)
    trashed: bool = False
    """Whether it lies in the trash; only `find_marked` and `list_trash` show such entries."""
    damage: str = ""
    """Why it cannot be used, where only its name can be told; only `list` shows such entries."""


def oldest_first(entries: Iterable[Entry]) -> list[Entry]:
    """The entries in the order in which they were created."""
    return sorted(entries, key=lambda entry: (entry.created, entry.id))


class Store(Protocol):
    """A tree of files in which an id, once used, can never be used again.

    `create` succeeds once in the world for an id, and `read` sees every create that has finished;
    nothing else is promised. A `list` may lag by minutes, and of two calls of `set_properties` or
    `replace` at once the last one wins. Any method raises `UnavailableError` when the store gives
    no answer, and another `StoreError` when it gives a definite no.
    """

    location: str
    """Which store this is: equal for two objects exactly when they show the same files."""
    is_shared: bool
    """Whether other machines may use it at this moment."""
    local_path: Path | None = None
    """The folder of this machine in which it lies; None: it lies elsewhere."""
    environment: Mapping[str, str] | None = None
    """Variables by which another process finds it; None: it ends with this process."""
    trash_location: str
    """Where a person finds what was put into the trash, in words."""
    account: str
    """Who acts here: reserved ids work only for the account that reserved them."""
    root: str
    """The id of the folder in which searches lie; `NO_ROOT` while there is none in Drive yet."""

    @property
    def option(self) -> str:
        """What `--store` has to say for it; empty: the command line finds it without."""
        return ""

    def command(self, *words: str) -> str:
        """A command line about what lies here, for a person to copy."""
        named = ["--store", self.option] if self.option else []
        return f"`{shlex.join(['colab-drive-tuner', *named, *words])}`"

    def url(self, entry_id: str) -> str:
        """Where a person can look at it: a link, or a path."""

    def for_search(self, name: str) -> Self:
        """The same store, for whoever works in one search.

        Where people copy a search's folder, the copy may hold the same ids: they are then looked
        for in the folder that bears the name.
        """
        del name  # elsewhere each file has an id of its own, copies too
        return self

    def ensure_root(self) -> None:
        """Make the folder in which searches lie, where there is none; whoever writes calls it.

        `root` and `location` do not change afterwards: what this machine keeps goes by them.
        """
        return  # elsewhere `root` has an id from the beginning

    def free_space(self) -> int | None:
        """Bytes that are left; None where there is no limit, or none that is known."""
        return None

    def now(self) -> float:
        """The store's own clock, in seconds since 1970."""
        return time.time()

    def reserve(self, count: int) -> list[str]:
        """Return `count` ids that nobody else will get."""
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
        """Create a file (or, where `content` is None, a folder) under a reserved id.

        Raises `IdTakenError` if anything was ever created under the id: perhaps this very content,
        by an earlier attempt whose answer was lost.
        """

    def read(self, entry_id: str) -> bytes:
        """Return a file's content, or raise `NotFoundError`."""

    def read_unverified(self, entry_id: str) -> bytes:
        """As `read`, by one request: for content that shows whether it arrived as it was."""
        return self.read(entry_id)

    def fetch(self, entry_id: str, path: Path) -> None:
        """Write a file's content to `path`, replacing it atomically, in constant memory."""

    def stat(self, entry_id: str) -> Entry:
        """Describe a file or folder, or raise `NotFoundError`; a trashed one is not found."""

    def list(self, parent: str, *, name: str | None = None) -> list[Entry]:
        """What lies directly in a folder (of exactly that name, where one is given); may lag."""

    def find_marked(
        self, properties: Mapping[str, str], *, or_named: str | None = None
    ) -> builtins.list[Entry]:
        """Whatever has all these properties, or that name, also in the trash, anywhere; may lag."""

    def set_properties(self, entry_id: str, properties: Mapping[str, str]) -> None:
        """Set properties (key and value together at most 124 bytes)."""

    def rename(self, entry_id: str, name: str, properties: Mapping[str, str] | None = None) -> None:
        """Give a folder directly in the root another name, and set properties along with it.

        Whether another folder bears the name is for the caller to ask before.
        """

    def replace(self, entry_id: str, content: bytes) -> None:
        """Replace a file's content. Only for convenience copies: records are never replaced."""

    def trash(self, entry_id: str) -> None:
        """Put a file or folder where the user can get it back; later `stat`s do not find it."""

    def list_trash(self, parent: str) -> builtins.list[Entry]:
        """What was put into the trash out of a folder, or with it, and is still there."""

    def read_trashed(self, entry_id: str) -> bytes:
        """A file's content as `read` returns it, also out of the trash."""

    def reindex(self, entry_id: str, ids: Mapping[str, str]) -> Entry:
        """Make what the store knows of a folder anew, where it is damaged: from the files in it.

        A file that is still known keeps its id; `ids` names others' by their path in the folder.
        """
        del ids
        raise UsageError(
            f"{entry_id} is not a folder of this machine: it has no index to make anew."
        )

    def duplicates(self) -> builtins.list[Entry]:
        """Younger folders beside the store's own, at the same path; searches lie in all of them."""
        return []

    def abandoned(self, before: float) -> builtins.list[Path]:
        """Files of this machine that killed creates left, last touched before that time."""
        del before
        return []


def check_properties(properties: Mapping[str, str]) -> None:
    """Refuse, by `UsageError`, what Drive could not keep either."""
    for key, value in properties.items():
        if len(key.encode()) + len(value.encode()) > 124:
            raise UsageError(
                f"The property {key!r} is too long: key and value have 124 bytes together."
            )


# Values in properties, which anybody with access may have set: each function reads one kind, and
# raises ValueError for what no writer of ours can have meant.


def read_number(properties: Mapping[str, str], key: str) -> float:
    """A finite number."""
    number = float(properties.get(key, ""))
    if not math.isfinite(number):
        raise ValueError(f"property {key} is not a finite number")
    return number


def read_count(properties: Mapping[str, str], key: str) -> int:
    """A number of things, 0 or more."""
    count = int(properties.get(key, ""))
    if not 0 <= count <= _LARGEST:
        raise ValueError(f"property {key} is not a count")
    return count


def read_time(properties: Mapping[str, str], key: str, now: float | None = None) -> float:
    """Seconds since 1970; given the present time by the same clock, not later than that."""
    seconds = read_number(properties, key)
    if not 0 <= seconds <= (LATEST if now is None else now + _CLOCKS_DIFFER):
        raise ValueError(f"property {key} is not a possible time")
    return seconds
