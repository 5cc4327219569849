"""Environment variables that the package reads, each with its name and meaning.

docs/environment.md is generated from this list. The emulator does not import the package and
defines the names of its two variables itself.
"""

import math
import os
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Self, TypeVar

from colab_drive_tuner.errors import UsageError

Number = TypeVar("Number", int, float)
_SECRET, _PATH = "secret", "path"
"""Kinds of values: a secret itself, such as a token, and not only its file; a file or folder."""


class Variable(StrEnum):
    """An environment variable: its name, with a meaning in a sentence of Markdown.

    `is_secret` says that the value itself is a secret: it is never shown or written to a file.
    """

    meaning: str
    is_secret: bool
    is_path: bool

    def __new__(cls, name: str, meaning: str, kind: str = "") -> Self:
        """Create a member that is equal to its name."""
        variable = str.__new__(cls, name)
        variable._value_ = name
        variable.meaning = meaning
        variable.is_secret, variable.is_path = kind == _SECRET, kind == _PATH
        return variable

    def get(self) -> str:
        """Return the value; empty if it is not set."""
        return os.environ.get(self.value, "")

    def get_absolute(self) -> str:
        """Return the value; a path, so that it names the same file in every working directory."""
        value = self.get()
        if not (value and self.is_path):
            return value
        return str(Path(os.path.expanduser(value)).absolute())  # noqa: PTH111 keeps an unknown `~x`

    def number(self, kind: type[Number]) -> Number | None:
        """Return the value as an int or float; None if it is not set. Raises `UsageError`."""
        value = self.get()
        if not value:
            return None
        with suppress(ValueError):
            if 0 <= (number := kind(value)) < math.inf:
                return number
        raise UsageError(f"{self} must be a number of 0 or more, got {value!r:.60}.")

    STORE = (
        "COLAB_DRIVE_TUNER_STORE",
        "The store for searches, as for `--store`: usually a local folder. Default: Google Drive.",
    )
    CREDENTIALS = (
        "COLAB_DRIVE_TUNER_CREDENTIALS",
        "The [credentials file](permissions.md#where-a-sign-in-comes-from) to sign in with.",
        _PATH,
    )
    ACT_AS = (
        "COLAB_DRIVE_TUNER_ACT_AS",
        "The e-mail address of the user for whom a service account acts.",
    )
    DEADLINE = (
        "COLAB_DRIVE_TUNER_DEADLINE",
        "When a run must be over, in seconds since 1970. `rerun --max-time` sets it.",
    )
    COLAB_COMMAND = (
        "COLAB_DRIVE_TUNER_COLAB",
        "Google's Colab command line with its options, for `rerun --on colab`. Default: `colab`.",
    )
    EMULATOR_HOST = (
        "DRIVE_EMULATOR_HOST",
        "The address of a [Drive emulator](emulator.md) to use in place of Google Drive.",
    )
    EMULATOR_TOKEN = (
        "DRIVE_EMULATOR_TOKEN",
        "The emulator's access token. Default: `emulator`.",
        _SECRET,
    )
    STATE_HOME = (
        "XDG_STATE_HOME",
        "The folder for locks, logs and results on their way to Drive. Default: `~/.local/state`.",
        _PATH,
    )
    CONFIG_HOME = (
        "XDG_CONFIG_HOME",
        "The folder for the sign-in of `login` and for systemd's units. Default: `~/.config`.",
        _PATH,
    )
    GOOGLE_CREDENTIALS = (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "The file of Google's application default credentials.",
        _PATH,
    )
    GCLOUD_FOLDER = (
        "CLOUDSDK_CONFIG",
        "The folder of gcloud. Default: `~/.config/gcloud`.",
        _PATH,
    )
    HYPEROPT_SEED = (
        "HYPEROPT_FMIN_SEED",
        "The seed of a new search that names none, as for `hyperopt.fmin`.",
    )
    CI = "CI", "Set by continuous integration. Nobody is asked to sign in then."
    COLAB_RELEASE = "COLAB_RELEASE_TAG", "Set on Colab runtimes, by which they are known."
    COLAB_ADDRESS = "COLAB_JUPYTER_IP", "The address of the notebook server on a Colab runtime."
    COLAB_PORT = "KMP_TARGET_PORT", "The port of the notebook server on a Colab runtime."
    COLAB_TOKEN = (
        "COLAB_JUPYTER_TOKEN",
        "The token of the notebook server on a Colab runtime.",
        _SECRET,
    )
    VERTEX_PRODUCT = "VERTEX_PRODUCT", "Set on Colab Enterprise, by which it is known."
    KAGGLE_RUN = "KAGGLE_KERNEL_RUN_TYPE", "Set on Kaggle. Says whether a person is there."
    JUPYTER_SESSION = "JPY_SESSION_NAME", "The path of the notebook that Jupyter runs."
    JUPYTER_PARENT = "JPY_PARENT_PID", "The process of the Jupyter server that runs this kernel."
    JUPYTER_RUNTIME = "JUPYTER_RUNTIME_DIR", "The folder in which Jupyter servers are listed."
    JUPYTERHUB_TOKEN = (
        "JUPYTERHUB_API_TOKEN",
        "The token of a Jupyter server behind JupyterHub.",
        _SECRET,
    )
