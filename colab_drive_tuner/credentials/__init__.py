"""Credentials for Google Drive: one ordered list of sources, each proven by a token.

`sources` has the list and `find_credentials`; `files`, `explicit` and `colab` load what its
entries name; `token` gets the token that proves one, and renews it later.
"""

from colab_drive_tuner.credentials.files import login_file as login_file
from colab_drive_tuner.credentials.files import user_credentials as user_credentials
from colab_drive_tuner.credentials.lookup import CLOUD_SCOPE as CLOUD_SCOPE
from colab_drive_tuner.credentials.lookup import SCOPE_ALL as SCOPE_ALL
from colab_drive_tuner.credentials.lookup import SCOPE_FILE as SCOPE_FILE
from colab_drive_tuner.credentials.lookup import SCOPE_READ as SCOPE_READ
from colab_drive_tuner.credentials.lookup import Identity as Identity
from colab_drive_tuner.credentials.lookup import emulator_named as emulator_named
from colab_drive_tuner.credentials.sources import ENVIRONMENT as ENVIRONMENT
from colab_drive_tuner.credentials.sources import SOURCES as SOURCES
from colab_drive_tuner.credentials.sources import cloud_credentials as cloud_credentials
from colab_drive_tuner.credentials.sources import find_credentials as find_credentials
from colab_drive_tuner.credentials.sources import portable_file as portable_file
