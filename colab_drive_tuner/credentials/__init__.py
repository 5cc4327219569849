"""Credentials for Google Drive: those of the first source in an ordered list that has a token.

`lookup` has the list and goes through it; `source_interface` defines what a source is. `files` and
`colab` implement the sources; `token` gets and renews tokens.
"""

from colab_drive_tuner.credentials.files import login_file as login_file
from colab_drive_tuner.credentials.files import user_credentials as user_credentials
from colab_drive_tuner.credentials.lookup import SOURCES as SOURCES
from colab_drive_tuner.credentials.lookup import account_variables as account_variables
from colab_drive_tuner.credentials.lookup import cloud_credentials as cloud_credentials
from colab_drive_tuner.credentials.lookup import find_credentials as find_credentials
from colab_drive_tuner.credentials.lookup import portable_file as portable_file
from colab_drive_tuner.credentials.source_interface import SCOPE_ALL as SCOPE_ALL
from colab_drive_tuner.credentials.source_interface import SCOPE_FILE as SCOPE_FILE
from colab_drive_tuner.credentials.source_interface import SCOPE_READ as SCOPE_READ
from colab_drive_tuner.credentials.source_interface import Identity as Identity
from colab_drive_tuner.credentials.source_interface import emulator_host as emulator_host
