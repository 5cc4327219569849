"""Probes of what a search needs beyond this machine: sign-in, store, quota and notebook."""

import time
from collections.abc import Iterator

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import (
    ColabDriveTunerError,
    CredentialsError,
    NotebookError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UsageError,
)
from colab_drive_tuner.runtime import Kind
from colab_drive_tuner.troubleshoot.doctor.context import CheckContext, Finding, Level

_MEGABYTE = 1e6
_LEAST_FREE = 10 * _MEGABYTE
_NAME_ANOTHER = f"Name another store with --store or {Variable.STORE}."


def credentials(context: CheckContext) -> Iterator[Finding]:
    """Report the account that owns the searches; prompt for nothing."""
    if not context.needs_account:
        yield Finding(Level.OK, "not needed: searches are not kept in Google Drive.")
        return
    try:
        client = context.client
        account = client.account()
    except CredentialsError as error:
        context.no_account_reason = "nobody is signed in"
        can_ask = context.runtime.browser_attached and context.runtime.can_prompt
        advice = "Run cdt.setup() in this notebook to sign in." if can_ask else ""
        yield Finding(Level.PROBLEM, f"without credentials. {error}", advice)
        return
    except UnavailableError as error:
        context.no_account_reason = "Drive does not answer"
        yield Finding(Level.PROBLEM, str(error))
        return
    context.account = account
    who = "the emulated Drive" if client.is_emulated else "Google Drive"
    scopes = context.scopes
    known = f", with the scopes {', '.join(sorted(map(_short, scopes)))}" if scopes else ""
    if scopes and not any(_short(s) in ("drive", "drive.readonly") for s in scopes):
        text = f"{account} in {who}{known}: it can store searches, but not read notebooks."
        yield Finding(Level.OK, text)
    else:
        yield Finding(Level.OK, f"{account} in {who}{known}.")


def _short(scope: str) -> str:
    return scope.rpartition("/")[2]


def reachable(context: CheckContext) -> Iterator[Finding]:
    """Report Drive's latency and clock difference, or whether another store is usable."""
    if not context.needs_account:
        yield _check_store(context)
        return
    context.require_account()
    began = time.monotonic()
    context.client.quota()
    latency = time.monotonic() - began
    ahead = time.time() - context.client.now()
    clock = f"its clock and this one differ by {abs(ahead):.0f} s"
    text = f"Drive answers in {latency * 1000:.0f} ms; {clock}."
    if latency > 5:
        yield Finding(
            Level.WARNING, text, "Training does not wait for it; results are uploaded late."
        )
    elif abs(ahead) > 300:
        yield Finding(Level.WARNING, text, "Set this machine's clock: sign-ins may fail.")
    else:
        yield Finding(Level.OK, text)


def _check_store(context: CheckContext) -> Finding:
    try:
        store = context.store
        observation = store.check_usable()
    except (RefusedError, UsageError) as error:
        return Finding(Level.PROBLEM, str(error), _NAME_ANOTHER)
    if store.environment is None:
        text = f"searches are kept in {store.location}, which ends with its process."
        return Finding(Level.WARNING, text, "Name a folder to keep searches longer.")
    if not store.exists:
        text = f"{store.url(store.root)} does not exist: the first search creates it."
        advice = f"If you already have searches, name their store: --store or {Variable.STORE}."
        return Finding(Level.WARNING, text, advice)
    return Finding(Level.OK, observation)


def quota(context: CheckContext) -> Iterator[Finding]:
    """Compare free space with an estimate of what all unfinished searches still need."""
    context.require_account()
    try:
        free = context.store.free_space()
    except (NotFoundError, UsageError):
        yield Finding(Level.WARNING, "not checked, because there is no such store.")
        return
    needed = 0.0
    for search in context.searches:
        try:
            status = search.status
        except ColabDriveTunerError:
            continue  # reported by the search's own probe
        left = (status.max_evals or 0) - status.done
        if status.done and 0 < left < 2**31:
            needed += search.size / status.done * left
    text = f"about {needed / _MEGABYTE:.1f} MB are needed to finish all searches, "
    text += "and no limit is known." if free is None else f"{free / _MEGABYTE:.1f} MB are free."
    if free is not None and free < max(needed, _LEAST_FREE):
        if needed <= free:
            text += f" A new search may need {_LEAST_FREE / _MEGABYTE:.0f} MB."
        advice = "Free some space, or keep searches in another store or account."
        yield Finding(Level.PROBLEM, text, advice)
    else:
        yield Finding(Level.OK, text)


def notebook(context: CheckContext) -> Iterator[Finding]:
    """Report the running notebook, and whether its page has changes not saved to Drive."""
    from colab_drive_tuner.notebook.detect_running import running_notebook
    from colab_drive_tuner.notebook.find import locate
    from colab_drive_tuner.notebook.local_copy import has_unsaved_changes

    browser = context.runtime.browser_attached
    if running_notebook(browser=browser) is None:
        if context.runtime.kind in (Kind.PYTHON, Kind.IPYTHON, Kind.CI):
            yield Finding(Level.OK, "none is running here.")
        else:
            text = "this runtime does not report which notebook it runs."
            yield Finding(Level.WARNING, text, "Name it: cdt.setup(notebook='X').")
        return
    try:
        found = locate(None, lambda: context.client, browser=browser)
    except (NotebookError, CredentialsError) as error:
        yield Finding(Level.WARNING, str(error))
        return
    stale = False
    if found.file is not None and browser:
        stale = has_unsaved_changes(context.client.download(found.file.id))
    if stale:
        text = f"{found.name!r} has changes that are not saved in Drive yet."
        yield Finding(Level.WARNING, text, "Save it (Ctrl+S) and run the setup cell again.")
    else:
        where = found.path or (found.file and found.file.web_view_link) or "open in the browser"
        yield Finding(Level.OK, f"{found.name!r}, {where}.")
