"""Journal of a search: a chain of immutable records, claimed by one session at a time.

Rule names in capitals (READ, CREATE, APPEND, ...) refer to docs/protocol.md; tests/journal has an
executable model of them. The journal never decodes a payload: decisions that depend on the content
are functions passed in by the caller (`PayloadRules`).
"""

from colab_drive_tuner.journal.chain.record import Claimant, Record
from colab_drive_tuner.journal.journal import Claim, Journal
from colab_drive_tuner.journal.lease import Holder
from colab_drive_tuner.journal.reader import PayloadRules, State
from colab_drive_tuner.journal.writer import Counts

__all__ = ["Claim", "Claimant", "Counts", "Holder", "Journal", "PayloadRules", "Record", "State"]
