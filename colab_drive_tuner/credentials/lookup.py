"""Lookup of credentials: its scopes, who may be asked, and what is found."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from colab_drive_tuner.environment_variables import Variable

SCOPE_FILE = "https://www.googleapis.com/auth/drive.file"
SCOPE_READ = "https://www.googleapis.com/auth/drive.readonly"
SCOPE_ALL = "https://www.googleapis.com/auth/drive"
CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def emulator_named() -> str:
    """The emulator that the environment names; empty: Google itself.

    An emulator knows nobody's sign-in: where one is named, no source is looked at.
    """
    return Variable.EMULATOR_HOST.get().strip()


@dataclass(frozen=True)
class Identity:
    """Credentials of google-auth that have given a token.

    Attributes:
        credentials: The credentials; they renew their token.
        how: The name of the source that they came from.
    """

    credentials: Any = field(repr=False)
    how: str


class SourceError(Exception):
    """A source has no credentials here; the message is the reason, as a phrase."""


@dataclass(frozen=True)
class Lookup:
    """What a source is told: what was given, which scopes, and who may be asked."""

    given: Any = field(default=None, repr=False)
    scopes: list[str] | None = None
    """Asked for where credentials can choose; None: see `scoped`."""
    allow_prompt: bool = False
    browser_attached: Callable[[], bool] | None = None
    """Whether Colab's page answers; None: ask the runtime."""
    notify: Callable[[str], None] = print


def scoped(credentials: Any, scopes: list[str] | None) -> Any:
    """The credentials with scopes, where none were chosen and they can choose: a user's cannot."""
    import google.auth.credentials as base

    narrow: Callable[[Any, list[str]], Any] = base.with_scopes_if_required
    subject = getattr(credentials, "_subject", None)
    return narrow(credentials, scopes or default_scopes(subject))


def default_scopes(subject: Any) -> list[str]:
    """The scope for a machine's own account, or, with `subject`, for the user it acts for.

    The user has more in Drive than concerns us; the account itself only what was shared with it.
    """
    return [SCOPE_FILE if subject else SCOPE_ALL]
