"""Output of `status`: tables that fit the terminal, unwrapped lines for pipes, or JSON."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from colab_drive_tuner.cli.output import cell, echo, echo_json, json_value
from colab_drive_tuner.manage.restore_history import SearchHistory
from colab_drive_tuner.rerun.runs import Run
from colab_drive_tuner.search.trials.search_status import RunningNow, SearchState, SearchStatus
from colab_drive_tuner.text import visible

_WIDE = 100_000


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
        rows = [
            (
                trial.tid,
                trial.worker,
                "" if trial.since is None else _time(trial.since),
                trial.attempt,
            )
            for trial in trials
        ]
        show_table(("running trial", "worker", "since", "attempt"), rows)


def show_runs(runs: list[Run]) -> None:
    """Print one line per run: start, runner, duration, number of trials and how it ended."""
    if not runs:
        return
    echo("")
    show_table(
        ("run (UTC)", "where", "minutes", "trials", "ended", "notebook"),
        [
            (
                f"{datetime.fromtimestamp(run.began, UTC):%Y-%m-%d %H:%M}",
                run.where,
                f"{run.seconds / 60:.1f}",
                f"+{run.trials}",
                run.ended,
                run.url,
            )
            for run in runs
        ],
    )


def show_histories(histories: Sequence[SearchHistory], restore: str, *, as_json: bool) -> None:
    """Print one line per history, the oldest first, and the command that restores one; or JSON."""
    if as_json:
        found = [
            {
                "id": history.id,
                "begun": _iso(history.begun),
                "trials": history.trials,
                "done": history.done,
                "best_loss": json_value(history.best_loss),
                "present": history.present,
            }
            for history in histories
        ]
        echo_json(found)
        return
    rows = [
        (
            history.id,
            _time(history.begun),
            history.trials,
            cell(history.best_loss),
            "present" if history.present else "kept",
        )
        for history in histories
    ]
    show_table(("history", "begun", "trials", "best loss", "state"), rows)
    if len(histories) > 1:
        echo(f"\nTo go back to a kept history: {restore}")


def status_json(search: SearchStatus, runs: Sequence[Run] | None = None) -> dict[str, Any]:
    """Return the status of a search as a JSON object, with its runs if given."""
    holder = search.holder
    facts = {
        "name": search.name,
        "state": search.state,
        "done": search.done,
        "max_evals": search.max_evals,
        "trials": search.trials,
        "failed": search.failed,
        "pruned": search.pruned,
        "best_loss": json_value(search.best_loss),
        "best_tid": json_value(search.best_tid),
        "finished": search.finished,
        "stopped": search.stopped or None,
        "held": search.held,
        "holder": None
        if holder is None
        else {
            "runtime": holder.claimant.runtime,
            "host": holder.claimant.host,
            "pid": holder.claimant.pid,
            "account": holder.claimant.account,
            "last_seen": _iso(holder.last_sign),
        },
        "running": [
            {
                "tid": json_value(trial.tid),
                "worker": trial.worker,
                "since": None if trial.since is None else _iso(trial.since),
                "attempt": trial.attempt,
            }
            for trial in search.running
        ],
        "deaths_survived": search.recovered,
        "sessions": search.sessions,
        "url": search.url,
        "problem": search.problem or None,
    }
    if runs is not None:
        facts["runs"] = [
            {
                "began": _iso(run.began),
                "where": run.where,
                "seconds": run.seconds,
                "trials": run.trials,
                "ended": run.ended,
                "url": run.url,
            }
            for run in runs
        ]
    return facts


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _iso(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def show_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; on a narrow terminal, print each row as a block of `name: value` lines.

    Rows are never wrapped, because a second line could be taken for another row, and never
    truncated. Markup in cells is not interpreted.
    """
    names, cells = list(map(visible, head)), [[visible(cell) for cell in row] for row in rows]
    table = Table(box=None)
    for name in names:
        table.add_column(Text(name))
    for row in cells:
        table.add_row(*map(Text, row))
    wide = Console(width=_WIDE, soft_wrap=True, highlight=False, markup=False, emoji=False)
    console = Console()
    if not console.is_terminal or wide.measure(table).maximum <= console.width:
        wide.print(table)
        return
    for title, *row in cells:
        echo(f"{names[0]}: {title}" if names[0] else title)
        for name, text in zip(names[1:], row, strict=True):
            if text:
                echo(f"  {name}: {text}")
