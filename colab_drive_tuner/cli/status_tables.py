"""Output of `status`: tables that fit the terminal, unwrapped lines for pipes, or JSON."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from colab_drive_tuner.cli.common import cell, echo, echo_json, json_value, show_table
from colab_drive_tuner.manage.restore_history import SearchHistory
from colab_drive_tuner.rerun.runs import Run
from colab_drive_tuner.search.trials.search_status import RunningNow, SearchState, SearchStatus


def show_searches(searches: Iterable[SearchStatus]) -> None:
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


def _state(search: SearchStatus) -> str:
    """Return the state with its detail: the problem, the reason, the holder or the time."""
    if search.state is SearchState.PROBLEM:
        return search.problem
    if search.state is SearchState.STOPPED:
        return f"stopped: {search.stopped}"
    if search.state is SearchState.RUNNING:
        at_once = search.at_once and f"; {search.at_once}"
        return f"running: {search.holder}{at_once}"
    if search.holder is not None and search.state is SearchState.INTERRUPTED:
        return f"interrupted {_time(search.holder.last_sign)}"
    return search.state


def show_running(trials: Sequence[RunningNow]) -> None:
    """Print one line per running trial: worker, start time and attempt."""
    if trials:
        echo("")
        since = ("" if trial.since is None else _time(trial.since) for trial in trials)
        rows = [(t.tid, t.worker, time, t.attempt) for t, time in zip(trials, since, strict=True)]
        show_table(("running trial", "worker", "since", "attempt"), rows)


def show_runs(runs: list[Run]) -> None:
    """Print one line per run: start, runner, duration, number of trials and how it ended."""
    if not runs:
        return
    echo("")
    rows = []
    for run in runs:
        began = _time(run.began).removesuffix(" UTC")
        minutes = f"{run.seconds / 60:.1f}"
        rows.append((began, run.where, minutes, f"+{run.trials}", run.ended, run.url))
    show_table(("run (UTC)", "where", "minutes", "trials", "ended", "notebook"), rows)


def show_histories(histories: Sequence[SearchHistory], restore: str, *, as_json: bool) -> None:
    """Print one line per history, the oldest first, and the command that restores one; or JSON."""
    if as_json:
        found = [_fields(one, "id begun trials done best_loss present") for one in histories]
        echo_json(found)
        return
    rows = []
    for one in histories:
        state = "present" if one.present else "kept"
        rows.append((one.id, _time(one.begun), one.trials, cell(one.best_loss), state))
    show_table(("history", "begun", "trials", "best loss", "state"), rows)
    if len(histories) > 1:
        echo(f"\nTo go back to a kept history: {restore}")


def status_json(search: SearchStatus, runs: Sequence[Run] | None = None) -> dict[str, Any]:
    """Return the status of a search as a JSON object, with its runs if given."""
    facts = _fields(search, "name state done max_evals trials failed pruned best_loss best_tid")
    facts |= {"finished": search.finished, "stopped": search.stopped or None, "held": search.held}
    facts["holder"] = None
    if search.holder is not None:
        claimant = _fields(search.holder.claimant, "runtime host pid account")
        facts["holder"] = claimant | {"last_seen": _iso(search.holder.last_sign)}
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


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _iso(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
