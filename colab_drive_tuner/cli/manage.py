"""`list`, `rm`, `rename`, `copy`, `move`, `restore`: what is done to a search as a whole."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from colab_drive_tuner.cli.arguments import AsJson, Name, given_store
from colab_drive_tuner.cli.output import echo, echo_json, echo_outcome, notify_of
from colab_drive_tuner.errors import UsageError

if TYPE_CHECKING:
    from colab_drive_tuner.store.protocol import Store

To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="STORE",
        help="Where it goes: a local folder, or drive: or drive:FOLDER for Google Drive.",
    ),
]
As = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="NAME", help="The name that it gets there. Without it the same name."
    ),
]
Credentials = Annotated[
    str | None,
    typer.Option(
        "--to-credentials",
        metavar="FILE",
        help="The credentials of the account to whose Drive it goes, if it is another one.",
    ),
]


def list_(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: a list of names.")] = False,
) -> None:
    """Print the names of the searches, one on a line.

    Example:
        colab-drive-tuner list
    """
    from colab_drive_tuner.manage.naming import list_names

    names = list_names(given_store(context))
    if as_json:
        echo_json(names)
        return
    for name in names:
        echo(name)


def rm(
    context: typer.Context,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a search into the trash, after asking; its name is free for a new search then.

    Example:
        colab-drive-tuner --store searches rm mnist-cnn
    """
    from colab_drive_tuner.manage.exclusive_access import require_folder
    from colab_drive_tuner.manage.naming import remove_search

    store, notify = given_store(context), notify_of(as_json)
    if not yes:
        where = store.url(require_folder(store, name).id)
        notify(f"Search {name!r} ({where}) goes into the trash: {store.trash_location}.")
        typer.confirm("Remove it?", abort=True, err=as_json)
    where = remove_search(store, name, notify=notify)
    facts = {"name": name, "trash": where}
    echo_outcome(f"Search {name!r} lies in the trash: {where}.", facts, as_json=as_json)


def rename(
    context: typer.Context,
    name: Name,
    new_name: Annotated[str, typer.Argument(help="The name that it gets.")],
    as_json: AsJson = False,
) -> None:
    """Give a search another name, under which it goes on.

    Example:
        colab-drive-tuner rename mnist-cnn mnist-first-try
    """
    from colab_drive_tuner.manage.naming import rename_search

    where = rename_search(given_store(context), name, new_name, notify=notify_of(as_json))
    echo_outcome(
        f"Search {name!r} is now called {new_name!r}: {where}. A cell that still says {name!r} "
        f"would begin a new search.",
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
    """Copy a search into another store, or under another name: trials, seed, models and runs.

    Example:
        colab-drive-tuner --store searches copy mnist-cnn --to drive:
        colab-drive-tuner copy mnist-cnn --to backup --as mnist-2026
    """
    from colab_drive_tuner.manage.copy_search import copy_search

    target = _target(to, to_credentials)
    notify = notify_of(as_json)
    where = copy_search(given_store(context), name, target, new_name=new_name, notify=notify)
    echo_outcome(
        f"Search {name!r} is copied to {where}; the two go on independently.",
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
    """Move a search into another store: copy it, then put the original into the trash.

    Example:
        colab-drive-tuner --store searches move mnist-cnn --to drive:
    """
    from colab_drive_tuner.manage.copy_search import move_search

    target = _target(to, to_credentials)
    notify = notify_of(as_json)
    where = move_search(given_store(context), name, target, new_name=new_name, notify=notify)
    facts = {"name": new_name or name, "url": where}
    echo_outcome(f"Search {name!r} is now in {where}.", facts, as_json=as_json)


def restore(
    context: typer.Context,
    name: Name,
    history: Annotated[
        str | None,
        typer.Argument(
            help="Its id, as `status NAME --histories` shows it. Without it the last kept one."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Go back to a history that a restart has kept; the present one is kept in its place.

    Example:
        colab-drive-tuner restore mnist-cnn
        colab-drive-tuner restore mnist-cnn 3f9a1c02
    """
    from colab_drive_tuner.manage.restore_history import restore_search

    notify = notify_of(as_json)
    restored = restore_search(given_store(context), name, history, notify=notify)
    facts = {"name": name, "history": restored.id, "trials": restored.trials}
    echo_outcome(f"Search {name!r} goes on from history {restored}.", facts, as_json=as_json)


def _target(to: str, credentials: str | None) -> "Store":
    """The store that a search goes to, perhaps in another account's Drive."""
    from colab_drive_tuner.store import open_store

    if credentials is None:
        store = open_store(to)
        if store.environment is None:
            raise UsageError(f"--to {to}: that store ends with this command; name another one.")
        return store
    scheme, colon, folder = to.partition(":")
    if scheme != "drive" or not colon:
        raise UsageError("--to-credentials goes with --to drive: or --to drive:FOLDER.")
    from colab_drive_tuner.drive import DriveClient
    from colab_drive_tuner.drive.requests.endpoint import find_endpoint
    from colab_drive_tuner.drive.requests.signing import emulator_authorizer
    from colab_drive_tuner.store.drive import DEFAULT_FOLDER, DriveStore

    endpoint = find_endpoint()
    if endpoint.emulator_token is None:
        client = DriveClient.connect(Path(credentials), allow_prompt=False)
    else:
        client = DriveClient(emulator_authorizer(credentials, endpoint.origin), endpoint=endpoint)
    return DriveStore(client, folder or DEFAULT_FOLDER)
