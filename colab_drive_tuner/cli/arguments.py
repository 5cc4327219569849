"""Arguments that many commands share: the NAME of a search, `--json`, and the store."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from colab_drive_tuner.errors import StoreError

if TYPE_CHECKING:
    from colab_drive_tuner.store.protocol import Store

_PLAIN = re.compile(r"\w[\w@%+=:,.-]*")
"""A name that every shell takes as it is. Names are written by whoever may write to the store."""


def given_store(context: typer.Context) -> "Store":
    """Open the store that the command line or the environment names, else Drive."""
    from colab_drive_tuner.store import open_store

    return open_store(context.obj)


def complete_name(context: typer.Context, incomplete: str) -> list[str]:
    """The searches whose names begin so: found on this machine, without asking Drive.

    They are those in the local folder that `--store` names, or else those that this machine has
    run in Drive. A name that would have to be quoted is left out.
    """
    store = context.find_root().params.get("store")
    names = _run_in_drive() if store is None else _in_folder(Path(store.removeprefix("folder:")))
    plain = {name for name in names if _PLAIN.fullmatch(name)}
    return sorted(name for name in plain if name.startswith(incomplete))


def _in_folder(folder: Path) -> Iterator[str]:
    try:
        yield from (path.name for path in folder.iterdir() if (path / "index").is_dir())
    except OSError:
        return  # there is no such folder, which is the command's to say


def _run_in_drive() -> Iterator[str]:
    from colab_drive_tuner.journal.spool.notes import known_searches

    try:
        yield from (name for name, location, _ in known_searches() if location.startswith("drive:"))
    except StoreError:
        return  # no state folder can be made, which is the command's to say


Name = Annotated[str, typer.Argument(help="The name of the search.", autocompletion=complete_name)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
