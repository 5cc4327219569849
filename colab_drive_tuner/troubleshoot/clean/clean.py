"""Finds what older runs left behind: each kind of leftover is one function that only looks.

A file is known by our mark or by its content, never by its name alone: people have notebooks called
"Copy of quickstart" and modules called temp_model.py. `leftovers.remove` does the rest.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from colab_drive_tuner.errors import CredentialsError, NotebookWarning, NotFoundError, StoreError
from colab_drive_tuner.notebook.find import Notebook, is_notebook, stem
from colab_drive_tuner.notebook.local_copy import (
    Mark,
    abandoned_parts,
    forget,
    is_ours,
    marks,
    sha256_of,
    working_directory,
)
from colab_drive_tuner.notebook.running import open_paths, running_notebook
from colab_drive_tuner.troubleshoot.clean.leftovers import (
    Leftover,
    left_on_disk,
)
from colab_drive_tuner.troubleshoot.clean.local_leftovers import spools, temporary_folders
from colab_drive_tuner.troubleshoot.clean.search_leftovers import search_leftovers
from colab_drive_tuner.troubleshoot.doctor.context import CheckContext
from colab_drive_tuner.user_warnings import warn_user

if TYPE_CHECKING:
    from colab_drive_tuner.drive import DriveClient, DriveFile
    from colab_drive_tuner.store.protocol import Store

# As hyperas 0.4.1 puts temp_model.py together (`utils.temp_string`): its head, each import in a
# `try` of its own, this line, the functions, the model and, as the last thing, the space.
_HEAD = "#coding=utf-8\n\n"
_IMPORT = re.compile(
    r"(?:try:\n    (?:import|from) [^\n]+\nexcept:\n    pass|from __future__ [^\n]+)\n\n?"
)
_HYPEROPT = "from hyperopt import fmin, tpe, hp, STATUS_OK, Trials\n"
_MODEL = "\ndef keras_fmin_fnct(space):\n"
_SPACE = re.compile(
    r"\ndef get_space\(\):\n    return \{(?:\n        '\w+': hp\..*)?\n    \}\n", re.DOTALL
)
_LARGEST = 2**20
_COPY_OF = re.compile(r"(?:Copy of|Kopie von|Copie de|Copia de|Cópia de|Kopia|Копия) (?P<name>.+)")
_NUMBERED = re.compile(r"(?P<name>.+?)(?P<suffix>\.ipynb)? \(\d+\)(?P<late>\.ipynb)?")


def find_leftovers(
    directory: Path | None = None,
    *,
    notebook: Notebook | None = None,
    client: "DriveClient | None" = None,
    store: "Store | Path | str | None" = None,
) -> list[Leftover]:
    """List what is stale in a directory (the working directory), in Drive and in the store.

    Changes nothing. `store` is where searches are kept, as `open_store` has it.

    `notebook` is the running one, else it is found out, or taken to be the one whose copy lies
    here: neither it nor a copy in use is ever listed, but its duplicates in Drive are. Without
    `client` Drive is asked where nobody needs to be prompted for it.
    """
    folder = (directory or working_directory()).resolve()
    found = [*_notebook_copies(folder, notebook), *_parts(folder), *_temp_models(folder)]
    found += temporary_folders()
    context = CheckContext(store)
    if client is not None:
        context.client = client
    try:
        running = _in_drive(folder, notebook, context.client)
        if running is not None:
            found += _duplicates(running, context.client)
    except CredentialsError:
        pass  # then there is nobody whose Drive could be looked at
    except StoreError as error:
        warn_user(
            f"Duplicates in Drive are not listed, because it did not answer: {error}",
            NotebookWarning,
        )
    try:
        where = context.store
    except (CredentialsError, NotFoundError):
        return found  # there is no store yet, or none that could be looked at
    except StoreError as error:
        warn_user(f"Leftovers of searches are not listed: {error}", NotebookWarning)
        return found
    try:
        found += [*search_leftovers(where), *spools(where)]
    except (StoreError, OSError) as error:
        warn_user(f"Leftovers of searches are not listed: {error}", NotebookWarning)
    return found


def _in_drive(folder: Path, notebook: Notebook | None, client: "DriveClient") -> "DriveFile | None":
    """What Drive says about the running notebook, or about the one whose copy lies here."""
    if notebook is not None:
        return notebook.file
    running = running_notebook(lambda: None)
    copies = [mark.source for mark in marks() if Path(mark.path).parent == folder]
    wanted = running.drive_id if running is not None else None
    if wanted is None and len(set(copies)) == 1:
        wanted = copies[0]
    try:
        return client.get(wanted) if wanted else None
    except NotFoundError:
        return None


def _notebook_copies(folder: Path, notebook: Notebook | None) -> Iterator[Leftover]:
    running = open_paths()
    if notebook is not None:
        running.add(folder / notebook.local_name)
    for mark in marks():
        path = Path(mark.path)
        if not path.exists():
            forget(path)
        elif path.parent == folder and path not in running and mark.intact and not mark.in_use:
            yield left_on_disk(
                "notebook copy",
                path,
                "We downloaded it for a run that has ended, and nobody changed it since.",
                partial(_still_stale, mark),
            )


def _still_stale(mark: Mark) -> bool:
    return is_ours(Path(mark.path)) and not mark.in_use


def _parts(folder: Path) -> Iterator[Leftover]:
    for part in abandoned_parts(folder):
        yield left_on_disk(
            "half-written copy",
            part,
            "The process that was writing it was ended before it had finished.",
            part.is_file,
        )


def _temp_models(folder: Path) -> Iterator[Leftover]:
    source = folder / "temp_model.py"
    if source.exists() or source.is_symlink():
        if not wrote_hyperas(source):
            return  # somebody's own module, and so is its cache
        yield _left_by_hyperas(source, "hyperas module")
    caches = [folder / "temp_model.pyc", *(folder / "__pycache__").glob("temp_model.*.pyc")]
    for cache in sorted(caches):
        if cache.is_file() and not cache.is_symlink() and cache.stat().st_size <= _LARGEST:
            content = cache.read_bytes()
            if b"keras_fmin_fnct" in content and b"get_space" in content:
                yield _left_by_hyperas(cache, "hyperas cache")


def _left_by_hyperas(path: Path, kind: str) -> Leftover:
    was = sha256_of(path)
    return left_on_disk(
        kind,
        path,
        "hyperas writes it for each search and left it when one failed to start.",
        lambda: path.is_file() and sha256_of(path) == was,
    )


def wrote_hyperas(path: Path) -> bool:
    """Whether a temp_model.py is, from its first line to its last, what hyperas puts together."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
        return False
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    if not text.startswith(_HEAD):
        return False
    at = len(_HEAD)
    while block := _IMPORT.match(text, at):
        at = block.end()
    model = text.find(_MODEL, at)
    space = text.rfind("\ndef get_space():\n")
    return (
        text.startswith(_HYPEROPT, at)
        and at < model < space
        and _SPACE.fullmatch(text, space) is not None
    )


def _duplicates(running: "DriveFile", client: "DriveClient") -> Iterator[Leftover]:
    """Notebooks that look like copies of the running one: in its folder, or of exactly its name."""
    seen = {running.id}
    nearby = [file for parent in running.parents for file in client.list_folder(parent)]
    for file in [*nearby, *client.find(running.name)]:
        if file.id in seen or not is_notebook(file):
            continue
        seen.add(file.id)
        if _is_copy_of(file.name, running.name):
            yield Leftover(
                kind="possible duplicate",
                id=file.id,
                where=f"{file.name!r} in Drive, {file.web_view_link or file.id}",
                reason=(
                    f"It is named like a copy of the running notebook {running.name!r}; people "
                    "name notebooks so themselves, so look at it first."
                ),
                ours=False,
                still=partial(_is_unchanged, client, file),
                put_away=partial(_trash, client, file),
            )


def _trash(client: "DriveClient", file: "DriveFile") -> str:
    client.trash(file.id)
    return "the trash of Drive, for 30 days"


def _is_unchanged(client: "DriveClient", file: "DriveFile") -> bool:
    now = client.get(file.id)
    return not now.trashed and (now.sha256, now.name) == (file.sha256, file.name)


def _is_copy_of(name: str, original: str) -> bool:
    """Whether a name is the original's, or is it with "Copy of" before or a number behind."""
    while match := _COPY_OF.fullmatch(name) or _NUMBERED.fullmatch(name):
        if stem(name) == stem(original):
            return True
        name = match["name"]
    return stem(name) == stem(original)
