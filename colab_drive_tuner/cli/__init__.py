"""The command line `colab-drive-tuner`: each command is one call of what lies below."""

import sys

from colab_drive_tuner.cli.app import app
from colab_drive_tuner.cli.output import echo
from colab_drive_tuner.errors import ColabDriveTunerError, UsageError

__all__ = ["main"]


def main() -> None:
    """Run the command line; exit 0 on success, 2 on wrong usage, 1 on any other error.

    An error is told in its own sentences; `--debug` shows the traceback.
    """
    try:
        app()
    except Exception as error:  # whatever it is, people are told in a sentence
        if "--debug" in sys.argv:
            raise
        said = str(error)
        if not isinstance(error, ColabDriveTunerError):
            said = f"{type(error).__name__}: {error} (not expected here: --debug shows where)"
        echo(f"colab-drive-tuner: {said}", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)
