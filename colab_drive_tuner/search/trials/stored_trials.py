"""hyperopt's Trials, recorded in a store as they grow; running the trials is the loop's task.

Creating an object only reads. A run, or the first inserted document, claims the search; the end of
the run releases it. The object is an ordinary Trials in memory at all times; a pickle or copy of it
is a plain Trials.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hyperopt
from hyperopt.base import JOB_VALID_STATES, SONify

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.checkpoint.history import RecordedFacts
from colab_drive_tuner.checkpoint.record_items import MAX_TID, TrialEnd
from colab_drive_tuner.errors import NotFoundError, SearchDamagedError, UsageError
from colab_drive_tuner.journal.claim_and_takeover import on_busy_of
from colab_drive_tuner.journal.folder.properties import check_name
from colab_drive_tuner.progress_bars import countdown, progress_bar
from colab_drive_tuner.search.spec.arguments import BEGIN_AGAIN, whole_number
from colab_drive_tuner.search.spec.keyword_advice import explain_keywords
from colab_drive_tuner.search.spec.settings import SearchSettings
from colab_drive_tuner.search.trial_documents import FINISHED, OPEN, as_new, insertion_index
from colab_drive_tuner.search.trials.attachments import Attachments
from colab_drive_tuner.search.trials.backups import Backups
from colab_drive_tuner.search.trials.logbook import Logbook
from colab_drive_tuner.search.trials.returned_models import ReturnedModels
from colab_drive_tuner.search.trials.search_status import SearchStatus, status_of_documents
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.protocol import Store

CLOSING_PATIENCE = 60.0
"""Time, in seconds, that the end of a run waits for the store."""


class StoredTrials(hyperopt.Trials):  # type: ignore[misc]  # hyperopt is untyped
    """The trials of search `name`: a hyperopt.Trials that records inserted and ended trials.

    See `DriveTrials`, which adds `fmin`, for the arguments.
    """

    @explain_keywords(
        "Those of a run belong to hyperopt.fmin(..., trials=DriveTrials(name)) or resume_search().",
        called="DriveTrials",
    )
    def __init__(
        self,
        name: str,
        *,
        store: Store | Path | str | None = None,
        seed: int | None = None,
        on_busy: str = "wait",
        max_attempts: int = 3,
        keep_models: int = 1,
        seed_training: bool = True,
        free_memory: bool = True,
        exp_key: str | None = None,
        notify: Callable[[str], None] = print,
    ) -> None:
        check_name(name)
        self.name, self.seed_training, self.free_memory = name, seed_training, free_memory
        self.keep_models = keep_models = whole_number("keep_models", keep_models, least=0)
        self.max_attempts = max_attempts = whole_number("max_attempts", max_attempts, least=1)
        self.asked_seed = _checked_seed(seed)
        self._on_busy, self.notify = on_busy_of(on_busy), notify
        self.store: Store = open_store(store).for_search(name)
        """The store of the search."""
        self.log = Logbook(self.store, name, max_attempts=max_attempts)
        if self.log.history.study.lines:
            raise UsageError(
                f"{name!r} is an Optuna study: resume it with cdt.optuna_storage({name!r}), or "
                "give the search another name."
            )
        SearchSettings(seed=self.asked_seed).check(name, self.log.settings)
        journal = self.log.journal
        journal.report = self.status
        self.models = ReturnedModels(self.store, journal, keep_models)
        self.backups = Backups(self.store, journal)
        self._listed = 0
        """Number of documents that `trials` has considered."""
        self._dynamic_trials: list[TrialDocument] = []
        self._trials: list[TrialDocument] = []
        super().__init__(exp_key, refresh=False)
        self.attachments = Attachments(self._attach, journal.read_file)
        self.restore()

    # -- reading

    @property
    def url(self) -> str:
        """Link or path of the search's folder; of its store until the folder exists."""
        try:
            return self.store.url(self.log.journal.folder or self.store.root)
        except NotFoundError:  # the search was removed; what was read can still be shown
            return self.store.url(self.store.root)

    def restore(self) -> None:
        """Load the documents of the chain; unchanged documents stay the same objects."""
        history = self.log.history
        present = {doc["tid"]: doc for doc in self._dynamic_trials}
        documents = []
        with progress_bar(f"Opening {self.name}", " trials") as seen:
            for tid, entry in list(history.trials.items()):
                document, is_known = present.get(tid), self.log.remember(entry)
                if document is None or not is_known:
                    document = entry.decoded()
                    if entry.model:
                        document["result"] = self.models.wrap(document["result"], tid)
                documents.append(document)
                if seen is not None:
                    seen(len(documents), len(history.trials))
        self._dynamic_trials[:] = documents
        self.attachments.restore(history.attachments)
        self._ids = set(range(min(self.log.next_tid, 1_000_000)))
        self._ids.update(tid for tid in history.trials if isinstance(tid, int))
        self.refresh()

    def refresh(self) -> None:
        """As in hyperopt: list the documents in a valid state."""
        super().refresh()
        self._listed = len(self._dynamic_trials)

    def list_inserted(self) -> None:
        """Do the work of `refresh`, given that only insertions and the loop changed documents."""
        fresh = self._dynamic_trials[self._listed :]
        if not fresh:
            return
        self._listed += len(fresh)
        # A new list, as by `refresh`: a caller may hold the one before.
        self._trials = self._trials + [
            doc
            for doc in fresh
            if doc["state"] in JOB_VALID_STATES and self._exp_key in (None, doc["exp_key"])
        ]
        self._ids.update(doc["tid"] for doc in fresh)

    def view(self, exp_key: str | None = None, refresh: bool = True) -> hyperopt.Trials:
        """Return a plain Trials over the same documents."""
        plain = hyperopt.Trials(exp_key, refresh=False)
        plain._ids, plain._dynamic_trials = self._ids, self._dynamic_trials
        plain.attachments = self.attachments
        if refresh:
            plain.refresh()
        return plain

    def plain_trials(self, documents: list[TrialDocument]) -> hyperopt.Trials:
        """Return plain Trials over these documents only."""
        plain = self.view(self._exp_key, refresh=False)
        plain._ids, plain._dynamic_trials = {doc["tid"] for doc in documents}, documents
        plain.refresh()
        return plain

    def plain_state(self) -> dict[str, Any]:
        """Return the attributes of a plain Trials with these documents."""
        return {
            "_ids": set(self._ids),
            "_dynamic_trials": self._dynamic_trials,
            "_exp_key": self._exp_key,
            "attachments": dict(self.attachments),
            "_trials": self.trials,
        }

    def __reduce__(self) -> Any:
        """Pickle or copy as a plain Trials with these documents."""
        return hyperopt.Trials, (), self.plain_state()

    @property
    def recorded(self) -> RecordedFacts:
        """What the store holds of the search beside its trials."""
        return self.log.history.facts

    def status(self) -> SearchStatus:
        """Return the status from the documents in memory, without a request to the store."""
        return status_of_documents(self.name, list(self._dynamic_trials), self.log.settings)

    # -- writing

    def new_trial_ids(self, n: int) -> list[int]:
        """Return ids above all ids ever given in this search."""
        first = self.log.next_tid
        if first + n > MAX_TID:
            raise SearchDamagedError(
                f"A trial of search {self.name!r} has so large a number that no other can follow "
                f"it. {BEGIN_AGAIN}"
            )
        self.log.next_tid = first + n
        tids = list(range(first, first + n))
        self._ids.update(tids)
        return tids

    def _insert_trial_docs(self, docs: list[TrialDocument]) -> list[int]:
        """Insert documents and record them; the first one inserted claims the search."""
        self._claim_for_documents()
        tids = self._add(docs)
        if waiting := [doc for doc in docs if doc["state"] in OPEN]:
            self.log.queue(waiting)
        return tids

    def begin_with(self, docs: list[TrialDocument], settings: dict[str, Any]) -> None:
        """Insert trials that ended in another search into this search, which has none."""
        super()._insert_trial_docs(docs)
        self._reserve_ids(docs)
        self.log.insert_ended(docs, settings)
        self.refresh()

    def insert_suggested(
        self, docs: list[TrialDocument], k: int, pending: list[TrialDocument]
    ) -> None:
        """Insert the suggestions of the k-th call of the algorithm; their starts will record them.

        `pending` are the documents of the trials that had not ended at the time of the call.
        """
        unended = tuple([tid for doc in pending if isinstance(tid := doc["tid"], int)])
        for doc in docs:
            self.log.k_of[doc["tid"]] = k
            if unended:
                self.log.pending_of[doc["tid"]] = unended
        self._add([self.assert_valid_trial(SONify(doc)) for doc in docs])
        self.list_inserted()

    def insert_missing(self, docs: list[TrialDocument], k: int | None) -> None:
        """Insert and record missing trials, each at its place in the order of trial numbers."""
        docs = [self.assert_valid_trial(SONify(doc)) for doc in docs]
        for doc in docs:
            self.log.k_of[doc["tid"]] = k
            self._dynamic_trials.insert(insertion_index(doc["tid"], self._dynamic_trials), doc)
        self._reserve_ids(docs)
        self.log.queue(docs)
        self.refresh()

    def _add(self, docs: list[TrialDocument]) -> list[int]:
        """Insert documents, and record those that have ended."""
        tids: list[int] = super()._insert_trial_docs(docs)
        self._reserve_ids(docs)
        for doc in docs:
            if doc["state"] not in OPEN:
                self.log.end(doc, TrialEnd.DONE if doc["state"] == FINISHED else TrialEnd.CAUGHT)
        return tids

    def _reserve_ids(self, docs: list[TrialDocument]) -> None:
        above = [doc["tid"] + 1 for doc in docs if isinstance(doc["tid"], int)]
        self.log.next_tid = max([self.log.next_tid, *above])

    def delete_all(self) -> None:
        """Begin a new history; the old one stays in the chain."""
        held = self.log.owned
        self.own(SearchSettings(seeded=False))
        self.log.reset({})
        self._dynamic_trials.clear()
        self.restore()
        if not held:
            self.close()

    def own(
        self, settings: SearchSettings, *, restart: bool = False, retry_failed: bool = False
    ) -> None:
        """Claim the search, unless this object owns it, and load the documents of the chain."""
        if self.log.owned:
            self.log.require_owner()
            self.log.set(settings.claim(self.name, self.log.settings))
            return
        settings.check(self.name, {} if restart else self.log.settings)
        self.log.claim(
            settings,
            on_busy=self._on_busy,
            notify=self.notify,
            progress=self.backups.progress_of,
            restart=restart,
            retry_failed=retry_failed,
        )
        self.restore()
        for document in self._dynamic_trials:
            if document["tid"] in self.log.inherited:  # a replayed start, or one that raised
                document.update(as_new(document))
        if self.log.after_crash or restart:
            self.backups.sweep(self.log.history)

    def close(self, timeout: float = CLOSING_PATIENCE) -> None:
        """Flush and release the search; reading still works, and `fmin` claims it again.

        Raises `SearchTakenOverError` if another runtime owns the search and pending entries of this
        session could not be recorded.
        """
        deadline = time.monotonic() + timeout
        with countdown(f"Waiting until all of search {self.name!r} is in the store", timeout):
            if self.log.owned and not self.log.forked:
                self.models.close(timeout)
                self.log.journal.flush(max(0.0, deadline - time.monotonic()))
                self.backups.close(max(0.0, deadline - time.monotonic()), self.log.history)
            self.log.close(max(1.0, deadline - time.monotonic()))

    def ask_seed(self, seed: int | None) -> None:
        """Set the seed of the history that a restart begins."""
        self.asked_seed = _checked_seed(seed)

    @property
    def seed(self) -> int | None:
        """The seed that the search was created with; before that, the seed passed to it."""
        stored = self.log.settings.get("seed")
        return self.asked_seed if stored is None else stored

    def _attach(self, name: str, value: bytes | None) -> None:
        self._claim_for_documents()
        self.log.attach(name, value)

    def _claim_for_documents(self) -> None:
        if not self.log.owned:
            self.own(SearchSettings(seed=self.asked_seed, seeded=self.asked_seed is not None))
        self.log.require_owner()


def _checked_seed(seed: int | None) -> int | None:
    return None if seed is None else whole_number("seed", seed, least=0, most=2**64 - 1)
