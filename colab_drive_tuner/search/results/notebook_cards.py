"""HTML output of notebook cells: a search's result, a list of searches, tables of trials.

Elements have inline styles only: no scripts, style sheets or ids. Colours suit light and dark
themes. Text from a store is escaped.
"""

from collections.abc import Iterable, Mapping, Sequence

from colab_drive_tuner.search.results.search_data import SearchData, TrialData, used_parameters
from colab_drive_tuner.search.results.svg_charts import charts
from colab_drive_tuner.search.results.svg_charts.svg import in_notebook
from colab_drive_tuner.search.results.svg_charts.timeline import runtime_lanes, timeline
from colab_drive_tuner.search.trials.search_status import SearchStatus
from colab_drive_tuner.text import GREY, RED, bar, escaped, shortened, without_middle

_CELL = "text-align:left;padding:2px 10px 2px 0"
_UNBROKEN = f"style='{_CELL};white-space:nowrap'"
_WRAPPED = f"style='{_CELL};min-width:7em;max-width:18em;overflow-wrap:break-word'"
_LINK = "target='_blank' rel='noopener' style='color:inherit'"
_MAX_COLUMNS = 12


def result_card(
    data: SearchData, head: str, *, done: int, total: int | None, link: str = ""
) -> str:
    """Return a search's card: status (`head`), progress, losses, timeline, its ten best trials."""
    parts = [
        f"<b>{escaped(data.name)}</b> · {escaped(head)}",
        _bar(done, total),
        in_notebook(charts.history(data)) if data.with_finite_loss else charts.without_loss(data),
        in_notebook(timeline(data)) if len(runtime_lanes(data)) > 1 else "",
        trials_table(data.best(10) or data.failed[-10:], data.parameters_for(_MAX_COLUMNS)),
        _linked(link, link),
    ]
    return _card(parts)


def searches_card(searches: Iterable[tuple[SearchStatus, str]]) -> str:
    """Return a table with one row, with a progress bar, for each search and a note on it."""
    rows = []
    for search, note in searches:
        failed = f" <span style='color:{RED}'>({search.failed} failed)</span>"
        pruned = f" ({search.pruned} pruned)" if search.pruned else ""
        state = f"{search.detailed_state}, {note}" if note else search.detailed_state
        rows.append(
            f"<tr><td {_WRAPPED}>{_linked(search.url, shortened(search.name, 60))}</td>"
            f"<td {_UNBROKEN}>{search.progress}{pruned}{failed if search.failed else ''}</td>"
            f"<td {_UNBROKEN}>{_bar(search.done, search.max_evals, width='120px')}</td>"
            f"<td {_UNBROKEN}>{'' if search.best_loss is None else f'{search.best_loss:.6g}'}</td>"
            f"<td {_WRAPPED}>{escaped(state)}</td></tr>"
        )
    if not rows:
        return "No searches yet."
    return _table(("search", "trials", "", "best loss", "state"), rows)


def facts_card(title: str, facts: Mapping[str, object], below: str = "") -> str:
    """Return a card with a title, rows of name and value, and HTML below them."""
    rows = [
        f"<tr><td {_UNBROKEN}><span style='opacity:.65'>{escaped(name)}</span></td>"
        f"<td style='{_CELL};overflow-wrap:anywhere'>{_linked(str(value), value)}</td></tr>"
        for name, value in facts.items()
    ]
    return _card([f"<b>{escaped(title)}</b>", _table((), rows), below])


def trials_table(trials: Sequence[TrialData], parameters: Sequence[str]) -> str:
    """Return a table of trials: number, loss or reason for its absence, seconds, parameters."""
    if not trials:
        return ""
    used = used_parameters(parameters, trials)
    shown, more = used[:_MAX_COLUMNS], len(used) - _MAX_COLUMNS
    rows = []
    for trial in trials:
        cells = [str(trial.tid), trial.outcome, trial.seconds_text, *map(trial.value_text, shown)]
        rows.append("<tr>" + "".join(f"<td {_UNBROKEN}>{escaped(c)}</td>" for c in cells) + "</tr>")
    names = ("trial", "loss", "seconds", *(without_middle(name, 30) for name in shown))
    left_out = f"and {more} more parameters: see <code>result.rows</code>" if more > 0 else ""
    return f"{_table(names, rows)}<div>{left_out}</div>"


def _bar(done: int, total: int | None, *, width: str = "100%") -> str:
    return bar(done / total, width=width) if total else ""


def _linked(url: str, text: object) -> str:
    """Return a text, as a link unless the location is a folder of this machine."""
    if not url.startswith(("https://", "http://")):
        return escaped(text)
    return f"<a href='{escaped(url)}' {_LINK}>{escaped(text)}</a>"


def _table(names: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(
        f"<th {_UNBROKEN}><span style='color:{GREY}'>{escaped(name)}</span></th>" for name in names
    )
    return (
        "<div style='overflow-x:auto'><table style='border-collapse:collapse'>"
        f"{f'<thead><tr>{head}</tr></thead>' if names else ''}"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _card(parts: Iterable[str]) -> str:
    inner = "".join(f"<div style='margin:4px 0'>{part}</div>" for part in parts if part)
    style = "max-width:740px;font-family:system-ui,sans-serif;overflow-wrap:break-word"
    return f"<div style='{style}'>{inner}</div>"
