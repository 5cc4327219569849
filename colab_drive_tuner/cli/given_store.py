"""The store that `--store` names, for every command that opens one."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from colab_drive_tuner.store.protocol import Store


def given_store(context: typer.Context) -> "Store":
    """Open the store that the command line or the environment names, else Drive."""
    from colab_drive_tuner.store import open_store

    return open_store(context.obj)
