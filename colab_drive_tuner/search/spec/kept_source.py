"""Source of the objective as a search's settings keep it, and the lines that changed since.

It is kept compressed, and only where it is short: a claim is written at each start. What is read
comes from a store that others may write to, so it is bounded, and counts only where its digest is
that of the fingerprint beside it.
"""

import difflib
import hashlib
import zlib

MOST_BYTES = 32_768
"""A longer source is not kept: then it is only said that it has changed."""
_MOST_LINES = 2_000
"""As many are compared; the time that takes grows with their square."""
_SHOWN_LINES = 12
_SHOWN_WIDTH = 120


def digest(source: str) -> str:
    """The fingerprint of a source."""
    return hashlib.sha256(source.encode()).hexdigest()[:32]


def pack_source(source: str) -> bytes | None:
    """The source, compressed; None where it is too long to be kept, or no source but names."""
    encoded = source.encode()
    if source.startswith("<") or len(encoded) > MOST_BYTES or source.count("\n") >= _MOST_LINES:
        return None
    return zlib.compress(encoded)


def unpack_source(packed: object, fingerprint: str) -> str | None:
    """The source of that fingerprint; None where none is kept, or it is another one."""
    if not isinstance(packed, bytes):
        return None
    try:
        source = zlib.decompressobj().decompress(packed, MOST_BYTES).decode()
    except (zlib.error, UnicodeDecodeError):
        return None  # nothing depends on it but how much a warning can say
    return source if digest(source) == fingerprint else None


def source_difference(before: str, now: str) -> str:
    """The changed lines with one line around them: `- ` was, `+ ` is; at most some twelve.

    Empty where there is nothing to be compared line by line.
    """
    one, other = before.split("\n"), now.split("\n")
    if now.startswith("<") or max(len(one), len(other)) > _MOST_LINES:
        return ""
    # Without the head. Numbers of lines would be those of the text without comments and layout.
    changes = [
        "..." if line.startswith("@@") else f"{line[0]} {line[1:]}"
        for line in list(difflib.unified_diff(one, other, lineterm="", n=1))[3:]
    ]
    shown = [
        line if len(line) <= _SHOWN_WIDTH else f"{line[: _SHOWN_WIDTH - 4]} ..."
        for line in changes[:_SHOWN_LINES]
    ]
    if more := len(changes) - len(shown):
        shown.append(f"... and {more} more lines")
    return "\n".join(f"  {line}" for line in shown)
