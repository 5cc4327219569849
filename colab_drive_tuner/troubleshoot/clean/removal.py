"""A leftover of an older run, and its removal: to a trash, and only if it has not changed."""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from colab_drive_tuner.errors import (
    ColabDriveTunerError,
    NotFoundError,
    SearchNotFoundError,
    StoreError,
    UnavailableError,
    UsageError,
)
from colab_drive_tuner.journal.folder.properties import SearchFolder, free_name
from colab_drive_tuner.journal.spool.spool import idle_spool_files
from colab_drive_tuner.machine import state_folder
from colab_drive_tuner.search.results.read_search import read_status
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.text import visible


@dataclass(frozen=True)
class Leftover:
    """A stale file or folder that `clean` found."""

    kind: str
    """A name of two or three words for a table, such as "notebook copy"."""
    id: str
    """Its path, or its id in Drive: the argument that names it."""
    where: str
    """Its location for people: its path, or its name and link in Drive."""
    reason: str
    """Why it is considered stale, in one sentence."""
    ours: bool
    """Whether this package or hyperas made it: then `--yes` removes it, else it must be named."""
    still_stale: Callable[[], bool] = field(repr=False, compare=False)
    """Checks, just before removal, that it has not changed since it was found."""
    discard: Callable[[], str] = field(repr=False, compare=False)
    """Moves it to a trash, and returns a description of where it is now."""
    refused: str = ""
    """Why it is listed but never removed; empty if it can be removed."""


class LeftoverList(list[Leftover]):
    """Leftovers; a cell shows their numbers below the table that `Session.clean` has printed."""

    def __repr__(self) -> str:
        kinds = Counter(visible(leftover.kind) for leftover in self)
        counts = ", ".join(f"{kind} ({count})" for kind, count in kinds.items())
        return f"{len(self)} leftover{'s' * (len(self) != 1)}{counts and f': {counts}'}"


def left_on_disk(
    kind: str,
    path: Path,
    reason: str,
    still_stale: Callable[[], bool],
    *,
    about: str = "",
    ours: bool = True,
) -> Leftover:
    """Return a local leftover; removal moves it to the `trash` of this package's state folder."""
    where = f"{path}{about}"
    return Leftover(kind, str(path), where, reason, ours, still_stale, partial(move_to_trash, path))


def left_in_store(
    store: Store,
    kind: str,
    folder_id: str,
    name: str,
    reason: str,
    still_stale: Callable[[], bool],
    *,
    ours: bool = True,
    discard: Callable[[], str] | None = None,
    refused: str = "",
) -> Leftover:
    """Return a folder in the store as a leftover; removal moves it to the store's trash."""
    where = f"{name!r}, {store.url(folder_id)}"
    discard = discard or partial(trash, store, [folder_id])
    return Leftover(kind, folder_id, where, reason, ours, still_stale, discard, refused)


def trash(store: Store, entry_ids: Iterable[str]) -> str:
    """Move files and folders to the store's trash; return a description of the trash."""
    for entry_id in entry_ids:
        with suppress(NotFoundError):  # already removed
            store.trash(entry_id)
    return store.trash_location


def trash_and_free(store: Store, folder: SearchFolder, name: str) -> str:
    """Like `trash`, for a folder with records of a search, whose name becomes free."""
    free_name(store, folder, name)
    return trash(store, [folder.id])


def is_held(store: Store, name: str) -> bool:
    """Whether a runtime that may be alive holds the search, on this or another machine."""
    try:
        return idle_spool_files(store.location, name) is None or read_status(store, name).held
    except SearchNotFoundError:
        return False
    except ColabDriveTunerError:
        return True  # unreadable: only `repair` may change it


def remove(
    leftovers: Iterable[Leftover], *, yes: bool = False, named: Collection[str] = ()
) -> dict[str, str]:
    """Move leftovers to a trash, unless they have changed; return their new locations by id.

    With `yes`, those that are `ours` are removed and those whose id is `named`. A name that is not
    in the list, or is refused, is a `UsageError` before anything is moved. If one cannot be moved,
    its error is raised after the others have been.
    """
    leftovers = list(leftovers)
    unknown = sorted(set(named) - {leftover.id for leftover in leftovers})
    if unknown:
        raise UsageError(
            f"{unknown[0]!r} is not a listed leftover; run clean without it to list them."
        )
    for leftover in leftovers:
        if leftover.refused and leftover.id in named:
            raise UsageError(f"{leftover.where} is not removed: {leftover.refused}")
    if not yes:
        return {}
    kept_at: dict[str, str] = {}
    failures: list[ColabDriveTunerError] = []
    for leftover in leftovers:
        wanted = leftover.ours or leftover.id in named
        if not wanted or leftover.refused:
            continue
        try:
            if leftover.still_stale():
                kept_at[leftover.id] = leftover.discard()
        except UnavailableError:
            raise  # the others would get no answer either
        except ColabDriveTunerError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return kept_at


def move_to_trash(path: Path) -> str:
    """Move a local file or folder to a new one in the state folder's `trash`; return its path."""
    try:
        prefix = time.strftime("%Y%m%d-%H%M%S-")
        folder = tempfile.mkdtemp(prefix=prefix, dir=state_folder("trash"))
        return str(shutil.move(path, folder))
    except OSError as error:
        raise StoreError(
            f"{path} cannot be moved away ({error.strerror or error}); "
            "remove it by hand if it is in the way."
        ) from error


def describe(
    leftovers: Iterable[Leftover], kept_at: Mapping[str, str] = {}, *, in_python: bool = False
) -> str:
    """Return a text table of the leftovers: reason, and how each can be or was removed."""
    yes = "yes=True" if in_python else "--yes"
    lines = []
    for leftover in leftovers:
        lines += [f"{leftover.kind}: {leftover.where}", f"    {leftover.reason}"]
        if leftover.id in kept_at:
            lines.append(f"    moved to {kept_at[leftover.id]}")
        elif leftover.refused:
            lines.append(f"    not removed: {leftover.refused}")
        elif leftover.ours:
            lines.append(f"    removed with {yes}")
        else:
            lines.append(f"    removed only with {yes} and its name: {leftover.id}")
    return "\n".join(map(visible, lines)) or "Nothing stale was found."
