"""Text and HTML of a session: account, notebook, folder, and how far the searches are."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from colab_drive_tuner.journal.open_searches import searches_of_store
from colab_drive_tuner.runtime import COLAB_HOURS, COLAB_MOST_HOURS, Kind, Runtime, uptime_hours
from colab_drive_tuner.search.html import escaped
from colab_drive_tuner.search.trials.search_status import SearchStatus
from colab_drive_tuner.text import visible

_LIVE = ("held here", "running here")
_MOST_SHOWN = 8
"""How many searches a session shows."""


@dataclass(frozen=True)
class Shown:
    """What a session shows."""

    title: str
    facts: Mapping[str, str]
    """By name; those that are empty are left out."""
    searches: Sequence[tuple[SearchStatus, str]]
    """Each with a note."""
    looked: float
    """When the store was asked."""


def session_text(shown: Shown) -> str:
    """The session as lines."""
    lines = [visible(shown.title)]
    lines += [f"  {name:<8}  {visible(fact)}" for name, fact in shown.facts.items() if fact]
    searches = [
        f"{search if note in _LIVE else _ended(search)}{f', {note}' if note else ''}"
        for search, note in shown.searches[:_MOST_SHOWN]
    ]
    told = [*(searches or ["none yet"]), *_looked_at(shown)]
    return "\n".join([*lines, "  searches  " + "\n            ".join(told)])


def session_html(shown: Shown) -> str:
    """The session as a table, with a bar for each search."""
    from colab_drive_tuner.search.results.notebook_cards import facts_card, searches_card

    below = searches_card(shown.searches[:_MOST_SHOWN]) + escaped("; ".join(_looked_at(shown)))
    facts = {name: fact for name, fact in shown.facts.items() if fact}
    return facts_card(shown.title, facts, below)


def known_searches(
    searches: Iterable[SearchStatus], location: str, looked: float, asked: Mapping[str, float]
) -> list[tuple[SearchStatus, str]]:
    """Each search with a note: live where this process holds it, else as of when.

    Args:
        searches: What the store said of them.
        location: The store's.
        looked: When it was asked for all of them.
        asked: When it was asked for one of them later, by its name.
    """
    live = []
    others = {search.name: (search, "") for search in searches}
    for held in sorted(searches_of_store(location), key=lambda one: one.name):
        if held.journal is not None:
            live.append((held.report(), _LIVE[held.journal.running]))
            others.pop(held.name, None)
        elif held.closed_at is not None and held.closed_at > asked.get(held.name, looked):
            others[held.name] = held.report(), f"as of {_clock(held.closed_at)}"
    return [*live, *(others[name] for name in sorted(others))]


def about_time(runtime: Runtime) -> str:
    """When Colab is likely to end this runtime, by its machine's uptime; nothing elsewhere."""
    hours = uptime_hours()
    if runtime.kind is not Kind.COLAB or hours is None:
        return ""
    left = COLAB_HOURS - hours
    end = f"in about {left:.1f} h" if left > 0 else "any time now"
    most = f"Pro+: {COLAB_MOST_HOURS:.0f} h in all"
    return f"up for {hours:.1f} h; Colab is likely to end it {end} ({most})"


def _looked_at(shown: Shown) -> list[str]:
    """How many searches are not shown, and when the store was asked."""
    left_out = len(shown.searches) - _MOST_SHOWN
    more = [f"and {left_out} more"] if left_out > 0 else []
    return [*more, f"as of {_clock(shown.looked)}; session.refresh() looks again"]


def _ended(search: SearchStatus) -> str:
    return f"{search}{' (finished)' if search.finished else ''}"


def _clock(moment: float) -> str:
    """A time of this machine's day; the date as well, where it was another day."""
    there = time.localtime(moment)
    today = there[:3] == time.localtime()[:3]
    return time.strftime("%H:%M %Z" if today else "%Y-%m-%d %H:%M %Z", there)
