"""Log of an Optuna study in its chain: lines of JSON in the order in which they were written.

Optuna's journal storage replays these lines and numbers trials by their order. So a line has a
place (`at`), and one that was spooled by a dead session belongs there only while no other session
has written since.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from colab_drive_tuner.checkpoint.record_items import Item, ItemKind, check_line, pack_item
from colab_drive_tuner.journal.chain.fields import sha256_hex, typed


@dataclass
class OptunaJournal:
    """The acknowledged lines, and which session wrote the last of them."""

    lines: list[bytes] = field(default_factory=list)
    session: str = ""
    """Which session wrote the last line; empty: there is none."""
    digest: str = hashlib.sha256(b"").hexdigest()
    """Of all lines, one after the other."""

    def take(self, item: Item) -> None:
        """Take in a line; one that is out of its place, behind a hole in a spool, is left out."""
        session, at, base = place_of_line(item)
        if at != len(self.lines) or (session != self.session and base != self.digest):
            return
        self.lines.append(item.document)
        self.session = session
        self.digest = hashlib.sha256(self.digest.encode() + item.document).hexdigest()

    def wants(self, item: Item) -> bool:
        """Whether a spooled line follows those that are there."""
        session, at, base = place_of_line(item)
        return at >= len(self.lines) and (session == self.session or base == self.digest)

    def dump(self) -> list[Any]:
        """What a snapshot keeps."""
        return [self.lines, self.session, self.digest]

    @classmethod
    def load(cls, fields: Any) -> "OptunaJournal":
        """Read what `dump` wrote; raises KeyError, TypeError or ValueError for anything else."""
        lines, session, digest = typed(fields, list)
        for line in typed(lines, list):
            check_line(line)
        return cls(lines, typed(session, str), sha256_hex(digest))


def line_item(line: bytes, session: str, at: int, base: str) -> bytes:
    """A line of a study's log.

    Args:
        line: The JSON.
        session: Which session wrote it.
        at: Its place among all lines.
        base: The digest of the lines that the session found.
    """
    place = {"session": session, "at": at, "base": base}
    return pack_item(ItemKind.LOG, document=line, settings=place)


def place_of_line(item: Item) -> tuple[str, int, str]:
    """The session, place and base of a line."""
    info = item.settings or {}
    return info["session"], info["at"], info["base"]
