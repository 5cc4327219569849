"""Output of the commands: no control character reaches the terminal, whoever wrote it."""

import typer

from colab_drive_tuner.text import visible


def echo(text: object, *, err: bool = False) -> None:
    """Print a text of one or more lines, to standard error with `err`."""
    typer.echo(visible(text, lines=True), err=err)
