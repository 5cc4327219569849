"""A sign-in of this machine's own, by Google's flow in a browser: `login` and `logout`.

It is kept in one file that only its owner can read. That holds no access token, only what renews
one; signing out has Google forget it, too.
"""

import contextlib
import json
import logging
import webbrowser
from pathlib import Path
from typing import Any

from colab_drive_tuner.credentials.files import login_file
from colab_drive_tuner.credentials.http_session import guard, new_session
from colab_drive_tuner.errors import CredentialsError, MissingExtraError, UsageError
from colab_drive_tuner.local_files import replace_file

WAIT_SECONDS = 300
"""How long the person at the browser is waited for."""


def sign_in(client_secrets: Path, scopes: list[str]) -> Path:
    """Have a person sign in, and keep that; returns the file in which it is kept.

    Args:
        client_secrets: The JSON file of an OAuth client of the type 'Desktop app'.
        scopes: What the sign-in may do, by Google's addresses.

    Raises:
        UsageError: The file is no such client's.
        CredentialsError: The sign-in was not completed.
        MissingExtraError: google-auth-oauthlib is not installed.
    """
    found = _ask(client_secrets, scopes)
    if not found.refresh_token:
        raise CredentialsError("Google gave a sign-in that cannot be renewed; run `login` again.")
    names = ("client_id", "client_secret", "token_uri", "refresh_token")
    info = {"type": "authorized_user", **{name: getattr(found, name) for name in names}}
    path = login_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Readable by this user alone from its first moment.
    replace_file(path, lambda sink: sink.write(json.dumps(info).encode()), mode=0o600)
    return path


def sign_out() -> bool | None:
    """Delete the sign-in that is kept; whether Google revoked it, None where there is none."""
    path = login_file()
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        url = f"{info['token_uri'].rpartition('/')[0]}/revoke"
        with new_session(local=False) as session:
            answer = session.post(
                url, data={"token": info["refresh_token"]}, timeout=20, allow_redirects=False
            )
        revoked = answer.status_code in {200, 400}  # 400: it had been revoked before
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        revoked = False  # offline (requests' errors are OSErrors), or a file that makes no sense
    path.unlink()
    return revoked


def _ask(client_secrets: Path, scopes: list[str]) -> Any:
    """Google's own flow: a page in the browser, which comes back to a server on this machine."""
    try:
        from google_auth_oauthlib.flow import InstalledAppFlow
        from oauthlib.oauth2 import OAuth2Error
    except ImportError:
        raise MissingExtraError(
            "`login` needs google-auth-oauthlib: pip install 'colab-drive-tuner[login]'."
        ) from None
    try:
        flow = InstalledAppFlow.from_client_secrets_file(str(client_secrets), scopes)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no OAuth client's JSON"
        raise UsageError(
            f"{client_secrets} cannot be used ({reason}): create an OAuth client of the type "
            "'Desktop app' in the Google Cloud console, and download its JSON file."
        ) from None
    for name in ("requests_oauthlib", "oauthlib"):  # at DEBUG they log the tokens themselves
        logging.getLogger(name).setLevel(logging.INFO)
    guard(flow.oauth2session)
    flow.oauth2session.max_redirects = 0  # it would take code and client secret along
    browser = False
    with contextlib.suppress(webbrowser.Error):
        browser = webbrowser.get() is not None
    try:
        return flow.run_local_server(
            port=0, open_browser=browser, timeout_seconds=WAIT_SECONDS, prompt="consent"
        )
    except AttributeError:  # what it raises when nobody came
        reason = f"nobody came back within {WAIT_SECONDS // 60} minutes"
    except Warning:  # oauthlib raises it where other scopes were allowed than asked for
        reason = "not everything that was asked for was allowed"
    except OAuth2Error as error:
        reason = str(error.error or "refused")
    except OSError as error:  # those of requests are such, a redirect among them
        reason = f"Google's sign-in server gave no answer: {type(error).__name__}"
    raise CredentialsError(f"The sign-in was not completed ({reason}); run `login` again.")
