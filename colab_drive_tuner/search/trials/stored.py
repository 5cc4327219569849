"""hyperopt's Trials, kept in a store while they grow; who runs the trials is decided elsewhere.

Making one only reads. A run, or the first document inserted, claims the search; the end of the run
releases it. What it holds in memory is an ordinary Trials at all times, and that is what pickling
or copying one gives.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hyperopt
from hyperopt.base import JOB_VALID_STATES, SONify

from colab_drive_tuner.checkpoint.document_validation import TrialDocument
from colab_drive_tuner.checkpoint.record_items import MAX_TID, TrialEnd
from colab_drive_tuner.errors import SearchDamagedError, UsageError
from colab_drive_tuner.journal.claim_search import on_busy_of
from colab_drive_tuner.journal.folder.lookup import check_name
from colab_drive_tuner.progress_line import countdown, progress_bar
from colab_drive_tuner.search.spec.arguments import whole_number
from colab_drive_tuner.search.spec.keywords import TRIALS_ADVICE, explain_keywords
from colab_drive_tuner.search.spec.settings import SearchSettings
from colab_drive_tuner.search.trial_documents import FINISHED, OPEN, as_new, place_of
from colab_drive_tuner.search.trials.attachments import Attachments
from colab_drive_tuner.search.trials.backups import Backups
from colab_drive_tuner.search.trials.logbook import Logbook
from colab_drive_tuner.search.trials.models import Models
from colab_drive_tuner.search.trials.search_status import SearchStatus, status_of_documents
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.protocol import Store

CLOSING_PATIENCE = 60.0
"""How long a clean end waits for the store, in seconds."""


class StoredTrials(hyperopt.Trials):  # type: ignore[misc]  # hyperopt is untyped
    """The trials of search `name`: a hyperopt.Trials that records what is inserted and what ends.

    `DriveTrials`, which adds `fmin`, explains the arguments.
    """

    @explain_keywords(TRIALS_ADVICE, called="DriveTrials")
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
        self.asked_seed, self._on_busy, self.notify = (
            _checked_seed(seed),
            on_busy_of(on_busy),
            notify,
        )
        self.store: Store = open_store(store).for_search(name)
        """Where the search is kept."""
        self.log = Logbook(self.store, name, max_attempts=max_attempts)
        if self.log.history.study.lines:
            raise UsageError(
                f"{name!r} is an Optuna study: go on with it by cdt.optuna_storage({name!r}), or "
                "give the search another name."
            )
        SearchSettings(seed=self.asked_seed).check(name, self.log.settings)
        journal = self.log.journal
        journal.report = self.status
        self.models = Models(self.store, journal, keep_models)
        self.backups = Backups(self.store, journal)
        self._listed, self._lent = 0, True
        self._dynamic_trials: list[TrialDocument] = []
        self._trials: list[TrialDocument] = []
        super().__init__(exp_key, refresh=False)
        self.attachments = Attachments(self._attach, journal.read_file)
        self.restore()

    # -- reading

    @property
    def url(self) -> str:
        """Where the search lies: a link, or a path; that of its store while it has no folder."""
        return self.store.url(self.log.journal.folder or self.store.root)

    def restore(self) -> None:
        """Hold what the chain says; documents that are as they were stay the same objects."""
        history = self.log.history
        present = {doc["tid"]: doc for doc in self._dynamic_trials}
        documents = []
        with progress_bar(f"Opening {self.name}", " trials") as seen:
            for tid, entry in history.trials.items():
                document = present.get(tid)
                if document is None or not self.log.knows(entry):
                    document = entry.decoded()
                    if entry.model:
                        document["result"] = self.models.wrap(document["result"], tid)
                documents.append(document)
                if seen is not None:
                    seen(len(documents), len(history.trials))
        self._dynamic_trials[:] = documents
        self.attachments.hold(history.attachments)
        self._ids = set(range(min(self.log.next_tid, 1_000_000)))
        self._ids.update(tid for tid in history.trials if isinstance(tid, int))
        self.refresh()

    @property
    def trials(self) -> list[TrialDocument]:
        """As hyperopt's: the documents in a valid state, in a list that no insertion changes."""
        self._lent = True
        return self._trials

    def refresh(self) -> None:
        """As hyperopt's: list the documents in a valid state."""
        super().refresh()
        self._listed, self._lent = len(self._dynamic_trials), False

    def list_inserted(self) -> None:
        """What `refresh` does, where nothing but insertions and the loop changed anything."""
        fresh = self._dynamic_trials[self._listed :]
        if not fresh:
            return
        self._listed += len(fresh)
        if self._lent:  # who holds the list keeps what it was, as after a refresh
            self._trials, self._lent = self._trials.copy(), False
        self._trials += [
            doc
            for doc in fresh
            if doc["state"] in JOB_VALID_STATES and self._exp_key in (None, doc["exp_key"])
        ]
        self._ids.update(doc["tid"] for doc in fresh)

    def view(self, exp_key: str | None = None, refresh: bool = True) -> hyperopt.Trials:
        """A plain Trials over the same documents."""
        plain = hyperopt.Trials(exp_key, refresh=False)
        plain._ids, plain._dynamic_trials = self._ids, self._dynamic_trials
        plain.attachments = self.attachments
        if refresh:
            plain.refresh()
        return plain

    def __reduce__(self) -> Any:
        """Pickled or copied, it is a plain Trials with these documents."""
        state = {
            "_ids": set(self._ids),
            "_dynamic_trials": self._dynamic_trials,
            "_exp_key": self._exp_key,
            "attachments": dict(self.attachments),
            "_trials": self.trials,
        }
        return hyperopt.Trials, (), state

    def status(self) -> SearchStatus:
        """How the search stands by what is here, acknowledged or not; asks nobody."""
        return status_of_documents(self.name, list(self._dynamic_trials), self.log.settings)

    # -- writing

    def new_trial_ids(self, n: int) -> list[int]:
        """Ids above all that were ever given."""
        first = self.log.next_tid
        if first + n > MAX_TID:
            raise SearchDamagedError(
                f"A trial of search {self.name!r} bears so large a number that no other can follow "
                f"it: pass restart=True to begin again."
            )
        self.log.next_tid = first + n
        tids = list(range(first, first + n))
        self._ids.update(tids)
        return tids

    def _insert_trial_docs(self, docs: list[TrialDocument]) -> list[int]:
        """Insert documents and record them; the first one inserted claims the search."""
        self._own_for_documents()
        tids = self._add(docs)
        if waiting := [doc for doc in docs if doc["state"] in OPEN]:
            self.log.queue(waiting)
        return tids

    def begin_with(self, docs: list[TrialDocument], settings: dict[str, Any]) -> None:
        """Insert trials that ended in another search, into one that has none."""
        super()._insert_trial_docs(docs)
        above = [doc["tid"] + 1 for doc in docs if isinstance(doc["tid"], int)]
        self.log.next_tid = max([self.log.next_tid, *above])
        self.log.insert_ended(docs, settings)
        self.refresh()

    def insert_suggested(
        self, docs: list[TrialDocument], k: int, pending: list[TrialDocument]
    ) -> None:
        """Insert what the k-th call of the algorithm suggested; its start will name each trial.

        `pending`: the documents of the trials that had not ended then.
        """
        unended = tuple([tid for doc in pending if isinstance(tid := doc["tid"], int)])
        for doc in docs:
            self.log.k_of[doc["tid"]] = k
            if unended:
                self.log.pending_of[doc["tid"]] = unended
        self._add([self.assert_valid_trial(SONify(doc)) for doc in docs])
        self.list_inserted()

    def put_back(self, docs: list[TrialDocument], k: int | None) -> None:
        """Insert and record trials that are missing between others, where they belong."""
        docs = [self.assert_valid_trial(SONify(doc)) for doc in docs]
        for doc in docs:
            self.log.k_of[doc["tid"]] = k
            self._dynamic_trials.insert(place_of(doc["tid"], self._dynamic_trials), doc)
        self.log.next_tid = max([self.log.next_tid, *(doc["tid"] + 1 for doc in docs)])
        self.log.queue(docs)
        self.refresh()

    def _add(self, docs: list[TrialDocument]) -> list[int]:
        """Insert documents; what has ended is recorded."""
        tids: list[int] = super()._insert_trial_docs(docs)
        above = [tid + 1 for tid in tids if isinstance(tid, int)]
        self.log.next_tid = max([self.log.next_tid, *above])
        for doc in docs:
            if doc["state"] not in OPEN:
                self.log.end(doc, TrialEnd.DONE if doc["state"] == FINISHED else TrialEnd.CAUGHT)
        return tids

    def delete_all(self) -> None:
        """Begin a new history; the old one stays in the store's chain."""
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
        """Claim the search, unless this object holds it; then hold what the chain says."""
        if self.log.owned:
            self.log.require_owner()
            self.log.set(settings.claim(self.name, self.log.settings))
            return
        settings.check(self.name, {} if restart else self.log.settings)
        self.log.claim(
            settings,
            on_busy=self._on_busy,
            notify=self.notify,
            restart=restart,
            retry_failed=retry_failed,
        )
        self.restore()
        for document in self._dynamic_trials:
            if document["tid"] in self.log.replayed:
                document.update(as_new(document))
        if self.log.unclean or restart:
            self.backups.sweep(self.log.history)

    def close(self, timeout: float = CLOSING_PATIENCE) -> None:
        """Flush and release; reading goes on to work, and `fmin` claims again.

        Raises `SearchTakenOverError` where another runtime owns the search and something of this
        one's could not be recorded any more.
        """
        deadline = time.monotonic() + timeout
        with countdown(f"Waiting until all of search {self.name!r} is in the store", timeout):
            if self.log.owned and not self.log.forked:
                self.models.close(timeout)
                self.log.journal.flush(max(0.0, deadline - time.monotonic()))
                self.backups.close(max(0.0, deadline - time.monotonic()), self.log.history)
            self.log.close(max(1.0, deadline - time.monotonic()))

    def ask_seed(self, seed: int | None) -> None:
        """Ask for this seed in the history that a restart begins."""
        self.asked_seed = _checked_seed(seed)

    @property
    def seed(self) -> int | None:
        """The seed that was passed here, or that the search was created with."""
        stored = self.log.settings.get("seed")
        return self.asked_seed if stored is None else stored

    def _attach(self, name: str, value: bytes | None) -> None:
        self._own_for_documents()
        self.log.attach(name, value)

    def _own_for_documents(self) -> None:
        if not self.log.owned:
            self.own(SearchSettings(seed=self.asked_seed, seeded=self.asked_seed is not None))
        self.log.require_owner()


def _checked_seed(seed: int | None) -> int | None:
    return None if seed is None else whole_number("seed", seed, least=0, most=2**64 - 1)
