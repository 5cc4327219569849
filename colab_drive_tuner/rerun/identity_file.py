"""The file that lets another machine act as the account that acts here."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from colab_drive_tuner.credentials import FILE_VARIABLE
from colab_drive_tuner.errors import CredentialsError

_PORTABLE = ("authorized_user", "service_account")
_STANDARD = "GOOGLE_APPLICATION_CREDENTIALS"


def portable_credentials(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The credentials file that this process uses, if it works elsewhere, too.

    None where Drive is an emulator and nobody signs in. Raises `CredentialsError`, without a word
    of what the file holds, where there is none or it is bound to this machine.
    """
    named = environ.get(FILE_VARIABLE) or environ.get(_STANDARD)
    path = Path(named).expanduser() if named else _gcloud_file(environ)
    if path is None:
        if environ.get("DRIVE_EMULATOR_HOST"):
            return None
        raise CredentialsError(
            "A runtime elsewhere needs a credentials file to act as you, and there is none here: "
            f"set {FILE_VARIABLE} to one, or run `gcloud auth application-default login`."
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CredentialsError(
            f"The credentials file {path} cannot be read ({error.strerror}); correct the path."
        ) from None
    except ValueError:
        found = None
    kind = found.get("type") if isinstance(found, dict) else None
    if kind not in _PORTABLE:
        raise CredentialsError(
            f"The credentials file {path} cannot be used on another machine: its type must be "
            f"{' or '.join(_PORTABLE)}."
        )
    return path


def _gcloud_file(environ: Mapping[str, str]) -> Path | None:
    """Where `gcloud auth application-default login` leaves its file."""
    folder = environ.get("CLOUDSDK_CONFIG")
    path = Path(folder) if folder else Path("~/.config/gcloud").expanduser()
    path /= "application_default_credentials.json"
    return path if path.is_file() else None
