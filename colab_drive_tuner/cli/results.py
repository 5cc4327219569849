"""Commands that show what came out of a search: show, trials, best, compare, tail."""

import json
import math
import shutil
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colab_drive_tuner.cli.arguments import AsJson, Name, complete_name, given_store
from colab_drive_tuner.cli.output import cell, echo, echo_json, plain
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.text import text_of

if TYPE_CHECKING:
    from colab_drive_tuner.search.results.read_search import ReadSearch
    from colab_drive_tuner.search.results.search_data import TrialData


_MOST_COLUMNS = 8
"""Of more parameters `show` has the most important ones."""


def show(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show how a search stands, its best trials and the course of its loss.

    Example:
        colab-drive-tuner show mnist-cnn
    """
    from colab_drive_tuner.cli.tables import described, show_table
    from colab_drive_tuner.search.results.pictures.timeline import summary

    store = given_store(context)
    search = _read(store, name)
    data = search.data
    if as_json:
        best_trials = [_described(trial) for trial in data.best(10)]
        shares = data.importance()
        echo_json(described(search.status) | {"best": best_trials, "importance": shares})
        return
    echo(search.status)
    room = min(60, max(10, shutil.get_terminal_size().columns - 12))
    if line := sparkline([trial.loss for trial in data.trials], room):
        echo(f"best loss  {line}")
    if shares := data.importance():
        most = [f"{label} {share:.0%}" for label, share in list(shares.items())[:5]]
        echo(f"importance {', '.join(most)}")
    if data.objectives > 1:
        echo(f"objectives {data.objectives}; the first one is shown as the loss")
    echo(f"ran on     {summary(data)}")
    echo(f"kept in    {search.status.url}")
    if shown := data.best(10) or data.failed[-10:]:
        echo("")
        names = list(data.parameters)
        if len(names) > _MOST_COLUMNS:
            names = list(shares or names)[:_MOST_COLUMNS]
        show_table(*_table(shown, names))
        if more := len(data.parameters) - len(names):
            left_out = f"{more} more parameter{'s' * (more > 1)}"
            echo(f"\nand {left_out}: see {store.command('trials', name)}")


def trials(
    context: typer.Context,
    name: Name,
    sort: Annotated[
        str, typer.Option(help="Sort by tid, loss, seconds, or by a parameter's name.")
    ] = "tid",
    limit: Annotated[int | None, typer.Option(min=1, help="Print so many trials at most.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the trials of a search, with their losses and parameters.

    Example:
        colab-drive-tuner trials mnist-cnn --sort loss --limit 20
    """
    from colab_drive_tuner.cli.tables import show_table
    from colab_drive_tuner.errors import UsageError
    from colab_drive_tuner.search.results.table import csv_text

    search = _read(given_store(context), name)
    names = search.data.parameters
    known = ("tid", "loss", "seconds", *names)
    if sort not in known:
        raise UsageError(f"--sort {sort!r} is not a column: choose among {', '.join(known)}.")
    chosen = sorted(search.data.trials, key=lambda trial: _key(trial, sort))[:limit]
    if as_json:
        echo_json([_described(trial) for trial in chosen])
    elif as_csv:
        echo(csv_text(*search.data.table(chosen)).removesuffix("\n"))
    else:
        show_table(*_table(chosen, names))


def best(
    context: typer.Context,
    name: Name,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, which this command always does.")
    ] = False,
) -> None:
    """Print the parameters of the best trial as JSON, for a script; a choice is its index.

    Example:
        colab-drive-tuner best mnist-cnn
    """
    from colab_drive_tuner.errors import SearchError

    del as_json
    leading = _read(given_store(context), name).data.best(1)
    if not leading:
        raise SearchError(f"No trial of search {name!r} has a loss yet.")
    echo_json(_parameters(leading[0]))


def compare(
    context: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(help="The names of two or more searches.", autocompletion=complete_name),
    ],
    as_json: AsJson = False,
) -> None:
    """Compare searches: how far, how long, the best loss and its parameters side by side.

    Example:
        colab-drive-tuner compare mnist-cnn mnist-mlp
    """
    from colab_drive_tuner.cli.tables import show_table
    from colab_drive_tuner.errors import UsageError
    from colab_drive_tuner.search.results.table import value_cell

    if len(set(names)) < 2:
        raise UsageError("compare needs the names of two or more searches.")
    store = given_store(context)
    columns = {name: _compared(_read(store, name)) for name in dict.fromkeys(names)}
    if as_json:
        echo_json(columns)
        return
    rows = dict.fromkeys(key for column in columns.values() for key in column)
    show_table(
        ("", *columns),
        [[row, *(cell(value_cell(column, row)) for column in columns.values())] for row in rows],
    )


def tail(
    context: typer.Context,
    name: Name,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Follow a search that runs elsewhere: a line for each trial that ends, until the search has.

    Example:
        colab-drive-tuner tail mnist-cnn
        colab-drive-tuner tail mnist-cnn --json
    """
    store = given_store(context)
    seen: set[object] | None = None
    while True:
        search = _read(store, name)
        ended = [t for t in search.data.trials if t.state.ended]
        if seen is None:
            seen = {trial.tid for trial in ended[:-3]}
            if not as_json:
                echo(search.status)
                if not (search.status.held or search.status.finished):
                    echo(
                        "Nobody runs it now; trials are shown once somebody does. Ctrl-C ends this."
                    )
        for trial in ended:
            if trial.tid not in seen:
                seen.add(trial.tid)
                echo(json.dumps(_described(trial)) if as_json else _line(trial))
        if search.status.finished:
            if not as_json:
                echo(search.status)
            return
        time.sleep(every)


def sparkline(losses: Sequence[float | None], width: int = 60) -> str:
    """The course of the best loss as blocks, high where the loss is high."""
    course, least = list[float](), math.inf
    for loss in losses:
        least = min(least, loss if loss is not None and math.isfinite(loss) else math.inf)
        if least < math.inf:
            course.append(least)
    if len(course) < 2:
        return ""
    some = [course[index * (len(course) - 1) // (width - 1)] for index in range(width)]
    some = course if len(course) <= width else some
    low, high = some[-1], some[0]
    if high == low:
        return "▁" * len(some)
    return "".join("▁▂▃▄▅▆▇█"[int((loss - low) / (high - low) * 7)] for loss in some)


def _read(store: Store, name: str) -> "ReadSearch":
    from colab_drive_tuner.search.results.read_search import read_search

    return read_search(store, name)


def _table(
    chosen: Sequence["TrialData"], names: Sequence[str]
) -> tuple[Sequence[str], list[list[Any]]]:
    """Column names and rows of trials."""
    from colab_drive_tuner.search.results.notebook_cards import seconds_text, value_text

    shown = [label for label in names if any(label in trial.parameters for trial in chosen)]
    rows = [
        [
            trial.tid,
            trial.ending,
            cell(trial.loss),
            seconds_text(trial),
            *(value_text(trial, label, 60) for label in shown),
            trial.error,
        ]
        for trial in chosen
    ]
    failed = any(trial.error for trial in chosen)
    head = ["trial", "state", "loss", "seconds", *shown, "error"]
    return (head, rows) if failed else (head[:-1], [row[:-1] for row in rows])


def _key(trial: "TrialData", sort: str) -> tuple[bool, bool, Any]:
    """Numbers in their order, then texts, then what is not there."""
    value: Any = {"tid": trial.tid, "loss": trial.loss, "seconds": trial.seconds}.get(
        sort, trial.parameters.get(sort)
    )
    number = isinstance(value, int | float)
    return value is None, not number, value if number else text_of(value)


def _described(trial: "TrialData") -> dict[str, Any]:
    """A trial for programs."""
    return {
        "tid": plain(trial.tid),
        "state": trial.ending,
        "loss": plain(trial.loss),
        **({"values": list(map(plain, trial.values))} if trial.values else {}),
        "seconds": trial.seconds,
        "runtime": trial.where,
        "parameters": _parameters(trial),
        "returned": {name: plain(value) for name, value in trial.returned.items()},
        "error": trial.error or None,
    }


def _parameters(trial: "TrialData") -> dict[str, Any]:
    return {label: plain(value) for label, value in trial.parameters.items()}


def _compared(search: "ReadSearch") -> dict[str, Any]:
    """What `compare` says of one search."""
    data = search.data
    seconds = [trial.seconds for trial in data.trials if trial.seconds is not None]
    said: dict[str, Any] = {
        "trials": search.status.progress,
        "failed": search.status.failed,
        "pruned": search.status.pruned,
        "hours of trials": round(sum(seconds) / 3600, 3),
        "deaths survived": search.status.recovered,
        "algorithm": str(search.history.settings.get("algo", "")),
        "seed": search.history.settings.get("seed"),
    }
    for leading in data.best(1):
        said |= {"best loss": plain(leading.loss), "best trial": leading.tid}
        said |= {f"best {label}": value for label, value in _parameters(leading).items()}
    return said


def _line(trial: "TrialData") -> str:
    from colab_drive_tuner.search.results.notebook_cards import (
        outcome_text,
        seconds_text,
        value_text,
    )

    parameters = ", ".join(f"{label}={value_text(trial, label, 60)}" for label in trial.parameters)
    return f"trial {trial.tid}: {outcome_text(trial)} in {seconds_text(trial)} s, {parameters}"
