"""Commands that show the results of searches: show, trials, best, compare, tail."""

import itertools
import json
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colab_drive_tuner.cli.common import (
    AsJson,
    Name,
    cell,
    complete_name,
    echo,
    echo_json,
    json_value,
    selected_store,
    show_table,
    table_fits,
)
from colab_drive_tuner.errors import SearchError, UnavailableError, UsageError
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.text import text_of, visible

if TYPE_CHECKING:
    from colab_drive_tuner.search.results.read_search import ReadSearch
    from colab_drive_tuner.search.results.search_data import TrialData


_MAX_COLUMNS = 8
"""Number of parameters that `show` prints; the most important ones if there are more, or if the
terminal is too narrow for all."""


def show(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show the status of a search, its best trials and the course of its best loss.

    Example:
        colab-drive-tuner show mnist-cnn
    """
    from colab_drive_tuner.cli.status import status_json
    from colab_drive_tuner.search.results.svg_charts.timeline import summary

    store = selected_store(context)
    search = _read(store, name)
    data = search.data
    if as_json:
        best_trials = [_trial_json(trial) for trial in data.best(10)]
        shares = data.importance()
        echo_json(status_json(search.status) | {"best": best_trials, "importance": shares})
        return
    echo(search.status)
    width = min(60, max(10, shutil.get_terminal_size().columns - 12))
    losses = (trial.finite_loss for trial in data.trials if not trial.infeasible)
    if line := sparkline([loss for loss in losses if loss is not None], width):
        echo(f"best loss  {line}")
    if shares := data.importance():
        top = [f"{visible(label)} {share:.0%}" for label, share in list(shares.items())[:5]]
        echo(f"importance {', '.join(top)}")
    for subject, remark in data.remarks.items():
        echo(f"{subject:<10} {remark}")
    echo(f"ran on     {summary(data)}")
    echo(f"kept in    {search.status.url}")
    if listed := data.best(10) or data.failed[-10:]:
        echo("")
        names = _columns_that_fit(listed, list(data.parameters), list(shares))
        show_table(*_table(listed, names))
        if more := len(data.parameters) - len(names):
            left_out = f"{more} more parameter{'s' * (more > 1)}"
            echo(f"\nand {left_out}: see {store.command('trials', name)}")


def _columns_that_fit(
    listed: "Sequence[TrialData]", names: list[str], by_importance: list[str]
) -> list[str]:
    """Return the parameters that `show` prints: all, or the first ones by their importance."""
    if len(names) > _MAX_COLUMNS or not table_fits(*_table(listed, names)):
        names = (by_importance or names)[:_MAX_COLUMNS]
    while len(names) > 1 and not table_fits(*_table(listed, names)):
        names.pop()
    return names


def trials(
    context: typer.Context,
    name: Name,
    sort: Annotated[
        str, typer.Option(help="Column to sort by: tid, loss, seconds, or a parameter's name.")
    ] = "tid",
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of trials.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the trials of a search, with their losses and parameters.

    Example:
        colab-drive-tuner trials mnist-cnn --sort loss --limit 20
    """
    from colab_drive_tuner.search.results.search_data import column_name
    from colab_drive_tuner.search.results.table import csv_text

    search = _read(selected_store(context), name)
    names = search.data.parameters
    known = ("tid", "loss", "seconds", *map(column_name, names))
    if sort not in known:
        columns = visible(", ".join(known))
        raise UsageError(f"--sort {sort!r} is not a column: choose among {columns}.")
    chosen = sorted(search.data.trials, key=lambda trial: _key(trial, sort))[:limit]
    if as_json:
        echo_json([_trial_json(trial) for trial in chosen])
    elif as_csv:
        echo(csv_text(*search.data.table(chosen)).removesuffix("\n"))
    else:
        show_table(*_table(chosen, names))


def best(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Print the parameters of the best trial as JSON. A choice is given by its index.

    Example:
        colab-drive-tuner best mnist-cnn
    """
    del as_json  # always
    data = _read(selected_store(context), name).data
    best_trials = data.best(1)
    if not best_trials:
        which = "feasible trial" if data.with_loss else "trial"
        raise SearchError(f"No {which} of search {name!r} has a loss yet.")
    for subject, remark in data.remarks.items():
        echo(f"{subject}: {remark}", err=True)
    echo_json(_parameters(best_trials[0]))


def compare(
    context: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAMES", help="Names of two or more searches.", autocompletion=complete_name
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Compare searches side by side: progress, duration, best loss and its parameters.

    Example:
        colab-drive-tuner compare mnist-cnn mnist-mlp
    """
    from colab_drive_tuner.search.results.table import value_cell

    if len(set(names)) < 2:
        raise UsageError("compare needs the names of two or more searches.")
    store = selected_store(context)
    columns = {name: _comparison_column(_read(store, name)) for name in dict.fromkeys(names)}
    if as_json:
        echo_json(columns)
        return
    for column in columns.values():
        if column["seed"] is None:  # a study, or a search with a random state of its own
            del column["seed"]
    rows = dict.fromkeys(key for column in columns.values() for key in column)
    show_table(
        ("", *columns),
        [[row, *(cell(value_cell(column, row)) for column in columns.values())] for row in rows],
    )


def tail(
    context: typer.Context,
    name: Name,
    every: Annotated[float, typer.Option(min=1, help="Polling interval in seconds.")] = 10.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
) -> None:
    """Follow a search that runs elsewhere: print each trial as it ends, until the search ends.

    Example:
        colab-drive-tuner tail mnist-cnn
        colab-drive-tuner tail mnist-cnn --json
    """
    seen: set[object] | None = None
    for search in _follow(selected_store(context), name, every):
        ended = [trial for trial in search.data.trials if trial.state.ended]
        if seen is None:
            seen = {(trial.tid, trial.ended) for trial in ended[:-3]}
            if not as_json:
                echo(search.status)
                if not (search.status.held or search.status.finished):
                    echo(
                        "It is not running now. New trials are shown when it runs again; press "
                        "Ctrl-C to stop."
                    )
        for trial in ended:
            if (end := (trial.tid, trial.ended)) not in seen:  # numbers repeat after a restart
                seen.add(end)
                echo(json.dumps(_trial_json(trial)) if as_json else _line(trial))
    if not as_json:
        echo(search.status)


def sparkline(losses: Sequence[float], width: int = 60) -> str:
    """Draw the best loss so far as a line of block characters; a higher block is a higher loss."""
    from colab_drive_tuner.search.results.svg_charts.svg import Scale

    course = list(itertools.accumulate(losses, min))
    if len(course) < 2:
        return ""
    if len(course) > width:
        course = [course[index * (len(course) - 1) // (width - 1)] for index in range(width)]
    height = Scale(course[-1], course[0], 0, 7)
    return "".join("▁▂▃▄▅▆▇█"[int(height(loss))] for loss in course)


def _read(store: Store, name: str) -> "ReadSearch":
    from colab_drive_tuner.search.results.read_search import read_search

    return read_search(store, name)


def _follow(store: Store, name: str, every: float) -> Iterator["ReadSearch"]:
    """Yield the search at intervals until it is finished; show outages, except at the start."""
    search = _read(store, name)
    yield search
    while not search.status.finished:
        time.sleep(every)
        try:
            search = _read(store, name)
        except UnavailableError as outage:
            echo(outage, err=True)
        yield search


def _table(
    chosen: Sequence["TrialData"], names: Sequence[str]
) -> tuple[Sequence[str], list[list[Any]]]:
    """Return the column names and rows of a table of trials."""
    from colab_drive_tuner.search.results.search_data import column_name, used_parameters

    shown = used_parameters(names, chosen)
    errors = ["error"] if any(trial.error for trial in chosen) else []
    rows = []
    for trial in chosen:
        values = (trial.value_text(label, 60) for label in shown)
        facts = (trial.tid, trial.ending, cell(trial.loss), trial.seconds_text)
        rows.append([*facts, *values, *([trial.error_text] if errors else [])])
    return ["trial", "state", "loss", "seconds", *map(column_name, shown), *errors], rows


def _key(trial: "TrialData", sort: str) -> tuple[bool, bool, Any]:
    """Sort key: numbers first, then texts, then losses that cannot be the best, then none."""
    from colab_drive_tuner.search.results.search_data import column_name

    values: dict[str, Any] = {column_name(label): val for label, val in trial.parameters.items()}
    value = (values | {"tid": trial.tid, "loss": trial.loss, "seconds": trial.seconds}).get(sort)
    last = value is None or (sort == "loss" and trial.infeasible)
    number = isinstance(value, int | float)
    if not number:  # "study 10" follows "study 9"
        value = re.sub(r"\d+", lambda digits: digits[0].zfill(9), text_of(value))
    return last, not number, value


def _trial_json(trial: "TrialData") -> dict[str, Any]:
    """Return a trial as a JSON object."""
    return {
        "tid": json_value(trial.tid),
        "state": trial.ending,
        "loss": json_value(trial.loss),
        **({"values": list(map(json_value, trial.values))} if trial.values else {}),
        "seconds": trial.seconds,
        "runtime": trial.where,
        "parameters": _parameters(trial),
        "returned": {name: json_value(value) for name, value in trial.returned.items()},
        "error": trial.error or None,
    }


def _parameters(trial: "TrialData") -> dict[str, Any]:
    return {label: json_value(value) for label, value in trial.parameters.items()}


def _comparison_column(search: "ReadSearch") -> dict[str, Any]:
    """Return one column of `compare`."""
    from colab_drive_tuner.search.results.search_data import column_name

    data = search.data
    seconds = [trial.seconds for trial in data.trials if trial.seconds is not None]
    column: dict[str, Any] = {
        "trials": search.status.progress,
        "failed": search.status.failed,
        "pruned": search.status.pruned,
        "hours of trials": round(sum(seconds) / 3600, 3),
        "deaths survived": search.status.recovered,
        "algorithm": str(search.history.settings.get("algo", "")),
        "seed": search.history.settings.get("seed"),
    }
    for trial in data.best(1):
        column |= {"best loss": json_value(trial.loss), "best trial": trial.tid}
        for label, value in _parameters(trial).items():
            column[f"best {column_name(label)}"] = value
    return column


def _line(trial: "TrialData") -> str:
    took = trial.seconds_text and f" in {trial.seconds_text} s"  # unknown if it was imported
    parameters = (f"{label}={trial.value_text(label, 60)}" for label in trial.parameters)
    return visible(", ".join([f"trial {trial.tid}: {trial.outcome}{took}", *parameters]))
