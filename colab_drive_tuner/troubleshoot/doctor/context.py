"""Context of the doctor's probes: what they ask of this machine and of the store, asked once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import CredentialsError, NotFoundError, UnavailableError, UsageError
from colab_drive_tuner.runtime import Runtime, detect
from colab_drive_tuner.text import visible

if TYPE_CHECKING:
    from colab_drive_tuner.drive import DriveClient
    from colab_drive_tuner.store.protocol import Entry, Store
    from colab_drive_tuner.troubleshoot.repair.search_check import SearchCheck

PATIENCE = 15.0
"""How long Drive is asked again before it counts as away."""


class Level(StrEnum):
    """How well it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: what was looked at, how it is, and what to do about it."""

    about: str = field(default="", kw_only=True)
    """Set by `examine`, which knows the probe's name."""
    level: Level
    text: str
    advice: str = ""

    def __str__(self) -> str:
        line = " ".join(f"{self.about}: {self.text} {self.advice}".split())
        return f"{self.level:8} {visible(line)}"


@dataclass(frozen=True)
class Part:
    """A part of what a probe looks at, which has a time limit of its own."""

    about: str
    probe: "Probe"


Probe = Callable[["CheckContext"], Iterator[Finding | Part]]


class NotExaminedError(Exception):
    """What a probe needs cannot be looked at; the message says why."""


@dataclass
class CheckContext:
    """What is looked at; each part is found out when a probe first needs it, and then kept."""

    spec: "Store | Path | str | None" = None
    """Where searches are kept, as `open_store` has it; None: as the environment says, or Drive."""
    scopes: tuple[str, ...] = ()
    """What the credentials are known to allow; empty: they do not say."""
    account: str = ""
    """Who is signed in to Drive, once somebody has asked."""
    away: str = "it is not known who is signed in"
    """Why Drive cannot be looked at, as long as there is no account."""

    @cached_property
    def runtime(self) -> Runtime:
        """Where this runs."""
        return detect()

    @cached_property
    def folder_spec(self) -> "Store | Path | str | None":
        """The store that was named, by argument or environment; None: Drive."""
        return self.spec or Variable.STORE.get() or None

    @cached_property
    def needs_account(self) -> bool:
        """Whether searches are kept where somebody has to be signed in."""
        if self.folder_spec is None:
            return True
        try:
            return self.store.is_shared
        except (CredentialsError, UnavailableError):
            return True
        except (NotFoundError, UsageError):
            return False  # a folder of this machine

    @cached_property
    def client(self) -> "DriveClient":
        """Drive, for whoever is found without asking anybody; raises `CredentialsError`."""
        from colab_drive_tuner.credentials import find_credentials
        from colab_drive_tuner.drive import DriveClient
        from colab_drive_tuner.drive.requests.endpoint import find_endpoint

        given: DriveClient | None = getattr(self.spec, "client", None)
        if given is not None:
            return given
        if find_endpoint().emulator_token is not None:
            return DriveClient.connect(patience=PATIENCE)
        identity = find_credentials(allow_prompt=False)
        known = identity.credentials
        self.scopes = tuple(getattr(known, "granted_scopes", None) or known.scopes or ())
        return DriveClient.connect(identity, patience=PATIENCE)

    @cached_property
    def store(self) -> "Store":
        """Where searches are kept; raises `NotFoundError` where this machine has no such folder."""
        from colab_drive_tuner.store import open_store

        if self.folder_spec is not None:
            found = open_store(self.folder_spec)
            if found.local_path is not None and not found.local_path.is_dir():
                raise NotFoundError(
                    f"There is no folder {found.local_path}: name the folder that searches are "
                    f"kept in, or begin one there."
                )
            return found
        from colab_drive_tuner.store.drive import DriveStore

        return DriveStore(self.client, create=False)

    def require_account(self) -> None:
        """Raise `NotExaminedError` where searches are kept in Drive, and nobody is signed in."""
        if self.needs_account and not self.account:
            raise NotExaminedError(self.away)

    @property
    def made_store(self) -> "Store | None":
        """The store; None where there is none yet, or can be none."""
        from colab_drive_tuner.store.protocol import NO_ROOT

        try:
            return self.store if self.store.root != NO_ROOT else None
        except (NotFoundError, UsageError):
            return None

    @property
    def existing_store(self) -> "Store | None":
        """As `made_store`; raises `NotExaminedError` where that is Drive, and nobody signed in."""
        self.require_account()
        return self.made_store

    @cached_property
    def searches(self) -> "list[SearchCheck]":
        """The searches in the store, by name."""
        from colab_drive_tuner.journal.folder.lookup import is_search
        from colab_drive_tuner.troubleshoot.repair.search_check import SearchCheck

        store = self.existing_store
        if store is None:
            return []
        names = [entry.name for entry in self._folders if is_search(entry)]
        return [SearchCheck(store, name, names.count(name)) for name in sorted(set(names))]

    @property
    def unmarked_folders(self) -> "list[Entry]":
        """The folders of which no property says what they are: a person's own, or altered ones."""
        from colab_drive_tuner.journal.folder.lookup import KIND, FolderKind

        # A copy in the making has no first record: what has one lost the mark of a search.
        known = set(FolderKind) - {FolderKind.COPYING}
        return [
            entry
            for entry in self._folders
            if not entry.damage and entry.properties.get(KIND) not in known
        ]

    @cached_property
    def _folders(self) -> "list[Entry]":
        store = self.existing_store
        entries = [] if store is None else store.list(store.root)
        return [entry for entry in entries if entry.is_folder]
