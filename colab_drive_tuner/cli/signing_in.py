"""`login`, `logout`, `whoami`: a sign-in of this machine's own, where no notebook asks for one.

The sign-in is kept in one file that only its owner can read. It holds no access token, only what
renews one; `logout` has Google forget that, too.
"""

import contextlib
import json
import logging
import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from colab_drive_tuner.cli.arguments import AsJson
from colab_drive_tuner.cli.output import echo_outcome
from colab_drive_tuner.environment import Variable
from colab_drive_tuner.errors import CredentialsError, MissingExtraError, UsageError

WAIT_SECONDS = 300
"""How long `login` waits for the person at the browser."""


class Scope(StrEnum):
    """What a sign-in may do; the values are Google's names."""

    FILE = "drive.file"
    READONLY = "drive.readonly"
    ALL = "drive"


def login(
    client_secrets: Annotated[
        Path, typer.Option(help="The JSON file of an OAuth client of the type 'Desktop app'.")
    ],
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            metavar="|".join(Scope),
            help="What the sign-in may do: drive.file without it. May be given more than once.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sign in to Google Drive in a browser on this machine, until `logout`.

    Example:
        colab-drive-tuner login --client-secrets client_secret.json
    """
    from colab_drive_tuner.credentials import login_file

    _refuse_emulator()
    wanted = [f"https://www.googleapis.com/auth/{one}" for one in scope or [Scope.FILE]]
    found = _ask(client_secrets, wanted)
    if not found.refresh_token:
        raise CredentialsError("Google gave a sign-in that cannot be renewed; run `login` again.")
    names = ("client_id", "client_secret", "token_uri", "refresh_token")
    _keep({"type": "authorized_user", **{name: getattr(found, name) for name in names}})
    path = login_file()
    facts = {"file": str(path), "scopes": wanted}
    echo_outcome(
        f"Signed in; kept in {path} until `colab-drive-tuner logout`.", facts, as_json=as_json
    )


def logout(as_json: AsJson = False) -> None:
    """Revoke the sign-in of `login` at Google, and delete it here.

    Example:
        colab-drive-tuner logout
    """
    from colab_drive_tuner.credentials import login_file
    from colab_drive_tuner.credentials.wire import new_session

    _refuse_emulator()
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
        echo_outcome(
            "Nobody has signed in with `colab-drive-tuner login` on this machine.",
            {"deleted": None, "revoked": False},
            as_json=as_json,
        )
        return
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        revoked = False  # offline (requests' errors are OSErrors), or a file that makes no sense
    path.unlink()
    text = f"Deleted {path}."
    if not revoked:
        text += "\nGoogle could not be told: revoke it at https://myaccount.google.com/connections."
    echo_outcome(text, {"deleted": str(path), "revoked": revoked}, as_json=as_json)


def whoami(as_json: AsJson = False) -> None:
    """Show the Google account that is used, and where its sign-in was found.

    Nobody is asked to sign in.

    Example:
        colab-drive-tuner whoami
        colab-drive-tuner whoami --json
    """
    from colab_drive_tuner.credentials import find_credentials
    from colab_drive_tuner.drive import DriveClient
    from colab_drive_tuner.drive.requests.endpoint import find_endpoint

    endpoint = find_endpoint()
    if endpoint.emulator_token is not None:
        client, how = DriveClient.connect(), f"the emulator at {endpoint.origin}"
    else:
        identity = find_credentials(allow_prompt=False)
        client, how = DriveClient.connect(identity), f"found by {identity.how}"
    quota = client.quota()
    limit = "" if quota.limit is None else f" of {quota.limit / 1e9:.2f}"
    facts = {"account": client.account(), "signed_in": how}
    echo_outcome(
        f"{client.account()} ({how}), {quota.used / 1e9:.2f}{limit} GB used",
        facts | {"bytes_used": quota.used, "bytes_limit": quota.limit},
        as_json=as_json,
    )
    client.close()


def _ask(client_secrets: Path, scopes: list[str]) -> Any:
    """Google's own flow: a page in the browser, which comes back to a server on this machine."""
    from colab_drive_tuner.credentials.wire import guard

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


def _keep(info: dict[str, Any]) -> None:
    """Write the file in one step, readable by this user alone from its first moment."""
    from colab_drive_tuner.credentials import login_file
    from colab_drive_tuner.machine import replace_file

    path = login_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = json.dumps(info).encode()
    replace_file(path, lambda sink: sink.write(content), mode=0o600)


def _refuse_emulator() -> None:
    if Variable.EMULATOR_HOST.get():
        raise UsageError(
            "DRIVE_EMULATOR_HOST is set, and an emulator knows nobody's sign-in: unset it first."
        )
