"""Report of a search: a single HTML file that works offline and without its script.

Its content security policy forbids all requests, and all styles and scripts except the two embedded
here. Names, parameters and results are escaped.
"""

import base64
import hashlib
import math
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from colab_drive_tuner.checkpoint.history import RecordedFacts
from colab_drive_tuner.checkpoint.recorded_settings import FROM_SEARCH
from colab_drive_tuner.search.results.exchange.import_export import checked_suffix, write_file
from colab_drive_tuner.search.results.read_search import read_search
from colab_drive_tuner.search.results.search_data import SearchData, TrialData, column_name
from colab_drive_tuner.search.results.svg_charts import charts
from colab_drive_tuner.search.results.svg_charts.timeline import runtime_lanes, summary, timeline
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.text import escaped, shortened, without_middle
from colab_drive_tuner.version import __version__, installed_version

_ROWS_BYTES = 150_000
"""Maximum size of the table of trials, which starts with the best ones."""
_MAX_COLUMNS = 24
_MIN_COLUMN_ROWS = 15
"""The best trial's parameters fill one column up to this number, then up to four columns."""
_PRINTED_ROWS, _PRINTED_PARAMETERS = 100, 8
"""Part of the table that is printed; must match `page.css`."""


def report_page(data: SearchData, head: str, facts: Mapping[str, object]) -> str:
    """Return the page, with a status (`head`) and provenance (`facts`)."""
    style, script = (
        files(__package__).joinpath(name).read_text() for name in ("page.css", "page.js")
    )
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    written = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    has_losses, curves = bool(data.with_finite_loss), any(trial.curves for trial in data.with_loss)
    runtimes = f"<p>{escaped(summary(data))}.</p>{_wide(timeline(data))}"
    sections = [
        ("Best trial", True, _best(data)),
        ("Loss over trials", has_losses, _wide(charts.history(data))),
        ("Runtimes", bool(runtime_lanes(data)), runtimes),
        ("Importance of parameters", has_losses, _wide(charts.importance(data))),
        ("Loss over each parameter", has_losses, _wide(charts.slices(data))),
        ("Learning curves of the best trials", curves, _wide(charts.learning_curves(data))),
        ("Trials", bool(data.trials), _trials(data)),
        ("How it was made", bool(facts), _wide(_pairs(facts))),
    ]
    body = "".join(
        f"<section><h2>{title}</h2>{content}</section>"
        for title, shown, content in sections
        if shown
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escaped(data.name)}</title><style>{style}</style></head><body>"
        f"<header><h1>{escaped(data.name)}</h1><p>{escaped(head)}</p></header><main>{body}</main>"
        f"<footer>Written {written} by colab_drive_tuner.</footer>"
        f"<script>{script}</script></body></html>"
    )


def search_report(store: Store, name: str) -> str:
    """Return the page of a search in a store."""
    search = read_search(store, name)
    facts = search.data.remarks | provenance(search.history.facts, search.status.url)
    return report_page(search.data, search.status.summary, facts)


def write_report(path: str | Path, page: str) -> None:
    """Write a page to a file; raise `UsageError` if it fails or the name is of another kind."""
    kind = "a report is HTML (.html), which every browser prints or saves in other formats"
    checked_suffix(path, (".html", ".htm"), kind)
    write_file(path, page.encode())


def provenance(recorded: RecordedFacts, place: str) -> dict[str, object]:
    """Return how a search was made, from its records, for the end of its page, which omits None."""
    settings = recorded.settings
    target = settings.get("max_evals")
    versions = {"colab_drive_tuner": __version__} | {
        package: number
        for package in ("hyperopt", "keras", "tensorflow", "numpy")
        if (number := installed_version(package))
    }
    return {
        "algorithm": settings.get("algo"),
        "seed": settings.get("seed"),
        "trials wanted": None if target == sys.maxsize else target,
        "began with the trials of": settings.get(FROM_SEARCH),
        "space": settings.get("space"),
        "versions here": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "runtimes": "\n".join(dict.fromkeys(session.where for session in recorded.sessions)),
        "deaths survived": recorded.deaths,
        "kept in": place,
    }


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _wide(content: str) -> str:
    """Wrap content that narrow screens scroll horizontally instead of shrinking it."""
    return f'<div class="wide">{content}</div>'


def _best(data: SearchData) -> str:
    best = data.best(1)
    if not best:
        return "<p>No trial has a loss yet.</p>"
    facts = {"trial": best[0].tid, "loss": best[0].loss_text, "seconds": best[0].seconds_text}
    facts |= {column_name(name): best[0].value_text(name, 400) for name in best[0].parameters}
    rows, height = list(facts.items()), max(_MIN_COLUMN_ROWS, math.ceil(len(facts) / 4))
    columns = (_pairs(dict(rows[at : at + height])) for at in range(0, len(rows), height))
    return f"<div class='columns'>{''.join(map(_wide, columns))}</div>"


def _pairs(pairs: Mapping[str, object]) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{escaped(shortened(name, 200))}</th>"
        f"<td>{'<br>'.join(map(escaped, str(value).splitlines()))}</td></tr>"
        for name, value in pairs.items()
        if value not in ("", None)
    )
    return f"<table>{rows}</table>"


def _trials(data: SearchData) -> str:
    """Return a table of the best trials, then the others, up to the maximum size."""
    best = data.best(len(data.trials))
    known = set(map(id, best))
    ordered = best + [trial for trial in data.trials if id(trial) not in known]
    names = data.parameters_for(_MAX_COLUMNS)[:_MAX_COLUMNS]
    rows, size = list[str](), 0
    for trial in ordered:
        row = _row(trial, names)
        size += len(row.encode())
        if size > _ROWS_BYTES:
            break
        rows.append(row)
    titles = "".join(
        f"<th scope='col'><button>{escaped(without_middle(name, 40))}</button></th>"
        for name in ("trial", "state", "loss", "seconds", *map(column_name, names))
    )
    note = ""
    if len(rows) < len(ordered) or len(names) < len(data.parameters):
        note = (
            f"<p>Shown: the {len(rows)} best of {len(ordered)} trials, {len(names)} of "
            f"{len(data.parameters)} parameters. <code>colab-drive-tuner export</code> writes all."
            "</p>"
        )
    if len(rows) > _PRINTED_ROWS or len(names) > _PRINTED_PARAMETERS:
        note += (
            f"<p class='printed'>On paper: the first {_PRINTED_ROWS} rows and "
            f"{_PRINTED_PARAMETERS} parameters.</p>"
        )
    head, body = f"<thead><tr>{titles}</tr></thead>", f"<tbody>{''.join(rows)}</tbody>"
    return note + _wide(f'<table class="sortable">{head}{body}</table>')


def _row(trial: TrialData, names: tuple[str, ...]) -> str:
    loss = "" if trial.loss is None else trial.loss_text
    state = f"{trial.state}: {trial.error}" if trial.error else trial.ending
    cells = [str(trial.tid), without_middle(state, 80), loss, trial.seconds_text]
    cells += map(trial.value_text, names)
    return "<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in cells) + "</tr>"
