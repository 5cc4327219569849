"""Leftovers, and how one is put away: never deleted, and never what changed meanwhile."""

import shutil
import time
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
    UsageError,
)
from colab_drive_tuner.journal.spool.spool import idle_leftovers
from colab_drive_tuner.machine import state_folder
from colab_drive_tuner.search.results.read_search import read_status
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.text import visible


@dataclass(frozen=True)
class Leftover:
    """Something stale that `clean` found, and what may be done about it."""

    kind: str
    """What it is, in two or three words for a table."""
    id: str
    """How to name it: its path, or its id in Drive."""
    where: str
    """The same for people: its path, or its name and link in Drive."""
    reason: str
    """Why it is thought to be stale, in one sentence."""
    ours: bool
    """It bears our mark, or hyperas's hand: `--yes` removes it. Otherwise it must be named."""
    still: Callable[[], bool] = field(repr=False, compare=False)
    """Whether it still is what it was when it was found."""
    put_away: Callable[[], str] = field(repr=False, compare=False)
    """Moves it to where it can be got back, and says where that is."""
    refused: str = ""
    """Why it is never removed, although it is listed; empty: it can be."""


def left_on_disk(
    kind: str,
    path: Path,
    reason: str,
    still: Callable[[], bool],
    *,
    about: str = "",
    ours: bool = True,
) -> Leftover:
    """Something on this machine, which goes into the `trash` of our state folder."""
    where = f"{path}{about}"
    return Leftover(kind, str(path), where, reason, ours, still, partial(move_to_trash, path))


def left_in_store(
    store: Store,
    kind: str,
    folder_id: str,
    name: str,
    reason: str,
    still: Callable[[], bool],
    *,
    ours: bool = True,
) -> Leftover:
    """A folder in the store, which goes into its trash as a whole."""
    where, put_away = place_in(store, folder_id, name), partial(trash, store, [folder_id])
    return Leftover(kind, folder_id, where, reason, ours, still, put_away)


def place_in(store: Store, entry_id: str, name: str) -> str:
    """Name and link or path of something in the store, for people."""
    return f"{name!r}, {store.url(entry_id)}"


def trash(store: Store, entry_ids: Iterable[str]) -> str:
    """Put files and folders into the store's trash; return where that is."""
    for entry_id in entry_ids:
        with suppress(NotFoundError):  # somebody was faster
            store.trash(entry_id)
    return store.trash_location


def is_held(store: Store, name: str) -> bool:
    """Whether a runtime that may be alive holds the search, here or elsewhere."""
    try:
        return idle_leftovers(store.location, name) is None or read_status(store, name).held
    except SearchNotFoundError:
        return False
    except ColabDriveTunerError:
        return True  # unreadable: `repair` is for that, nothing here is


def remove(
    leftovers: Iterable[Leftover], *, yes: bool = False, named: Collection[str] = ()
) -> dict[str, str]:
    """Put away, with `yes`, what is ours, and what is named by its path or Drive id.

    Files in Drive go to its trash, local ones to a `trash` in our state folder. What has changed
    since it was found is left alone. Returns where each is now, by its id. Raises `UsageError` for
    a name that is not in the list, before anything is moved.
    """
    leftovers = list(leftovers)
    unknown = sorted(set(named) - {leftover.id for leftover in leftovers})
    if unknown:
        raise UsageError(
            f"{unknown[0]!r} is none of the leftovers listed; run clean without it to see them."
        )
    for leftover in leftovers:
        if leftover.refused and leftover.id in named:
            raise UsageError(f"{leftover.where} is not removed: {leftover.refused}")
    if not yes:
        return {}
    return {
        leftover.id: leftover.put_away()
        for leftover in leftovers
        if (leftover.ours or leftover.id in named) and not leftover.refused and leftover.still()
    }


def move_to_trash(path: Path) -> str:
    """Move a local file or folder to the `trash` in our state folder; return its new path."""
    try:
        folder = state_folder() / "trash" / time.strftime("%Y%m%d-%H%M%S")
        kept = folder / path.name
        number = 1
        while kept.exists():
            number += 1
            kept = folder / f"{number} {path.name}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(path, kept)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be moved away ({error.strerror or error}); "
            "remove it by hand if it is in the way."
        ) from error
    return str(kept)


def describe(leftovers: Iterable[Leftover], kept_at: Mapping[str, str] = {}) -> str:
    """A table for people: what was found, why, and what happened or can be done with it."""
    lines = []
    for leftover in leftovers:
        lines += [f"{leftover.kind}: {leftover.where}", f"    {leftover.reason}"]
        if leftover.id in kept_at:
            lines.append(f"    moved to {kept_at[leftover.id]}")
        elif leftover.refused:
            lines.append(f"    not removed: {leftover.refused}")
        elif leftover.ours:
            lines.append("    removed with --yes")
        else:
            lines.append(f"    removed only with --yes and its name: {leftover.id}")
    return "\n".join(map(visible, lines)) or "Nothing stale was found."
