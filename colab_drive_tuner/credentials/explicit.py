"""Credentials handed over by the caller: objects of google-auth or PyDrive2, or a file's path."""

import sys
from pathlib import Path
from typing import Any

from colab_drive_tuner.credentials.files import from_file, service_account, user_credentials
from colab_drive_tuner.credentials.lookup import Lookup, SourceError, scoped
from colab_drive_tuner.errors import CredentialsError


def from_argument(lookup: Lookup) -> Any:
    """Credentials of `credentials=`; raises `CredentialsError` for what is none."""
    given = lookup.given
    if given is None:
        raise SourceError("none were given")
    if isinstance(given, str | Path):
        return from_file(Path(given), lookup)
    given = _from_pydrive(given)
    if not (hasattr(given, "before_request") and hasattr(given, "refresh")):
        raise CredentialsError(
            "credentials= must be credentials of google-auth, a GoogleAuth of PyDrive2, or the "
            f"path of a credentials file, not {type(given).__name__}."
        )
    return scoped(given, lookup.scopes)


def _from_pydrive(given: Any) -> Any:
    """Credentials of google-auth for a `GoogleAuth` of PyDrive2; anything else as it is.

    PyDrive2 keeps those of oauth2client, which google-auth does not know.
    """
    theirs = sys.modules.get("pydrive2.auth")
    if theirs is None or not isinstance(given, theirs.GoogleAuth):
        return given
    old: Any = given.credentials
    if old is None:
        raise CredentialsError(
            "Nobody is signed in with the GoogleAuth in credentials=: call one of its methods that "
            "sign in first."
        )
    if hasattr(old, "of_google_auth"):  # `session.pydrive()` made it
        return old.of_google_auth
    if hasattr(old, "service_account_email"):
        settings = {**old.serialization_data, "token_uri": old.token_uri}
        subject = given.client_config.get("client_user_email") or None
        return service_account(settings, list(given.settings["oauth_scope"]), subject)
    return user_credentials(
        {name: getattr(old, name) for name in ("client_id", "client_secret", "token_uri")},
        old.refresh_token,
        token=old.access_token,
        expiry=old.token_expiry,
    )
