"""Probes of the store: each only looks, and yields what it found."""

import os
import shlex
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from colab_drive_tuner.environment import Variable
from colab_drive_tuner.errors import (
    ColabDriveTunerError,
    CredentialsError,
    NotebookError,
    NotFoundError,
    SearchDamagedError,
    SearchError,
    SearchNameError,
    SearchNotFoundError,
    UnavailableError,
    UsageError,
)
from colab_drive_tuner.troubleshoot.doctor.doctor import (
    OK,
    PROBLEM,
    WARNING,
    CheckContext,
    Finding,
    Part,
)

if TYPE_CHECKING:
    from colab_drive_tuner.store.protocol import Store

_FIRST = "First do what the line of the credentials says."
_MEGABYTE = 1e6


def credentials(context: CheckContext) -> Iterator[Finding]:
    """Whom searches are kept as; nobody is asked."""
    if _in_a_folder(context):
        store = _store(context)
        where = "in memory" if store and store.local_path is None else "in a local folder"
        yield Finding("credentials", OK, f"not needed: searches are kept {where}.")
        return
    try:
        client = context.client
        account = client.account()
    except CredentialsError as error:
        context.away = "nobody is signed in"
        asks = context.runtime.browser_attached and context.runtime.can_prompt
        advice = "Run cdt.setup() in this notebook, which asks for it." if asks else ""
        yield Finding("credentials", PROBLEM, f"without credentials. {error}", advice)
        return
    except UnavailableError as error:
        context.away = "it does not answer"
        yield Finding("credentials", PROBLEM, str(error))
        return
    context.account = account
    who = "the emulated Drive" if client.is_emulated else "Google Drive"
    scopes = context.scopes
    known = f", with the scopes {', '.join(sorted(map(_short, scopes)))}" if scopes else ""
    if scopes and not any(_short(s) in ("drive", "drive.readonly") for s in scopes):
        text = f"{account} in {who}{known}: searches can be kept; notebooks cannot be read."
        yield Finding("credentials", OK, text)
    else:
        yield Finding("credentials", OK, f"{account} in {who}{known}.")


def _in_a_folder(context: CheckContext) -> bool:
    return context.folder_spec is not None and not hasattr(context.folder_spec, "client")


def _short(scope: str) -> str:
    return scope.rpartition("/")[2]


def reachable(context: CheckContext) -> Iterator[Finding]:
    """How fast Drive answers, and how its clock differs; or whether the folder can be used."""
    if _in_a_folder(context):
        yield _folder(context)
        return
    if not context.account:
        yield Finding("store", WARNING, f"Drive is not looked at, for {context.away}.", _FIRST)
        return
    began = time.monotonic()
    context.client.quota()
    latency = time.monotonic() - began
    ahead = time.time() - context.client.now()
    clock = f"its clock and this one differ by {abs(ahead):.0f} s"
    text = f"Drive answers in {latency * 1000:.0f} ms; {clock}."
    if latency > 5:
        yield Finding("store", WARNING, text, "Training does not wait for it; results come late.")
    elif abs(ahead) > 300:
        yield Finding("store", WARNING, text, "Set this machine's clock: sign-ins may fail.")
    else:
        yield Finding("store", OK, text)


def _folder(context: CheckContext) -> Finding:
    try:
        store = context.store
    except NotFoundError:
        store = None
    except UsageError as error:
        advice = f"Name another folder with --store or {Variable.STORE}."
        return Finding("store", PROBLEM, str(error), advice)
    if store is not None and store.local_path is None:
        text = f"searches are kept in {store.location}, which ends with its process."
        return Finding("store", WARNING, text, "Name a folder to keep them.")
    place, existing = _places(context)
    if existing.is_dir() and os.access(existing, os.W_OK):
        made = _store(context) is not None
        how = "can be written to." if made else "holds no search yet; the first one makes it."
        return Finding("store", OK, f"{place} {how}")
    why = "is no folder" if not existing.is_dir() else "cannot be written to"
    text = f"no search can be kept in {place}: {existing} {why}."
    return Finding("store", PROBLEM, text, f"Name another folder with --store or {Variable.STORE}.")


def _places(context: CheckContext) -> tuple[Path, Path]:
    """The folder in which searches are (to be) kept, and what of the way to it exists."""
    store = _store(context)
    spec = str(context.folder_spec) if store is None else store.url(store.root)
    place = Path(spec).expanduser().absolute()
    return place, next(folder for folder in (place, *place.parents) if folder.exists())


def quota(context: CheckContext) -> Iterator[Finding]:
    """How much room there is against what the searches will need, by what they took so far."""
    if not _in_a_folder(context) and not context.account:
        yield Finding("quota", WARNING, f"not looked at, for {context.away}.", _FIRST)
        return
    from colab_drive_tuner.search.results.status import list_searches

    needed = 0.0
    if (store := _store(context)) is not None:
        for search in list_searches(store):
            left = (search.max_evals or 0) - search.done
            if search.done and 0 < left < 2**31:
                needed += _size(store, search.name) / search.done * left
    if store is not None:
        free: float | None = store.free_space()
    elif _in_a_folder(context):
        free = shutil.disk_usage(_places(context)[1]).free
    else:
        known = context.client.quota()
        free = None if known.limit is None else max(0, known.limit - known.used)
    text = f"about {needed / _MEGABYTE:.1f} MB are needed to finish all searches, "
    text += "without a limit." if free is None else f"{free / _MEGABYTE:.1f} MB are free."
    if free is not None and free < max(needed, 10 * _MEGABYTE):
        advice = "Free some space, or keep searches in another folder or account."
        yield Finding("quota", PROBLEM, text, advice)
    else:
        yield Finding("quota", OK, text)


def _size(store: "Store", name: str) -> int:
    """Bytes in a search's folder, two floors down."""
    from colab_drive_tuner.journal.folder import find_folder

    store = store.for_search(name)
    try:
        folder = find_folder(store, name)
    except SearchDamagedError:
        folder = None
    if folder is None:
        return 0
    entries = store.list(folder.id)
    below = [inner for entry in entries if entry.is_folder for inner in store.list(entry.id)]
    return sum(entry.size for entry in [*entries, *below])


def _store(context: CheckContext) -> "Store | None":
    """The store, or None where there is none yet, or can be none: `_folder` says why."""
    try:
        return context.store
    except (NotFoundError, UsageError):
        return None


def notebook(context: CheckContext) -> Iterator[Finding]:
    """Which one runs, and whether the copy in Drive is what the page shows."""
    from colab_drive_tuner.notebook import page_differs
    from colab_drive_tuner.notebook.find import locate
    from colab_drive_tuner.notebook.running import content_in_browser, running_notebook

    page = content_in_browser if context.runtime.browser_attached else lambda: None
    if running_notebook(page) is None:
        if context.runtime.kind in ("python", "ipython", "ci"):
            yield Finding("notebook", OK, "none runs here.")
        else:
            text = "this runtime does not say which notebook it runs."
            yield Finding("notebook", WARNING, text, "Name it: cdt.setup(notebook='X').")
        return
    try:
        found = locate(None, lambda: context.client, page)
    except (NotebookError, CredentialsError) as error:
        yield Finding("notebook", WARNING, str(error))
        return
    stale = False
    if found.file is not None and context.runtime.browser_attached:
        stale = page_differs(context.client.download(found.file.id))
    if stale:
        text = f"{found.name!r} has changes that are not saved in Drive yet."
        yield Finding("notebook", WARNING, text, "Save it (Ctrl+S) and run the setup cell again.")
    else:
        where = found.path or (found.file and found.file.web_view_link) or "open in the browser"
        yield Finding("notebook", OK, f"{found.name!r}, {where}.")


def searches(context: CheckContext) -> Iterator[Finding | Part]:
    """Each search, within a time limit of its own."""
    if not _in_a_folder(context) and not context.account:
        yield Finding("searches", WARNING, f"not looked at, for {context.away}.", _FIRST)
        return
    store = _store(context)
    if store is None:
        yield Finding("searches", OK, "none yet: there is no store.")
        return
    from colab_drive_tuner.journal.folder import KIND, SEARCH

    folders = [
        entry.name
        for entry in store.list(store.root)
        if entry.is_folder and (entry.damage or entry.properties.get(KIND) == SEARCH)
    ]
    if not folders:
        yield Finding("searches", OK, "none yet.")
    for name in sorted(set(folders)):
        about = f"search {name!r}"
        yield Part(about, partial(_chain, store=store, name=name))
        yield Part(about, partial(_extent, store=store, name=name))
        if folders.count(name) > 1:
            text = f"{folders.count(name)} folders bear its name."
            advice = "`colab-drive-tuner clean` shows them, and merges what can be merged."
            yield Finding(about, WARNING, text, advice)


def _chain(_context: CheckContext, store: "Store", name: str) -> Iterator[Finding]:
    """Whether its chain is whole, who holds it, what waits on this machine."""
    try:
        yield _search(store, name)
    except UnavailableError:
        raise
    except ColabDriveTunerError as error:
        yield Finding(f"search {name!r}", PROBLEM, f"it cannot be looked at: {error}")


def _extent(_context: CheckContext, store: "Store", name: str) -> Iterator[Finding]:
    """Whether more is known to have been there than can be read."""
    from colab_drive_tuner.journal.folder import find_folder
    from colab_drive_tuner.search.results.status import read_history
    from colab_drive_tuner.troubleshoot.repair.extent import lost_trials
    from colab_drive_tuner.troubleshoot.repair.salvage import collect

    try:
        folder = find_folder(store, name)
        if folder is None:
            return
        evidence = collect(store, folder)
        lost = lost_trials(store, evidence, read_history(store, name))
    except (SearchError, UsageError):
        return  # the chain cannot be read: that has been said
    if lost:
        advice = f"Run `colab-drive-tuner repair {shlex.quote(name)}`."
        yield Finding(f"search {name!r}", PROBLEM, f"{lost}.", advice)


def _search(store: "Store", name: str) -> Finding:
    from colab_drive_tuner.journal.folder import find_folder
    from colab_drive_tuner.journal.owned import owned_ids
    from colab_drive_tuner.search.results.status import MISNAMED, read_history, read_status
    from colab_drive_tuner.troubleshoot.repair.salvage import trashed_records

    about, repair = f"search {name!r}", f"`colab-drive-tuner repair {shlex.quote(name)}`"
    store = store.for_search(name)
    try:
        search = read_status(store, name)
        read_history(store, name).check()
    except SearchDamagedError as error:
        if error.__cause__ is None:  # then the error itself says what to do
            return Finding(about, PROBLEM, str(error))
        return Finding(about, PROBLEM, str(error.__cause__), f"Run {repair}.")
    except SearchNotFoundError:
        return _without_first(store, name)
    except SearchNameError:
        return Finding(about, PROBLEM, f"{MISNAMED}.", "In Drive's own pages you can rename it.")
    except ColabDriveTunerError as error:
        return Finding(about, PROBLEM, f"its chain cannot be read: {error}")
    waiting, folder = _waiting(store, name), find_folder(store, name)
    text = f"{search.progress} trials in {search.sessions} sessions, whole"
    if search.held:
        text += f", held by {search.holder}"
    elif search.holder is not None:
        text += f", interrupted: last held by {search.holder}"
    owner = search.holder.claimant.account if search.holder else store.account
    if folder is not None and (trashed := trashed_records(store, folder)):
        text += f"; {trashed} of its records lie in the trash, which Drive empties after 30 days."
        return Finding(about, WARNING, text, f"Restore them there, or run {repair}.")
    if folder is not None and (foreign := owned_ids(store, folder).foreign):
        text += f"; {next(iter(foreign.values()))}"
        return Finding(about, WARNING, text, "The next run makes it anew in the search's folder.")
    if waiting:
        advice = "Run the search again on this machine: it records them."
        return Finding(about, WARNING, f"{text}; {waiting} results wait in the spool.", advice)
    if owner != store.account and not search.held:
        advice = f"Sign in as its owner, or run {repair} a day after it was last seen."
        return Finding(about, WARNING, f"{text}.", advice)
    return Finding(about, OK, f"{text}.")


def _without_first(store: "Store", name: str) -> Finding:
    """A folder whose first record is not there: new, or damaged, by what else lies in it."""
    from colab_drive_tuner.journal.folder import find_folder
    from colab_drive_tuner.troubleshoot.repair.salvage import collect

    if (folder := find_folder(store, name)) is not None:
        found = collect(store, folder)
        written = folder.hint or found.records or found.snapshots or found.unreadable
        if written or store.list(folder.id, name="trials.pkl"):
            advice = f"Run `colab-drive-tuner repair {shlex.quote(name)}`."
            return Finding(f"search {name!r}", PROBLEM, "its first record is missing.", advice)
    return Finding(f"search {name!r}", OK, "it has been made, and nothing is recorded yet.")


def _waiting(store: "Store", name: str) -> int:
    """How many entries of earlier sessions on this machine are not recorded."""
    from colab_drive_tuner.checkpoint.history import wanted
    from colab_drive_tuner.journal.spool import Spool
    from colab_drive_tuner.search.results.status import read_history

    try:
        spool = Spool(store.location, name)
        if not spool.acquire():
            return 0  # a live process has it, and records what is in it
    except SearchError:
        return 0  # the state folder's own line says why
    try:
        leftovers = spool.leftovers()
        history = read_history(store, name) if leftovers else None
    finally:
        spool.release()
    items = [item for leftover in leftovers for item, _ in leftover.items]
    return sum(wanted(history, item) for item in items if history is not None)
