"""The loop that runs trials: ask the algorithm, run the objective, tell the record.

It does what `hyperopt.fmin` does, in the same order, so that the same trials come out. Trials that
an earlier session left unfinished are in the queue when it begins.
"""

import logging
import os
import pickle
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperopt.base import Ctrl, Domain, spec_from_misc
from hyperopt.utils import coarse_utcnow

from colab_drive_tuner.checkpoint.codec.capture import take
from colab_drive_tuner.checkpoint.codec.codec import Taken
from colab_drive_tuner.checkpoint.document_validation import TrialDocument
from colab_drive_tuner.checkpoint.record_items import TrialEnd
from colab_drive_tuner.checkpoint.trials_and_sessions import process_label
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.runtime import runtime_name
from colab_drive_tuner.search.evaluate import Attempt, Training, evaluate
from colab_drive_tuner.search.loop.missing_trials import MissingTrials
from colab_drive_tuner.search.loop.pruning import Pruning
from colab_drive_tuner.search.loop.search_spec import SearchSpec
from colab_drive_tuner.search.loop.stopping_rules import Stops
from colab_drive_tuner.search.spec.seeds import SeedStream
from colab_drive_tuner.search.trial_documents import ERROR, FINISHED, RUNNING, plain_result
from colab_drive_tuner.search.trials.counts import Tally
from colab_drive_tuner.search.trials.models import ModelResult, take_apart
from colab_drive_tuner.search.trials.stored import StoredTrials
from colab_drive_tuner.training.artifacts import StoreArtifacts
from colab_drive_tuner.training.backup.writer import has_backups
from colab_drive_tuner.training.memory import KerasSettings, free_memory, keras_grew, keras_settings

Suggest = Callable[..., list[TrialDocument]]
"""An algorithm: hyperopt's `suggest(new_ids, domain, trials, seed)`."""
Display = AbstractContextManager[Callable[[str], None]]
"""Progress while the loop runs: what it enters to is called after each round.

It is told why the search was stopped, if it was.
"""

log = logging.getLogger(__name__)


class Loop:
    """Runs the trials of a search that this process holds; `tally` counts over its documents."""

    def __init__(
        self,
        trials: StoredTrials,
        algo: Suggest,
        domain: Domain,
        seeds: SeedStream,
        *,
        spec: SearchSpec,
        training: Training,
        stops: Stops,
        tally: Tally,
    ) -> None:
        self._trials, self._algo, self._domain, self._seeds = trials, algo, domain, seeds
        self._training, self._stops, self._tally, self._spec = training, stops, tally, spec
        self._unasked = spec.max_evals - len(tally)
        """How many trials the algorithm may still suggest."""
        self._owner = process_label(runtime_name(), os.getpid(), socket.gethostname())
        self._missing = MissingTrials(trials, algo, domain)
        self._keras: KerasSettings | None = None
        self._pruning = Pruning(
            training.pruner,
            trials._dynamic_trials,
            trials.log.k_of,
            trials.log.pending_of,
            trials.notify,
        )

    def run(self, display: Display) -> str:
        """Run trials until all are there, or a rule ends the run.

        Returns:
            Why the search was stopped before it had all its trials; "" where it was not.
        """
        why = ""
        with display as show:
            if self._tally.next_queued is None:
                why = self._stopped(self._stops.judge_interrupted_round)
            while not why and self._is_left() and not self._stops.timed_out:
                self._put_back_missing()
                # A queue that an earlier session left is emptied first: a batch is asked for whole.
                exhausted = self._tally.next_queued is None and not self._ask()
                while (document := self._tally.next_queued) and not self._stops.deadline_near:
                    self._run_trial(document)
                self._save()
                why = self._stopped(self._stops.judge)
                show(why)
                if exhausted:
                    break
        self._trials.refresh()
        return why

    def _stopped(self, judge: Callable[..., tuple[str, dict[str, Any]]]) -> str:
        """Why the search ends here, which is recorded; "" where it goes on."""
        why, settings = judge(self._trials, self._tally)
        self._trials.log.set(settings)
        return why

    def _is_left(self) -> bool:
        return self._unasked > 0 or self._tally.next_queued is not None

    # -- ask

    def _put_back_missing(self) -> None:
        """Before anything new is asked for: what a hole in a dead session's spool left out."""
        if self._missing.complete or self._unasked <= 0:
            return
        if self._tally.next_queued is None:
            put_back = self._missing.put_back_next()
            if put_back:
                self._unasked -= put_back
                self._tally.recount()

    def _ask(self) -> bool:
        """Let the algorithm fill the queue; False where it suggests nothing more."""
        while (free := self._spec.max_queue_len - self._tally.queued) > 0 and self._unasked > 0:
            new_ids = self._trials.new_trial_ids(min(free, self._unasked))
            self._trials.list_inserted()
            k, seed = self._seeds.draw()
            suggested = self._algo(new_ids, self._domain, self._trials, seed)
            if len(suggested) > len(new_ids):
                raise UsageError(
                    f"algo= suggested {len(suggested)} trials where it was asked for "
                    f"{len(new_ids)}: return at most one for each new id."
                )
            if not suggested:
                return False
            self._trials.insert_suggested(suggested, k, self._tally.open)
            self._unasked -= len(suggested)
            self._tally.update()
        return True

    # -- run, tell

    def _run_trial(self, document: TrialDocument) -> None:
        """Run one trial: its start is recorded before, its end after."""
        started = self._start(document)
        ctrl, tid = Ctrl(self._trials, current_trial=document), document["tid"]
        try:
            parts = take_apart(evaluate(started.attempt, self._domain, ctrl, started.artifacts))
            result, curves = self._trials.models.keep(parts, tid), parts.curves
            del parts  # it holds the model, whose memory is to be freed below
            # What is no plain data is refused here, as an error of the objective.
            taken = take(plain_result(result))
        except Exception as error:
            how = TrialEnd.CAUGHT if self._spec.catch_eval_exceptions else TrialEnd.RAISED
            document["state"] = ERROR
            document["misc"]["error"] = str(type(error)), str(error)
            document["misc"]["traceback"] = traceback.format_exc()
            self._tell(started, how)
            if how == TrialEnd.RAISED:
                raise
            log.error("Trial %s of search %r raised: %s", tid, self._trials.name, error)
        else:
            document |= {"state": FINISHED, "result": result}
            if curves:
                document["misc"]["history"] = curves
            self._tell(started, TrialEnd.DONE, taken)
        if self._trials.free_memory and "keras" in sys.modules and keras_grew(self._keras):
            free_memory(self._keras)

    def _start(self, document: TrialDocument, *, died: int = 0, durable: bool = False) -> "Started":
        """Record that the trial starts, and gather what it needs to run.

        `died` of this session's workers died of it before; `durable`: the start is spooled.
        """
        trials, tid, now = self._trials, document["tid"], coarse_utcnow()
        document |= {"state": RUNNING, "owner": self._owner, "book_time": now, "refresh_time": now}
        deaths = trials.log.inherited.get(tid)
        artifacts = trials.backups.of(tid, fresh=deaths is None and not died)
        progress = 0
        if artifacts is not None and (deaths is not None or died):
            progress = trials.backups.progress(artifacts)
        trials.log.start(
            document, self._tally.open, progress=progress, deaths=died, durable=durable
        )
        if self._keras is None and "keras" in sys.modules:
            self._keras = keras_settings()
        point = spec_from_misc(document["misc"])
        attempt = Attempt(
            trials.name,
            tid,
            1 + (deaths or 0) + died,
            point,
            self._training,
            self._pruning.thresholds(tid),
        )
        return Started(document, attempt, artifacts, time.monotonic(), progress)

    def _tell(self, started: "Started", how: TrialEnd, result: Taken | None = None) -> None:
        """Record how the trial ended; `result`: a copy of its plain result."""
        trials, document, artifacts = self._trials, started.document, started.artifacts
        document["refresh_time"] = coarse_utcnow()
        seconds = time.monotonic() - started.began
        backed_up = artifacts is not None and has_backups(artifacts)
        self._stops.trial_took(seconds, resumable=backed_up)
        model = isinstance(document["result"], ModelResult)
        trials.log.end(document, how, model=model, seconds=seconds, result=result)
        self._tally.update()
        self._pruning.ended(document)
        if document["state"] == ERROR or self._domain.pass_expr_memo_ctrl:
            trials.refresh()  # hyperopt lists it no more, nor what the objective has cancelled
        trials.backups.ended(document["tid"], artifacts, trials.log.history)

    def _save(self) -> None:
        """Write hyperopt's own save file, where the caller wants one."""
        if self._spec.trials_save_file:
            with Path(self._spec.trials_save_file).open("wb") as file:
                pickle.dump(self._trials, file)


@dataclass(frozen=True)
class Started:
    """A trial that is running."""

    document: TrialDocument
    attempt: Attempt
    artifacts: StoreArtifacts | None
    began: float
    """`time.monotonic()` when it started."""
    progress: int = 0
    """How far a backup lets it go on."""
