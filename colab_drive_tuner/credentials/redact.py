"""Redaction: a server's words without the secrets that it may have echoed, plain or encoded."""

import base64
import html
import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_plus

_SHORTEST = 10
"""Characters: what is shorter is no secret of Google's ("emulator" is a token, and a word)."""
_PIECE = 20
"""Characters of a secret that must not be seen together."""
_DEPTH = 3
"""Encodings inside one another that are looked through."""
_REMOVED = "[removed]"
_SHOWN = 300
"""Characters after which the rest is left out."""
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")
_WORD = re.compile(r"[^\s\"'<>(){}\[\],]+")


def redact(text: str, secrets: Iterable[str]) -> str:
    """Text as it may be shown: printable, without the words in which a secret occurs, cut off.

    Args:
        text: What a server said.
        secrets: What must not be seen, nor a longer piece of it: plain, in any letter case, or by
            percent-encoding, base64, hexadecimal digits, escapes or character references.
    """
    pieces = _pieces(secrets)
    # More than is shown, but not more than a server should cost us.
    shown = "".join(char if char.isprintable() else " " for char in text[: 20 * _SHOWN])
    if pieces:
        shown = _WORD.sub(lambda word: _REMOVED if _holds(word[0], pieces) else word[0], shown)
        if _holds(re.sub(r"\s", "", shown), pieces):
            shown = _REMOVED  # taken apart by spaces or quotes
    return shown[:_SHOWN].strip()


def _pieces(secrets: Iterable[str]) -> frozenset[str]:
    return frozenset(
        secret[start : start + _PIECE].lower()
        for secret in secrets
        if len(secret) >= _SHORTEST
        for start in range(max(1, len(secret) - _PIECE + 1))
    )


def _holds(word: str, pieces: frozenset[str], depth: int = _DEPTH) -> bool:
    lower = word.lower()
    sizes = {len(piece) for piece in pieces}
    for size in sizes:
        if any(lower[at : at + size] in pieces for at in range(len(lower) - size + 1)):
            return True
    if not depth or len(word) < _SHORTEST:
        return False
    return any(_holds(inner, pieces, depth - 1) for inner in _decoded(word) if inner != word)


def _decoded(word: str) -> Iterator[str]:
    yield unquote_plus(word)
    yield html.unescape(word)
    yield _ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), word)
    for run in re.findall(r"[0-9A-Fa-f]{20,}", word):
        for start in (0, 1):
            digits = run[start : start + (len(run) - start) // 2 * 2]
            yield bytes.fromhex(digits).decode("latin-1")
    for run in re.findall(r"[A-Za-z0-9+/_-]{12,}", word):
        plain = run.replace("-", "+").replace("_", "/")
        for start in range(4):  # it may begin anywhere in the run
            rest = plain[start:-1] if (len(plain) - start) % 4 == 1 else plain[start:]
            yield base64.b64decode(rest + "=" * (-len(rest) % 4)).decode("latin-1")
