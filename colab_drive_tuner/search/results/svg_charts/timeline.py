"""Timeline of a search by runtime, as inline SVG: trials as bars, kills and takeovers marked.

Long gaps in which nothing ran are cut out of the axis and labelled with their length.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from colab_drive_tuner.journal.chain.record import DEATHS, ClaimReason
from colab_drive_tuner.search.results.search_data import SearchData, TrialData
from colab_drive_tuner.search.results.svg_charts.charts import (
    MAX_TOOLTIPS,
    WIDTH,
    empty_chart,
    trial_tooltip,
)
from colab_drive_tuner.search.results.svg_charts.svg import Canvas, fit_text
from colab_drive_tuner.search.trial_documents import TrialState
from colab_drive_tuner.text import GREY, ORANGE, RED

_LEFT, _LANE, _CUT = 190, 22, 34.0
_LOSS_COLOURS = ("#1a9850", "#66bd63", "#a6d96a", "#e0c34a", "#fdae61", "#f46d43", "#c94a4a")
"""Colours from the best losses to the worst."""
_MAX_LANES = 40
_ENDS = {
    ClaimReason.DEAD: "killed",
    ClaimReason.STALE: "vanished",
    ClaimReason.TAKEOVER: "taken over",
    ClaimReason.RELEASED: "ended by itself",
    None: "no end recorded",
}


@dataclass(frozen=True)
class Lane:
    """One runtime or worker: its lifetime and its trials."""

    where: str
    began: float
    last: float
    end: ClaimReason | None
    trials: tuple[TrialData, ...]
    outages: Sequence[Sequence[float]] = ()


def runtime_lanes(data: SearchData) -> list[Lane]:
    """Return a lane for each session, and for each worker or other place where trials ran."""
    ran: dict[int | str, list[TrialData]] = {index: [] for index in range(len(data.sessions))}
    for trial in data.trials:
        running = trial.state is TrialState.RUNNING
        if trial.began is None or (trial.ended is None and not running):
            continue
        timed = replace(trial, ended=max(trial.began, data.last)) if running else trial
        index = _session_of(data, trial)
        place = trial.where or "imported" if index is None else index
        ran.setdefault(place, []).append(timed)
    lanes = []
    for place, trials in ran.items():
        if isinstance(place, str):
            running = any(trial.state is TrialState.RUNNING for trial in trials)
            end = None if running else ClaimReason.RELEASED
            lanes.append(Lane(place, *_span(trials, math.inf, -math.inf), end, tuple(trials)))
            continue
        session = data.sessions[place]
        last = _span(trials, session.began, session.last)[1]
        end, outages = session.end, session.outages
        lanes.append(Lane(session.where, session.began, last, end, tuple(trials), outages))
    return sorted(lanes, key=lambda lane: lane.began)


def timeline(data: SearchData) -> str:
    """Return the timeline as SVG; if there are too many lanes, the newest ones."""
    all_lanes = runtime_lanes(data)
    lanes = all_lanes[-_MAX_LANES:]
    if not lanes:
        return empty_chart("No runtime is recorded yet.")
    canvas = Canvas(WIDTH, _LANE * len(lanes) + 62, f"Timeline of {data.name} by runtime")
    axis = _Axis([(lane.began, lane.last) for lane in lanes], _LEFT, WIDTH - 20)
    ordered = [trial.loss for trial in data.best(len(data.trials))]
    colours = {
        loss: _LOSS_COLOURS[rank * len(_LOSS_COLOURS) // len(ordered)]
        for rank, loss in enumerate(ordered)
    }
    placed = list[tuple[float, float, float, TrialData]]()
    for row, lane in enumerate(lanes):
        middle = _LANE * row + 20.0
        canvas.text(_LEFT - 10, middle + 4, fit_text(lane.where, _LEFT - 14), anchor="end")
        start, end = axis(lane.began), axis(lane.last)
        canvas.rule(start, middle, end, middle)
        placed += [(axis(t.began or 0), axis(t.ended or 0), middle, t) for t in lane.trials]
        for gone, back in lane.outages:
            canvas.rect(axis(gone), middle + 8, axis(back) - axis(gone), 3, ORANGE, "outage")
        _mark_end(canvas, lane, end, middle)
    bars: dict[str, list[tuple[float, float, float]]] = {}
    for began, ended, middle, trial in placed:
        colour = GREY if trial.infeasible else colours.get(trial.loss, GREY)
        bars.setdefault(colour, []).append((began, ended - began, middle))
    for colour, drawn in bars.items():
        canvas.bars(drawn, 13, colour)
    pruned = [(ended - 1.5, 1.5, middle) for _, ended, middle, trial in placed if trial.pruned]
    given_up = [(ended - 1.5, 3.0, middle) for _, ended, middle, trial in placed if trial.given_up]
    marks = [("pruned", GREY, pruned), ("given up", RED, given_up)]
    for _, colour, drawn in marks:
        canvas.bars(drawn, 19, colour)
    if len(data.trials) <= MAX_TOOLTIPS:
        for began, ended, middle, trial in placed:
            canvas.tooltip(began, middle - 7, ended - began, 14, trial_tooltip(trial))
    bottom = _LANE * len(lanes) + 18.0
    axis.draw(canvas, bottom)
    shown = [(name, colour) for name, colour, drawn in marks if drawn]
    _legend(canvas, bottom + 36, len(all_lanes) - len(lanes), shown)
    return str(canvas)


def summary(data: SearchData) -> str:
    """Return the timeline as text, for screen readers and the command line."""
    ends = [lane.end for lane in runtime_lanes(data)]
    words = [f"{len(ends)} runtime{'s' * (len(ends) != 1)}"]
    if killed := sum(end in DEATHS for end in ends):
        words.append(f"{killed} of them killed")
    if taken := ends.count(ClaimReason.TAKEOVER):
        words.append(f"{taken} taken over")
    return ", ".join(words)


def _session_of(data: SearchData, trial: TrialData) -> int | None:
    """Return the session that ran a trial: the last one of its runtime that began before it.

    If the clock was set back, none did; then it is the runtime's first session.
    """
    same = [index for index, session in enumerate(data.sessions) if session.where == trial.where]
    before = [index for index in same if data.sessions[index].began <= (trial.began or 0) + 1]
    if before:
        return before[-1]
    return same[0] if same else None


def _span(trials: Sequence[TrialData], began: float, last: float) -> tuple[float, float]:
    """Return the first and last known time of a lane."""
    began = min([began, *(trial.began for trial in trials if trial.began is not None)])
    return began, max([last, began, *(trial.ended for trial in trials if trial.ended is not None)])


def _mark_end(canvas: Canvas, lane: Lane, x: float, y: float) -> None:
    """Draw a cross for a kill, an arrow for a takeover, a line for a normal end."""
    if lane.end in DEATHS:
        _cross(canvas, x + 5, y, 6)
    elif lane.end is ClaimReason.TAKEOVER:
        canvas.path([(x + 1, y - 6), (x + 8, y), (x + 1, y + 6)], RED)
    elif lane.end is ClaimReason.RELEASED:
        canvas.path([(x + 2, y - 7), (x + 2, y + 7)], GREY)
    canvas.tooltip(x - 2, y - 8, 14, 16, f"{lane.where}: {_ENDS.get(lane.end, lane.end)}")


def _cross(canvas: Canvas, x: float, y: float, reach: int) -> None:
    for slope in (reach, -reach):
        canvas.path([(x - reach, y - slope), (x + reach, y + slope)], RED)


def _legend(canvas: Canvas, y: float, left_out: int, marks: Sequence[tuple[str, str]]) -> None:
    for step, colour in enumerate(_LOSS_COLOURS):
        canvas.rect(_LEFT + 14 * step, y - 9, 14, 10, colour)
    canvas.text(_LEFT - 10, y, "best loss", anchor="end", faint=True)
    x = _LEFT + 14.0 * len(_LOSS_COLOURS) + 8
    canvas.text(x, y, "worst", faint=True)
    canvas.dots([(x + 58, y - 4)], GREY, size=9)
    canvas.text(x + 68, y, "no loss", faint=True)
    _cross(canvas, x + 137, y - 4, 5)
    canvas.text(x + 150, y, "killed", faint=True)
    canvas.rect(x + 196, y - 6, 16, 3, ORANGE)
    canvas.text(x + 218, y, "store away", faint=True)
    for index, (name, colour) in enumerate(marks):
        canvas.bars([(x + 292 + 56 * index, 1.5, y - 4)], 19, colour)
        canvas.text(x + 298 + 56 * index, y, name, faint=True)
    if left_out > 0:
        text = f"{left_out} earlier runtimes left out"
        canvas.text(WIDTH - 20, 9, text, anchor="end", faint=True)


class _Axis:
    """Mapping from times to coordinates, without long gaps in which nothing ran."""

    def __init__(self, spans: Sequence[tuple[float, float]], start: float, end: float) -> None:
        joined: list[list[float]] = []
        gap = max(1.0, sum(last - began for began, last in spans) / 8)  # longer gaps are cut out
        for began, last in sorted(spans):
            if joined and began - joined[-1][1] <= gap:
                joined[-1][1] = max(joined[-1][1], last)
            else:
                joined.append([began, last])
        room = max(end - start - _CUT * (len(joined) - 1), (end - start) / 4)
        self._cut = 0.0 if len(joined) < 2 else (end - start - room) / (len(joined) - 1)
        whole = sum(last - began for began, last in joined) or 1.0
        self._parts: list[tuple[float, float, float, float]] = []
        at = start
        for began, last in joined:
            width = (last - began) / whole * room
            self._parts.append((began, last, at, at + width))
            at += width + self._cut

    def __call__(self, time: float) -> float:
        for began, last, start, end in self._parts:
            if time <= last:
                share = 0.0 if last == began else max(0.0, (time - began) / (last - began))
                return start + share * (end - start)
        return self._parts[-1][3]

    def draw(self, canvas: Canvas, y: float) -> None:
        """Draw the axis, with the length of each gap and the start time of each part."""
        last_label = -math.inf
        for index, (began, last, start, end) in enumerate(self._parts):
            canvas.rule(start, y, end, y)
            if start - last_label > 120:
                zone = " UTC" if index == 0 else ""
                x = min(start, WIDTH - 115)  # the text ends in the picture
                canvas.text(x, y + 15, f"{self._clock(began)}{zone}", faint=True)
                last_label = start
            if index + 1 < len(self._parts) and self._cut > 20:
                after, _, resumed, _ = self._parts[index + 1]
                middle, gap = (end + resumed) / 2, _length(after - last)
                canvas.text(middle, y - 3, gap, anchor="middle", faint=True)
        if WIDTH - 20 - last_label > 200:
            _, last, _, end = self._parts[-1]
            canvas.text(end, y + 15, self._clock(last), anchor="end", faint=True)

    def _clock(self, seconds: float) -> str:
        """Format a time; with seconds if the whole axis is shorter than five minutes."""
        short = self._parts[-1][1] - self._parts[0][0] < 300
        form = "%H:%M:%S" if short else "%b %d, %H:%M"
        return datetime.fromtimestamp(seconds, UTC).strftime(form)


def _length(seconds: float) -> str:
    for name, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
