"""Text and HTML of a session: account, notebook, folder, and the status of each search."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from colab_drive_tuner.journal.open_searches import searches_of_store
from colab_drive_tuner.runtime import COLAB_HOURS, COLAB_MOST_HOURS, Kind, Runtime, uptime_hours
from colab_drive_tuner.search.trials.search_status import SearchStatus
from colab_drive_tuner.text import escaped, visible

_HELD_HERE, _RUNNING_HERE = "held here", "running here"
_MAX_SHOWN = 8
"""Number of searches that a session shows."""


@dataclass(frozen=True)
class SessionSummary:
    """Content of a printed session."""

    title: str
    facts: Mapping[str, str]
    """Values by label; empty values are not shown."""
    searches: Sequence[tuple[SearchStatus, str]]
    """The searches, each with a note."""
    listed_at: float
    """When the searches were listed, in seconds since 1970."""


def session_text(summary: SessionSummary) -> str:
    """Render the session as plain text."""
    lines = [visible(summary.title)]
    lines += [f"  {label:<8}  {visible(fact)}" for label, fact in summary.facts.items() if fact]
    searches = [
        str(search)
        + (" (finished)" if search.finished and note not in (_HELD_HERE, _RUNNING_HERE) else "")
        + (f", {note}" if note else "")
        for search, note in summary.searches[:_MAX_SHOWN]
    ]
    below = [*(searches or ["none yet"]), *_footer(summary)]
    return "\n".join([*lines, "  searches  " + "\n            ".join(below)])


def session_html(summary: SessionSummary) -> str:
    """Render the session as an HTML table with a progress bar for each search."""
    from colab_drive_tuner.search.results.notebook_cards import facts_card, searches_card

    below = searches_card(summary.searches[:_MAX_SHOWN]) + escaped("; ".join(_footer(summary)))
    facts = {label: fact for label, fact in summary.facts.items() if fact}
    return facts_card(summary.title, facts, below)


def annotated_searches(
    searches: Iterable[SearchStatus], location: str, listed_at: float, read_at: Mapping[str, float]
) -> list[tuple[SearchStatus, str]]:
    """Return each search with a note: live if open in this process, else the time of its status.

    Args:
        searches: Their status as read from the store.
        location: The store's location.
        listed_at: When all searches were listed.
        read_at: When single searches were read after that, by name.
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
    return [*live, *(others[name] for name in sorted(others))]


def remaining_time(runtime: Runtime) -> str:
    """Estimate when Colab will end this runtime, from the machine's uptime; "" outside Colab."""
    hours = uptime_hours()
    if runtime.kind is not Kind.COLAB or hours is None:
        return ""
    left = COLAB_HOURS - hours
    end = f"in about {left:.1f} h" if left > 0 else "any time now"
    most = f"Pro+: {COLAB_MOST_HOURS:.0f} h in all"
    return f"up for {hours:.1f} h; Colab is likely to end it {end} ({most})"


def _footer(summary: SessionSummary) -> list[str]:
    left_out = len(summary.searches) - _MAX_SHOWN
    more = [f"and {left_out} more"] if left_out > 0 else []
    return [*more, f"as of {_local_time(summary.listed_at)}; session.refresh() looks again"]


def _local_time(moment: float) -> str:
    """Format a time in the local time zone, with the date unless it is today's."""
    local = time.localtime(moment)
    today = local[:3] == time.localtime()[:3]
    return time.strftime("%H:%M %Z" if today else "%Y-%m-%d %H:%M %Z", local)
