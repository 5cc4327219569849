"""Request log: one JSON line per request, without tokens and secret upload URIs."""

import json
from collections import deque
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

SECRET = frozenset(
    {
        "access_token", "oauth_token", "key", "upload_id", "token",
        "refresh_token", "client_secret", "assertion",
    }
)  # fmt: skip
KEPT = 100_000


def public_query(query: list[tuple[str, str]]) -> str:
    """Return the query string without secret values."""
    return urlencode([(name, "..." if name in SECRET else value) for name, value in query])


class RequestLog:
    """Log of the latest requests in memory, and of all requests in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.count = 0
        """Number of requests since the start or the last `clear`."""
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def add(self, entry: dict[str, Any]) -> None:
        """Add an entry."""
        self.count += 1
        self.entries.append(entry)
        self._file.write(json.dumps(entry) + "\n")

    def since(self, start: int) -> list[dict[str, Any]]:
        """Return the entries from number `start` on, as far as they are kept."""
        first = self.count - len(self.entries)
        return list(self.entries)[max(0, start - first) :]

    def clear(self) -> None:
        """Clear the entries in memory; the file keeps them."""
        self.entries.clear()
        self.count = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()
