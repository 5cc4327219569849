"""Trials, sessions and large attachments, as the history of a search keeps them."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from colab_drive_tuner.checkpoint.document_validation import TrialDocument, read_document
from colab_drive_tuner.checkpoint.record_items import (
    Tid,
    TrialEnd,
    check_loss,
    check_pending,
    check_tid,
)
from colab_drive_tuner.checkpoint.recorded_settings import check_outage
from colab_drive_tuner.errors import SearchDamagedError
from colab_drive_tuner.journal.chain.fields import file_id, moment, one_of, sha256_hex, typed, whole
from colab_drive_tuner.journal.chain.record import ClaimReason


class AttachmentFile(NamedTuple):
    """Reference to the separate file of a large attachment."""

    id: str
    sha: str

    @classmethod
    def load(cls, fields: Any) -> "AttachmentFile":
        """Load from a snapshot; raises TypeError or ValueError for invalid fields."""
        entry_id, sha = typed(fields, list)
        return cls(file_id(entry_id), sha256_hex(sha))


@dataclass(slots=True)
class Session:
    """A session, from its claim to its last record."""

    where: str
    """Its process, as the documents of its trials name it: "Colab, process 12 on 3f2a"."""
    began: float
    last: float
    """Time of its newest record, by its own clock."""
    end: ClaimReason | None = None
    """How it ended; None if no end is recorded."""
    outages: list[list[float]] = field(default_factory=list)
    """Start and end of each outage of the store during the session."""

    def dump(self) -> list[Any]:
        """Return the fields for a snapshot."""
        return [self.where, self.began, self.last, self.end or "", self.outages]

    @classmethod
    def load(cls, fields: Any) -> "Session":
        """Load from a snapshot; raises TypeError or ValueError for invalid fields."""
        where, began, last, end, outages = typed(fields, list)
        how = None if end == "" else one_of(ClaimReason, end)
        outages = [check_outage(outage) for outage in typed(outages, list)]
        return cls(typed(where, str), moment(began), moment(last), how, outages)


def process_label(runtime: str, pid: int, host: str) -> str:
    """Return the text by which trials name the process that owns them."""
    return f"{runtime}, process {pid} on {host}"


@dataclass(slots=True)
class RecordedTrial:
    """A trial as recorded in the chain."""

    tid: Tid
    k: int | None
    """Number of the algorithm's call that suggested it; None if it was not suggested."""
    document: bytes
    """The newest document, encoded."""
    end: TrialEnd | None = None
    """How it ended; None if it has not."""
    loss: float | None = None
    """Its loss, if it ended with status ok and the loss is not NaN."""
    model: bool = False
    """Whether its result held a model."""
    attempts: dict[str, int] = field(default_factory=dict)
    """Sessions that count as attempts (rule ATTEMPTS), with the trial's progress at its start.

    A worker that died of the trial counts as well, under `session/1`, `session/2`, ...
    """
    record: int = -1
    """Position of the record that holds the document."""
    pending: tuple[int, ...] = ()
    """Earlier trials that had not ended when the algorithm suggested this one."""
    pruned: bool = False
    """Whether a pruner ended it early."""

    def decoded(self) -> TrialDocument:
        """Decode the document; raises `SearchDamagedError` if it is invalid."""
        try:
            return read_document(self.document, self.tid)
        except SearchDamagedError as error:
            where = f" It is in record {self.record}." if self.record >= 0 else ""
            raise SearchDamagedError(
                f"{error}{where} `colab-drive-tuner repair`, with the search's name, rebuilds the "
                f"search from what is readable."
            ) from error

    def dump(self) -> list[Any]:
        """Return the fields for a snapshot."""
        common = [self.tid, self.k, self.document, self.end, self.loss, self.model, self.attempts]
        rare = [self.pending, self.pruned] if self.pending or self.pruned else []
        return [*common, self.record, *rare]

    @classmethod
    def load(cls, fields: Any) -> "RecordedTrial":
        """Load from a snapshot; raises TypeError or ValueError for invalid fields."""
        tid, k, document, end, loss, model, attempts, record, *more = typed(fields, list)[:10]
        for session, progress in typed(attempts, dict).items():
            typed(session, str)
            whole(progress)
        return cls(
            check_tid(tid),
            None if k is None else whole(k),
            typed(document, bytes),
            None if end is None else one_of(TrialEnd, end),
            check_loss(loss),
            typed(model, bool),
            attempts,
            typed(record, int),
            check_pending(more[0]) if more else (),
            typed(more[1], bool) if len(more) > 1 else False,
        )

    @property
    def counts(self) -> bool:
        """Whether it counts towards `max_evals`."""
        return self.end in (TrialEnd.DONE, TrialEnd.CAUGHT, TrialEnd.GIVEN_UP)

    @property
    def unfinished(self) -> bool:
        """Whether a later session must run it: it has no end, or raised and ended the run."""
        return self.end in (None, TrialEnd.RAISED)
