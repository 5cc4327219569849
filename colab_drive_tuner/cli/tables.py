"""What the commands show, as tables."""

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from colab_drive_tuner.search.status import SearchStatus
from colab_drive_tuner.troubleshoot.clean import Leftover


def show_searches(searches: Iterable[SearchStatus]) -> None:
    """One line a search: how far, what was best, who holds it, when it was last written."""
    table = Table("search", "trials", "best loss", "state", "last record", box=None)
    for search in searches:
        holder = search.holder
        running = holder is not None and not search.held_by_dead_process and not holder.stale
        table.add_row(
            search.name,
            f"{search.done} of {search.max_evals}",
            "" if search.best_loss is None else f"{search.best_loss:.6g}",
            f"running: {holder}" if running else "finished" if search.finished else "unfinished",
            "" if search.last_record is None else _when(search.last_record),
        )
    _print(table if table.row_count else "No searches yet.")


def show_leftovers(leftovers: Iterable[Leftover]) -> None:
    """One line a leftover: what, where, why, and whether `--yes` removes it."""
    table = Table("what", "where", "why", "removed by", box=None)
    for leftover in leftovers:
        how = "--yes" if leftover.ours else f"naming it: clean {leftover.id}"
        table.add_row(leftover.kind, leftover.where, leftover.reason, how)
    _print(table if table.row_count else "Nothing stale was found.")


def _print(content: Table | str) -> None:
    Console(soft_wrap=True, highlight=False, markup=False).print(content)


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M UTC}"
