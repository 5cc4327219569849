"""HTML helpers shared by notebook output, charts and reports: escaping, colours, progress bars."""

import html

from colab_drive_tuner.text import visible

BLUE, ORANGE, RED, GREEN, GREY = "#4c8dd0", "#e08a2c", "#d9534f", "#3f9e5a", "#8a8f98"


def escaped(text: object) -> str:
    """Escape untrusted text for HTML and SVG, including attributes."""
    return html.escape(visible(text), quote=True)


def shortened(text: object, width: int) -> str:
    """Shorten text to at most `width` characters."""
    whole = visible(text)
    return whole if len(whole) <= width else f"{whole[: width - 1]}…"


def bar(share: float, *, width: str = "100%") -> str:
    """Return a progress bar, filled to `share` (0 to 1)."""
    filled = max(0.0, min(share, 1.0))
    return (
        f"<div style='height:6px;width:{width};background:rgba(128,128,128,.3);border-radius:3px'>"
        f"<div style='height:6px;width:{filled:.1%};background:{GREEN};border-radius:3px'></div>"
        "</div>"
    )
