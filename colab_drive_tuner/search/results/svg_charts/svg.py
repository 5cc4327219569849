"""Drawing primitives for inline SVG: a canvas, scales with ticks, and escaped text.

A picture is a few kB of text that every notebook and browser draws without a library. It inherits
its text colour, so it suits light and dark pages; it has no ids or style sheet, so a page can hold
many of them.
"""

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from colab_drive_tuner.text import escaped, without_middle


def in_notebook(picture: str) -> str:
    """Return a picture as HTML that narrow screens scroll horizontally.

    JupyterLab makes SVG as narrow as its cell, at most. In a notebook that is not trusted it drops
    SVG elements but shows their text, which has no size here.
    """
    inner = f"<div style='min-width:600px'>{picture}</div>"
    return f"<div style='overflow-x:auto;font-size:0'>{inner}</div>"


def number(value: float) -> str:
    """Format a coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def fit_text(text: object, width: float) -> str:
    """Shorten a text in its middle so that it fits into `width` units of a picture in any font."""
    whole = shown = without_middle(text, 400)
    for kept in reversed(range(len(whole))):
        if sum(map(_width, shown)) <= width:
            break
        shown = f"{whole[: (kept + 1) // 2]}…{whole[len(whole) - kept // 2 :]}"
    return shown


def _width(character: str) -> float:
    """Return the maximum width of a character in common fonts."""
    if unicodedata.east_asian_width(character) in "WF" or character in "mwMW@%…":
        return 12.5
    return 5.0 if character in " .,:;'|!()[]ijlftI" else 9.0 if character.isupper() else 7.8


@dataclass(frozen=True)
class Scale:
    """A mapping from values to coordinates, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value, clamped to the ends of the scale."""
        value = min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log(self.low), math.log(self.high), math.log(value)
        else:
            # halved, as their difference may overflow
            low, high, value = self.low / 2, self.high / 2, value / 2
        share = 0.5 if high == low else (value - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Return round values for the labels of an axis."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            stride = max(1, (last - first) // count + 1)
            decades = [10.0**power for power in range(first, last + 1, stride)]
            return decades if len(decades) > 1 else [self.low, self.high]
        span = self.high - self.low
        raw = span / count
        if not 1e-300 < raw < math.inf:
            return [self.low, self.high]
        power = 10.0 ** math.floor(math.log10(raw))
        sizes = (0.5, 1, 2, 5, 10)
        usual = next(index for index, size in enumerate(sizes) if size * power >= raw)
        ticks = self._multiples(sizes[usual] * power, count)
        return ticks if len(ticks) > 1 else self._multiples(sizes[usual - 1] * power, count)

    def _multiples(self, step: float, count: int) -> list[float]:
        first = math.ceil(self.low / step)
        return [
            index * step for index in range(first, first + count + 2) if index * step <= self.high
        ]


def scale_for(values: Sequence[float], start: float, end: float) -> Scale:
    """Return a scale that covers all values.

    It is logarithmic if they span a factor over 100 and are concentrated at the lower end. The
    span alone is not enough: values spread evenly over a range from near 0 can have it too.
    """
    finite = sorted(value for value in values if math.isfinite(value)) or [0.0, 1.0]
    low, middle, high = finite[0], finite[(len(finite) - 1) // 2], finite[-1]
    log = low > 0 and high / low > 100 and middle < high / 4
    if low == high:
        low, high = low - 0.5, high + 0.5
    return Scale(low, high, start, end, log)


class Canvas:
    """SVG picture that is drawn element by element; `label` describes it to screen readers."""

    def __init__(self, width: int, height: int, label: str) -> None:
        self.width, self.height = width, height
        head = (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' "
            f"width='{width}' height='{height}' role='img' aria-label='{escaped(label)}' "
            "fill='currentColor' font-family='system-ui,sans-serif' font-size='12'>"
        )
        self._parts = [head]

    def _add(self, tag: str, content: str = "", /, **attributes: object) -> None:
        """Add an element; numbers are rounded, and attributes that are None are left out."""
        given = "".join(
            f" {name.replace('_', '-')}='{number(value) if isinstance(value, float) else value}'"
            for name, value in attributes.items()
            if value is not None
        )
        self._parts.append(f"<{tag}{given}>{content}</{tag}>" if content else f"<{tag}{given}/>")

    def text(
        self, x: float, y: float, text: object, *, anchor: str = "start", faint: bool = False
    ) -> None:
        """Draw a line of text whose `anchor` (start, middle or end) is at `x`."""
        alignment = None if anchor == "start" else anchor
        opacity = ".65" if faint else None
        self._add("text", escaped(text), x=x, y=y, text_anchor=alignment, opacity=opacity)

    def rect(
        self, x: float, y: float, width: float, height: float, colour: str, title: object = ""
    ) -> None:
        """Draw a filled rectangle, at least one unit wide, with an optional tooltip."""
        tooltip = f"<title>{escaped(title)}</title>" if title else ""
        self._add("rect", tooltip, x=x, y=y, width=max(width, 1), height=height, fill=colour)

    def tooltip(self, x: float, y: float, width: float, height: float, title: object) -> None:
        """Add an invisible area with a tooltip."""
        area = {"x": x, "y": y, "width": max(width, 3), "height": height}
        self._add("rect", f"<title>{escaped(title)}</title>", **area, fill_opacity="0")

    def path(
        self,
        points: Iterable[tuple[float, float]],
        colour: str,
        *,
        dashed: bool = False,
        width: float = 1.8,
    ) -> None:
        """Draw a line through the points."""
        steps = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        dashes = "4 3" if dashed else None
        line = {"stroke": colour, "stroke_width": width, "stroke_dasharray": dashes}
        self._add("polyline", points=steps, fill="none", **line)

    def dots(self, points: Iterable[tuple[float, float]], colour: str, *, size: float = 5) -> None:
        """Draw points of one colour, as a single path."""
        if steps := "".join(f"M{number(x)},{number(y)}h0" for x, y in points):
            line = {"stroke": colour, "stroke_width": size, "stroke_linecap": "round"}
            self._add("path", d=steps, **line, fill="none", opacity=".8")

    def bars(self, bars: Iterable[tuple[float, float, float]], height: float, colour: str) -> None:
        """Draw horizontal bars (x, width, middle y) of one colour, as a single path."""
        drawn = ((x, y, max(width, 0.8)) for x, width, y in bars)
        if steps := "".join(f"M{number(x)},{number(y)}h{number(wide)}" for x, y, wide in drawn):
            self._add("path", d=steps, stroke=colour, stroke_width=height, fill="none")

    def rule(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """Draw a thin line, for axes and grids."""
        self._add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke="currentColor", stroke_opacity=".25")

    def x_axis(
        self, scale: Scale, y: float, show: Callable[[Sequence[float]], list[str]], count: int = 5
    ) -> None:
        """Draw a horizontal axis with values below it."""
        self.rule(scale.start, y, scale.end, y)
        values = scale.ticks(count)
        for value, text in zip(values, show(values), strict=True):
            self.text(scale(value), y + 15, text, anchor="middle", faint=True)

    def y_axis(self, scale: Scale, x: float, to: float) -> None:
        """Draw a vertical axis: values, each with a faint line across the chart."""
        values = scale.ticks(5)
        for value, text in zip(values, short_numbers(values), strict=True):
            self.rule(x, scale(value), to, scale(value))
            self.text(x - 6, scale(value) + 4, text, anchor="end", faint=True)

    def __str__(self) -> str:
        return "".join([*self._parts, "</svg>"])


def y_axis_width(scale: Scale, least: float) -> float:
    """Return the width needed for the values at the left of a vertical axis."""
    return max([least, *(8 + sum(map(_width, text)) for text in short_numbers(scale.ticks(5)))])


def short_numbers(values: Sequence[float]) -> list[str]:
    """Format an axis's values with four digits, or as many as make them distinct."""
    for digits in range(4, 17):
        texts = [f"{value:.{digits}g}" for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts
