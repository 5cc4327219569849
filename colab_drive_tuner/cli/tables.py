"""What `status` shows, as tables."""

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from colab_drive_tuner.rerun.runs import Run
from colab_drive_tuner.search.status import SearchStatus


def show_searches(searches: Iterable[SearchStatus]) -> None:
    """One line a search: how far, what was best, who holds it, when it was last seen."""
    table = Table("search", "trials", "best loss", "deaths survived", "state", box=None)
    for search in searches:
        table.add_row(
            search.name,
            search.progress,
            "" if search.best_loss is None else f"{search.best_loss:.6g}",
            str(search.recovered),
            _state(search),
        )
    content = table if table.row_count else "No searches yet."
    Console(soft_wrap=True, highlight=False, markup=False).print(content)


def _state(search: SearchStatus) -> str:
    if search.problem:
        return search.problem
    if search.stopped:
        return f"stopped: {search.stopped}"
    if search.finished:
        return "finished"
    if search.holder is None:
        return "unfinished"
    if search.held:
        return f"running: {search.holder}"
    return f"interrupted {datetime.fromtimestamp(search.holder.last_sign, UTC):%Y-%m-%d %H:%M} UTC"


def show_runs(runs: list[Run]) -> None:
    """One line for each run: when, where, how long, how many trials, how it ended."""
    if not runs:
        return
    table = Table("run (UTC)", "where", "minutes", "trials", "ended", "notebook", box=None)
    for run in runs:
        when = f"{datetime.fromtimestamp(run.began, UTC):%Y-%m-%d %H:%M}"
        minutes = f"{run.seconds / 60:.1f}"
        table.add_row(when, run.where, minutes, f"+{run.trials}", run.ended, run.url)
    console = Console(width=1000, soft_wrap=True, highlight=False, markup=False)  # addresses whole
    console.print()
    console.print(table)
