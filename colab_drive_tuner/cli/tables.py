"""What `status` shows, as tables."""

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from colab_drive_tuner.cli.output import echo
from colab_drive_tuner.rerun.runs import Run
from colab_drive_tuner.search.status import SearchStatus
from colab_drive_tuner.text import visible

_WIDE = 100_000


def show_searches(searches: Iterable[SearchStatus]) -> None:
    """One line a search: how far, what was best, who holds it, when it was last seen."""
    rows = Table("search", "trials", "best loss", "deaths survived", "state", box=None)
    for search in searches:
        _add_row(
            rows,
            search.name,
            search.progress,
            "" if search.best_loss is None else f"{search.best_loss:.6g}",
            search.recovered,
            _state(search),
        )
    if rows.row_count:
        _print(rows)
    else:
        echo("No searches yet.")


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
    rows = Table("run (UTC)", "where", "minutes", "trials", "ended", "notebook", box=None)
    for run in runs:
        when = f"{datetime.fromtimestamp(run.began, UTC):%Y-%m-%d %H:%M}"
        minutes = f"{run.seconds / 60:.1f}"
        _add_row(rows, when, run.where, minutes, f"+{run.trials}", run.ended, run.url)
    echo("")
    _print(rows)


def _add_row(rows: Table, *cells: object) -> None:
    """Add a row of cells, each on one line; what looks like markup is shown as it is."""
    rows.add_row(*(Text(visible(cell)) for cell in cells))


def _print(rows: Table) -> None:
    """Print each row on one line, however long: a second line could be taken for another row."""
    Console(width=_WIDE, soft_wrap=True, highlight=False, markup=False, emoji=False).print(rows)
