"""Lookup of credentials: the first source in `SOURCES` whose credentials have or get a token.

Credentials that already contain an unexpired token are accepted without a request; whether it is
valid shows in Drive's first answer. All others are verified by getting a token.

If a chosen source (an argument, the environment variable, a login) does not work, the lookup ends
with an error: another source could act as a user that was not meant. Messages, reprs and logs
contain no secrets.
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from colab_drive_tuner.credentials import colab, files
from colab_drive_tuner.credentials.source_interface import (
    CLOUD_SCOPE,
    SCOPE_FILE,
    CredentialRequest,
    CredentialSource,
    Identity,
    SourceError,
    emulator_host,
)
from colab_drive_tuner.credentials.token import TokenRefusedError, get_token
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import CredentialsError, UsageError

APPLICATION_DEFAULT = CredentialSource(
    "application default credentials",
    files.from_application_default,
    variables=(Variable.GOOGLE_CREDENTIALS, Variable.GCLOUD_FOLDER),
    file=files.application_default_file,
)

SOURCES = (
    CredentialSource("credentials=", files.from_argument, chosen=True),
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
"""The sources, from the most to the least explicit one. Add new ones here."""

_NOT_SIGNED_IN = (
    "Nobody is signed in to Google Drive.\n"
    f"- Without an account, in a local folder: set {Variable.STORE}=searches, or pass "
    "store='searches' to resume_search (on the command line --store searches).\n"
    "- In Colab: run the cell while the notebook is open in a browser.\n"
    "- Elsewhere: run `colab-drive-tuner login`, or `gcloud auth application-default login "
    f"--scopes={SCOPE_FILE},openid,{CLOUD_SCOPE}`, or set {Variable.CREDENTIALS} to a "
    "credentials file (docs/permissions.md).\n"
)
Retry = Callable[[Callable[[], None]], None]


def find_credentials(
    explicit: Any = None,
    *,
    allow_prompt: bool,
    scopes: Iterable[str] | None = None,
    browser_attached: Callable[[], bool] | None = None,
    retry: Retry = lambda ask: ask(),
) -> Identity:
    """Return the credentials of the first source that has, or gets, an unexpired token.

    A token that the credentials already contain is not verified: Drive may still refuse it.

    Args:
        explicit: Credentials of google-auth, a `GoogleAuth` of PyDrive2, the path of a credentials
            file, or an `Identity` found before; None tries the other sources.
        allow_prompt: Whether the user of Colab's page may be prompted.
        scopes: Scopes to request if the credentials allow a choice. None: `drive.file`, or `drive`
            for a service account, which can see only what was shared with it.
        browser_attached: Whether Colab's page answers; None tests it.
        retry: Calls the function that requests the token, and repeats it on `UnavailableError`.

    Raises:
        CredentialsError: No source has credentials (the message lists them), or a chosen source was
            refused.
        UnavailableError: The sign-in server did not answer; the credentials may be valid.
        UsageError: DRIVE_EMULATOR_HOST is set, so no sign-in is used.
    """
    if isinstance(explicit, Identity):
        return explicit
    wanted = None if scopes is None else list(scopes)
    request = CredentialRequest(explicit, wanted, allow_prompt, browser_attached)
    try:
        return _look_up(SOURCES, request, retry, _NOT_SIGNED_IN)
    except CredentialsError:
        colab.secret.cache_clear()  # the next lookup reads it again, perhaps corrected
        raise


def cloud_credentials() -> Identity:
    """Return the application default credentials with the scope of Google Cloud.

    Raises the errors of `find_credentials`.
    """
    return _look_up(
        (APPLICATION_DEFAULT,),
        CredentialRequest(scopes=[CLOUD_SCOPE]),
        lambda ask: ask(),
        "Google Cloud needs application default credentials: run `gcloud auth "
        "application-default login`. ",
    )


def portable_file() -> Path | None:
    """Return the credentials file with which another machine can act as this account.

    It is that of the first source that has credentials, not verified by a token; None with an
    emulator. Raises `CredentialsError` if there is no source, or it has no such file: a later
    source may be another account.
    """
    if emulator_host():
        return None
    needs = "A runtime elsewhere needs a credentials file to act as you, and"
    advice = (
        f"Set {Variable.CREDENTIALS} to one, or run `colab-drive-tuner login` or `gcloud auth "
        "application-default login`."
    )
    missing = f"{needs} there is none here. {advice} "
    identity = _look_up(SOURCES, CredentialRequest(), None, missing)
    if identity.file is None:
        raise CredentialsError(
            f"{needs} the source that is used here has none: {identity.source}. Later sources may "
            f"be another account: to use one of them, remove the sign-in of this one. {advice}"
        )
    return files.check_portable(identity.file)


def account_variables(*, chosen: bool = False) -> list[Variable]:
    """Return the environment variables that select an account: paths, users and secrets.

    `chosen`: only those of sources that users set up for this package.
    """
    sources = [source for source in SOURCES if source.chosen or not chosen]
    return [variable for source in sources for variable in source.variables]


def _look_up(
    sources: tuple[CredentialSource, ...],
    request: CredentialRequest,
    retry: Retry | None,
    missing: str,
) -> Identity:
    """Return the identity of the first source whose credentials have or get a token.

    With `retry` None, tokens are not requested. `missing` begins the error that says why each
    source has none.
    """
    has_object = request.argument is not None and not isinstance(request.argument, str | Path)
    if emulator_host() and not has_object:
        raise UsageError(
            f"{Variable.EMULATOR_HOST} is set, and an emulator knows nobody's sign-in, so none is "
            "used: unset it to act in Google's own services."
        )
    failures = []
    for number, source in enumerate(sources, 1):
        try:
            credentials = source.load(request)
            if retry is not None and not credentials.valid:
                retry(partial(get_token, credentials))
            return Identity(credentials, source.name, source.file())
        except SourceError as reason:
            failures.append(f"  {number}. {source.name}: {reason}")
        except TokenRefusedError as reason:
            file = source.file()
            refused = f"{source.name} ({file})" if file is not None else source.name
            if source.chosen:
                raise CredentialsError(
                    f"Google gave no token for the sign-in of {refused}: {reason}. Sign in again "
                    "there, or remove it; nothing is lost."
                ) from None
            failures.append(f"  {number}. {refused}: {reason}")
    raise CredentialsError(f"{missing}What was tried:\n" + "\n".join(failures))
