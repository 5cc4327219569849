"""Trials, sessions, large attachments and an Optuna study's lines, as a history keeps them."""

import hashlib
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, NamedTuple

from colab_drive_tuner.checkpoint.document_schema import TrialDocument, read_document
from colab_drive_tuner.checkpoint.record_items import (
    Item,
    ItemKind,
    Tid,
    TrialEnd,
    check_line,
    check_loss,
    check_pending,
    check_tid,
    pack_item,
)
from colab_drive_tuner.checkpoint.recorded_settings import check_outage
from colab_drive_tuner.errors import SearchDamagedError
from colab_drive_tuner.journal.chain.fields import file_id, moment, one_of, sha256_hex, typed, whole
from colab_drive_tuner.journal.chain.record import ClaimReason


class AttachmentFile(NamedTuple):
    """Reference to the separate file of a large attachment."""

    id: Annotated[str, file_id]
    sha: Annotated[str, sha256_hex]


def _session_end(value: Any) -> ClaimReason | None:
    return None if value == "" else one_of(ClaimReason, value)


def _outages(value: Any) -> list[list[float]]:
    return [check_outage(outage) for outage in typed(value, list)]


@dataclass(slots=True)
class RecordedSession:
    """A session, from its claim to its last record."""

    where: str
    """Its process, as the documents of its trials name it: "Colab, process 12 on 3f2a"."""
    began: Annotated[float, moment]
    last: Annotated[float, moment]
    """Time of its newest record, by its own clock."""
    end: Annotated[ClaimReason | None, _session_end] = None
    """How it ended; None if no end is recorded."""
    outages: Annotated[list[list[float]], _outages] = field(default_factory=list)
    """Start and end of each outage of the store during the session."""

    def dump(self) -> list[Any]:
        """Return the fields for a snapshot."""
        return [self.where, self.began, self.last, self.end or "", self.outages]


def process_label(runtime: str, pid: int, host: str) -> str:
    """Return the text by which trials name the process that owns them."""
    return f"{runtime}, process {pid} on {host}"


def _attempts(value: Any) -> dict[str, int]:
    return {typed(one, str): whole(progress) for one, progress in typed(value, dict).items()}


@dataclass(slots=True)
class RecordedTrial:
    """A trial as recorded in the chain."""

    tid: Annotated[Tid, check_tid]
    k: int | None
    """Number of the algorithm's call that suggested it; None if it was not suggested."""
    document: bytes
    """The newest document, encoded."""
    end: TrialEnd | None = None
    """How it ended; None if it has not."""
    loss: Annotated[float | None, check_loss] = None
    """Its loss, if it ended with status ok and the loss is not NaN."""
    model: bool = False
    """Whether its result held a model."""
    attempts: Annotated[dict[str, int], _attempts] = field(default_factory=dict)
    """Sessions that count as attempts (rule ATTEMPTS), with the trial's progress at its start.

    A worker that died of the trial counts as well, under `session/1`, `session/2`, ...
    """
    record: Annotated[int, partial(typed, kind=int)] = -1
    """Position of the record that holds the document."""
    pending: Annotated[tuple[int, ...], check_pending] = ()
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

    @property
    def counts(self) -> bool:
        """Whether it counts towards `max_evals`."""
        return self.end in (TrialEnd.DONE, TrialEnd.CAUGHT, TrialEnd.GIVEN_UP)

    @property
    def unfinished(self) -> bool:
        """Whether a later session must run it: it has no end, or raised and ended the run."""
        return self.end in (None, TrialEnd.RAISED)


def _lines(value: Any) -> list[bytes]:
    lines: list[bytes] = typed(value, list)
    for line in lines:
        check_line(line)
    return lines


@dataclass
class OptunaJournal:
    """The acknowledged lines of a study's journal storage, and the session that wrote the last one.

    Optuna replays these lines of JSON and numbers trials by their order. So each line has a
    position (`at`), and a line spooled by a dead session is valid only if no other session has
    written since.
    """

    lines: Annotated[list[bytes], _lines] = field(default_factory=list)
    session: str = ""
    """Session that wrote the last line; empty without lines."""
    digest: Annotated[str, sha256_hex] = hashlib.sha256(b"").hexdigest()
    """Chained sha256 of all lines."""

    def append(self, item: Item) -> None:
        """Append a line, unless it does not follow the last one because of a gap in a spool."""
        session, at, base = _place_of_line(item)
        if at != len(self.lines) or (session != self.session and base != self.digest):
            return
        self.lines.append(item.document)
        self.session = session
        self.digest = hashlib.sha256(self.digest.encode() + item.document).hexdigest()

    def wants(self, item: Item) -> bool:
        """Return whether a spooled line follows the recorded ones."""
        session, at, base = _place_of_line(item)
        return at >= len(self.lines) and (session == self.session or base == self.digest)

    def displaced(self, item: Item) -> tuple[str, int] | None:
        """Return the session and position of a spooled line if another line is in its place."""
        session, at, _ = _place_of_line(item)
        recorded = self.lines[at : at + 1] == [item.document]
        return None if recorded or self.wants(item) else (session, at)

    def dump(self) -> list[Any]:
        """Return the fields for a snapshot."""
        return [self.lines, self.session, self.digest]


def line_item(line: bytes, session: str, at: int, base: str) -> bytes:
    """Encode a line of JSON that `session` wrote at position `at` among all lines.

    `base` is the digest of the lines that the session found when it began.
    """
    place = {"session": session, "at": at, "base": base}
    return pack_item(ItemKind.LOG, document=line, settings=place)


def _place_of_line(item: Item) -> tuple[str, int, str]:
    info = item.settings or {}
    return info["session"], info["at"], info["base"]
