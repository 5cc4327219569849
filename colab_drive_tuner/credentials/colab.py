"""Credential sources of Colab's page: a secret of the notebook's user, and the sign-in dialog."""

import json
from functools import lru_cache
from typing import Any

from colab_drive_tuner.credentials.files import from_application_default, from_info
from colab_drive_tuner.credentials.source_interface import CredentialRequest, SourceError
from colab_drive_tuner.environment_variables import Variable

SECRET_SECONDS = 20.0
"""Time limit for Colab's page to return a secret; the user may have to allow it first."""

COLAB_SENTENCE = (
    "Google will now ask whether this notebook may use your Google account: the search is kept in "
    "a folder of your Drive, the notebook's own file is read (for hyperas, which needs a copy), "
    "and nothing else is changed there."
)


def from_secret(request: CredentialRequest) -> Any:
    """Load the content of a credentials file from Colab's secrets."""
    _require_page(request)
    try:
        info = json.loads(secret(Variable.CREDENTIALS.value))
    except ValueError:
        info = None
    return from_info(info, f"The secret {Variable.CREDENTIALS}", request)


def from_sign_in(request: CredentialRequest) -> Any:
    """Prompt the user of Colab's page to sign in."""
    _require_page(request)
    if not request.allow_prompt:
        raise SourceError("asking was not allowed")
    try:
        from google.colab import auth
    except ImportError:
        raise SourceError("this is not Colab") from None
    print(COLAB_SENTENCE)  # noqa: T201 - for a notebook
    try:
        auth.authenticate_user()
    except Exception as error:  # noqa: BLE001  # its exceptions are undocumented
        raise SourceError(f"the sign-in was not completed ({type(error).__name__})") from None
    return from_application_default(request)


@lru_cache
def secret(name: str) -> str:
    """Return a secret's text; cached, because every request goes to the browser."""
    try:
        from google.colab import userdata
    except ImportError:
        raise SourceError("this is not Colab") from None
    from colab_drive_tuner.runtime import call_in_thread

    try:
        return str(call_in_thread(lambda: userdata.get(name))(SECRET_SECONDS))
    except Exception as error:  # noqa: BLE001  # its exceptions have no common base
        reasons = {
            "TimeoutError": "the browser did not answer in time",
            "SecretNotFoundError": f"there is no secret named {name}",
            "NotebookAccessError": (
                f"this notebook may not read the secret {name}: allow it under the key symbol"
            ),
            "TimeoutException": "the browser did not answer in time",
        }
        kind = type(error).__name__
        raise SourceError(reasons.get(kind, f"Colab failed ({kind})")) from None


def _require_page(request: CredentialRequest) -> None:
    """Raise `SourceError` unless this is Colab with a browser that can be prompted."""
    if request.browser_attached is None:
        from colab_drive_tuner import runtime

        # The variable is cheap to check; detecting the runtime is not.
        here = runtime.detect() if Variable.COLAB_RELEASE.get() else None
        if here is None or not here.is_colab:
            raise SourceError("this is not Colab")
        attached = here.browser_attached
    else:
        attached = request.browser_attached()
    if not attached:
        # Colab would wait for ever.
        raise SourceError("no browser is attached to this runtime, so nobody can be asked")
