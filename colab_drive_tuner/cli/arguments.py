"""Arguments shared by many commands: the NAME of a search, `--json`, and the store."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from colab_drive_tuner.errors import StoreError

if TYPE_CHECKING:
    from colab_drive_tuner.store.protocol import Store

_UNQUOTED = re.compile(r"\w[\w@%+=:,.-]*")
"""A name that needs no quoting in any shell. Names are untrusted: they come from the store."""


def selected_store(context: typer.Context) -> "Store":
    """Open the store given by the command line or the environment, by default Drive."""
    from colab_drive_tuner.store import open_store

    return open_store(context.obj)


def complete_name(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a search, without a request to Drive.

    Candidates are the searches in the local folder given by `--store`, or else those that this
    machine has run in Drive, except names that would need quoting.
    """
    store = context.find_root().params.get("store")
    names = _run_in_drive() if store is None else _in_folder(Path(store.removeprefix("folder:")))
    unquoted = {name for name in names if _UNQUOTED.fullmatch(name)}
    return sorted(name for name in unquoted if name.startswith(incomplete))


def _in_folder(folder: Path) -> Iterator[str]:
    try:
        yield from (path.name for path in folder.iterdir() if (path / "index").is_dir())
    except OSError:
        return  # the command itself reports a missing folder


def _run_in_drive() -> Iterator[str]:
    from colab_drive_tuner.journal.spool.notes import known_searches

    try:
        yield from (name for name, location, _ in known_searches() if location.startswith("drive:"))
    except StoreError:
        return  # the command itself reports that no state folder can be created


Name = Annotated[str, typer.Argument(help="Name of the search.", autocompletion=complete_name)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
