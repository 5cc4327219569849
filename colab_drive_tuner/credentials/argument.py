"""Credential source for the `credentials=` argument: google-auth, PyDrive2, or a file's path."""

import sys
from pathlib import Path
from typing import Any

from colab_drive_tuner.credentials.files import (
    from_file,
    service_account_credentials,
    user_credentials,
)
from colab_drive_tuner.credentials.source_interface import (
    CredentialRequest,
    SourceError,
    with_scopes,
)
from colab_drive_tuner.errors import CredentialsError


def from_argument(request: CredentialRequest) -> Any:
    """Load the credentials of `credentials=`; raises `CredentialsError` if they are invalid."""
    given = request.argument
    if given is None:
        raise SourceError("none were given")
    if isinstance(given, str | Path):
        return from_file(Path(given), request)
    given = _from_pydrive(given)
    if not (hasattr(given, "before_request") and hasattr(given, "refresh")):
        raise CredentialsError(
            "credentials= must be credentials of google-auth, a GoogleAuth of PyDrive2, or the "
            f"path of a credentials file, not {type(given).__name__}."
        )
    return with_scopes(given, request.scopes)


def _from_pydrive(given: Any) -> Any:
    """Convert a `GoogleAuth` of PyDrive2 to credentials of google-auth; return others unchanged.

    PyDrive2 uses oauth2client, whose credentials google-auth does not accept.
    """
    pydrive_auth = sys.modules.get("pydrive2.auth")
    if pydrive_auth is None or not isinstance(given, pydrive_auth.GoogleAuth):
        return given
    old: Any = given.credentials
    if old is None:
        raise CredentialsError(
            "Nobody is signed in with the GoogleAuth in credentials=: call one of its methods that "
            "sign in first."
        )
    if hasattr(old, "of_google_auth"):  # created by `session.pydrive()`
        return old.of_google_auth
    if hasattr(old, "service_account_email"):
        settings = {**old.serialization_data, "token_uri": old.token_uri}
        subject = given.client_config.get("client_user_email") or None
        return service_account_credentials(settings, list(given.settings["oauth_scope"]), subject)
    return user_credentials(
        {name: getattr(old, name) for name in ("client_id", "client_secret", "token_uri")},
        old.refresh_token,
        token=old.access_token,
        expiry=old.token_expiry,
    )
