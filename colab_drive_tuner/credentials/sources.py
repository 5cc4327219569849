"""The list of credential sources, from the most to the least explicit, and the lookup through it.

A source that was chosen by name (an argument, the environment variable, a login) and does not work
ends the lookup at once: going on would act as somebody whom the user did not mean. None is believed
before it has given one token. Nothing secret is kept in a message, a repr or a log.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colab_drive_tuner.credentials import colab, files
from colab_drive_tuner.credentials.explicit import from_argument
from colab_drive_tuner.credentials.lookup import (
    CLOUD_SCOPE,
    SCOPE_FILE,
    Identity,
    Lookup,
    SourceError,
    emulator_named,
)
from colab_drive_tuner.credentials.token import TokenRefusedError, prove
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import CredentialsError, UsageError

Retry = Callable[[Callable[[], None]], None]


@dataclass(frozen=True)
class CredentialSource:
    """One way to credentials.

    Attributes:
        name: As messages and `whoami` have it.
        load: Returns credentials of google-auth. Raises `SourceError` where the source has none,
            `CredentialsError` where it was chosen and cannot be used.
        variables: The environment variables that it reads.
        chosen: Whether whoever has it chose it by name, so that a refusal ends the lookup.
        file: Where the credentials file lies that another machine could sign in with, by the
            environment; None where there is none.
    """

    name: str
    load: Callable[[Lookup], Any]
    variables: tuple[Variable, ...] = ()
    chosen: bool = False
    file: Callable[[], Path | None] = lambda: None


APPLICATION_DEFAULT = CredentialSource(
    "application default credentials",
    files.application_default,
    variables=(Variable.GOOGLE_CREDENTIALS, Variable.GCLOUD_FOLDER),
    file=files.default_file,
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
        "colab-drive-tuner login", files.from_login, chosen=True, file=files.kept_login
    ),
    CredentialSource("Colab's secrets", colab.from_secret, chosen=True),
    CredentialSource("Colab's sign-in", colab.from_sign_in),
    APPLICATION_DEFAULT,
)

ENVIRONMENT = tuple(name for source in SOURCES for name in source.variables)
"""The environment variables that decide who acts. They name files and people, and hold no secret.
"""


def _once(ask: Callable[[], None]) -> None:
    ask()


def find_credentials(
    explicit: Any = None,
    *,
    allow_prompt: bool,
    scopes: Iterable[str] | None = None,
    browser_attached: Callable[[], bool] | None = None,
    notify: Callable[[str], None] = print,
    retry: Retry = _once,
) -> Identity:
    """Find the first source that gives a token.

    Args:
        explicit: Credentials of google-auth, a `GoogleAuth` of PyDrive2, the path of a credentials
            file, or an `Identity` found before; None looks through the other sources.
        allow_prompt: Whether a person at Colab's page may be asked.
        scopes: What is asked for where credentials can choose. None: `drive.file`, or `drive` for a
            machine's own account, which sees nothing but what was shared with it.
        browser_attached: Whether Colab's page answers; None asks the runtime.
        notify: Called with the sentence that a person reads before being asked.
        retry: Calls what asks for the token, again where that raises `UnavailableError`.

    Returns:
        The credentials, which hold a token, and the name of their source.

    Raises:
        CredentialsError: Nobody is signed in: lists what was tried; or a chosen source was refused.
        UnavailableError: The sign-in server did not answer, which says nothing about the sign-in.
        UsageError: DRIVE_EMULATOR_HOST is set: nobody's sign-in is looked for.
    """
    if isinstance(explicit, Identity):
        return explicit
    lookup = Lookup(
        explicit,
        None if scopes is None else list(scopes),
        allow_prompt,
        browser_attached,
        notify,
    )
    identity, tried = _look_up(SOURCES, lookup, retry)
    if identity is None:
        raise CredentialsError(
            "Nobody is signed in to Google Drive. In Colab, run the cell while the notebook is open"
            " in a browser; elsewhere run `colab-drive-tuner login`, or `gcloud auth "
            f"application-default login --scopes={SCOPE_FILE},openid,{CLOUD_SCOPE}`, or set "
            f"{Variable.CREDENTIALS} to a credentials file. To keep searches in a local folder "
            "instead, pass store=, or set COLAB_DRIVE_TUNER_STORE to the folder (setup() and the "
            f"command line read it too). What was tried:\n{tried}"
        )
    return identity


def cloud_credentials() -> Identity:
    """The application default credentials with the scope of Google Cloud.

    Raises:
        CredentialsError: There are none, or they give no token.
        UnavailableError: The sign-in server did not answer.
        UsageError: DRIVE_EMULATOR_HOST is set.
    """
    identity, tried = _look_up((APPLICATION_DEFAULT,), Lookup(scopes=[CLOUD_SCOPE]), _once)
    if identity is None:
        raise CredentialsError(
            "Google Cloud needs application default credentials: run `gcloud auth "
            f"application-default login`. What was tried:\n{tried}"
        )
    return identity


def portable_file() -> Path | None:
    """The credentials file with which another machine acts as the account that acts here.

    Returns:
        The file of the first source that has one; None where Drive is an emulator and nobody signs
        in.

    Raises:
        CredentialsError: There is no such file, or it works on this machine only.
    """
    if emulator_named():
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


def _look_up(
    sources: tuple[CredentialSource, ...], lookup: Lookup, retry: Retry
) -> tuple[Identity | None, str]:
    """What the first source gives that has something; where none has, the reason of each."""
    given_object = lookup.given is not None and not isinstance(lookup.given, str | Path)
    if emulator_named() and not given_object:
        raise UsageError(
            f"{Variable.EMULATOR_HOST} is set, and an emulator knows nobody's sign-in, so none is "
            "used: unset it to act in Google's own services."
        )
    failures = []
    for number, source in enumerate(sources, 1):
        try:
            credentials = source.load(lookup)
            prove(credentials, retry)
            return Identity(credentials, source.name), ""
        except SourceError as reason:
            failures.append(f"  {number}. {source.name}: {reason}")
        except TokenRefusedError as reason:
            file = source.file()
            refused = f"{source.name} ({file})" if file is not None else source.name
            if source.chosen:
                raise CredentialsError(
                    f"Google gave no token for the sign-in of {refused}: {reason}. Sign in again "
                    "there, or take it away; nothing is lost."
                ) from None
            failures.append(f"  {number}. {refused}: {reason}")
    return None, "\n".join(failures)
