"""Text from outside made safe to show: control and direction characters become visible escapes.

A name, an account or an error text that lies in a store may have been written by somebody else, and
a terminal obeys what it is sent: it retitles its window, fills the clipboard, clears the screen,
shows a name backwards, or a line that nobody wrote.
"""

import re
from collections.abc import Callable

_EMOJI = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf"
    "\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
_FLAG = "\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,8}\U000e007f"
"""A black flag with the letters of a region, each of them invisible."""
_KEPT = (
    f"{_FLAG}|(?<=[{_EMOJI}\ufe0f])\u200d(?=[{_EMOJI}])"  # joins two emoji
    f"|(?<=[{_EMOJI}0-9#*])[\ufe0e\ufe0f]"  # shows the character before it as text or as emoji
)
_HIDDEN = (
    "\x00-\x1f\x7f-\x9f\xad"  # C0, C1, a hyphen that is not there
    "\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # no width, ends of lines, directions
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"
    "\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_UNSAFE = re.compile(f"({_KEPT})|[{_HIDDEN}]")
_LINES = re.compile(f"({_KEPT}|\n)|[{_HIDDEN}]")


def visible(text: object, *, lines: bool = False) -> str:
    r"""The text with each character that a terminal would obey, or not show, as an escape.

    Args:
        text: The text, or an object of which its text is shown, as `text_of` has it.
        lines: Whether the end of a line stays one; without it, it becomes a visible `\n`.

    Returns:
        A text of printable characters. Emoji of several characters stay whole.
    """
    return (_LINES if lines else _UNSAFE).sub(_escaped, text_of(text))


def text_of(value: object, form: Callable[[object], str] = str) -> str:
    """The `str` of any value, or its `repr`; of one that has none, what it is.

    That is an integer of more digits than Python writes, or an object whose own method raises.
    """
    try:
        return form(value)
    except Exception:  # noqa: BLE001 - the method of an object of people's own
        return f"<{type(value).__name__} that cannot be shown>"


def _escaped(match: re.Match[str]) -> str:
    # Python's own escapes: \n, \x1b, \u202e.
    return match[1] or match[0].encode("unicode_escape").decode("ascii")
