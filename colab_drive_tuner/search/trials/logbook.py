"""Journal entries of a search, in terms of trial documents: queued, started, ended.

The loop and `DriveTrials` write to the journal only through this module. The start of a trial names
its suggestion. A batch of suggestions, or of points to evaluate, is named in one spooled entry
before its first trial starts, so that a later session finds all of it or nothing.
"""

from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from typing import Any

from colab_drive_tuner.checkpoint.codec.codec import Captured, capture, encode
from colab_drive_tuner.checkpoint.document_schema import TrialDocument, check_document
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import (
    ItemKind,
    Tid,
    TrialEnd,
    attachment_item,
    check_tid,
    pack_item,
    settings_item,
)
from colab_drive_tuner.checkpoint.replay_filter import wanted
from colab_drive_tuner.checkpoint.trials_and_sessions import RecordedTrial
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.journal import Journal, PayloadRules
from colab_drive_tuner.search.trial_documents import (
    FINISHED,
    as_new,
    countable_loss,
    is_pruned,
    plain_document,
)
from colab_drive_tuner.search.trials.ownership import Ownership
from colab_drive_tuner.store.protocol import Store


def rules() -> PayloadRules:
    """Return the journal's rules for the records of this package."""
    from colab_drive_tuner.search.trials.attachments import TrialsExport

    return PayloadRules(empty=History, load=History.load, wanted=wanted, export=TrialsExport())


class _Start:
    """A trial's start, encoded when it is sent; a short trial is recorded by its end alone."""

    def __init__(self, tid: Tid, make: Callable[[], bytes]) -> None:
        self.tid, self._make = tid, make

    def __call__(self) -> bytes:
        return self._make()

    def drop(self) -> None:
        """Encode to nothing, unless the start has been encoded already."""
        self._make = bytes


def _checked_tid(document: TrialDocument) -> Tid:
    """Return the trial's id; raise `UsageError` if a later session could not read its record."""
    tid: Tid = document["tid"]
    try:
        check_tid(tid if type(tid) in (int, str, float) else int(tid))  # numpy's integers
        check_document(document, tid)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"The document of trial {document.get('tid')!r:.60} cannot be recorded: {error}."
        ) from error
    return tid


class Logbook(Ownership):
    """The journal of one search, as used by the process that runs its trials."""

    def __init__(self, store: Store, name: str, *, max_attempts: float = inf) -> None:
        super().__init__(Journal.open(store, name, rules()), name, max_attempts)
        self._document_hashes: dict[Tid, int] = {}
        """By trial, the hash of its document when this process last read or wrote it."""
        self._start: _Start | None = None
        """The last appended item, if that was a start."""

    def remember(self, entry: RecordedTrial) -> bool:
        """Remember the entry's document; return whether this process has seen it before."""
        last = self._document_hashes.get(entry.tid)
        self._document_hashes[entry.tid] = hash(entry.document)
        return last == self._document_hashes[entry.tid]

    def insert_ended(self, documents: Iterable[TrialDocument], settings: dict[str, Any]) -> None:
        """Record trials that ended in another search, and `settings`, in one entry."""
        items = [settings_item(settings)]
        for document in documents:
            tid = _checked_tid(document)
            self.k_of[tid] = None
            how = TrialEnd.DONE if document["state"] == FINISHED else TrialEnd.CAUGHT
            pack = self._end_item(document, tid, how=how)
            items.append(pack(self._encode(tid, document)))
        self.settings |= settings
        self._append(b"".join(items), durable=True)

    def queue(self, documents: Iterable[TrialDocument]) -> None:
        """Name trials that have not started, in one entry, which is spooled."""
        self._append(b"".join(map(self._queued_item, documents)), durable=True)

    def start(
        self,
        document: TrialDocument,
        batch: Iterable[TrialDocument],
        *,
        progress: int = 0,
        deaths: int = 0,
        durable: bool = False,
    ) -> None:
        """Record the start of a trial; the first start of a `batch` names all trials of the batch.

        `deaths` counts the workers of this session that died while running the trial; a `durable`
        start is spooled.
        """
        deaths += document["tid"] in self.replayed  # no other record names the dead session
        self.require_owner()
        tid = document["tid"]
        unnamed = [one for one in batch if one["tid"] not in self._named]
        if len(unnamed) > 1:
            self.queue(map(as_new, unnamed))
        self._named.add(tid)
        captured = capture(plain_document(document))
        pack = self._naming_item(ItemKind.START, tid, progress=progress, deaths=deaths)
        start = _Start(tid, lambda: pack(captured.encode()))
        self._append(start, durable=durable)
        self._start = start
        if isinstance(tid, int):
            self.journal.note_running(tid)
        careful = self._careful_start
        if careful is not None and careful.needed(tid):
            careful.wait(self.journal.flush)
            self.journal.raise_if_lost()

    def note_worker(self, document: TrialDocument, *, progress: int) -> None:
        """Record a trial's start again, now that the worker is known; `progress` is unchanged."""
        pack = self._naming_item(ItemKind.START, document["tid"], progress=progress)
        self._append(pack(encode(plain_document(document))))

    def end(
        self,
        document: TrialDocument,
        how: TrialEnd = TrialEnd.DONE,
        *,
        model: bool = False,
        seconds: float = 0.0,
        result: Captured | None = None,
    ) -> None:
        """Record the end of a trial that ran for `seconds`.

        `result` is the snapshot of its result, if one has been captured already.
        """
        tid, careful = _checked_tid(document), self._careful_start
        acknowledge = careful is not None and careful.needed(tid)
        if careful is not None:
            careful.trial_took(seconds)
        captured = capture(
            plain_document(document) if result is None else document | {"result": result}
        )
        pending: tuple[int, ...] = ()
        if self._start is not None and self._start.tid == tid:
            self._start.drop()
            pending = self.pending_of.get(tid, ())
        pack = self._end_item(document, tid, how=how, model=model, pending=pending)

        def item() -> bytes:
            encoded = captured.encode()
            self._document_hashes[tid] = hash(encoded)
            return pack(encoded)

        self._named.add(tid)
        self._append(item, durable=True)
        self._note_outages()
        if careful is not None and acknowledge:
            # A death in the next trial must not count against this one.
            careful.wait(self.journal.flush)

    def attach(self, name: str, value: bytes | None) -> None:
        """Record an attachment's encoded value, or its deletion."""
        item, large = attachment_item(name, value)
        self._append(item, durable=True, attachments=large)

    def _queued_item(self, document: TrialDocument) -> bytes:
        tid = _checked_tid(document)
        return self._naming_item(ItemKind.QUEUED, tid)(self._encode(tid, document))

    def _naming_item(self, kind: ItemKind, tid: Tid, **facts: Any) -> Callable[[bytes], bytes]:
        """Return a function that packs an item that names a trial, given the encoded document."""
        k, pending = self.k_of.setdefault(tid, None), self.pending_of.get(tid, ())
        return partial(pack_item, kind, tid, k, next_tid=self.next_tid, pending=pending, **facts)

    def _end_item(self, document: TrialDocument, tid: Tid, **more: Any) -> Callable[[bytes], bytes]:
        """Return a function that packs the end of a trial, given the encoded document."""
        more |= {"loss": countable_loss(document), "pruned": is_pruned(document)}
        return partial(pack_item, ItemKind.END, tid, self.k_of.setdefault(tid, None), **more)

    def _encode(self, tid: Tid, document: TrialDocument) -> bytes:
        self._named.add(tid)
        encoded = encode(plain_document(document))
        self._document_hashes[tid] = hash(encoded)
        return encoded

    def _append(self, item: bytes | Callable[[], bytes], **how: Any) -> None:
        super()._append(item, **how)
        self._start = None
