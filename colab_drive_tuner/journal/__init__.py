"""One search as a chain of immutable records: claimed, appended to in the background, read back.

PROTOCOL names in comments (READ, CREATE, APPEND, ...) are those of docs/protocol.md; the executable
model of it lies in tests/journal. Nothing here looks into a payload: what has to be decided by
content is handed in as functions (`Rules`).
"""

from colab_drive_tuner.journal.chain.record import Claimant, Record
from colab_drive_tuner.journal.journal import Claim, Journal
from colab_drive_tuner.journal.lease import Holder
from colab_drive_tuner.journal.reader import Rules, State
from colab_drive_tuner.journal.writer import Counts

__all__ = ["Claim", "Claimant", "Counts", "Holder", "Journal", "Record", "Rules", "State"]
