"""Redaction of secrets from a server's text, plain or encoded."""

import base64
import html
import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_plus

_SHORTEST = 10
"""Minimum length of a secret: shorter ones, such as the emulator's token, are ordinary words."""
_PIECE = 20
"""Length of a piece of a secret that must not be shown."""
_DEPTH = 3
"""Number of nested encodings that are decoded."""
_REMOVED = "[removed]"
_SHOWN = 300
"""Maximum length of the result, in characters."""
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")
_WORD = re.compile(r"[^\s\"'<>(){}\[\],]+")


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return printable text without the words that contain a secret, truncated.

    Args:
        text: Text from a server.
        secrets: Secrets to remove, and any longer piece of them: plain, in any letter case, or
            encoded by percent-encoding, base64, hexadecimal digits, escapes or character
            references.
    """
    pieces = _pieces(secrets)
    # Limited, so that a server cannot cause unbounded work.
    shown = "".join(char if char.isprintable() else " " for char in text[: 20 * _SHOWN])
    if pieces:
        shown = _WORD.sub(lambda word: _REMOVED if _holds(word[0], pieces) else word[0], shown)
        if _holds(re.sub(r"\s", "", shown), pieces):
            shown = _REMOVED  # split by spaces or quotes
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
        for start in range(4):  # the encoding may begin anywhere in the run
            rest = plain[start:-1] if (len(plain) - start) % 4 == 1 else plain[start:]
            yield base64.b64decode(rest + "=" * (-len(rest) % 4)).decode("latin-1")
