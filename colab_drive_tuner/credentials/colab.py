"""Credentials from Colab's page: a secret of the notebook's user, or Google's sign-in dialog."""

import json
from functools import lru_cache
from typing import Any

from colab_drive_tuner.credentials.files import application_default, from_info
from colab_drive_tuner.credentials.lookup import Lookup, SourceError
from colab_drive_tuner.environment_variables import Variable

SECRET_SECONDS = 20.0
"""How long Colab's page may take to hand over a secret; a person may have to allow it first."""

COLAB_SENTENCE = (
    "Google will now ask whether this notebook may use your Google account: the search is kept in "
    "a folder of your Drive, the notebook's own file is read (for hyperas, which needs a copy), "
    "and nothing else is changed there."
)


def from_secret(lookup: Lookup) -> Any:
    """Credentials of a file's content that is kept as Colab's secret."""
    _require_page(lookup)
    try:
        info = json.loads(secret(Variable.CREDENTIALS.value))
    except ValueError:
        info = None
    return from_info(info, f"The secret {Variable.CREDENTIALS}", lookup)


def from_sign_in(lookup: Lookup) -> Any:
    """Credentials of the person at Colab's page, who is asked."""
    _require_page(lookup)
    if not lookup.allow_prompt:
        raise SourceError("asking was not allowed")
    try:
        from google.colab import auth
    except ImportError:
        raise SourceError("this is not Colab") from None
    lookup.notify(COLAB_SENTENCE)
    try:
        auth.authenticate_user()
    except Exception as error:  # noqa: BLE001  # what it raises is nowhere documented
        raise SourceError(f"the sign-in was not completed ({type(error).__name__})") from None
    return application_default(lookup)


@lru_cache
def secret(name: str) -> str:
    """The secret's text, asked for once in a process: every question goes to the browser."""
    try:
        from google.colab import userdata
    except ImportError:
        raise SourceError("this is not Colab") from None
    from colab_drive_tuner.runtime import call_in_thread

    try:
        return str(call_in_thread(lambda: userdata.get(name))(SECRET_SECONDS))
    except Exception as error:  # noqa: BLE001  # its three have no root in common
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


def _require_page(lookup: Lookup) -> None:
    """Raise `SourceError` unless this is Colab, with a browser that can be asked."""
    if lookup.browser_attached is None:
        from colab_drive_tuner import runtime

        # The first look is cheap, and spares everybody else the second.
        here = runtime.detect() if Variable.COLAB_RELEASE.get() else None
        if here is None or not here.is_colab:
            raise SourceError("this is not Colab")
        attached = here.browser_attached
    else:
        attached = lookup.browser_attached()
    if not attached:
        # Colab would wait for ever for somebody who is not there.
        raise SourceError("no browser is attached to this runtime, so nobody can be asked")
