"""The ordered list of credential sources, from the most to the least explicit one.

A new source is added to `SOURCES`; `source_interface` defines what it receives and returns.
"""

from colab_drive_tuner.credentials import colab, files
from colab_drive_tuner.credentials.argument import from_argument
from colab_drive_tuner.credentials.source_interface import CredentialSource
from colab_drive_tuner.environment_variables import Variable

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


def account_variables(*, chosen: bool = False) -> list[Variable]:
    """Return the environment variables that select an account: paths, users and secrets.

    Args:
        chosen: Only those of sources that users set up for this package.
    """
    sources = [source for source in SOURCES if source.chosen or not chosen]
    return [variable for source in sources for variable in source.variables]
