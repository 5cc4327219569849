"""Arguments that commands share, and their output: text or JSON, without control characters.

With `--json` standard output contains only JSON; messages go to standard error.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colab_drive_tuner.errors import ColabDriveTunerError
from colab_drive_tuner.text import text_of, visible

if TYPE_CHECKING:
    from colab_drive_tuner.store.protocol import Store

_UNQUOTED = re.compile(r"\w[\w%+,.-]*")
"""A name that needs no quoting in any shell, and that bash completes as one word.

Names are untrusted: they come from the store.
"""


def selected_store(context: typer.Context) -> "Store":
    """Open the store given by the command line or the environment, by default Drive."""
    from colab_drive_tuner.store import open_store

    return open_store(context.obj)


def complete_name(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a search, without a request to Drive.

    Candidates are the searches in the local folder given by `--store`, or else those that this
    machine has run in Drive, except names that would need quoting.
    """
    from colab_drive_tuner.store import open_store, split_scheme

    spec = context.find_root().params.get("store") or "drive:"
    try:
        if split_scheme(spec)[0].is_path:
            store = open_store(spec)
            listed = {entry.name: store.url(entry.id) for entry in store.list(store.root)}
            names = {name for name, folder in listed.items() if Path(folder, "index").is_dir()}
        else:
            from colab_drive_tuner.journal.spool.notes import known_searches

            names = {name for name, place, _ in known_searches() if place.startswith("drive:")}
    except ColabDriveTunerError:
        return []  # the command itself reports a missing folder
    return sorted(
        name for name in names if name.startswith(incomplete) and _UNQUOTED.fullmatch(name)
    )


Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the search.", autocompletion=complete_name)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Port = Annotated[
    int, typer.Option(min=0, max=65535, help="Port on this machine. 0: any free port.")
]


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
    from colab_drive_tuner.search.results.search_data import is_number

    return value if isinstance(value, str | bool | None) or is_number(value) else text_of(value)


def cell(value: object) -> str:
    """Format a value for a table: None as "", a float with six significant digits."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else text_of(value)


def table_fits(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bool:
    """Return whether a table is not wider than the terminal; outside of one, every table fits."""
    from rich.console import Console

    console, widths = Console(), _widths([head, *rows])
    return not console.is_terminal or sum(widths) + 2 * len(widths) <= console.width


def _widths(lines: Sequence[Sequence[object]]) -> list[int]:
    from rich.cells import cell_len

    columns = zip(*lines, strict=True)
    return [max(cell_len(visible(cell)) for cell in column) for column in columns]


def show_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; on a narrow terminal, print each row as a block of `name: value` lines.

    Rows are never wrapped, because a second line could be taken for another row, and never
    truncated. Markup in cells is not interpreted.
    """
    from rich.cells import set_cell_size

    names, *cells = ([visible(cell) for cell in row] for row in (head, *rows))
    if table_fits(names, cells):
        widths = _widths([names, *cells])
        for row in (names, *cells):
            typer.echo(f" {'  '.join(map(set_cell_size, row, widths))} ")
        return
    for title, *row in cells:
        echo(f"{names[0]}: {title}" if names[0] else title)
        for name, text in zip(names[1:], row, strict=True):
            if text:
                echo(f"  {name}: {text}")


def message_printer(as_json: bool) -> Callable[[object], None]:
    """Return a function that prints messages; with JSON output, to standard error."""
    return partial(echo, err=as_json)


def address_printer(text: str, as_json: bool) -> Callable[[str], None]:
    """Return a function that prints a server's address, in a text or as one line of JSON."""
    return lambda url: echo(json.dumps({"url": url}) if as_json else text.format(url))
