"""Findings of the doctor, and the shared context of its probes: runtime, account and store."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import NotFoundError, UsageError
from colab_drive_tuner.journal.folder.properties import FolderKind, Property, is_search
from colab_drive_tuner.journal.spool.notes import spooled_searches
from colab_drive_tuner.runtime import Runtime, detect
from colab_drive_tuner.store import open_store, split_scheme
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.text import visible
from colab_drive_tuner.troubleshoot.repair.search_check import SearchCheck

if TYPE_CHECKING:
    from colab_drive_tuner.drive import DriveClient

PATIENCE = 15.0
"""Seconds for which requests to Drive are retried before it counts as unavailable."""


class Level(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report: subject, severity, observation and advice."""

    about: str = field(default="", kw_only=True)
    """The probe's name; set by `examine`."""
    level: Level
    text: str
    advice: str = ""

    def __str__(self) -> str:
        line = " ".join(f"{self.about}: {self.text} {self.advice}".split())
        return f"{self.level:8} {visible(line)}"


@dataclass(frozen=True)
class SubProbe:
    """Part of a probe that runs with its own time limit."""

    about: str
    probe: "Probe"


Probe = Callable[["CheckContext"], Iterator[Finding | SubProbe]]


class NotExaminedError(Exception):
    """Raised when a probe cannot run; the message is the reason, as a clause."""


@dataclass
class CheckContext:
    """Runtime, account and store, each determined when a probe first needs it."""

    spec: Store | Path | str | None = None
    """The store, as an argument for `open_store`; None: from the environment, else Drive."""
    scopes: tuple[str, ...] = ()
    """The scopes of the credentials; empty if unknown."""
    account: str = ""
    """The account signed in to Drive; set by the credentials probe."""
    no_account_reason: str = "it is not known who is signed in"
    """Why Drive cannot be examined while `account` is empty."""

    @cached_property
    def runtime(self) -> Runtime:
        """The runtime that this process runs in."""
        return detect()

    @cached_property
    def store_spec(self) -> Store | Path | str | None:
        """The store named by argument or environment; None: Drive."""
        return self.spec or Variable.STORE.get() or None

    @cached_property
    def needs_account(self) -> bool:
        """Whether the store needs a signed-in account."""
        spec = self.store_spec
        if spec is None:
            return True
        if not isinstance(spec, str):
            return not isinstance(spec, Path) and spec.needs_google_account
        try:
            return split_scheme(spec)[0].needs_google_account
        except UsageError:
            return False  # an unknown scheme, which the store's probe reports

    @cached_property
    def client(self) -> "DriveClient":
        """The Drive client, from credentials that need no prompt; raises `CredentialsError`."""
        from colab_drive_tuner.credentials import find_credentials
        from colab_drive_tuner.drive import DriveClient
        from colab_drive_tuner.drive.requests.endpoint import find_endpoint

        given: DriveClient | None = getattr(self.spec, "client", None)
        if given is not None:
            return given
        if find_endpoint().emulator_token is not None:
            return DriveClient.connect(patience=PATIENCE)
        identity = find_credentials(allow_prompt=False)
        found = identity.credentials
        self.scopes = tuple(getattr(found, "granted_scopes", None) or found.scopes or ())
        return DriveClient.connect(identity, patience=PATIENCE)

    @cached_property
    def store(self) -> Store:
        """The store that holds the searches; it need not exist yet."""
        if self.store_spec is not None:
            return open_store(self.store_spec)
        from colab_drive_tuner.store.drive import DriveStore

        return DriveStore(self.client, create=False)

    def require_account(self) -> None:
        """Raise `NotExaminedError` if the store needs an account and nobody is signed in."""
        if self.needs_account and not self.account:
            raise NotExaminedError(self.no_account_reason)

    @property
    def existing_store(self) -> Store | None:
        """The store; None if it does not exist yet or cannot be opened as named."""
        try:
            return self.store if self.store.exists else None
        except (NotFoundError, UsageError):
            return None

    @cached_property
    def searches(self) -> list[SearchCheck]:
        """The searches in the store, sorted by name."""
        names = [entry.name for entry in self._folders if is_search(entry)]
        return [
            SearchCheck(self.store.for_search(name), name, names.count(name))
            for name in sorted(set(names))
        ]

    @cached_property
    def spooled(self) -> list[tuple[str, str]]:
        """Name and id of record 0 of the searches in the store with items spooled here."""
        return spooled_searches(self.store.location)

    @property
    def unmarked_folders(self) -> list[Entry]:
        """Folders without a known kind: the user's own, or searches whose mark was removed."""
        # A copy in progress has no first record: a folder with one is a search with a wrong mark.
        known = set(FolderKind) - {FolderKind.COPYING}
        return [
            entry
            for entry in self._folders
            if not entry.damage and entry.properties.get(Property.KIND) not in known
        ]

    @cached_property
    def _folders(self) -> list[Entry]:
        """The folders in the store; raises `NotExaminedError` if an account is needed first."""
        self.require_account()
        store = self.existing_store
        return [] if store is None else [e for e in store.list(store.root) if e.is_folder]
