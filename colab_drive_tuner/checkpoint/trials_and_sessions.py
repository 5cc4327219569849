"""Entries of a search's history: a trial, a session, a large attachment."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from colab_drive_tuner.checkpoint.document_validation import TrialDocument, read_document
from colab_drive_tuner.checkpoint.record_items import (
    Tid,
    TrialEnd,
    check_loss,
    check_outage,
    check_pending,
    check_tid,
)
from colab_drive_tuner.errors import SearchDamagedError
from colab_drive_tuner.journal.chain.fields import file_id, one_of, sha256_hex, typed, whole
from colab_drive_tuner.journal.chain.record import ClaimReason


class AttachmentFile(NamedTuple):
    """Where a large attachment lies: in a file beside the chain."""

    id: str
    sha: str

    @classmethod
    def load(cls, fields: Any) -> "AttachmentFile":
        """Read one of a snapshot; raises TypeError or ValueError for anything else."""
        entry_id, sha = typed(fields, list)
        return cls(file_id(entry_id), sha256_hex(sha))


@dataclass(slots=True)
class Session:
    """One runtime's time with the search, from its claim to its last record."""

    where: str
    """As the documents of its trials name it: "Colab, process 12 on 3f2a"."""
    began: float
    last: float
    """When its newest record was written, by its own clock."""
    end: ClaimReason | None = None
    """How it ended; None: it has not, as far as is recorded."""
    outages: list[list[float]] = field(default_factory=list)
    """From when to when the store did not answer it."""

    def dump(self) -> list[Any]:
        """What a snapshot keeps."""
        return [self.where, self.began, self.last, self.end or "", self.outages]

    @classmethod
    def load(cls, fields: Any) -> "Session":
        """Read what `dump` wrote; raises TypeError or ValueError for anything else."""
        where, began, last, end, outages = typed(fields, list)
        how = None if end == "" else one_of(ClaimReason, end)
        outages = [check_outage(outage) for outage in typed(outages, list)]
        return cls(typed(where, str), typed(began, float), typed(last, float), how, outages)


def process_label(runtime: str, pid: int, host: str) -> str:
    """A process in words, as trials name their owner."""
    return f"{runtime}, process {pid} on {host}"


@dataclass(slots=True)
class RecordedTrial:
    """What the chain says of one trial."""

    tid: Tid
    k: int | None
    """Which call of the algorithm suggested it; None: none did."""
    document: bytes
    """The newest document, encoded."""
    end: TrialEnd | None = None
    """How it ended; None: it has not."""
    loss: float | None = None
    """Where it ended with status ok and a loss that is not NaN."""
    model: bool = False
    """Whether its result held a model."""
    attempts: dict[str, int] = field(default_factory=dict)
    """Sessions that started it, left no end of it and have no excuse, with its progress then.

    A worker that died of it counts as well, under `session/1`, `session/2`, ...
    """
    record: int = -1
    """The position of the record that holds the document."""
    pending: tuple[int, ...] = ()
    """The trials before it that had not ended when the algorithm suggested it."""
    pruned: bool = False
    """Whether a pruner ended it early."""

    def decoded(self) -> TrialDocument:
        """The document; raises `SearchDamagedError` where it is none."""
        try:
            return read_document(self.document, self.tid)
        except SearchDamagedError as error:
            where = f" It stands in record {self.record}." if self.record >= 0 else ""
            raise SearchDamagedError(
                f"{error}{where} `colab-drive-tuner repair`, with the search's name, rebuilds the "
                f"search from what is readable."
            ) from error

    def dump(self) -> list[Any]:
        """What a snapshot keeps."""
        known = [self.tid, self.k, self.document, self.end, self.loss, self.model, self.attempts]
        rare = [self.pending, self.pruned] if self.pending or self.pruned else []
        return [*known, self.record, *rare]

    @classmethod
    def load(cls, fields: Any) -> "RecordedTrial":
        """Read what `dump` wrote; raises TypeError or ValueError for anything else."""
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
        """Whether it counts towards `max_evals` as done."""
        return self.end in (TrialEnd.DONE, TrialEnd.CAUGHT, TrialEnd.GIVEN_UP)

    @property
    def unfinished(self) -> bool:
        """Whether a later session must run it: no end, or an error that ended the run."""
        return self.end in (None, TrialEnd.RAISED)
