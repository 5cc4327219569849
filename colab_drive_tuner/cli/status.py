"""Command that shows the progress and state of searches: status."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colab_drive_tuner.cli.common import (
    AsJson,
    cell,
    complete_name,
    echo,
    echo_json,
    json_value,
    selected_store,
    show_table,
)
from colab_drive_tuner.errors import SearchNotFoundError, UsageError
from colab_drive_tuner.text import utc_time

if TYPE_CHECKING:
    from colab_drive_tuner.manage.restore_history import SearchHistory
    from colab_drive_tuner.rerun.runs import Run
    from colab_drive_tuner.search.trials.search_status import RunningNow, SearchStatus


def status(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Name of a search. Default: all searches.",
            autocompletion=complete_name,
        ),
    ] = None,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code",
            help="Report the state of NAME as exit code: 0 finished, 75 unfinished, 69 running.",
        ),
    ] = False,
    as_json: AsJson = False,
    histories: Annotated[
        bool,
        typer.Option(
            "--histories",
            help="List the histories of NAME: those kept by restarts, and the current one.",
        ),
    ] = False,
) -> None:
    """Show the progress, best loss, state and owner of searches.

    Example:
        colab-drive-tuner status
        colab-drive-tuner --store searches status mnist-cnn --json
    """
    from colab_drive_tuner.manage.restore_history import list_histories
    from colab_drive_tuner.rerun.runs import read_rerun_status, read_runs
    from colab_drive_tuner.search.results.read_search import list_searches, read_status

    store = selected_store(context)
    if name is None:
        if exit_code or histories:
            option = "--exit-code" if exit_code else "--histories"
            raise UsageError(f"{option} needs the NAME of one search.")
        searches = list_searches(store)
        if as_json:
            echo_json([status_json(search) for search in searches])
        else:
            show_searches(searches)
        return
    if histories:
        restore = store.command("restore", name, "HISTORY")
        _show_histories(list_histories(store, name), restore, as_json=as_json)
        return
    try:
        search = read_status(store, name)
    except SearchNotFoundError:
        runs = read_runs(store, name)
        if not runs or as_json or exit_code:
            raise
        echo(f"Search {name!r} has not begun.")
        _show_runs(runs)
        return
    runs = read_runs(store, name)
    if as_json:
        echo_json(status_json(search, runs))
    else:
        show_searches([search])
        _show_running(search.running)
        _show_runs(runs)
    if exit_code:
        raise typer.Exit(read_rerun_status(store, name).exit_code)


def show_searches(searches: Iterable["SearchStatus"]) -> None:
    """Print one line per search: progress, failures, best loss, deaths survived and state."""
    rows = [
        (
            search.name,
            search.progress + (f" ({search.pruned} pruned)" if search.pruned else ""),
            search.failed or "",
            cell(search.best_loss),
            search.recovered,
            _state(search),
        )
        for search in searches
    ]
    if rows:
        show_table(("search", "trials", "failed", "best loss", "deaths survived", "state"), rows)
    else:
        echo("No searches yet.")


def _state(search: "SearchStatus") -> str:
    """Return the state with its detail: the problem, the reason, the holder or the time."""
    from colab_drive_tuner.search.trials.search_status import SearchState

    if search.state is SearchState.RUNNING:
        at_once = search.at_once and f"; {search.at_once}"
        return f"running: {search.holder}{at_once}"
    if search.holder is not None and search.state is SearchState.INTERRUPTED:
        seen = search.holder.last_sign  # 0: unknown, as when the holder's clock was fast
        return f"interrupted {utc_time(seen)}" if seen else "interrupted"
    return search.detailed_state


def _show_running(trials: Sequence["RunningNow"]) -> None:
    """Print one line per running trial: worker, start time and attempt."""
    if trials:
        echo("")
        since = ("" if trial.since is None else utc_time(trial.since) for trial in trials)
        rows = [(t.tid, t.worker, time, t.attempt) for t, time in zip(trials, since, strict=True)]
        show_table(("running trial", "worker", "since", "attempt"), rows)


def _show_runs(runs: list["Run"]) -> None:
    """Print one line per run: start, runner, duration, number of trials and how it ended."""
    if not runs:
        return
    echo("")
    rows = []
    for run in runs:
        began = utc_time(run.began).removesuffix(" UTC")
        minutes = f"{run.seconds / 60:.1f}"
        rows.append((began, run.where, minutes, f"+{run.trials}", run.ended, run.url))
    show_table(("run (UTC)", "where", "minutes", "trials", "ended", "notebook"), rows)


def _show_histories(histories: Sequence["SearchHistory"], restore: str, *, as_json: bool) -> None:
    """Print one line per history, the oldest first, and the command that restores one; or JSON."""
    if as_json:
        found = [_fields(one, "id begun trials done best_loss present") for one in histories]
        echo_json(found)
        return
    rows = []
    for one in histories:
        state = "present" if one.present else "kept"
        rows.append((one.id, utc_time(one.begun), one.trials, cell(one.best_loss), state))
    show_table(("history", "begun", "trials", "best loss", "state"), rows)
    if len(histories) > 1:
        echo(f"\nTo go back to a kept history: {restore}")


def status_json(search: "SearchStatus", runs: Sequence["Run"] | None = None) -> dict[str, Any]:
    """Return the status of a search as a JSON object, with its runs if given."""
    facts = _fields(search, "name state done max_evals trials failed pruned best_loss best_tid")
    facts |= {"finished": search.finished, "stopped": search.stopped or None, "held": search.held}
    facts["holder"] = None
    if search.holder is not None:
        claimant = _fields(search.holder.claimant, "runtime host pid account")
        facts["holder"] = claimant | {"last_seen": _iso(search.holder.last_sign or None)}
    facts["running"] = [_fields(trial, "tid worker since attempt") for trial in search.running]
    facts |= {"deaths_survived": search.recovered, "sessions": search.sessions}
    facts |= {"url": search.url, "problem": search.problem or None}
    if runs is not None:
        facts["runs"] = [_fields(run, "began where seconds trials ended url") for run in runs]
    return facts


def _fields(record: object, names: str) -> dict[str, Any]:
    """Return attributes by name as JSON values, with the times in ISO format."""
    facts = {name: json_value(getattr(record, name)) for name in names.split()}
    for name in ("since", "began", "begun"):
        if facts.get(name) is not None:
            facts[name] = _iso(facts[name])
    return facts


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
