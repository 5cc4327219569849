"""The ordered list of credential sources, from the most to the least explicit one.

A new source is added to `SOURCES`; `source_interface` defines what it receives and returns.
"""

from pathlib import Path

from colab_drive_tuner.credentials import colab, files
from colab_drive_tuner.credentials.argument import from_argument
from colab_drive_tuner.credentials.source_interface import CredentialSource, emulator_host
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import CredentialsError

APPLICATION_DEFAULT = CredentialSource(
    "application default credentials",
    files.from_application_default,
    variables=(Variable.GOOGLE_CREDENTIALS, Variable.GCLOUD_FOLDER),
    file=files.application_default_file,
)

SOURCES = (
    CredentialSource("credentials=", from_argument, chosen=True),
    CredentialSource(
        Variable.CREDENTIALS,
        files.from_variable,
        variables=(Variable.CREDENTIALS, Variable.ACT_AS),
        chosen=True,
        file=files.variable_file,
    ),
    CredentialSource(
        "colab-drive-tuner login", files.from_login, chosen=True, file=files.existing_login_file
    ),
    CredentialSource("Colab's secrets", colab.from_secret, chosen=True),
    CredentialSource("Colab's sign-in", colab.from_sign_in),
    APPLICATION_DEFAULT,
)

ENVIRONMENT = tuple(name for source in SOURCES for name in source.variables)
"""Environment variables that select an account. They name files and users, and hold no secret."""


def portable_file() -> Path | None:
    """Return the credentials file with which another machine can act as this account.

    Returns:
        The file of the first source that has one; None with an emulator, which needs no sign-in.

    Raises:
        CredentialsError: There is no such file, or it works on this machine only.
    """
    if emulator_host():
        return None
    for source in SOURCES:
        path = source.file()
        if path is not None:
            return files.check_portable(path)
    raise CredentialsError(
        "A runtime elsewhere needs a credentials file to act as you, and there is none here: set "
        f"{Variable.CREDENTIALS} to one, or run `colab-drive-tuner login` or `gcloud auth "
        "application-default login`."
    )
