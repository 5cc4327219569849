"""Output of the commands, as text or JSON, without control characters.

With `--json` standard output contains only JSON; messages go to standard error.
"""

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import typer

from colab_drive_tuner.text import text_of, visible


def echo(text: object, *, err: bool = False) -> None:
    """Print a text of one or more lines; `err`: to standard error."""
    typer.echo(visible(text, lines=True), err=err)


def echo_json(value: Any) -> None:
    """Print a value as JSON."""
    echo(json.dumps(value, indent=2))


def echo_result(text: object, facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the result of a command, as text or as JSON."""
    if as_json:
        echo_json(facts)
    else:
        echo(text)


def json_value(value: Any) -> Any:
    """Convert a value for JSON: one that JSON cannot represent, such as infinity, becomes text."""
    if isinstance(value, str | None):
        return value
    try:
        finite = isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # an integer larger than every float
        finite = False
    return value if finite else text_of(value)


def cell(value: object) -> str:
    """Format a value for a table: None as "", a float with six significant digits."""
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else text_of(value)


def message_printer(as_json: bool) -> Callable[[object], None]:
    """Return a function that prints messages; with JSON output, to standard error."""
    return partial(echo, err=as_json)


def address_printer(text: str, as_json: bool) -> Callable[[str], None]:
    """Return a function that prints a server's address, in a text or as one line of JSON."""
    return lambda url: echo(json.dumps({"url": url}) if as_json else text.format(url))
