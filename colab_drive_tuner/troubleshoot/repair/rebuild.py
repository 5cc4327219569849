"""Rebuild a search's history from its readable files, and report what is lost.

The newest snapshot covers every gap before it. Records after later gaps are still replayed: a trial
whose end is missing keeps its parameters and is run again. Entries that the chain lacks are then
added from duplicate folders, the spool and trials.pkl, if they are consistent with it.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.checkpoint.document_schema import (
    TrialDocument,
    read_document,
    same_parameters,
)
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import (
    ItemKind,
    Tid,
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
from colab_drive_tuner.journal.folder.properties import EXPORT_NAME
from colab_drive_tuner.journal.spool.spool_file import Spooled
from colab_drive_tuner.search.trial_documents import (
    ERROR,
    FINISHED,
    countable_loss,
    is_pruned,
    name_all_parameters,
)
from colab_drive_tuner.search.trials.attachments import TrialsExport
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.troubleshoot.repair.salvage import SalvagedFolder


@dataclass
class RebuiltHistory:
    """A rebuilt history and the sources of its parts."""

    history: History = field(default_factory=History)
    epochs: set[str] = field(default_factory=set)
    """The epochs (see `Head.epoch`) whose spooled entries belong to the history."""
    lost_records: list[int] = field(default_factory=list)
    """Positions without a readable record that no snapshot covers."""
    records: int = 0
    """Number of records that were replayed."""
    covered: int = 0
    """Number of records that the snapshot in use covers; 0 if no snapshot was needed."""
    added: dict[str, int] = field(default_factory=dict)
    """Number of trials added from each other source."""
    notes: list[str] = field(default_factory=list)

    salvaged: list[SalvagedFolder] = field(default_factory=list)
    """The folders whose records were used."""
    values: dict[str, bytes] = field(default_factory=dict)
    """Large attachments found in the spool, by their sha256."""

    def add_missing(
        self, items: Iterable[bytes], source: str, files: Mapping[str, str] = {}
    ) -> None:
        """Add the entries that the history lacks, and count them under `source`."""
        for item in items:
            try:
                if wanted(self.history, item):
                    self.history.apply(_as_record(item, files))
                    self.added[source] = self.added.get(source, 0) + 1
            except (SearchDamagedError, KeyError, TypeError, ValueError) as error:
                self.notes.append(f"An entry of {source} cannot be used: {error}")


def rebuild(salvaged: SalvagedFolder) -> RebuiltHistory:
    """Replay the snapshot and records found in a search's folder."""
    built = RebuiltHistory(salvaged=[salvaged])
    accepted = salvaged.records
    if salvaged.missing:
        for head, state in reversed(salvaged.snapshots):
            before = accepted.get(head.pos - 1)
            if before is None or before.sha == head.sha:
                built.history, built.covered = state, head.pos
                built.epochs = {head.epoch}
                break
    built.lost_records = [pos for pos in salvaged.missing if pos >= built.covered]
    for pos in sorted(accepted):
        if pos >= built.covered:
            _replay(built, accepted[pos], doubtful=any(gap < pos for gap in built.lost_records))
    return built


def _replay(built: RebuiltHistory, record: Record, *, doubtful: bool) -> None:
    try:
        record = _without_damaged_entries(built, record)
        if doubtful and _contradicts(built.history, record):
            built.history, built.epochs = History(), set()
            built.notes.append(
                f"The search was restarted in a lost record before record {record.pos}: only its "
                f"trials since then are used."
            )
        built.history.apply(record)
        built.records += 1
    except NewerFormatError:
        raise  # nothing is lost: a newer version can read it
    except (SearchDamagedError, KeyError, TypeError, ValueError) as error:
        built.lost_records.append(record.pos)
        built.notes.append(str(error))
    if record.pos == 0 or record.kind == RecordKind.RESET:
        built.epochs = {record.sha}


def _without_damaged_entries(built: RebuiltHistory, record: Record) -> Record:
    """Drop entries whose trial documents are damaged; the trials' earlier entries then apply."""
    if record.kind == RecordKind.TRIALS:
        kept = _readable_entries(built, record, record.payload)
        return record if kept == record.payload else replace(record, payload=kept)
    if record.kind in (RecordKind.CLAIM, RecordKind.RESET) and record.payload:
        body = unpack_map(record.payload, f"Record {record.pos}")
        queued = body.get("trials")
        if isinstance(queued, bytes):
            kept = _readable_entries(built, record, queued)
            if kept != queued:
                return replace(record, payload=claim_payload(body["settings"], [kept]))
    return record


def _readable_entries(built: RebuiltHistory, record: Record, entries: bytes) -> bytes:
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


def _contradicts(history: History, record: Record) -> bool:
    """Whether a trial starts with other parameters than before: a reset was lost in a gap."""
    if record.kind != RecordKind.TRIALS:
        return False
    for item in read_items(record.payload, f"Record {record.pos}"):
        entry = history.trials.get(item.tid)
        if item.kind in (ItemKind.START, ItemKind.QUEUED) and entry is not None:
            if not same_parameters(entry.document, item.document, item.tid):
                return True
    return False


def add_records(built: RebuiltHistory, salvaged: SalvagedFolder, source: str) -> None:
    """Add the entries of another folder's records that the history lacks."""
    built.salvaged.append(salvaged)
    for pos in sorted(salvaged.records):
        record = salvaged.records[pos]
        if record.kind == RecordKind.TRIALS:
            built.add_missing(split_items(record.payload), source, record.files)


def add_spooled(built: RebuiltHistory, spooled: Iterable[Spooled]) -> None:
    """Add the entries in a spool of this machine that the history lacks."""
    for item, attachments in spooled:
        values = {hashlib.sha256(value).hexdigest(): value for value in attachments}
        built.values |= values
        built.add_missing([item], "this machine's spool", dict.fromkeys(values, ""))


def load_attachments(built: RebuiltHistory, store: Store) -> dict[str, bytes]:
    """Return the encoded values of all readable attachments; note the others as lost."""
    loaded: dict[str, bytes] = {}
    for name, stored in built.history.attachments.items():
        if isinstance(stored, bytes):
            loaded[name] = stored
            continue
        try:
            value = built.values.get(stored.sha, b"")
            if not value and any(found.owns(store, stored.id) for found in built.salvaged):
                value = store.read_trashed(stored.id)
        except (NotFoundError, ChecksumError, RefusedError):
            value = b""
        if hashlib.sha256(value).hexdigest() == stored.sha:
            loaded[name] = value
        else:
            built.notes.append(f"The file of attachment {name!r} is not readable: it is lost.")
    return loaded


def add_pickled(built: RebuiltHistory, content: bytes) -> None:
    """Add what the history lacks from a trials.pkl, unless that is of another history."""
    from colab_drive_tuner.checkpoint.pickles.reader import read_trials

    history = built.history
    if is_export(history, content):
        return
    try:
        documents, attachments = read_trials(content)
        encoded = {document["tid"]: encode(document) for document in documents}
        values = {name: encode(value) for name, value in attachments.items()}
    except (UsageError, NotPlainDataError) as error:
        built.notes.append(f"{EXPORT_NAME} is not used: {error}")
        return
    for tid, document in encoded.items():
        known = history.trials.get(tid)
        if known is not None and not same_parameters(document, known.document, tid):
            built.notes.append(
                f"{EXPORT_NAME} is of another history of the search (its trial {tid} has other "
                f"parameters), so it is not used."
            )
            return
    _add_documents(built, documents, encoded)
    for name in values.keys() - history.attachments.keys():
        history.attachments[name] = values[name]


def _add_documents(
    built: RebuiltHistory, documents: Sequence[TrialDocument], encoded: Mapping[Tid, bytes]
) -> None:
    """Add the trials, and the ends of known trials, that the history lacks."""
    history = built.history
    caught = any(entry.end == TrialEnd.CAUGHT for entry in history.trials.values())
    errors = TrialEnd.CAUGHT if caught else TrialEnd.RAISED
    inherited = sum("from_search" in document["misc"] for document in documents)
    guess = _suggestion_guesser(history, inherited)
    before = set(history.trials)
    for document in documents:
        tid, content = document["tid"], encoded[document["tid"]]
        k = history.trials[tid].k if tid in before else guess(tid)
        if document["state"] in (FINISHED, ERROR):
            how = TrialEnd.DONE if document["state"] == FINISHED else errors
            loss, pruned = countable_loss(document), is_pruned(document)
            item = pack_item(ItemKind.END, tid, k, content, how=how, loss=loss, pruned=pruned)
            built.add_missing([item], EXPORT_NAME)
        elif tid not in before:
            item = pack_item(ItemKind.QUEUED, tid, k, content, next_tid=history.next_tid)
            history.apply(_as_record(item))
            built.added[EXPORT_NAME] = built.added.get(EXPORT_NAME, 0) + 1
    tids = list(history.trials)
    if before != set(tids) and all(isinstance(tid, int) for tid in tids):
        history.trials = dict(sorted(history.trials.items(), key=lambda item: int(item[0])))


def is_export(history: History, content: bytes) -> bool:
    """Whether a trials.pkl is this history's, as usual: reading one takes ten times as long."""
    try:
        return content == TrialsExport()(history)
    except SearchDamagedError:
        return False


def _suggestion_guesser(history: History, inherited: int) -> Any:
    """Return a function that guesses a trial's suggestion number `k` from its neighbours.

    It is for trials of which only the document is left. If trials run one at a time, which is the
    default, suggestions and trials have the same numbers, but for the `inherited` first trials.
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
        k = tid - (inherited if nearest is None else offsets[nearest])
        return k if k >= 0 else None

    return guess


def complete_documents(history: History) -> int:
    """Add to each document the parameters that others name; return how many were incomplete.

    TPE and annealing fail on a document that does not name all parameters.
    """
    documents = {tid: entry.decoded() for tid, entry in history.trials.items()}
    labels = {label for document in documents.values() for label in document["misc"]["vals"]}
    incomplete = 0
    for tid, document in documents.items():
        if name_all_parameters([document], labels):
            incomplete += 1
            history.trials[tid].document = encode(document)
    return incomplete


def _as_record(item: bytes, files: Mapping[str, str] = {}) -> Record:
    """Wrap an entry in a record, which `History.apply` accepts."""
    return Record(-1, RecordKind.TRIALS, owner="", prev="", payload=item, files=files)
