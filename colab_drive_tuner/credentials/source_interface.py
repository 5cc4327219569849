"""Interface of a credential source: the request it receives and the credentials it returns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colab_drive_tuner.environment_variables import Variable

SCOPE_FILE = "https://www.googleapis.com/auth/drive.file"
SCOPE_READ = "https://www.googleapis.com/auth/drive.readonly"
SCOPE_ALL = "https://www.googleapis.com/auth/drive"
CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def emulator_host() -> str:
    """Return the emulator that the environment names; empty for Google itself.

    An emulator accepts no real sign-in, so with one no source is tried.
    """
    return Variable.EMULATOR_HOST.get().strip()


@dataclass(frozen=True)
class Identity:
    """Credentials, with the source that they came from."""

    credentials: Any = field(repr=False)
    """The credentials, of google-auth; they renew their token."""
    source: str
    file: Path | None = None
    """Path of the source's credentials file; None if it has no file for other machines."""


class SourceError(Exception):
    """A source has no credentials here; the message is the reason, as a phrase."""


@dataclass(frozen=True)
class CredentialRequest:
    """The request that a source receives; see `find_credentials`."""

    argument: Any = field(default=None, repr=False)
    """The user's `credentials=` argument; None if there is none."""
    scopes: list[str] | None = None
    allow_prompt: bool = False
    browser_attached: Callable[[], bool] | None = None


@dataclass(frozen=True)
class CredentialSource:
    """One way to obtain credentials."""

    name: str
    """Its name in messages and in `whoami`."""
    load: Callable[[CredentialRequest], Any]
    """Returns credentials of google-auth. Raises `SourceError` if the source has none, and
    `CredentialsError` if the user chose the source and it cannot be used."""
    variables: tuple[Variable, ...] = ()
    """The environment variables that it reads. If one changes, `setup()` opens a new session;
    schedules contain the values of those that are not `is_secret`."""
    chosen: bool = False
    """Whether users set it up for this package. If Google refuses a chosen source, the lookup ends
    with an error instead of acting as another account."""
    file: Callable[[], Path | None] = lambda: None
    """Returns the path of its credentials file, if it could be used on another machine."""


def with_scopes(credentials: Any, scopes: list[str] | None) -> Any:
    """Return the credentials with scopes, if they have none yet and allow a choice.

    A user's credentials do not: their scopes were fixed by the user's consent.
    """
    import google.auth.credentials as base

    subject = getattr(credentials, "_subject", None)
    return base.with_scopes_if_required(credentials, scopes or default_scopes(subject))


def default_scopes(subject: Any) -> list[str]:
    """Return the default scope of a service account, or of the user `subject` it acts for.

    The account itself can only see what was shared with it; the user's Drive contains more than
    this package should see.
    """
    return [SCOPE_FILE if subject else SCOPE_ALL]
