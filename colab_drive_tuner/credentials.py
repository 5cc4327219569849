"""Who am I: one ordered list of ways to find out.

The order goes from the most to the least explicit. A way that was chosen by name (an argument, the
environment variable, a login) and does not work ends the search at once: going on would act as
somebody whom the user did not mean. Nothing secret is kept in a message, a repr or a log.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from colab_drive_tuner.errors import CredentialsError

FILE_VARIABLE = "COLAB_DRIVE_TUNER_CREDENTIALS"
"""Names a file: a service account's key, an authorized user, or workload identity federation."""
SUBJECT_VARIABLE = "COLAB_DRIVE_TUNER_ACT_AS"
"""The user for whom a service account with domain-wide delegation acts."""

SCOPE_FILE = "https://www.googleapis.com/auth/drive.file"
SCOPE_READ = "https://www.googleapis.com/auth/drive.readonly"
SCOPE_ALL = "https://www.googleapis.com/auth/drive"

_SECRET_SECONDS = 20.0
"""How long Colab's page may take to hand over a secret; a person may have to allow it first."""

COLAB_SENTENCE = (
    "Google will now ask whether this notebook may use your Google account: the search is kept in "
    "a folder of your Drive, the notebook's own file is read (for hyperas, which needs a copy), "
    "and nothing else is changed there."
)


@dataclass(frozen=True)
class Identity:
    """Credentials of google-auth, and how they were found."""

    credentials: Any = field(repr=False)
    how: str


class NotThisWayError(Exception):
    """A way to find credentials does not lead anywhere here; the message says why."""


def find_credentials(
    explicit: Any = None,
    *,
    allow_prompt: bool,
    scopes: Iterable[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    browser_attached: Callable[[], bool] | None = None,
    say: Callable[[str], None] = print,
) -> Identity:
    """The first identity that any way leads to.

    `scopes` are asked for where credentials can choose; None means `drive.file`, or `drive` for a
    machine's own account, which sees nothing but what was shared with it. With `allow_prompt`,
    a person at Colab's browser may be asked. Raises `CredentialsError`, which lists every way.
    """
    wanted = None if scopes is None else list(scopes)
    page = partial(_require_page, environ, browser_attached)
    if explicit is not None:
        return Identity(_explicit(explicit, wanted, environ), "credentials=")
    ways: list[tuple[str, Callable[[], Any]]] = [
        (FILE_VARIABLE, lambda: _from_variable(environ, wanted)),
        ("colab-drive-tuner login", _from_login),
        ("Colab's secrets", lambda: _from_secret(page, wanted, environ)),
        ("Colab's sign-in", lambda: _from_colab(page, allow_prompt, wanted, say)),
        ("application default credentials", lambda: _application_default(wanted)),
    ]
    failures = ["credentials=: none were given"]
    for how, way in ways:
        try:
            return Identity(way(), how)
        except NotThisWayError as reason:
            failures.append(f"{how}: {reason}")
    listed = "\n".join(f"  {number}. {failure}" for number, failure in enumerate(failures, 1))
    raise CredentialsError(
        "Found nobody to act as in Google Drive. In Colab, run the cell while the notebook is open "
        "in a browser; elsewhere run `colab-drive-tuner login`, or `gcloud auth "
        f"application-default login --scopes={SCOPE_FILE},openid,"
        f"https://www.googleapis.com/auth/cloud-platform`, or set {FILE_VARIABLE} to a credentials "
        f"file; or keep searches in a local folder with store=. What was tried:\n{listed}"
    )


def _explicit(given: Any, scopes: list[str] | None, environ: Mapping[str, str]) -> Any:
    if isinstance(given, Identity):
        return given.credentials
    if isinstance(given, str | Path):
        return _from_file(Path(given), scopes, environ)
    given = _from_pydrive(given)
    if not (hasattr(given, "before_request") and hasattr(given, "refresh")):
        raise CredentialsError(
            "credentials= must be credentials of google-auth, a GoogleAuth of PyDrive2, or the "
            f"path of a credentials file, not {type(given).__name__}."
        )
    return _scoped(given, scopes)


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
        return _service_account(settings, list(given.settings["oauth_scope"]), subject)
    return user_credentials(
        {name: getattr(old, name) for name in ("client_id", "client_secret", "token_uri")},
        old.refresh_token,
        token=old.access_token,
        expiry=old.token_expiry,
    )


def user_credentials(client: Mapping[str, Any], refresh_token: Any, **more: Any) -> Any:
    """A person's credentials, for a client with `client_id`, `client_secret` and `token_uri`."""
    from google.oauth2 import credentials

    user: Any = credentials.Credentials
    return user(more.pop("token", None), refresh_token=refresh_token, **client, **more)


def login_file() -> Path:
    """Where `colab-drive-tuner login` keeps what it was given, for this user of this machine."""
    from platformdirs import user_config_path

    return user_config_path("colab-drive-tuner") / "login.json"


def _from_login() -> Any:
    path = login_file()
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        client = {name: info[name] for name in ("client_id", "client_secret", "token_uri")}
        return user_credentials(client, info["refresh_token"])
    except FileNotFoundError:
        raise NotThisWayError("nobody has signed in on this machine") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CredentialsError(
            f"The sign-in kept in {path} cannot be read ({type(error).__name__}): run "
            "`colab-drive-tuner logout`, then `colab-drive-tuner login` again."
        ) from None


def _from_variable(environ: Mapping[str, str], scopes: list[str] | None) -> Any:
    name = environ.get(FILE_VARIABLE, "")
    if not name:
        raise NotThisWayError("not set")
    return _from_file(Path(name), scopes, environ)


def _from_file(path: Path, scopes: list[str] | None, environ: Mapping[str, str]) -> Any:
    if "{" in str(path):
        raise CredentialsError(
            "What should be the path of a credentials file looks like its content: keep that in a "
            "file, and give the path."
        )
    try:
        info = json.loads(path.expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise CredentialsError(
            f"The credentials file {path} cannot be read ({error.strerror}); correct the path."
        ) from None
    except ValueError:
        info = None
    return _from_info(info, f"The file {path}", scopes, environ)


def _from_info(info: Any, where: str, scopes: list[str] | None, environ: Mapping[str, str]) -> Any:
    kind = info.get("type") if isinstance(info, dict) else None
    try:
        if kind == "service_account":
            return _service_account(info, scopes, environ.get(SUBJECT_VARIABLE) or None)
        if kind == "authorized_user":
            return _authorized_user(info)
        if kind == "external_account":
            return _external_account(info, scopes or _of_a_machine(None))
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


def _authorized_user(info: Any) -> Any:
    from google.oauth2 import credentials

    # Its scopes were fixed when the user consented; asking for others would fail.
    user: Any = credentials.Credentials
    return user.from_authorized_user_info({**info, "scopes": None})


def _service_account(info: Any, scopes: list[str] | None, subject: str | None) -> Any:
    from google.oauth2 import service_account

    robot: Any = service_account.Credentials
    wanted = scopes or _of_a_machine(subject)
    return robot.from_service_account_info(info, scopes=wanted, subject=subject)


def _external_account(info: Any, scopes: list[str]) -> Any:
    from google.auth import aws, identity_pool, pluggable

    federated: Any = identity_pool.Credentials
    if str(info.get("subject_token_type", "")).endswith(":aws4_request"):
        federated = aws.Credentials
    elif "executable" in info["credential_source"]:
        federated = pluggable.Credentials
    return federated.from_info(info, scopes=scopes)


def _require_page(environ: Mapping[str, str], browser_attached: Callable[[], bool] | None) -> None:
    """Raise `NotThisWayError` unless this is Colab, with a browser that can be asked."""
    if browser_attached is None:
        from colab_drive_tuner import runtime

        # The first look is cheap, and spares everybody else the second.
        here = runtime.detect() if "COLAB_RELEASE_TAG" in environ else None
        if here is None or not here.is_colab:
            raise NotThisWayError("this is not Colab")
        attached = here.browser_attached
    else:
        attached = browser_attached()
    if not attached:
        # Colab would wait for ever for somebody who is not there.
        raise NotThisWayError("no browser is attached to this runtime, so nobody can be asked")


def _from_secret(
    page: Callable[[], None], scopes: list[str] | None, environ: Mapping[str, str]
) -> Any:
    page()
    text = _secret(FILE_VARIABLE)
    try:
        info = json.loads(text)
    except ValueError:
        info = None
    return _from_info(info, f"The secret {FILE_VARIABLE}", scopes, environ)


@lru_cache
def _secret(name: str) -> str:
    """The secret's text, asked for once in a process: every question goes to the browser."""
    try:
        from google.colab import userdata
    except ImportError:
        raise NotThisWayError("this is not Colab") from None
    from colab_drive_tuner.runtime import ask

    try:
        return str(ask(lambda: userdata.get(name))(_SECRET_SECONDS))
    except Exception as error:  # noqa: BLE001  # its three have no root in common
        reasons = {
            "TimeoutError": "the browser did not answer in time",
            "SecretNotFoundError": f"there is no secret named {name}",
            "NotebookAccessError": (
                f"this notebook may not read the secret {name}: allow it under the key symbol"
            ),
            "TimeoutException": "the browser did not answer in time",
        }
        kind = type(error).__name__
        raise NotThisWayError(reasons.get(kind, f"Colab failed ({kind})")) from None


def _from_colab(
    page: Callable[[], None],
    allow_prompt: bool,
    scopes: list[str] | None,
    say: Callable[[str], None],
) -> Any:
    page()
    if not allow_prompt:
        raise NotThisWayError("asking was not allowed")
    try:
        from google.colab import auth
    except ImportError:
        raise NotThisWayError("this is not Colab") from None
    say(COLAB_SENTENCE)
    try:
        auth.authenticate_user()
    except Exception as error:  # noqa: BLE001  # what it raises is nowhere documented
        raise NotThisWayError(f"the sign-in was not completed ({type(error).__name__})") from None
    return _application_default(scopes)


def _application_default(scopes: list[str] | None) -> Any:
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        with warnings.catch_warnings():
            # It warns of what gcloud's users of Drive have in common: no project that pays.
            warnings.simplefilter("ignore", UserWarning)
            # Scopes only afterwards: a user's are fixed, and asking for others would fail.
            credentials, _ = google.auth.default()
    except (GoogleAuthError, OSError) as error:
        if "GOOGLE_APPLICATION_CREDENTIALS" not in os.environ:
            raise NotThisWayError("none on this machine") from None
        kind = type(error).__name__
        raise NotThisWayError(
            f"the file that GOOGLE_APPLICATION_CREDENTIALS names cannot be used ({kind})"
        ) from None
    return _scoped(credentials, scopes)


def _scoped(credentials: Any, scopes: list[str] | None) -> Any:
    """With scopes, where none were chosen and the credentials can choose: a person's cannot."""
    import google.auth.credentials as base

    narrow: Callable[[Any, list[str]], Any] = base.with_scopes_if_required
    return narrow(credentials, scopes or _of_a_machine(getattr(credentials, "_subject", None)))


def _of_a_machine(subject: Any) -> list[str]:
    """The scope for a machine's own account, or, with `subject`, for the user it acts for.

    The user has more in Drive than concerns us; the account itself only what was shared with it.
    """
    return [SCOPE_FILE if subject else SCOPE_ALL]
