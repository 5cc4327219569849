"""What a search needs of the place where it is kept: the one interface of Drive and folder."""

import builtins
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

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


class Store(Protocol):
    """A tree of files in which an id, once used, can never be used again.

    `create` succeeds once in the world for an id, and `read` sees every create that has finished;
    nothing else is promised. A `list` may lag by minutes, and of two calls of `set_properties` or
    `replace` at once the last one wins. Any method raises `UnavailableError` when the store gives
    no answer, and another `StoreError` when it gives a definite no.
    """

    @property
    def location(self) -> str:
        """Which store this is: equal for two objects exactly when they show the same files."""

    @property
    def account(self) -> str:
        """Who acts here: reserved ids work only for the account that reserved them."""

    @property
    def root(self) -> str:
        """The id of the folder in which searches lie."""

    def url(self, entry_id: str) -> str:
        """Where a person can look at it: a link, or a path."""

    def now(self) -> float:
        """The store's own clock, in seconds since 1970."""

    def reserve(self, count: int) -> list[str]:
        """Return `count` ids that nobody else will get."""

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

    def fetch(self, entry_id: str, path: Path) -> None:
        """Write a file's content to `path`, replacing it atomically, in constant memory."""

    def stat(self, entry_id: str) -> Entry:
        """Describe a file or folder, or raise `NotFoundError`; a trashed one is not found."""

    def list(self, parent: str, *, name: str | None = None) -> list[Entry]:
        """What lies directly in a folder (of exactly that name, where one is given); may lag."""

    def find_marked(self, properties: Mapping[str, str]) -> builtins.list[Entry]:
        """Whatever has all these properties, wherever it lies, the trash included; may lag."""

    def set_properties(self, entry_id: str, properties: Mapping[str, str]) -> float:
        """Set properties (key and value together at most 124 bytes); return the store's time."""

    def replace(self, entry_id: str, content: bytes) -> None:
        """Replace a file's content. Only for convenience copies: records are never replaced."""

    def trash(self, entry_id: str) -> None:
        """Put a file or folder where the user can get it back; later `stat`s do not find it."""

    def list_trash(self, parent: str) -> builtins.list[Entry]:
        """What was put into the trash out of a folder, or with it, and is still there."""

    def read_trashed(self, entry_id: str) -> bytes:
        """A file's content as `read` returns it, also out of the trash."""
