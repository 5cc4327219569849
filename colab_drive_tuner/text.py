"""Text for display in terminals and HTML: untrusted text is escaped; colours and progress bars.

Names, accounts and error texts in a store may come from somebody else. In a terminal, control
characters can retitle the window, fill the clipboard, clear the screen, reverse a name or fake a
line of output. They become visible escapes.
"""

import html
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

BLUE, ORANGE, RED, GREEN, GREY = "#4c8dd0", "#e08a2c", "#d9534f", "#3f9e5a", "#8a8f98"

_EMOJI = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf"
    "\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
_FLAG = "\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,8}\U000e007f"
"""A black flag followed by the invisible letters of a region."""
_KEPT = (
    f"{_FLAG}|(?<=[{_EMOJI}\ufe0f])\u200d(?=[{_EMOJI}])"  # joiner between two emoji
    f"|(?<=[{_EMOJI}0-9#*])[\ufe0e\ufe0f]"  # text or emoji presentation of the character before it
)
_HIDDEN = (
    "\x00-\x1f\x7f-\x9f\xad"  # C0, C1, soft hyphen
    "\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, line separators, directions
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"
    "\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_UNSAFE = re.compile(f"({_KEPT})|[{_HIDDEN}]")
_LINES = re.compile(f"({_KEPT}|\n)|[{_HIDDEN}]")


def visible(text: object, *, lines: bool = False) -> str:
    r"""Escape each character that a terminal would interpret or not show; `lines` keeps newlines.

    Emoji of several characters are kept. Objects other than texts: see `text_of`.
    """
    return (_LINES if lines else _UNSAFE).sub(_escaped, text_of(text))


def text_of(value: object, form: Callable[[object], str] = str) -> str:
    """Return `str(value)` (or `repr`, as `form`); a placeholder if that raises.

    It raises for integers with too many digits, and where an object's own method fails.
    """
    try:
        return form(value)
    except Exception:  # noqa: BLE001 - a user-defined method may raise anything
        return f"<{type(value).__name__} that cannot be shown>"


def _escaped(match: re.Match[str]) -> str:
    # Python's own escapes: \n, \x1b, \u202e.
    return match[1] or match[0].encode("unicode_escape").decode("ascii")


def escaped(text: object) -> str:
    """Escape untrusted text for HTML and SVG, including attributes."""
    return html.escape(visible(text), quote=True)


def utc_time(seconds: float) -> str:
    """Return a time in seconds since 1970 as text, to the minute."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def first_of(items: Sequence[object], most: int = 12) -> str:
    """Join the first items, and say how many more there are."""
    more = len(items) - most
    return ", ".join(map(str, items[:most])) + (f" and {more} more" if more > 0 else "")


def shortened(text: object, width: int) -> str:
    """Shorten text to at most `width` characters."""
    whole = visible(text)
    return whole if len(whole) <= width else f"{whole[: width - 1]}…"


def without_middle(text: object, width: int) -> str:
    """Shorten an error or a dotted name to at most `width` characters: both ends matter."""
    whole = visible(text)
    head = (width - 3) // 2
    return whole if len(whole) <= width else f"{whole[:head]} … {whole[head + 3 - width :]}"


def bar(share: float, *, width: str = "100%") -> str:
    """Return a progress bar, filled to `share` (0 to 1)."""
    filled = max(0.0, min(share, 1.0))
    return (
        f"<div style='height:6px;width:{width};background:rgba(128,128,128,.3);border-radius:3px'>"
        f"<div style='height:6px;width:{filled:.1%};background:{GREEN};border-radius:3px'></div>"
        "</div>"
    )
