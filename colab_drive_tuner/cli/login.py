"""`login`, `logout`, `whoami`: a sign-in of this machine's own, where no notebook asks for one."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from colab_drive_tuner.cli.arguments import AsJson
from colab_drive_tuner.cli.output import echo_outcome
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import UsageError


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
    from colab_drive_tuner.credentials.login import sign_in

    _refuse_emulator()
    wanted = [f"https://www.googleapis.com/auth/{one}" for one in scope or [Scope.FILE]]
    path = sign_in(client_secrets, wanted)
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
    from colab_drive_tuner.credentials.login import sign_out

    _refuse_emulator()
    path = login_file()
    revoked = sign_out()
    if revoked is None:
        echo_outcome(
            "Nobody has signed in with `colab-drive-tuner login` on this machine.",
            {"deleted": None, "revoked": False},
            as_json=as_json,
        )
        return
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
        client, how = DriveClient.connect(identity), f"found by {identity.source}"
    quota = client.quota()
    limit = "" if quota.limit is None else f" of {quota.limit / 1e9:.2f}"
    facts = {"account": client.account(), "signed_in": how}
    echo_outcome(
        f"{client.account()} ({how}), {quota.used / 1e9:.2f}{limit} GB used",
        facts | {"bytes_used": quota.used, "bytes_limit": quota.limit},
        as_json=as_json,
    )
    client.close()


def _refuse_emulator() -> None:
    if Variable.EMULATOR_HOST.get():
        raise UsageError(
            "DRIVE_EMULATOR_HOST is set, and an emulator knows nobody's sign-in: unset it first."
        )
