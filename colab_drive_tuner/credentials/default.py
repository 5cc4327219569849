"""Google's application default credentials: a file that is named, gcloud's, or the machine's own.

The metadata server of a machine at Google, Colab's included, names an account whether or not
anybody has signed in. Only a token tells, so finding is not believing (see `token`).
"""

import warnings
from pathlib import Path
from typing import Any

from colab_drive_tuner.credentials.lookup import Lookup, SourceError, scoped
from colab_drive_tuner.environment import Variable


def application_default(lookup: Lookup) -> Any:
    """What google-auth finds on this machine."""
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        with warnings.catch_warnings():
            # It warns of what gcloud's users of Drive have in common: no project that pays.
            warnings.simplefilter("ignore", UserWarning)
            # Scopes only afterwards: a user's are fixed, and asking for others would fail.
            credentials, _ = google.auth.default()
    except (GoogleAuthError, OSError) as error:
        if not Variable.GOOGLE_CREDENTIALS.get():
            raise SourceError("none on this machine") from None
        kind = type(error).__name__
        raise SourceError(
            f"the file that {Variable.GOOGLE_CREDENTIALS} names cannot be used ({kind})"
        ) from None
    return scoped(credentials, lookup.scopes)


def default_file() -> Path | None:
    """The file that application default credentials are read from; None: there is none."""
    if named := Variable.GOOGLE_CREDENTIALS.get():
        return Path(named).expanduser()
    folder = Variable.GCLOUD_FOLDER.get()
    path = Path(folder) if folder else Path("~/.config/gcloud").expanduser()
    path /= "application_default_credentials.json"
    return path if path.is_file() else None
