"""Output of the commands: for people, or as JSON; no control character reaches the terminal.

With `--json` standard output holds JSON and nothing else: what is said on the way goes to standard
error.
"""

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import typer

from colab_drive_tuner.text import text_of, visible


def echo(text: object, *, err: bool = False) -> None:
    """Print a text of one or more lines, to standard error with `err`."""
    typer.echo(visible(text, lines=True), err=err)


def echo_json(value: Any) -> None:
    """Print a value as JSON."""
    echo(json.dumps(value, indent=2))


def echo_outcome(text: object, facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what a command did: in words, or the same facts as JSON."""
    if as_json:
        echo_json(facts)
    else:
        echo(text)


def plain(value: Any) -> Any:
    """A value as JSON has it; one that JSON does not know, infinity among them, is a text."""
    if isinstance(value, str | None):
        return value
    try:
        known = isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        known = False
    return value if known else text_of(value)


def cell(value: object) -> str:
    """A value in a table: nothing where there is none, a number with six digits."""
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else text_of(value)


def notify_of(as_json: bool) -> Callable[[object], None]:
    """What prints messages on the way to an outcome."""
    return partial(echo, err=as_json)


def address_printer(text: str, as_json: bool) -> Callable[[str], None]:
    """What prints the address of a page that is served: in a text, or as one line of JSON."""
    return lambda url: echo(json.dumps({"url": url}) if as_json else text.format(url))
