"""Commands that manage whole searches: list, rm, rename, copy, move, restore, export, import."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from colab_drive_tuner.cli.common import (
    AsJson,
    Name,
    echo,
    echo_json,
    echo_result,
    message_printer,
    selected_store,
)
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.store import list_forms

if TYPE_CHECKING:
    from colab_drive_tuner.store.protocol import Store

To = Annotated[str, typer.Option("--to", metavar="STORE", help=f"Target store: {list_forms()}.")]
As = Annotated[
    str | None,
    typer.Option("--as", metavar="NAME", help="Name in the target store. Default: the same name."),
]
Credentials = Annotated[
    str | None,
    typer.Option(
        "--to-credentials",
        metavar="FILE",
        help="Credentials file of the target Drive's account, if it is another account.",
    ),
]


def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the names of the searches, one per line.

    Example:
        colab-drive-tuner list
    """
    from colab_drive_tuner.manage.naming import list_names

    names = list_names(selected_store(context))
    if as_json:
        echo_json(names)
        return
    for name in names:
        echo(name)


def rm(
    context: typer.Context,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Move a search to the trash, after confirmation. Its name can then be used again.

    Example:
        colab-drive-tuner --store searches rm mnist-cnn
    """
    from colab_drive_tuner.manage.exclusive_access import require_folder
    from colab_drive_tuner.manage.naming import remove_search

    store, notify = selected_store(context), message_printer(as_json)
    if not yes:
        where = store.url(require_folder(store, name).id)
        notify(f"Search {name!r} ({where}) will be moved to the trash: {store.trash_location}.")
        typer.confirm("Remove it?", abort=True, err=as_json)
    where = remove_search(store, name, notify=notify)
    facts = {"name": name, "trash": where}
    echo_result(f"Search {name!r} is in the trash: {where}.", facts, as_json=as_json)


def rename(
    context: typer.Context,
    name: Name,
    new_name: Annotated[str, typer.Argument(metavar="NEW_NAME", help="New name of the search.")],
    as_json: AsJson = False,
) -> None:
    """Rename a search, which can then be resumed under its new name.

    Example:
        colab-drive-tuner rename mnist-cnn mnist-first-try
    """
    from colab_drive_tuner.manage.naming import rename_search

    where = rename_search(selected_store(context), name, new_name, notify=message_printer(as_json))
    echo_result(
        f"Search {name!r} is now named {new_name!r}: {where}. A notebook that still uses {name!r} "
        "would begin a new search.",
        {"name": new_name, "url": where},
        as_json=as_json,
    )


def copy(
    context: typer.Context,
    name: Name,
    to: To,
    new_name: As = None,
    to_credentials: Credentials = None,
    as_json: AsJson = False,
) -> None:
    """Copy a search, with its trials, seed, models and runs, to another store or name.

    Example:
        colab-drive-tuner --store searches copy mnist-cnn --to drive:
        colab-drive-tuner copy mnist-cnn --to backup --as mnist-2026
    """
    from colab_drive_tuner.manage.copy_search import copy_search

    target = _target(to, to_credentials)
    notify = message_printer(as_json)
    where = copy_search(selected_store(context), name, target, new_name=new_name, notify=notify)
    echo_result(
        f"Copied search {name!r} to {where}. The original and the copy are independent.",
        {"name": new_name or name, "url": where},
        as_json=as_json,
    )


def move(
    context: typer.Context,
    name: Name,
    to: To,
    new_name: As = None,
    to_credentials: Credentials = None,
    as_json: AsJson = False,
) -> None:
    """Move a search to another store: copy it, then move the original to the trash.

    Example:
        colab-drive-tuner --store searches move mnist-cnn --to drive:
    """
    from colab_drive_tuner.manage.copy_search import move_search

    target = _target(to, to_credentials)
    notify = message_printer(as_json)
    where = move_search(selected_store(context), name, target, new_name=new_name, notify=notify)
    facts = {"name": new_name or name, "url": where}
    echo_result(f"Search {name!r} is now in {where}.", facts, as_json=as_json)


def restore(
    context: typer.Context,
    name: Name,
    history: Annotated[
        str | None,
        typer.Argument(
            metavar="HISTORY",
            help="Id of a history, from `status NAME --histories`. Default: the last kept one.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Go back to a history that a restart has kept. The current history is kept, too.

    Example:
        colab-drive-tuner restore mnist-cnn
        colab-drive-tuner restore mnist-cnn 3f9a1c02
    """
    from colab_drive_tuner.manage.restore_history import restore_search

    notify = message_printer(as_json)
    restored = restore_search(selected_store(context), name, history, notify=notify)
    facts = {"name": name, "history": restored.id, "trials": restored.trials}
    echo_result(f"Search {name!r} continues from history {restored}.", facts, as_json=as_json)


def export(
    context: typer.Context,
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="File to write: CSV if its name ends in .csv, else a pickle."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Export the trials of a search to a file: a pickle of hyperopt Trials, or a CSV table.

    Example:
        colab-drive-tuner export mnist-cnn trials.pkl
        colab-drive-tuner export mnist-cnn trials.csv
    """
    from colab_drive_tuner.search.results.exchange.import_export import export_trials

    count = export_trials(selected_store(context), name, file)
    facts = {"name": name, "trials": count, "file": str(file)}
    echo_result(f"Exported {count} trials of {name!r} to {file}.", facts, as_json=as_json)


def import_(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new search.")],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Pickle of hyperopt Trials (its code is not run), or folder of a KerasTuner "
            "project.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Create a search from a pickle of hyperopt Trials or from a KerasTuner project.

    Example:
        colab-drive-tuner import mnist-cnn-2 trials.pkl
    """
    from colab_drive_tuner.search.results.exchange.import_export import import_trials

    count = import_trials(selected_store(context), name, file)
    facts = {"name": name, "trials": count}
    text = f"Imported {count} trials into the new search {name!r}."
    echo_result(text, facts, as_json=as_json)


def _target(to: str, credentials: str | None) -> "Store":
    """Open the target store of a copy or move, possibly in another account's Drive."""
    from colab_drive_tuner.store import open_store

    if credentials is None:
        store = open_store(to)
        if store.environment is None:
            raise UsageError(f"--to {to}: this store does not outlive the command; name another.")
        return store
    scheme, colon, folder = to.partition(":")
    if scheme != "drive" or not colon:
        raise UsageError("--to-credentials requires --to drive: or --to drive:FOLDER.")
    from colab_drive_tuner.drive import DriveClient
    from colab_drive_tuner.drive.requests.endpoint import emulator_authorizer, find_endpoint
    from colab_drive_tuner.store.drive import DEFAULT_FOLDER, DriveStore

    endpoint = find_endpoint()
    if endpoint.emulator_token is None:
        client = DriveClient.connect(Path(credentials), allow_prompt=False)
    else:
        client = DriveClient(emulator_authorizer(credentials, endpoint.origin), endpoint=endpoint)
    return DriveStore(client, folder or DEFAULT_FOLDER)
