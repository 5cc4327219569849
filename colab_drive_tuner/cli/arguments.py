"""Arguments shared by many commands: the NAME of a search, `--json`, and the store."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from colab_drive_tuner.errors import ColabDriveTunerError

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
    from colab_drive_tuner.store import split_scheme

    spec = context.find_root().params.get("store") or "drive:"
    try:
        names = set(_in_folder(spec) if split_scheme(spec)[0].is_path else _run_in_drive())
    except ColabDriveTunerError:
        return []  # the command itself reports a missing folder
    return sorted(
        name for name in names if name.startswith(incomplete) and _UNQUOTED.fullmatch(name)
    )


def _in_folder(spec: str) -> Iterator[str]:
    from colab_drive_tuner.store import open_store

    store = open_store(spec)
    for entry in store.list(store.root):
        if (Path(store.url(entry.id)) / "index").is_dir():  # a test that imports no journal
            yield entry.name


def _run_in_drive() -> Iterator[str]:
    from colab_drive_tuner.journal.spool.notes import known_searches

    return (name for name, location, _ in known_searches() if location.startswith("drive:"))


Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the search.", autocompletion=complete_name)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
