"""Sign-in with Google's browser flow, stored on this machine: the commands `login` and `logout`.

It is stored in one file that only its owner can read. The file contains a refresh token, but no
access token; `logout` also revokes it at Google.
"""

import contextlib
import json
import logging
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from colab_drive_tuner.credentials.files import login_file
from colab_drive_tuner.credentials.http_session import guard, new_session
from colab_drive_tuner.errors import CredentialsError, UsageError, optional_import
from colab_drive_tuner.local_files import replace_file

WAIT_SECONDS = 300
"""Time limit for the user to complete the sign-in in the browser."""


def sign_in(client_secrets: Path, scopes: list[str]) -> Path:
    """Sign a user in, store the sign-in, and return the path of its file.

    `client_secrets` is the JSON file of an OAuth client of the type 'Desktop app', else this is a
    `UsageError`. Raises `CredentialsError` if the sign-in was not completed.
    """
    found = _ask(client_secrets, scopes)
    if not found.refresh_token:
        raise CredentialsError("Google gave a sign-in that cannot be renewed; run `login` again.")
    names = ("client_id", "client_secret", "token_uri", "refresh_token")
    info = {"type": "authorized_user", **{name: getattr(found, name) for name in names}}
    path = login_file()
    with _changing(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Never readable by other users, not even while it is written.
        replace_file(path, lambda sink: sink.write(json.dumps(info).encode()), mode=0o600)
    return path


def sign_out() -> bool | None:
    """Delete the stored sign-in; return whether Google revoked it, None if there was none."""
    path = login_file()
    try:
        info = json.loads(path.read_bytes())
        url = f"{info['token_uri'].rpartition('/')[0]}/revoke"
        with new_session(local=False) as session:
            answer = session.post(
                url, data={"token": info["refresh_token"]}, timeout=20, allow_redirects=False
            )
        revoked = answer.status_code in {200, 400}  # 400: it had been revoked before
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        revoked = False  # offline (errors of requests are OSErrors), or an invalid file
    with _changing(path):
        path.unlink()
    return revoked


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[None]:
    """Explain that the sign-in's file cannot be written or deleted."""
    try:
        yield
    except OSError as error:
        raise CredentialsError(
            f"The sign-in's file {path} cannot be changed ({error.strerror}): remove what is in "
            "its way, allow it to be written, or set XDG_CONFIG_HOME to another folder."
        ) from error


def _ask(client_secrets: Path, scopes: list[str]) -> Any:
    """Run Google's flow: a page in the browser that redirects to a server on this machine."""
    missing = "`login` needs google-auth-oauthlib: pip install 'colab-drive-tuner[login]'."
    with optional_import(missing):
        from google_auth_oauthlib.flow import InstalledAppFlow
        from oauthlib.oauth2 import OAuth2Error
    try:
        flow = InstalledAppFlow.from_client_secrets_file(str(client_secrets), scopes)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not the JSON of an OAuth client"
        raise UsageError(
            f"{client_secrets} cannot be used ({reason}): create an OAuth client of the type "
            "'Desktop app' in the Google Cloud console, and download its JSON file."
        ) from None
    for name in ("requests_oauthlib", "oauthlib"):  # at DEBUG they log the tokens themselves
        logging.getLogger(name).setLevel(logging.INFO)
    guard(flow.oauth2session)
    flow.oauth2session.max_redirects = 0  # a redirect would receive the code and client secret
    browser = False
    with contextlib.suppress(webbrowser.Error):
        browser = webbrowser.get() is not None
    try:
        return flow.run_local_server(
            port=0, open_browser=browser, timeout_seconds=WAIT_SECONDS, prompt="consent"
        )
    except AttributeError:  # raised after the timeout
        reason = f"no answer from the browser within {WAIT_SECONDS // 60} minutes"
    except Warning:  # oauthlib raises it if the allowed scopes differ
        reason = "not all requested permissions were allowed"
    except OAuth2Error as error:
        reason = str(error.error or "refused")
    except OSError as error:  # base class of all errors of requests, including a redirect
        reason = f"Google's sign-in server gave no answer: {type(error).__name__}"
    raise CredentialsError(f"The sign-in was not completed ({reason}); run `login` again.")
