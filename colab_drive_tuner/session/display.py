"""Text and HTML of a session: account, notebook, folder, and the status of each search."""

import time
from collections.abc import Callable, Iterable, Mapping

from colab_drive_tuner.journal.open_searches import searches_of_store
from colab_drive_tuner.runtime import COLAB_HOURS, COLAB_MOST_HOURS, Kind, Runtime, uptime_hours
from colab_drive_tuner.search.trials.search_status import SearchStatus
from colab_drive_tuner.text import escaped, visible

_HELD_HERE, _RUNNING_HERE = "held here", "running here"
_MAX_SHOWN = 8
"""Number of searches that a session shows."""


Annotated = list[tuple[SearchStatus, str]]
"""Searches, each with a note."""
Renderer = Callable[[str, Mapping[str, str], Annotated, float], str]
"""Renders title, facts by label, searches, and the time at which these were listed."""


def session_text(
    title: str, facts: Mapping[str, str], searches: Annotated, listed_at: float
) -> str:
    """Render the session as plain text."""
    lines = [visible(title), *(f"  {label:<8}  {visible(fact)}" for label, fact in facts.items())]
    shown = [
        str(search)
        + (" (finished)" if search.finished and note not in (_HELD_HERE, _RUNNING_HERE) else "")
        + (f", {note}" if note else "")
        for search, note in searches[:_MAX_SHOWN]
    ]
    below = [*(shown or ["none yet"]), *_footer(searches, listed_at)]
    return "\n".join([*lines, "  searches  " + "\n            ".join(below)])


def session_html(
    title: str, facts: Mapping[str, str], searches: Annotated, listed_at: float
) -> str:
    """Render the session as an HTML table with a progress bar for each search."""
    from colab_drive_tuner.search.results.notebook_cards import facts_card, searches_card

    footer = escaped("; ".join(_footer(searches, listed_at)))
    return facts_card(title, facts, searches_card(searches[:_MAX_SHOWN]) + f"<div>{footer}</div>")


def annotated_searches(
    searches: Iterable[SearchStatus], location: str, listed_at: float, read_at: Mapping[str, float]
) -> Annotated:
    """Return each search with a note: live if open in this process, else the time of its status.

    All searches were listed at `listed_at`, and those in `read_at` were read again later. Those
    that were finished elsewhere come last, since a session shows only the first.
    """
    live = []
    others = {search.name: (search, "") for search in searches}
    for held in sorted(searches_of_store(location), key=lambda search: search.name):
        if held.journal is not None:
            if (status := held.report()) is not None:
                note = _RUNNING_HERE if held.journal.running else _HELD_HERE
                live.append((status, note))
                others.pop(held.name, None)
        elif held.closed_at is not None and held.closed_at > read_at.get(held.name, listed_at):
            others[held.name] = held.report(), f"as of {_local_time(held.closed_at)}"
    return [*live, *sorted(others.values(), key=_order)]


def _order(annotated: tuple[SearchStatus, str]) -> tuple[bool, str]:
    search, note = annotated
    return search.finished and not note, search.name


def remaining_time(runtime: Runtime) -> str:
    """Estimate when Colab will end this runtime, from the machine's uptime; "" outside Colab."""
    hours = uptime_hours()
    if runtime.kind is not Kind.COLAB or hours is None:
        return ""
    left = COLAB_HOURS - hours
    end = f"in about {left:.1f} h" if left > 0 else "any time now"
    most = f"Pro+: {COLAB_MOST_HOURS:.0f} h in all"
    return f"up for {hours:.1f} h; Colab is likely to end it {end} ({most})"


def _footer(searches: Annotated, listed_at: float) -> list[str]:
    left_out = len(searches) - _MAX_SHOWN
    more = [f"and {left_out} more"] if left_out > 0 else []
    return [*more, f"as of {_local_time(listed_at)}; session.refresh() looks again"]


def _local_time(moment: float) -> str:
    """Format a time in the local time zone, with the date unless it is today's."""
    local = time.localtime(moment)
    today = local[:3] == time.localtime()[:3]
    return time.strftime("%H:%M %Z" if today else "%Y-%m-%d %H:%M %Z", local)
