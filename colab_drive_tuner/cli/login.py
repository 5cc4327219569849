"""Commands that manage this machine's sign-in: login, logout, whoami."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from colab_drive_tuner.cli.common import AsJson, echo_result
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import UsageError


class Scope(StrEnum):
    """Permission of a sign-in, by Google's name of the scope."""

    FILE = "drive.file"
    READONLY = "drive.readonly"
    ALL = "drive"


def login(
    client_secrets: Annotated[
        Path, typer.Option(help="JSON file of an OAuth client of type 'Desktop app'.")
    ],
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            metavar="|".join(Scope),
            help="Permission to ask for. Default: drive.file. May be given more than once.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sign in to Google Drive in a browser, and keep the sign-in until `logout`.

    Example:
        colab-drive-tuner login --client-secrets client_secret.json
    """
    from colab_drive_tuner.credentials.login import sign_in

    _refuse_emulator()
    scopes = [f"https://www.googleapis.com/auth/{name}" for name in scope or [Scope.FILE]]
    path = sign_in(client_secrets, scopes)
    facts = {"file": str(path), "scopes": scopes}
    echo_result(
        f"Signed in. {path} holds the sign-in until `colab-drive-tuner logout`.",
        facts,
        as_json=as_json,
    )


def logout(as_json: AsJson = False) -> None:
    """Revoke the sign-in that `login` created, and delete it from this machine.

    Example:
        colab-drive-tuner logout
    """
    from colab_drive_tuner.credentials import login_file
    from colab_drive_tuner.credentials.login import sign_out

    _refuse_emulator()
    path = login_file()
    revoked = sign_out()
    text = f"Deleted {path}."
    if revoked is None:
        text = "There is no sign-in of `colab-drive-tuner login` on this machine."
    elif not revoked:
        text += "\nIt could not be revoked: do so at https://myaccount.google.com/connections."
    facts = {"deleted": None if revoked is None else str(path), "revoked": bool(revoked)}
    echo_result(text, facts, as_json=as_json)


def whoami(as_json: AsJson = False) -> None:
    """Show the Google account in use, the source of its sign-in and its storage.

    This command never asks for a sign-in.

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
        client, how = DriveClient.connect(identity), f"found by {identity.source}"
    quota = client.quota()
    limit = "" if quota.limit is None else f" of {quota.limit / 1e9:.2f}"
    facts = {"account": client.account(), "signed_in": how}
    echo_result(
        f"{client.account()} ({how}), {quota.used / 1e9:.2f}{limit} GB used",
        facts | {"bytes_used": quota.used, "bytes_limit": quota.limit},
        as_json=as_json,
    )
    client.close()


def _refuse_emulator() -> None:
    if Variable.EMULATOR_HOST.get():
        raise UsageError(
            f"{Variable.EMULATOR_HOST} is set, but the emulator has no sign-in: unset it first."
        )
