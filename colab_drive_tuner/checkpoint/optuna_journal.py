"""Lines of an Optuna study's journal storage, recorded in the chain of a search.

Optuna replays these lines of JSON and numbers trials by their order. So each line has a position
(`at`), and a line spooled by a dead session is valid only if no other session has written since.
The conversion of studies to series is in search/results/.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from colab_drive_tuner.checkpoint.record_items import Item, ItemKind, check_line, pack_item
from colab_drive_tuner.journal.chain.fields import sha256_hex, typed


@dataclass
class OptunaJournal:
    """The acknowledged lines of a study, and the session that wrote the last one."""

    lines: list[bytes] = field(default_factory=list)
    session: str = ""
    """Session that wrote the last line; empty without lines."""
    digest: str = hashlib.sha256(b"").hexdigest()
    """Chained sha256 of all lines."""

    def append(self, item: Item) -> None:
        """Append a line, unless it does not follow the last one because of a gap in a spool."""
        session, at, base = place_of_line(item)
        if at != len(self.lines) or (session != self.session and base != self.digest):
            return
        self.lines.append(item.document)
        self.session = session
        self.digest = hashlib.sha256(self.digest.encode() + item.document).hexdigest()

    def wants(self, item: Item) -> bool:
        """Return whether a spooled line follows the recorded ones."""
        session, at, base = place_of_line(item)
        return at >= len(self.lines) and (session == self.session or base == self.digest)

    def dump(self) -> list[Any]:
        """Return the fields for a snapshot."""
        return [self.lines, self.session, self.digest]

    @classmethod
    def load(cls, fields: Any) -> "OptunaJournal":
        """Load from a snapshot; raises KeyError, TypeError or ValueError for invalid fields."""
        lines, session, digest = typed(fields, list)
        for line in typed(lines, list):
            check_line(line)
        return cls(lines, typed(session, str), sha256_hex(digest))


def line_item(line: bytes, session: str, at: int, base: str) -> bytes:
    """Encode a line of JSON that `session` wrote at position `at` among all lines.

    `base` is the digest of the lines that the session found when it began.
    """
    place = {"session": session, "at": at, "base": base}
    return pack_item(ItemKind.LOG, document=line, settings=place)


def place_of_line(item: Item) -> tuple[str, int, str]:
    """Return the session, position and base digest of a line."""
    info = item.settings or {}
    return info["session"], info["at"], info["base"]
