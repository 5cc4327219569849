"""A search's history put together from whatever is readable of it, and an account of what is not.

The newest snapshot bridges every gap before it. Over later gaps the records are folded on: a trial
whose end is missing has its parameters still, and is run again. What the chain lacks is then taken
from folders that lost, the spool and trials.pkl, each entry only where it fits.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.checkpoint.document_validation import read_document, same_parameters
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import (
    ItemKind,
    TrialEnd,
    claim_payload,
    pack_item,
    read_items,
    unpack_map,
)
from colab_drive_tuner.checkpoint.replay_filter import wanted
from colab_drive_tuner.errors import (
    ChecksumError,
    NewerFormatError,
    NotFoundError,
    NotPlainDataError,
    RefusedError,
    SearchDamagedError,
    UsageError,
)
from colab_drive_tuner.journal.chain.record import Record, RecordKind, split_items
from colab_drive_tuner.journal.folder.lookup import EXPORT_NAME
from colab_drive_tuner.journal.spool.segment import Spooled
from colab_drive_tuner.search.trial_documents import (
    ERROR,
    FINISHED,
    countable_loss,
    is_pruned,
    name_all_parameters,
)
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.troubleshoot.repair.salvage import Evidence


@dataclass
class Rebuilt:
    """A history that was put together, and where its parts came from."""

    history: History = field(default_factory=History)
    epochs: set[str] = field(default_factory=set)
    """The epochs (see `Head.epoch`) whose spooled entries belong to it."""
    lost_records: list[int] = field(default_factory=list)
    """Positions of which no record is readable and that no snapshot covers."""
    records: int = 0
    through: int = 0
    """Records that the snapshot in use stands for; 0: none was needed."""
    added: dict[str, int] = field(default_factory=dict)
    """How many trials came from elsewhere, by where."""
    notes: list[str] = field(default_factory=list)

    evidence: list[Evidence] = field(default_factory=list)
    """What the history was put together from, of each folder."""
    values: dict[str, bytes] = field(default_factory=dict)
    """Large attachments of the spool by their sha256: they lie nowhere else."""

    def offer(self, items: Iterable[bytes], source: str, files: Mapping[str, str] = {}) -> None:
        """Add the entries that the history lacks, and count them under their source."""
        for item in items:
            try:
                if wanted(self.history, item):
                    self.history.apply(_loose(item, files))
                    self.added[source] = self.added.get(source, 0) + 1
            except (SearchDamagedError, KeyError, TypeError, ValueError) as error:
                self.notes.append(f"An entry of {source} cannot be used: {error}")


def rebuild(evidence: Evidence) -> Rebuilt:
    """Fold what was found in a search's folder."""
    built = Rebuilt(evidence=[evidence])
    accepted = {pos: found.record for pos, found in evidence.records.items()}
    missing = sorted(set(range(evidence.top)) - set(accepted))
    if missing:
        for head, state in reversed(evidence.snapshots):
            before = accepted.get(head.pos - 1)
            if before is None or before.sha == head.sha:
                built.history, built.through = state, head.pos
                built.epochs = {head.epoch}
                break
    built.lost_records = [pos for pos in missing if pos >= built.through]
    for pos in sorted(accepted):
        if pos >= built.through:
            _fold(built, accepted[pos], doubtful=any(gap < pos for gap in built.lost_records))
    return built


def _fold(built: Rebuilt, record: Record, *, doubtful: bool) -> None:
    try:
        record = _usable(built, record)
        if doubtful and _begins_anew(built.history, record):
            built.history, built.epochs = History(), set()
            built.notes.append(
                f"Before record {record.pos} the search was restarted in a record that is lost: "
                f"its trials are those since then."
            )
        built.history.apply(record)
        built.records += 1
    except NewerFormatError:
        raise  # nothing of it is lost: who wrote it can read it
    except (SearchDamagedError, KeyError, TypeError, ValueError) as error:
        built.lost_records.append(record.pos)
        built.notes.append(str(error))
    if record.pos == 0 or record.kind == RecordKind.RESET:
        built.epochs = {record.sha}


def _usable(built: Rebuilt, record: Record) -> Record:
    """The record without entries whose documents are none: what a trial said before stands then."""
    if record.kind == RecordKind.TRIALS:
        kept = _readable(built, record, record.payload)
        return record if kept == record.payload else replace(record, payload=kept)
    if record.kind in (RecordKind.CLAIM, RecordKind.RESET) and record.payload:
        body = unpack_map(record.payload, f"Record {record.pos}")
        queued = body.get("trials")
        if isinstance(queued, bytes):
            kept = _readable(built, record, queued)
            if kept != queued:
                return replace(record, payload=claim_payload(body["settings"], [kept]))
    return record


def _readable(built: Rebuilt, record: Record, entries: bytes) -> bytes:
    what, kept = f"Record {record.pos}", []
    for entry in split_items(entries, what):
        try:
            (item,) = read_items(entry, "an entry")
            if item.kind in (ItemKind.QUEUED, ItemKind.START, ItemKind.END):
                read_document(item.document, item.tid)
            kept.append(entry)
        except SearchDamagedError as error:
            built.notes.append(f"{what}: {error}")
    return b"".join(kept)


def _begins_anew(history: History, record: Record) -> bool:
    """Whether a trial is named with other parameters than it had: a reset lies in a gap before."""
    if record.kind != RecordKind.TRIALS:
        return False
    for item in read_items(record.payload, f"Record {record.pos}"):
        entry = history.trials.get(item.tid)
        if item.kind in (ItemKind.START, ItemKind.QUEUED) and entry is not None:
            if not same_parameters(entry.document, item.document, item.tid):
                return True
    return False


def offer_records(built: Rebuilt, evidence: Evidence, source: str) -> None:
    """Add what another folder's records say that the history lacks."""
    built.evidence.append(evidence)
    for pos in sorted(evidence.records):
        record = evidence.records[pos].record
        if record.kind == RecordKind.TRIALS:
            built.offer(split_items(record.payload), source, record.files)


def offer_spooled(built: Rebuilt, spooled: Iterable[Spooled]) -> None:
    """Add what a spool of this machine holds that the history lacks."""
    for item, attachments in spooled:
        values = {hashlib.sha256(value).hexdigest(): value for value in attachments}
        built.values |= values
        built.offer([item], "this machine's spool", dict.fromkeys(values, ""))


def load_attachments(built: Rebuilt, store: Store) -> dict[str, bytes]:
    """The encoded values of all attachments that can be read; the others are noted as lost."""
    loaded: dict[str, bytes] = {}
    for name, stored in built.history.attachments.items():
        if isinstance(stored, bytes):
            loaded[name] = stored
            continue
        try:
            value = built.values.get(stored.sha, b"")
            if not value and any(found.owns(store, stored.id) for found in built.evidence):
                value = store.read_trashed(stored.id)
        except (NotFoundError, ChecksumError, RefusedError):
            value = b""
        if hashlib.sha256(value).hexdigest() == stored.sha:
            loaded[name] = value
        else:
            built.notes.append(f"The file of attachment {name!r} is not readable: it is lost.")
    return loaded


def offer_pickle(built: Rebuilt, content: bytes) -> None:
    """Add what a trials.pkl has and the history lacks, if it is of the same search."""
    from colab_drive_tuner.checkpoint.pickles.reader import read_trials

    history = built.history
    try:
        documents, attachments = read_trials(content)
        encoded = {document["tid"]: encode(document) for document in documents}
        values = {name: encode(value) for name, value in attachments.items()}
    except (UsageError, NotPlainDataError) as error:
        built.notes.append(f"{EXPORT_NAME} is not used: {error}")
        return
    known = [tid for tid in encoded if tid in history.trials]
    strange = [
        tid for tid in known if not same_parameters(encoded[tid], history.trials[tid].document, tid)
    ]
    if strange:
        built.notes.append(
            f"{EXPORT_NAME} is of another history of the search (its trial {strange[0]} has other "
            f"parameters), so nothing is taken from it."
        )
        return
    errors = (
        TrialEnd.CAUGHT
        if any(e.end == TrialEnd.CAUGHT for e in history.trials.values())
        else TrialEnd.RAISED
    )
    guess = _guesser(history)
    before = set(history.trials)
    for document in documents:
        tid, content = document["tid"], encoded[document["tid"]]
        k = history.trials[tid].k if tid in before else guess(tid)
        if document["state"] in (FINISHED, ERROR):
            how = TrialEnd.DONE if document["state"] == FINISHED else errors
            loss, pruned = countable_loss(document), is_pruned(document)
            item = pack_item(ItemKind.END, tid, k, content, how=how, loss=loss, pruned=pruned)
            built.offer([item], EXPORT_NAME)
        elif tid not in before:
            item = pack_item(ItemKind.QUEUED, tid, k, content, next_tid=history.next_tid)
            history.apply(_loose(item))
            built.added[EXPORT_NAME] = built.added.get(EXPORT_NAME, 0) + 1
    for name in values.keys() - history.attachments.keys():
        history.attachments[name] = values[name]
    tids = list(history.trials)
    if before != set(tids) and all(isinstance(tid, int) for tid in tids):
        history.trials = dict(sorted(history.trials.items(), key=lambda item: int(item[0])))


def _guesser(history: History) -> Any:
    """Which call suggested a trial of which only the document is left, by its neighbours.

    One at a time, as searches run unless told otherwise, calls and trials are numbered alike.
    """
    offsets = {
        tid: tid - entry.k
        for tid, entry in history.trials.items()
        if isinstance(tid, int) and entry.k is not None
    }
    given = [t for t, e in history.trials.items() if isinstance(t, int) and e.k is None]

    def guess(tid: Any) -> int | None:
        if not isinstance(tid, int) or (not offsets and given):
            return None
        nearest = min(offsets, key=lambda other: abs(other - tid), default=None)
        k = tid - (0 if nearest is None else offsets[nearest])
        return k if k >= 0 else None

    return guess


def complete_documents(history: History) -> int:
    """Name in each document the parameters that any of them names; return how many lacked some.

    TPE and annealing fail on a document that does not name them all.
    """
    documents = {tid: entry.decoded() for tid, entry in history.trials.items()}
    labels = {label for document in documents.values() for label in document["misc"]["vals"]}
    incomplete = 0
    for tid, document in documents.items():
        if name_all_parameters([document], labels):
            incomplete += 1
            history.trials[tid].document = encode(document)
    return incomplete


def _loose(item: bytes, files: Mapping[str, str] = {}) -> Record:
    """An entry in the form that a history takes in."""
    return Record(-1, RecordKind.TRIALS, "", "", (), item, 0.0, "", files=files)
