"""Entries of a search in its journal, in terms of trial documents: named, started, ended.

The loop and `DriveTrials` speak to the journal through this only. A suggestion is named by the
start of its trial. What is settled together (a batch of suggestions, points to evaluate) is named
before the first of it starts, in one entry that is spooled: a later session finds either all of it
or none.
"""

from collections.abc import Callable, Iterable
from typing import Any

from colab_drive_tuner.checkpoint.codec.capture import take
from colab_drive_tuner.checkpoint.codec.codec import Taken, encode
from colab_drive_tuner.checkpoint.document_validation import TrialDocument, check_document
from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.record_items import (
    INLINE_LIMIT,
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
from colab_drive_tuner.journal import Journal, Rules
from colab_drive_tuner.search.trial_documents import (
    FINISHED,
    as_new,
    countable_loss,
    is_pruned,
    plain_document,
)
from colab_drive_tuner.search.trials.ownership import Ownership
from colab_drive_tuner.store.protocol import Store


def rules() -> Rules:
    """How the journal serves this package's records."""
    from colab_drive_tuner.search.trials.trials_pickle import TrialsExport

    return Rules(empty=History, load=History.load, wanted=wanted, export=TrialsExport())


class _Start:
    """The start of a trial, encoded once it is to be sent: of a short one, its end says it all."""

    def __init__(self, tid: Tid, make: Callable[[], bytes]) -> None:
        self.tid, self._make = tid, make

    def __call__(self) -> bytes:
        return self._make()

    def drop(self) -> None:
        """Leave it out, unless it is made already."""
        self._make = bytes


def _checked(document: TrialDocument) -> Tid:
    """The trial's id, where a later session can read what is recorded of it."""
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
    """One search's journal, as the process that runs trials uses it."""

    def __init__(self, store: Store, name: str, *, max_attempts: int) -> None:
        super().__init__(Journal.open(store, name, rules()), name, max_attempts)
        self._written: dict[Tid, int] = {}
        """By tid, the hash of the document as it was last read or written here."""
        self._start: _Start | None = None
        """What was appended last, if that was a start."""

    def knows(self, entry: RecordedTrial) -> bool:
        """Whether the document is the one last read or written here; from now on it is."""
        last = self._written.get(entry.tid)
        self._written[entry.tid] = hash(entry.document)
        return last == self._written[entry.tid]

    def insert_ended(self, documents: Iterable[TrialDocument], settings: dict[str, Any]) -> None:
        """Record trials that ended elsewhere, and settings that say so: all of it in one entry."""
        items = [settings_item(settings)]
        for document in documents:
            tid = _checked(document)
            self._named.add(tid)
            self.k_of[tid] = None
            encoded = encode(plain_document(document))
            self._written[tid] = hash(encoded)
            how = TrialEnd.DONE if document["state"] == FINISHED else TrialEnd.CAUGHT
            loss, pruned = countable_loss(document), is_pruned(document)
            items.append(
                pack_item(ItemKind.END, tid, None, encoded, how=how, loss=loss, pruned=pruned)
            )
        self.settings |= settings
        self._append(b"".join(items), durable=True)

    def queue(self, documents: Iterable[TrialDocument]) -> None:
        """Name trials that have not started; all of them in one entry, which is spooled."""
        self._append(b"".join(map(self._queued, documents)), durable=True)

    def _queued(self, document: TrialDocument) -> bytes:
        tid = _checked(document)
        self._named.add(tid)
        k = self.k_of.setdefault(tid, None)
        encoded = encode(plain_document(document))
        self._written[tid] = hash(encoded)
        pending = self.pending_of.get(tid, ())
        return pack_item(ItemKind.QUEUED, tid, k, encoded, next_tid=self.next_tid, pending=pending)

    def start(
        self,
        document: TrialDocument,
        batch: Iterable[TrialDocument],
        *,
        progress: int = 0,
        deaths: int = 0,
        durable: bool = False,
    ) -> None:
        """A trial of the batch starts; before its first one all of it is named.

        `deaths` workers have died of it in this session; `durable`: the start is spooled, too.
        """
        deaths += document["tid"] in self.replayed  # the session that died is named nowhere else
        self.require_owner()
        tid = document["tid"]
        unnamed = [one for one in batch if one["tid"] not in self._named]
        if len(unnamed) > 1:
            self.queue(map(as_new, unnamed))
        self._named.add(tid)
        taken = take(plain_document(document))
        item = self._start_item(tid, progress, deaths)
        start = _Start(tid, lambda: item(taken.encode()))
        self._append(start, durable=durable)
        self._start = start
        if isinstance(tid, int):
            self.journal.note_running(tid)
        care = self._care
        if care is not None and care.needed(tid):
            care.wait(self.journal.flush)
            self.journal.raise_if_lost()

    def note_worker(self, document: TrialDocument, *, progress: int) -> None:
        """Record a trial's start once more, now that it is known which worker runs it.

        `progress`: as its start said.
        """
        item = self._start_item(document["tid"], progress)
        self._append(item(encode(plain_document(document))))

    def _start_item(self, tid: Tid, progress: int, deaths: int = 0) -> Callable[[bytes], bytes]:
        """What makes the start of a trial of its encoded document, by what is known now."""
        k, pending = self.k_of.setdefault(tid, None), self.pending_of.get(tid, ())
        next_tid = self.next_tid
        return lambda encoded: pack_item(
            ItemKind.START,
            tid,
            k,
            encoded,
            next_tid=next_tid,
            progress=progress,
            deaths=deaths,
            pending=pending,
        )

    def end(
        self,
        document: TrialDocument,
        how: TrialEnd = TrialEnd.DONE,
        *,
        model: bool = False,
        seconds: float = 0.0,
        result: Taken | None = None,
    ) -> None:
        """A trial ended, after so many seconds of training; `result`: where it is taken already."""
        tid, care = _checked(document), self._care
        careful = care is not None and care.needed(tid)
        if care is not None:
            care.ran(seconds)
        taken = take(plain_document(document) if result is None else document | {"result": result})
        k, loss = self.k_of.setdefault(tid, None), countable_loss(document)
        pruned = is_pruned(document)

        def item() -> bytes:
            encoded = taken.encode()
            self._written[tid] = hash(encoded)
            return pack_item(
                ItemKind.END,
                tid,
                k,
                encoded,
                how=how,
                loss=loss,
                model=model,
                pruned=pruned,
                pending=pending,
            )

        self._named.add(tid)
        pending: tuple[int, ...] = ()
        if self._start is not None and self._start.tid == tid:
            self._start.drop()
            pending = self.pending_of.get(tid, ())
        self._append(item, durable=True)
        self._note_outages()
        if care is not None and careful:
            care.wait(self.journal.flush)  # dying in the next trial must not count against this one

    def attach(self, name: str, value: bytes | None) -> None:
        """An attachment was set to an encoded value, or deleted."""
        attachments = [value] if value is not None and len(value) > INLINE_LIMIT else []
        self._append(attachment_item(name, value), durable=True, attachments=attachments)

    def _append(self, item: bytes | Callable[[], bytes], **how: Any) -> None:
        super()._append(item, **how)
        self._start = None
