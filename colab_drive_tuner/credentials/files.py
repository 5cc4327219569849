"""Credentials files: service accounts, authorized users, federation; and Google's defaults.

No message quotes what a file holds, and none has the cause that might. The metadata server of a
machine at Google, Colab's included, names an account whether or not anybody has signed in. Only a
token tells, so finding is not believing (see `token`).
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colab_drive_tuner.credentials.lookup import Lookup, SourceError, default_scopes, scoped
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import CredentialsError

PORTABLE_TYPES = ("authorized_user", "service_account")
"""Types of files that work on any machine."""


def from_variable(lookup: Lookup) -> Any:
    """Credentials of the file that COLAB_DRIVE_TUNER_CREDENTIALS names."""
    named = variable_file()
    if named is None:
        raise SourceError("not set")
    return from_file(named, lookup)


def variable_file() -> Path | None:
    """The file that COLAB_DRIVE_TUNER_CREDENTIALS names."""
    named = Variable.CREDENTIALS.get()
    return Path(named).expanduser() if named else None


def login_file() -> Path:
    """The file in which `colab-drive-tuner login` keeps this user's sign-in on this machine."""
    from platformdirs import user_config_path

    return user_config_path("colab-drive-tuner") / "login.json"


def from_login(_: Lookup) -> Any:
    """Credentials that `colab-drive-tuner login` keeps."""
    path = login_file()
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        client = {name: info[name] for name in ("client_id", "client_secret", "token_uri")}
        return user_credentials(client, info["refresh_token"])
    except FileNotFoundError:
        raise SourceError("nobody has signed in on this machine") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CredentialsError(
            f"The sign-in kept in {path} cannot be read ({type(error).__name__}): run "
            "`colab-drive-tuner logout`, then `colab-drive-tuner login` again."
        ) from None


def kept_login() -> Path | None:
    """The file of `colab-drive-tuner login`, if somebody has signed in."""
    path = login_file()
    return path if path.is_file() else None


def application_default(lookup: Lookup) -> Any:
    """What google-auth finds on this machine."""
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        with warnings.catch_warnings():
            # It warns of what gcloud's users of Drive have in common: no project that pays.
            warnings.simplefilter("ignore", UserWarning)
            # Scopes only afterwards: a user's are fixed, and asking for others would fail.
            credentials, _ = google.auth.default()
    except (GoogleAuthError, OSError) as error:
        if not Variable.GOOGLE_CREDENTIALS.get():
            raise SourceError("none on this machine") from None
        kind = type(error).__name__
        raise SourceError(
            f"the file that {Variable.GOOGLE_CREDENTIALS} names cannot be used ({kind})"
        ) from None
    return scoped(credentials, lookup.scopes)


def default_file() -> Path | None:
    """The file that application default credentials are read from; None: there is none."""
    if named := Variable.GOOGLE_CREDENTIALS.get():
        return Path(named).expanduser()
    folder = Variable.GCLOUD_FOLDER.get()
    path = Path(folder) if folder else Path("~/.config/gcloud").expanduser()
    path /= "application_default_credentials.json"
    return path if path.is_file() else None


def from_file(path: Path, lookup: Lookup) -> Any:
    """Credentials of the file at `path`; raises `CredentialsError`."""
    if "{" in str(path):
        raise CredentialsError(
            "What should be the path of a credentials file looks like its content: keep that in a "
            "file, and give the path."
        )
    return from_info(read_info(path), f"The file {path}", lookup)


def read_info(path: Path) -> Any:
    """The JSON of a credentials file, None where it is no JSON; raises `CredentialsError`."""
    try:
        return json.loads(path.expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise CredentialsError(
            f"The credentials file {path} cannot be read ({error.strerror}); correct the path."
        ) from None
    except ValueError:
        return None


def check_portable(path: Path) -> Path:
    """The path, if its credentials work on any machine; raises `CredentialsError`."""
    info = read_info(path)
    kind = info.get("type") if isinstance(info, dict) else None
    if kind not in PORTABLE_TYPES:
        raise CredentialsError(
            f"The credentials file {path} cannot be used on another machine: its type must be "
            f"{' or '.join(PORTABLE_TYPES)}."
        )
    return path


def from_info(info: Any, where: str, lookup: Lookup) -> Any:
    """Credentials of a file's JSON; `where` begins the sentence that says what is wrong with it."""
    kind = info.get("type") if isinstance(info, dict) else None
    scopes = lookup.scopes
    try:
        if kind == "service_account":
            return service_account(info, scopes, Variable.ACT_AS.get() or None)
        if kind == "authorized_user":
            return _authorized_user(info)
        if kind == "external_account":
            return _external_account(info, scopes or default_scopes(None))
    except (ValueError, KeyError, TypeError) as error:
        # Without its text and without a cause: either may quote the content.
        raise CredentialsError(
            f"{where} says it holds credentials of type {kind}, but they are incomplete or damaged "
            f"({type(error).__name__}); create them anew."
        ) from None
    raise CredentialsError(
        f"{where} holds no credentials: its type must be service_account, authorized_user or "
        "external_account."
    )


def user_credentials(client: Mapping[str, Any], refresh_token: Any, **more: Any) -> Any:
    """A person's credentials, for a client with `client_id`, `client_secret` and `token_uri`."""
    from google.oauth2 import credentials

    user: Any = credentials.Credentials
    return user(more.pop("token", None), refresh_token=refresh_token, **client, **more)


def service_account(info: Any, scopes: list[str] | None, subject: str | None) -> Any:
    """Credentials of a service account's key; `subject` is the user for whom it acts."""
    from google.oauth2 import service_account as robots

    robot: Any = robots.Credentials
    wanted = scopes or default_scopes(subject)
    return robot.from_service_account_info(info, scopes=wanted, subject=subject)


def _authorized_user(info: Any) -> Any:
    from google.oauth2 import credentials

    # Its scopes were fixed when the user consented; asking for others would fail.
    user: Any = credentials.Credentials
    found = user.from_authorized_user_info({**info, "scopes": None})
    # google-auth itself renews at Google only; a sign-in of `login` belongs to its client's server.
    return found.with_token_uri(info["token_uri"]) if "token_uri" in info else found


def _external_account(info: Any, scopes: list[str]) -> Any:
    from google.auth import aws, identity_pool, pluggable

    federated: Any = identity_pool.Credentials
    if str(info.get("subject_token_type", "")).endswith(":aws4_request"):
        federated = aws.Credentials
    elif "executable" in info["credential_source"]:
        federated = pluggable.Credentials
    return federated.from_info(info, scopes=scopes)
