"""Credentials for Google Drive: one ordered list of sources, each proven by a token.

`sources` has the list and `find_credentials`; `files`, `given`, `colab` and `default` load what its
entries name; `token` gets the token that proves one, and renews it later.
"""

from colab_drive_tuner.credentials.files import login_file, user_credentials
from colab_drive_tuner.credentials.lookup import (
    CLOUD_SCOPE,
    SCOPE_ALL,
    SCOPE_FILE,
    SCOPE_READ,
    Identity,
    emulator_named,
)
from colab_drive_tuner.credentials.sources import (
    ENVIRONMENT,
    SOURCES,
    cloud_credentials,
    find_credentials,
    portable_file,
)

__all__ = [
    "CLOUD_SCOPE",
    "ENVIRONMENT",
    "SCOPE_ALL",
    "SCOPE_FILE",
    "SCOPE_READ",
    "SOURCES",
    "Identity",
    "cloud_credentials",
    "emulator_named",
    "find_credentials",
    "login_file",
    "portable_file",
    "user_credentials",
]
