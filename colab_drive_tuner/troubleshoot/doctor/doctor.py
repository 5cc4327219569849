"""`doctor`: looks at everything that a search rests on, in order, and says what to do.

It only looks: nobody is asked to sign in, no folder is made, nothing is claimed. Each probe runs in
a thread of its own with a time limit, so that one that hangs costs a line and not the rest.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from colab_drive_tuner.environment import Variable
from colab_drive_tuner.errors import ColabDriveTunerError, NotFoundError
from colab_drive_tuner.runtime import Runtime, ask, detect
from colab_drive_tuner.text import visible

if TYPE_CHECKING:
    from colab_drive_tuner.drive import DriveClient
    from colab_drive_tuner.store.protocol import Store

OK, WARNING, PROBLEM = "ok", "warning", "problem"
SECONDS = 20.0
"""How long one probe may take."""
PATIENCE = 15.0
"""How long Drive is asked again before it counts as away."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: what was looked at, how it is, and what to do about it."""

    about: str
    level: str
    """"ok", "warning" or "problem"."""
    text: str
    advice: str = ""

    def __str__(self) -> str:
        line = " ".join(f"{self.about}: {self.text} {self.advice}".split())
        return f"{self.level:8} {visible(line)}"


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
    def client(self) -> "DriveClient":
        """Drive, for whoever is found without asking anybody; raises `CredentialsError`."""
        from colab_drive_tuner.credentials import find_credentials
        from colab_drive_tuner.drive import DriveClient
        from colab_drive_tuner.drive.endpoint import find_endpoint

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
        """Where searches are kept; raises `NotFoundError` where there is no such folder yet."""
        from colab_drive_tuner.store import open_store

        if self.folder_spec is not None:
            found = open_store(self.folder_spec)
            if found.local_path is not None and not found.local_path.is_dir():
                raise NotFoundError(f"There is no folder {found.local_path} yet.")
            return found
        from colab_drive_tuner.store.drive import DriveStore

        return DriveStore(self.client, create=False)


@dataclass(frozen=True)
class Part:
    """A part of what a probe looks at, which has a time limit of its own."""

    about: str
    probe: "Probe"


Probe = Callable[[CheckContext], Iterator[Finding | Part]]


def examine(
    spec: "Store | Path | str | None" = None, *, seconds: float = SECONDS
) -> Iterator[Finding]:
    """Each finding as soon as it is known, in the order of the house: the runtime comes first."""
    from colab_drive_tuner.troubleshoot.doctor.probes import PROBES

    context = CheckContext(spec)
    parts = [Part(about, probe) for about, probe in reversed(PROBES.items())]
    while parts:
        part = parts.pop()
        found = _asked(part.about, part.probe, context, seconds)
        parts += reversed([one for one in found if isinstance(one, Part)])
        yield from (one for one in found if isinstance(one, Finding))


def _asked(about: str, probe: Probe, context: CheckContext, seconds: float) -> list[Finding | Part]:
    answer = ask(lambda: list(probe(context)))
    try:
        return answer(seconds)
    except TimeoutError:
        return [
            Finding(
                about,
                WARNING,
                f"no answer within {seconds:g} seconds: it was not checked to the end.",
                "Run doctor again later.",
            )
        ]
    except ColabDriveTunerError as error:
        return [Finding(about, PROBLEM, str(error))]
    except Exception as error:  # noqa: BLE001 - one probe that fails must not hide the others
        text = f"it could not be looked at ({type(error).__name__}: {error})."
        return [Finding(about, WARNING, text, "Please report it.")]
