"""The sequential loop: ask the algorithm, run the objective, record the result.

The loop does what `hyperopt.fmin` does, in the same order, so that the trials are the same. Trials
that an earlier session left unfinished are in the queue when the loop begins.
"""

import logging
import os
import pickle
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from hyperopt.base import Ctrl, Domain, spec_from_misc
from hyperopt.utils import coarse_utcnow

from colab_drive_tuner.checkpoint.codec.codec import Captured, capture
from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.checkpoint.record_items import TrialEnd
from colab_drive_tuner.checkpoint.trials_and_sessions import process_label
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.runtime import runtime_name
from colab_drive_tuner.search.algorithms.fast_algorithm import fast_algorithm
from colab_drive_tuner.search.evaluate import Attempt, TrainingSettings, evaluate
from colab_drive_tuner.search.loop.missing_trials import MissingTrials
from colab_drive_tuner.search.loop.pruning import Pruning
from colab_drive_tuner.search.loop.run_request import RunRequest
from colab_drive_tuner.search.loop.stopping_rules import StoppingRules
from colab_drive_tuner.search.spec.suggestion_seeds import SeedStream
from colab_drive_tuner.search.trial_documents import (
    ERROR,
    FINISHED,
    RUNNING,
    error_text,
    plain_result,
)
from colab_drive_tuner.search.trials.counts import TrialCounts
from colab_drive_tuner.search.trials.returned_models import ModelResult, separate_model
from colab_drive_tuner.search.trials.stored_trials import StoredTrials
from colab_drive_tuner.text import text_of
from colab_drive_tuner.tracebacks import add_hint
from colab_drive_tuner.training.memory import KerasMemory
from colab_drive_tuner.training.trial_backup_files import TrialBackupFiles

Display = AbstractContextManager[Callable[[str], None]]
"""Progress display: the entered function is called after each round.

Its argument is why the search was stopped, or "".
"""

log = logging.getLogger(__name__)


class Loop:
    """Runs the trials of a search that this process owns; `counts` are those of its documents."""

    def __init__(
        self,
        trials: StoredTrials,
        request: RunRequest,
        domain: Domain,
        seeds: SeedStream,
        training: TrainingSettings,
        stopping_rules: StoppingRules,
        counts: TrialCounts,
    ) -> None:
        self._trials, self._request, self._domain, self._seeds = trials, request, domain, seeds
        self._training, self._stopping_rules, self._counts = training, stopping_rules, counts
        self._algo = fast_algorithm(request.algo, domain)
        self._remaining = request.max_evals - len(counts)
        """The number of trials that the algorithm may still suggest."""
        self._owner = process_label(runtime_name(), os.getpid(), socket.gethostname())
        self._missing = MissingTrials(trials, self._algo, domain)
        self._memory = KerasMemory()
        self._pruning = Pruning(
            training.pruner,
            trials._dynamic_trials,
            trials.log.k_of,
            trials.log.pending_of,
            trials.notify,
        )

    def run(self, display: Display) -> str:
        """Run trials until the search has all of them, or a rule stops it; return which, or ""."""
        why = ""
        with display as show:
            if self._counts.next_queued is None:
                why = self._judge(self._stopping_rules.judge_interrupted_round)
            while not why and self._has_work() and not self._stopping_rules.timed_out:
                self._restore_missing()
                # Queued trials of an earlier session run first: a batch is suggested as a whole.
                exhausted = self._counts.next_queued is None and not self._ask()
                while document := self._counts.next_queued:
                    if self._stopping_rules.deadline_near:
                        break
                    self._run_trial(document)
                self._save()
                why = self._judge(self._stopping_rules.judge)
                show(why)
                if exhausted:
                    break
        self._trials.refresh()
        return why

    def _judge(self, by: Callable[..., tuple[str, dict[str, Any]]]) -> str:
        """Apply the stopping rules, and record the result; return why the search ends, or ""."""
        why, settings = by(self._trials, self._counts)
        self._trials.log.set(settings)
        return why

    def _has_work(self) -> bool:
        """Return whether trials are queued, or may still be suggested."""
        return self._remaining > 0 or self._counts.next_queued is not None

    # -- ask

    def _restore_missing(self) -> None:
        """Before new suggestions, queue trials that are missing from a dead session's spool."""
        if self._missing.complete or self._remaining <= 0 or self._counts.next_queued is not None:
            return
        self._remaining -= self._missing.restore_next()
        self._counts.recount()

    def _ask(self) -> bool:
        """Let the algorithm fill the queue; return False if it suggests nothing more."""
        longest = self._request.max_queue_len
        while (free := longest - self._counts.queued) > 0 and self._remaining > 0:
            new_ids = self._trials.new_trial_ids(min(free, self._remaining))
            self._trials.list_inserted()
            k, seed = self._seeds.draw()
            suggested = self._algo(new_ids, self._domain, self._trials, seed)
            if len(suggested) > len(new_ids):
                raise UsageError(
                    f"algo= suggested {len(suggested)} trials when asked for "
                    f"{len(new_ids)}: return at most one for each new id."
                )
            if not suggested:
                return False
            self._trials.insert_suggested(suggested, k, self._counts.open)
            self._remaining -= len(suggested)
            self._counts.update()
        return True

    # -- run, tell

    def _run_trial(self, document: TrialDocument) -> None:
        """Run one trial; record its start before, and its end after."""
        started = self._start(document)
        self._memory.begin()
        ctrl, tid = Ctrl(self._trials, current_trial=document), document["tid"]
        try:
            parts = separate_model(evaluate(started.attempt, self._domain, ctrl, started.artifacts))
            result, curves = self._trials.models.keep(parts, tid), parts.curves
            del parts  # drop the reference to the model, so that its memory can be freed
            # A result that is not plain data is an error of the objective, raised here.
            captured = capture(plain_result(result))
        except Exception as error:
            text, where = text_of(error), traceback.format_exc()
            how = self._note_error(document, str(type(error)), text, where)
            self._tell(started, how)
            if how == TrialEnd.RAISED:
                add_hint(error, tid, self._trials.name)
                raise
        else:
            document |= {"state": FINISHED, "result": result}
            if curves:
                document["misc"]["history"] = curves
            self._tell(started, TrialEnd.DONE, captured)
        self._memory.end(free=self._trials.free_memory)

    def _note_error(self, document: TrialDocument, kind: str, text: str, where: str) -> TrialEnd:
        """Note an error of the objective in the document; return how it ends the trial."""
        document["state"] = ERROR
        document["misc"]["error"] = kind, text
        document["misc"]["traceback"] = where
        if not self._request.catch_eval_exceptions:
            return TrialEnd.RAISED
        what = error_text(kind, text)
        log.error("Trial %s of search %r raised %s", document["tid"], self._trials.name, what)
        return TrialEnd.CAUGHT

    def _start(
        self, document: TrialDocument, *, died: int = 0, durable: bool = False
    ) -> "StartedTrial":
        """Record the start of a trial, and collect what it needs to run.

        `died` counts the workers of this session that died while running the trial; a `durable`
        start is spooled.
        """
        trials, tid, now = self._trials, document["tid"], coarse_utcnow()
        deadline = self._request.deadline
        document |= {"state": RUNNING, "owner": self._owner, "book_time": now, "refresh_time": now}
        deaths = trials.log.inherited.get(tid)
        fresh = deaths is None and not died
        artifacts = trials.backups.for_trial(tid, fresh=fresh)
        progress = 0 if fresh else trials.backups.progress(artifacts)
        trials.log.start(
            document, self._counts.open, progress=progress, deaths=died, durable=durable
        )
        attempt = Attempt(
            trials.name,
            tid,
            1 + (deaths or 0) + died,
            spec_from_misc(document["misc"]),
            self._training,
            self._pruning.thresholds(tid),
            # Converted for each trial, since the clock may be set while the search runs.
            deadline and time.time() + deadline - time.monotonic(),
        )
        return StartedTrial(document, attempt, artifacts, time.monotonic(), progress)

    def _tell(self, started: "StartedTrial", how: TrialEnd, result: Captured | None = None) -> None:
        """Record the end of a trial; `result` is a snapshot of its plain result."""
        trials, document, artifacts = self._trials, started.document, started.artifacts
        seconds = time.monotonic() - started.began
        document["refresh_time"] = now = coarse_utcnow()
        # The clock may have been set since the start was noted.
        document["book_time"] = now - timedelta(milliseconds=round(1000 * seconds))
        self._stopping_rules.trial_took(seconds, resumable=artifacts.writer is not None)
        model = isinstance(document["result"], ModelResult)
        trials.log.end(document, how, model=model, seconds=seconds, result=result)
        if how == TrialEnd.RAISED:
            self._counts.count_raised(document)
        self._counts.update()
        self._pruning.add_ended(document)
        if document["state"] == ERROR or self._domain.pass_expr_memo_ctrl:
            trials.refresh()  # hyperopt no longer lists it, nor what the objective cancelled
        trials.backups.ended(document["tid"], artifacts, trials.log.history)

    def _save(self) -> None:
        """Write hyperopt's save file, if requested."""
        if self._request.trials_save_file:
            with Path(self._request.trials_save_file).open("wb") as file:
                pickle.dump(self._trials, file)


@dataclass(frozen=True)
class StartedTrial:
    """A trial that is running."""

    document: TrialDocument
    attempt: Attempt
    artifacts: TrialBackupFiles
    began: float
    """`time.monotonic()` when it started."""
    progress: int = 0
    """How far the trial's backups got; see `Backups.progress`."""
