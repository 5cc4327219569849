"""HTML output of notebook cells: a search's result, a list of searches, tables of trials.

Elements have inline styles only: no scripts, style sheets or ids. Colours suit light and dark
themes. Text from a store is escaped.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from colab_drive_tuner.search.html_helpers import GREY, RED, bar, escaped, shortened
from colab_drive_tuner.search.results.pictures import charts
from colab_drive_tuner.search.results.pictures.timeline import runtime_lanes, timeline
from colab_drive_tuner.search.results.search_data import SearchData, TrialData
from colab_drive_tuner.search.trials.search_status import SearchState, SearchStatus

_CELL = "text-align:left;padding:2px 10px 2px 0"
_UNBROKEN = f"style='{_CELL};white-space:nowrap'"
_WRAPPED = f"style='{_CELL};min-width:7em;max-width:18em;overflow-wrap:break-word'"
_LINK = "target='_blank' rel='noopener' style='color:inherit'"
_MAX_COLUMNS = 12


def result_card(
    data: SearchData, head: str, *, done: int, total: int | None, link: str = ""
) -> str:
    """Return a search's card: progress, losses, timeline, and its ten best trials.

    Args:
        data: The search.
        head: Its status as text.
        done: Number of trials that have ended.
        total: Target number of trials; None if there is none.
        link: URL or path of the search.
    """
    parts = [
        f"<b>{escaped(data.name)}</b> · {escaped(head)}",
        _bar(done, total),
        _wide(charts.history(data)) if data.with_finite_loss else charts.without_loss(data),
        _wide(timeline(data)) if len(runtime_lanes(data)) > 1 else "",
        trials_table(data.best(10) or data.failed[-10:], data.parameters),
        location(link),
    ]
    return _card(parts)


def searches_card(searches: Iterable[tuple[SearchStatus, str]]) -> str:
    """Return a table with one row, with a progress bar, for each search and a note on it."""
    rows = [
        f"<tr><td {_WRAPPED}>{_linked(search)}</td><td {_UNBROKEN}>{_progress(search)}</td>"
        f"<td {_UNBROKEN}>{_bar(search.done, search.max_evals, width='120px')}</td>"
        f"<td {_UNBROKEN}>{'' if search.best_loss is None else f'{search.best_loss:.6g}'}</td>"
        f"<td {_WRAPPED}>{escaped(', '.join(filter(None, (state_text(search), note))))}</td></tr>"
        for search, note in searches
    ]
    if not rows:
        return "No searches yet."
    return _table(("search", "trials", "", "best loss", "state"), rows)


def facts_card(title: str, facts: Mapping[str, object], below: str = "") -> str:
    """Return a card with a title, rows of name and value, and HTML below them."""
    rows = [
        f"<tr><td {_UNBROKEN}><span style='opacity:.65'>{escaped(name)}</span></td>"
        f"<td style='{_CELL};overflow-wrap:anywhere'>"
        f"{location(str(value)) if _is_link(str(value)) else escaped(value)}</td></tr>"
        for name, value in facts.items()
    ]
    return _card([f"<b>{escaped(title)}</b>", _table((), rows), below])


def trials_table(trials: Sequence[TrialData], parameters: Sequence[str]) -> str:
    """Return a table of trials: number, loss or reason for its absence, seconds, parameters."""
    if not trials:
        return ""
    shown = [name for name in parameters if any(name in trial.parameters for trial in trials)]
    shown, more = shown[:_MAX_COLUMNS], len(shown) - _MAX_COLUMNS
    rows = []
    for trial in trials:
        cells = [str(trial.tid), outcome_text(trial), seconds_text(trial)]
        cells += [value_text(trial, name) for name in shown]
        rows.append("<tr>" + "".join(f"<td {_UNBROKEN}>{escaped(c)}</td>" for c in cells) + "</tr>")
    names = ("trial", "loss", "seconds", *(shortened(name, 30) for name in shown))
    left_out = f"<div>and {more} more parameters: see <code>rows</code></div>" if more > 0 else ""
    return _table(names, rows) + left_out


def loss_text(trial: TrialData) -> str:
    """Return a trial's loss, or the reason why it has none."""
    return trial.error or trial.ending if trial.loss is None else f"{trial.loss:.6g}"


def outcome_text(trial: TrialData) -> str:
    """Return a trial's loss and whether it counts, or the reason why it has none."""
    counts = trial.loss is None or trial.ending == trial.state
    return loss_text(trial) if counts else f"{loss_text(trial)}, {trial.ending}"


def seconds_text(trial: TrialData) -> str:
    """Return a trial's run time; "" if unknown."""
    return "" if trial.seconds is None else f"{trial.seconds:.4g}"


def value_text(trial: TrialData, name: str, width: int = 40) -> str:
    """Return a parameter's value; "" if the trial does not have it."""
    if name not in trial.parameters:
        return ""
    value: Any = trial.parameters[name]
    return f"{value:.6g}" if isinstance(value, float) else shortened(value, width)


def _bar(done: int, total: int | None, *, width: str = "100%") -> str:
    return bar(done / total, width=width) if total else ""


def location(link: str) -> str:
    """Return the location of a search: a link for a URL, else code with its path."""
    if not link:
        return ""
    if not _is_link(link):
        return f"<code>{escaped(link)}</code>"
    return f"<a href='{escaped(link)}' {_LINK}>{escaped(link)}</a>"


def state_text(search: SearchStatus) -> str:
    """Return a search's state as a short text."""
    if search.state is SearchState.PROBLEM:
        return search.problem
    return f"stopped: {search.stopped}" if search.state is SearchState.STOPPED else search.state


def _progress(search: SearchStatus) -> str:
    failed = f" <span style='color:{RED}'>({search.failed} failed)</span>" if search.failed else ""
    pruned = f" ({search.pruned} pruned)" if search.pruned else ""
    return f"{escaped(search.progress)}{pruned}{failed}"


def _linked(search: SearchStatus) -> str:
    name = escaped(shortened(search.name, 60))
    if not _is_link(search.url):
        return name
    return f"<a href='{escaped(search.url)}' {_LINK}>{name}</a>"


def _is_link(text: str) -> bool:
    return text.startswith(("https://", "http://"))


def _table(names: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(
        f"<th {_UNBROKEN}><span style='color:{GREY}'>{escaped(name)}</span></th>" for name in names
    )
    return _wide(
        "<table style='border-collapse:collapse'>"
        f"{f'<thead><tr>{head}</tr></thead>' if names else ''}"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _wide(content: str) -> str:
    """Wrap content that narrow screens scroll horizontally."""
    return f"<div style='overflow-x:auto'>{content}</div>"


def _card(parts: Iterable[str]) -> str:
    inner = "".join(f"<div style='margin:4px 0'>{part}</div>" for part in parts if part)
    style = "max-width:740px;font-family:system-ui,sans-serif;overflow-wrap:break-word"
    return f"<div style='{style}'>{inner}</div>"
