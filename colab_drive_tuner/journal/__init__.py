"""Journal of a search: a chain of immutable records, claimed by one session at a time.

Rule names in capitals (READ, CREATE, APPEND, ...) refer to docs/protocol.md; tests/journal has an
executable model of them. The journal never decodes a payload: decisions that depend on the content
are functions passed in by the caller (`PayloadRules`).
"""

from colab_drive_tuner.journal.journal import Claim, Journal
from colab_drive_tuner.journal.reader import PayloadRules

__all__ = ["Claim", "Journal", "PayloadRules"]
