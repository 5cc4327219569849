"""Command line `colab-drive-tuner`: a thin layer in which each command calls one function."""

import sys
import warnings
from io import TextIOWrapper

from colab_drive_tuner.cli.app import app
from colab_drive_tuner.cli.common import echo
from colab_drive_tuner.errors import ColabDriveTunerError, UsageError
from colab_drive_tuner.text import visible

__all__ = ["main"]


def main() -> None:
    """Run the command line; exit 0 on success, 2 on wrong usage, 1 on any other error.

    Only the message of an error is printed; `--debug` shows the traceback.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # a pipe on Windows lacks most characters
        sys.stdout.reconfigure(errors="backslashreplace")
    # Like an error's line: a place in this package says nothing to a user.
    warnings.formatwarning = lambda text, *_: f"colab-drive-tuner: {visible(text, lines=True)}\n"
    try:
        app()
    except Exception as error:  # users see a message, not a traceback
        if "--debug" in sys.argv:
            raise
        message = str(error)
        if isinstance(error, OSError) and error.filename:
            message = f"{error.filename}: {error.strerror} (--debug shows the traceback)"
        elif not isinstance(error, ColabDriveTunerError):
            message = f"unexpected {type(error).__name__}: {error} (--debug shows the traceback)"
        echo(f"colab-drive-tuner: {message}", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)
