"""Charts of a search as inline SVG: loss over trials, importance, slices and learning curves."""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from colab_drive_tuner.search.results.search_data import (
    SearchData,
    TrialData,
    is_number,
    used_parameters,
)
from colab_drive_tuner.search.results.svg_charts.svg import (
    Canvas,
    Scale,
    fit_text,
    scale_for,
    short_numbers,
    y_axis_width,
)
from colab_drive_tuner.text import BLUE, GREEN, GREY, ORANGE, RED, shortened, without_middle

WIDTH = 720
_LINES = (BLUE, ORANGE, GREEN, RED, "#8a63d2")
MAX_TOOLTIPS = 300
"""Trials have tooltips if there are no more than this."""
_MAX_DOTS = 8_000
"""Maximum number of dots in all slices of a page; beyond it, a sample of the trials is drawn."""
_MAX_BARS, _MAX_SLICES, _MAX_CURVES = 15, 12, len(_LINES)
_MAX_CATEGORIES = 12
_MAX_PRUNED = 100
"""Maximum number of curves of pruned trials; the newest are drawn."""
_FEW = 4
"""Up to this many different numbers are drawn side by side, like categories."""


def history(data: SearchData) -> str:
    """Draw the loss of each trial, the best so far, and the pruned and failed trials."""
    trials, count = data.with_finite_loss, len(data.trials)
    if not trials:
        return empty_chart(without_loss(data))
    y = _loss_scale([trial.finite_loss or 0.0 for trial in trials], 210, 25)
    x = Scale(0, max(count - 1, 1), y_axis_width(y, 60), WIDTH - 15)
    y_label = "loss" + (" (logarithmic)" if y.log else "")
    canvas = _framed(f"Loss over trials of {data.name}", x, y, "trial", y_label)
    placed = [(x(index), trial) for index, trial in enumerate(data.trials)]
    dots: dict[str, list[tuple[float, float]]] = {GREY: [], BLUE: []}
    for at, trial in placed:
        if trial.finite_loss is not None:
            colour = GREY if trial.pruned or trial.infeasible else BLUE
            dots[colour].append((at, y(trial.finite_loss)))
    for colour, spots in dots.items():
        canvas.dots(spots, colour)
    without = [(at, trial) for at, trial in placed if trial.finite_loss is None]
    marks = [at for at, trial in without if trial.failed or trial.loss is not None]
    # narrow, so that many do not look like all
    width = min(max((x.end - x.start) / count, 0.8), 5)
    canvas.bars(((at - width / 2, width, 217.0) for at in marks), 6, RED)
    if corners := _best_so_far(placed, y):
        canvas.path([*corners, (x(count - 1), corners[-1][1])], ORANGE)
    for at, trial in placed if count <= MAX_TOOLTIPS else ():
        middle = 220 if trial.finite_loss is None else y(trial.finite_loss)
        canvas.tooltip(at - 4, middle - 4, 8, 8, trial_tooltip(trial))
    others = sorted({trial.ending for trial in trials if trial.pruned or trial.infeasible})
    kinds = ["failed"] * bool(data.failed) + ["infinite"] * (len(data.with_loss) > len(trials))
    legend = [("loss", BLUE), ("best so far", ORANGE)]
    legend += [(" or ".join(names), c) for names, c in ((others, GREY), (kinds, RED)) if names]
    _legend(canvas, legend)
    return str(canvas)


def _best_so_far(placed: Iterable[tuple[float, TrialData]], y: Scale) -> list[tuple[float, float]]:
    """Return the corners of the line of the best loss, which falls at each better trial."""
    corners, best = list[tuple[float, float]](), math.inf
    for at, trial in placed:
        if trial.loss is not None and trial.loss < best and not trial.infeasible:
            if corners:
                corners.append((at, y(best)))
            best = trial.loss
            corners.append((at, y(best)))
    return corners


def importance(data: SearchData) -> str:
    """Draw the importance of each parameter."""
    shares = list(data.importance().items())[:_MAX_BARS]
    if not shares:
        return empty_chart("Too few trials have a loss to tell which parameters matter.")
    canvas = Canvas(WIDTH, 24 * len(shares) + 10, f"Importance of parameters in {data.name}")
    largest = max(shares[0][1], 0.01)
    for row, (name, share) in enumerate(shares):
        y = 24 * row + 8
        canvas.text(190, y + 13, fit_text(name, 185), anchor="end")
        canvas.rect(200, y, share / largest * (WIDTH - 270), 17, BLUE, name)
        canvas.text(208 + share / largest * (WIDTH - 270), y + 13, f"{share:.0%}", faint=True)
    return str(canvas)


def slices(data: SearchData) -> str:
    """Draw the loss over each parameter, the most important ones first."""
    names = list(data.importance()) or list(data.parameters)
    trials = data.with_finite_loss
    shown = used_parameters(names, trials)[:_MAX_SLICES]
    if not shown:
        return empty_chart(without_loss(data))
    columns, width, height = 3, WIDTH / 3, 190
    rows = math.ceil(len(shown) / columns)
    canvas = Canvas(WIDTH, rows * height, f"Loss over each parameter of {data.name}")
    best, most = next(iter(data.best(1)), None), max(1, _MAX_DOTS // len(shown))
    y = _loss_scale([trial.finite_loss or 0.0 for trial in trials], height - 45, 22)
    axis = y_axis_width(y, 48)
    for index, name in enumerate(shown):
        left, top = index % columns * width, index // columns * height
        placed = replace(y, start=y.start + top, end=y.end + top)
        with_value = [trial for trial in trials if name in trial.parameters]
        # A random sample, because every n-th trial may follow a pattern, as in a grid search.
        rng = random.Random(0)  # noqa: S311 - a picture needs no secret
        drawn = rng.sample(with_value, min(len(with_value), most))
        if best and name in best.parameters:
            drawn.append(best)
        span = left + axis, left + width - 12
        _slice(canvas, name, drawn, best, placed, span)
    return str(canvas)


def _slice(
    canvas: Canvas,
    name: str,
    trials: Sequence[TrialData],
    best: TrialData | None,
    y: Scale,
    span: tuple[float, float],
) -> None:
    """Draw the losses over one parameter, from left to right, with the best trial marked."""
    (start, end), bottom = span, y.start + 8
    canvas.y_axis(y, start, end)
    canvas.text((start + end) / 2, bottom + 32, fit_text(name, end - start), anchor="middle")
    values = [trial.parameters[name] for trial in trials]
    if all(map(is_number, values)) and len(set(values)) > _FEW:
        x = scale_for(values, start + 6, end - 6)
        canvas.x_axis(x, bottom, short_numbers, 3)
        at = dict(zip(map(id, trials), map(x, values), strict=True))
    else:
        texts = [shortened(value, 400) for value in values]
        categories = _ordered(zip(texts, values, strict=True))
        slot = (end - start) / min(len(categories), _MAX_CATEGORIES)
        middles = {
            category: start + slot * (min(index, _MAX_CATEGORIES - 1) + 0.5)
            for index, category in enumerate(categories)
        }
        canvas.rule(start, bottom, end, bottom)
        if len(categories) <= 5:
            for text, middle in middles.items():
                canvas.text(middle, bottom + 15, fit_text(text, slot), anchor="middle", faint=True)
        at = {id(trial): middles[text] for trial, text in zip(trials, texts, strict=True)}
    canvas.dots(
        [(at[id(t)], y(t.loss)) for t in trials if t is not best and t.loss is not None], BLUE
    )
    if best and best.loss is not None and id(best) in at:
        canvas.dots([(at[id(best)], y(best.loss))], ORANGE, size=9)


def _ordered(categories: Iterable[tuple[str, Any]]) -> list[str]:
    """Return the distinct texts: numbers by value, followed by the others by name."""
    value_of = dict(categories)
    return sorted(
        value_of,
        key=lambda text: (0, value_of[text], "") if is_number(value_of[text]) else (1, 0, text),
    )


def learning_curves(data: SearchData) -> str:
    """Draw the learning curves of the best trials in front of those of pruned trials.

    The metric is `val_loss` if it exists, otherwise the first reported one.
    """
    names = dict.fromkeys(name for trial in data.trials for name in trial.curves)
    named = "val_loss" if "val_loss" in names else next(iter(names), "")
    drawn = {id(t): curve for t in data.trials if (curve := _drawn_curve(t, named))}
    trials = [trial for trial in data.best(len(data.trials)) if id(trial) in drawn][:_MAX_CURVES]
    if not trials:
        return empty_chart("No trial reported a history of its epochs.")
    curves = [drawn.pop(id(trial)) for trial in trials]
    ended_early = [id(trial) for trial in data.trials if trial.pruned and id(trial) in drawn]
    pruned = [drawn[key] for key in ended_early[-_MAX_PRUNED:]]
    points = [point for curve in curves + pruned for point in curve]
    y = _loss_scale([value for _, value in points], 210, 25)
    x = Scale(1, max(2, *(epoch for epoch, _ in points)), y_axis_width(y, 60), WIDTH - 15)
    title = f"Learning curves of {data.name}"
    canvas = _framed(title, x, y, "epoch", fit_text(named, 170))
    for curve in pruned:
        spots = [(x(epoch), y(value)) for epoch, value in curve]
        canvas.path(spots, GREY, width=0.8)
        canvas.dots(spots[-1:], GREY, size=4)
    for curve, colour in zip(curves, _LINES, strict=False):
        spots = [(x(epoch), y(value)) for epoch, value in curve]
        canvas.path(spots, colour)
        canvas.dots(spots if len(spots) < 2 else spots[-1:], colour)
    labels = [fit_text(f"trial {trial.tid}", 70) for trial in trials]
    legend = [*zip(labels, _LINES, strict=False)]
    _legend(canvas, [*legend, ("pruned", GREY)] if pruned else legend)
    return str(canvas)


def _drawn_curve(trial: TrialData, metric: str) -> list[tuple[int, float]]:
    """Return the epochs and finite values of a trial's curve."""
    curve = enumerate(trial.curves.get(metric, ()), 1)
    return [(epoch, value) for epoch, value in curve if math.isfinite(value)]


def _framed(title: str, x: Scale, y: Scale, x_label: str, y_label: str) -> Canvas:
    """Return a canvas with these axes and their labels."""
    canvas = Canvas(WIDTH, 260, title)
    canvas.y_axis(y, x.start, x.end)
    canvas.x_axis(x, 220, lambda values: [f"{v:.0f}" if v == int(v) else "" for v in values])
    canvas.text(x.end, 252, x_label, anchor="end", faint=True)
    canvas.text(8, 14, y_label, faint=True)
    return canvas


def trial_tooltip(trial: TrialData) -> str:
    """Return a trial's tooltip."""
    parts = [f"trial {trial.tid}"]
    if trial.loss is not None:
        parts.append(f"loss {trial.loss:.6g}")
    if trial.loss is None or trial.ending != trial.state:
        parts.append(trial.error_text or trial.ending)
    if trial.seconds is not None:
        parts.append(f"{trial.seconds:.3g} s")
    named = list(trial.parameters.items())[:12]
    parts += [f"{without_middle(name, 40)}={shortened(value, 40)}" for name, value in named]
    return ", ".join(parts)


def _loss_scale(losses: Sequence[float], bottom: float, top: float) -> Scale:
    """Return the scale of losses; a few outliers do not compress the others."""
    ordered = sorted(losses)
    low, high = ordered[0], ordered[-1]
    usual = ordered[int(0.95 * (len(ordered) - 1))]
    if low <= 0 and high - low > 10 * (usual - low) > 0:
        high = usual  # outliers are drawn at the edge
    return scale_for([min(loss, high) for loss in ordered], bottom, top)


def _legend(canvas: Canvas, entries: Sequence[tuple[str, str]]) -> None:
    x = canvas.width - 15.0
    for name, colour in reversed(entries):
        x -= 7 * len(name) + 22
        canvas.dots([(x, 10)], colour, size=8)
        canvas.text(x + 9, 14, name, faint=True)


def without_loss(data: SearchData) -> str:
    """Return why no loss of a search can be drawn."""
    return "Every loss is infinite." if data.with_loss else "No trial has a loss yet."


def empty_chart(text: str) -> str:
    """Return a picture with the reason why there is nothing to draw."""
    canvas = Canvas(WIDTH, 30, text)
    canvas.text(10, 20, text, faint=True)
    return str(canvas)
