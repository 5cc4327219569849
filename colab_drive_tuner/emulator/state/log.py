"""The request log: one line of JSON a request, never a token or an upload's secret address."""

import json
from collections import deque
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

SECRET = frozenset({"access_token", "oauth_token", "key", "upload_id", "token"})
KEPT = 100_000


def public_query(query: list[tuple[str, str]]) -> str:
    """The query string without the values that open something."""
    return urlencode([(name, "..." if name in SECRET else value) for name, value in query])


class RequestLog:
    """The latest requests in memory, all of them in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.count = 0
        """Requests seen since the start or the last `clear`."""
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def add(self, entry: dict[str, Any]) -> None:
        """Write an entry."""
        self.count += 1
        self.entries.append(entry)
        self._file.write(json.dumps(entry) + "\n")

    def since(self, start: int) -> list[dict[str, Any]]:
        """Entries from the start-th on, as far as they are kept."""
        first = self.count - len(self.entries)
        return list(self.entries)[max(0, start - first) :]

    def clear(self) -> None:
        """Forget what is in memory; the file keeps it."""
        self.entries.clear()
        self.count = 0

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
