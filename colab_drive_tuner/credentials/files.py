"""Credential sources of the `credentials=` argument and of files.

Files hold a service account, a user, a federated identity or application default credentials.

Messages never quote a file's content and have no cause that might quote it. On Google's machines,
Colab included, the metadata server names an account even if nobody has signed in, so credentials
are not trusted until they produce a token (see `token`).
"""

import json
import os
import re
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from colab_drive_tuner.credentials.source_interface import (
    CredentialRequest,
    SourceError,
    default_scopes,
    with_scopes,
)
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import CredentialsError

PORTABLE_TYPES = ("authorized_user", "service_account")
"""Types of credentials files that work on any machine."""
_MOST_BYTES = 1 << 20
"""Of a credentials file; the path may be that of a device, which has no end."""
_SECRET = re.compile(r"\{|-----BEGIN |^(?:ya29\.|1//?0|GOCSPX-|AIza|eyJ)")
"""What a path does not contain, but a credentials file's content or a token does."""


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


def from_variable(request: CredentialRequest) -> Any:
    """Load the file that COLAB_DRIVE_TUNER_CREDENTIALS names."""
    named = variable_file()
    if named is None:
        raise SourceError("not set")
    found = from_file(named, request)
    if (person := Variable.ACT_AS.get()) and not hasattr(found, "with_subject"):
        raise CredentialsError(
            f"{Variable.ACT_AS} says to act as {person}, which only a service account can, but "
            f"{named} holds another kind of credentials: unset {Variable.ACT_AS}, or name a "
            "service account's key."
        )
    return found


def variable_file() -> Path | None:
    """Return the path that COLAB_DRIVE_TUNER_CREDENTIALS names."""
    named = Variable.CREDENTIALS.get()
    return _expanded(named) if named else None


def _expanded(path: str | Path) -> Path:
    """Replace `~`, unless it is unknown; `Path.expanduser` would raise an error."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 see the docstring


def login_file() -> Path:
    """Return the path at which `colab-drive-tuner login` stores this user's sign-in."""
    from platformdirs import user_config_path

    return user_config_path("colab-drive-tuner").expanduser() / "login.json"


def from_login(request: CredentialRequest) -> Any:
    """Load the sign-in that `colab-drive-tuner login` stored."""
    path = existing_login_file()
    if path is None:
        raise SourceError("nobody has signed in on this machine")
    try:
        return from_info(read_info(path), f"The file {path}", request)
    except CredentialsError:
        raise CredentialsError(
            f"The sign-in kept in {path} cannot be read: run `colab-drive-tuner logout`, then "
            "`colab-drive-tuner login` again."
        ) from None


def existing_login_file() -> Path | None:
    """Return the file of `colab-drive-tuner login`; None if nobody has signed in."""
    with suppress(RuntimeError):  # this user has no home directory
        return _existing(login_file())
    return None


def _existing(path: Path) -> Path | None:
    """Return the path if a file is there; None also if this user may not look there."""
    return path if os.path.isfile(path) else None  # noqa: PTH113 `Path.is_file` would raise


def from_application_default(request: CredentialRequest) -> Any:
    """Load the application default credentials that google-auth finds on this machine."""
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        with warnings.catch_warnings():
            # It warns of the missing quota project, which gcloud users of Drive rarely have.
            warnings.simplefilter("ignore", UserWarning)
            # Scopes are added afterwards: a user's are fixed, and requesting others would fail.
            credentials, _ = google.auth.default()
    except (
        *(GoogleAuthError, OSError),
        # It does not expect every content of a file.
        *(ValueError, TypeError, LookupError, AttributeError, RecursionError),
    ) as error:
        file = application_default_file()
        if file is None:
            raise SourceError("none on this machine") from None
        named = f" (the file that {Variable.GOOGLE_CREDENTIALS} names)"
        shown = f"{file}{named if Variable.GOOGLE_CREDENTIALS.get() else ''}"
        raise SourceError(f"{shown} cannot be used ({type(error).__name__})") from None
    return with_scopes(credentials, request.scopes)


def application_default_file() -> Path | None:
    """Return the file of the application default credentials; None if there is none."""
    if named := Variable.GOOGLE_CREDENTIALS.get():
        return _expanded(named)
    path = _expanded(Variable.GCLOUD_FOLDER.get() or "~/.config/gcloud")
    return _existing(path / "application_default_credentials.json")


def from_file(path: Path, request: CredentialRequest) -> Any:
    """Load credentials from the file at `path`; raises `CredentialsError`."""
    if _SECRET.search(str(path)):
        raise CredentialsError(
            "What should be the path of a credentials file looks like its content or a token: keep "
            "that in a file, and give the path."
        )
    return from_info(read_info(path), f"The file {path}", request)


def read_info(path: Path) -> Any:
    """Return a credentials file's JSON, None if it is not JSON; raises `CredentialsError`."""
    try:
        with _expanded(path).open("rb") as file:
            return json.loads(file.read(_MOST_BYTES))
    except OSError as error:
        raise CredentialsError(
            f"The credentials file {path} cannot be read ({error.strerror}); correct the path."
        ) from None
    except (ValueError, RecursionError):
        return None


def check_portable(path: Path) -> Path:
    """Return the path if its credentials work on any machine; raises `CredentialsError`."""
    info = read_info(path)
    kind = info.get("type") if isinstance(info, dict) else None
    if kind not in PORTABLE_TYPES:
        raise CredentialsError(
            f"The credentials file {path} cannot be used on another machine: its type must be "
            f"{' or '.join(PORTABLE_TYPES)}."
        )
    return path


def from_info(info: Any, where: str, request: CredentialRequest) -> Any:
    """Create credentials from a file's JSON; `where` begins the sentences of error messages."""
    kind = info.get("type") if isinstance(info, dict) else None
    scopes = request.scopes
    try:
        if kind is not None:
            _check_urls(info)
        if kind == "service_account":
            return service_account_credentials(info, scopes, Variable.ACT_AS.get() or None)
        if kind == "authorized_user":
            return _authorized_user(info)
        if kind == "external_account":
            return _external_account(info, scopes or default_scopes(None))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # Without the error's text and cause, which may quote the content.
        raise CredentialsError(
            f"{where} says it holds credentials of type {kind}, but they are incomplete or damaged "
            f"({type(error).__name__}); create them again."
        ) from None
    if isinstance(info, dict) and info.keys() & {"installed", "web"}:
        raise CredentialsError(
            f"{where} describes an OAuth client, with which nobody has signed in yet: use it in "
            "`colab-drive-tuner login --client-secrets FILE`."
        )
    raise CredentialsError(
        f"{where} holds no credentials: its type must be service_account, authorized_user or "
        "external_account."
    )


def _check_urls(info: Mapping[str, Any]) -> None:
    """Raise `ValueError` if a sign-in server's URL is none: it would count as a silent server."""
    for url in (info[name] for name in ("token_uri", "token_url") if name in info):
        if not isinstance(url, str) or not re.fullmatch(r"https?://[^/?#\s]+\S*", url):
            raise ValueError("not a URL")
        urlsplit(url)  # raises ValueError for an invalid host


def user_credentials(
    client: Mapping[str, Any], refresh_token: Any, *, token: Any, expiry: Any = None
) -> Any:
    """Create a user's credentials; `client` has `client_id`, `client_secret` and `token_uri`."""
    from google.oauth2 import credentials

    return credentials.Credentials(token, refresh_token=refresh_token, expiry=expiry, **client)


def service_account_credentials(info: Any, scopes: list[str] | None, subject: str | None) -> Any:
    """Create credentials from a service account's key; `subject` is the user for whom it acts."""
    from google.oauth2 import service_account

    scopes, kind = scopes or default_scopes(subject), service_account.Credentials
    return kind.from_service_account_info(info, scopes=scopes, subject=subject)


def _authorized_user(info: Any) -> Any:
    from google.oauth2 import credentials

    # Its scopes were fixed by the user's consent; requesting others would fail.
    found = credentials.Credentials.from_authorized_user_info({**info, "scopes": None})
    # google-auth renews at Google only; a sign-in of `login` may belong to another server.
    return found.with_token_uri(info["token_uri"]) if "token_uri" in info else found


def _external_account(info: Any, scopes: list[str]) -> Any:
    from google.auth import aws, identity_pool, pluggable

    federated: Any = identity_pool.Credentials
    if str(info.get("subject_token_type", "")).endswith(":aws4_request"):
        federated = aws.Credentials
    elif "executable" in info["credential_source"]:
        federated = pluggable.Credentials
    return federated.from_info(info, scopes=scopes)
