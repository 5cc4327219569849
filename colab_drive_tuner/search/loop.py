"""The loop that runs trials: hyperopt's FMinIter, told to write down what it does.

Everything that runs an objective is in this room. FMinIter decides what runs next, as ever; the
Domain marks the start of each trial, and the end is written after hyperopt has put the result into
the document. Trials that an earlier session left unfinished come first.
"""

import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from timeit import default_timer as timer
from typing import TYPE_CHECKING, Any

from hyperopt import FMinIter
from hyperopt.base import JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_NEW, Ctrl, Domain

from colab_drive_tuner.checkpoint.codec import Taken
from colab_drive_tuner.checkpoint.items import CAUGHT, DONE, RAISED
from colab_drive_tuner.checkpoint.taking import take
from colab_drive_tuner.runtime import place
from colab_drive_tuner.search.faster_tpe import faster_tpe
from colab_drive_tuner.search.seeds import SeedStream
from colab_drive_tuner.search.view import LoopView
from colab_drive_tuner.training import (
    KerasSettings,
    free_memory,
    has_backups,
    keras_grew,
    keras_settings,
    seed_trial,
)
from colab_drive_tuner.trial import RunningTrial, run_as

if TYPE_CHECKING:
    from colab_drive_tuner.search.trials import DriveTrials
    from colab_drive_tuner.training import StoreArtifacts

Document = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """What the loop gives to each trial."""

    seed: int
    """The search's training seed."""
    seeded: bool = True
    """Whether the global random generators are seeded before each trial."""
    keras_wanted: bool = False
    """Whether Keras is seeded although nothing has imported it yet."""
    deadline: float | None = None
    """`time.monotonic()` after which nothing is started."""
    free_memory: bool = True
    """Whether Keras is made to give back, after each trial, what it held."""


class _Stop(BaseException):
    """Carries an error that is no error of the objective through hyperopt's `except Exception`."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class TrialDomain(Domain):  # type: ignore[misc]  # hyperopt is untyped
    """A Domain that evaluates through `run(document, evaluate)`."""

    run: Callable[[Document, Callable[[], Document]], Document]
    trials: "DriveTrials"

    def evaluate(self, config: Any, ctrl: Ctrl, attach_attachments: bool = True) -> Document:
        """As hyperopt's, between the marks of start and end; `ctrl` shows the real Trials."""
        ctrl.trials = self.trials
        evaluate = super().evaluate
        return self.run(ctrl.current_trial, lambda: evaluate(config, ctrl, attach_attachments))


class TrialLoop(FMinIter):  # type: ignore[misc]  # hyperopt is untyped
    """FMinIter over a `DriveTrials` that is claimed."""

    timeout: float | None
    progress_callback: Callable[..., AbstractContextManager[Any]]

    def __init__(
        self,
        algo: Callable[..., list[Document]],
        domain: TrialDomain,
        trials: "DriveTrials",
        stream: SeedStream,
        training: Training,
        *,
        early_stop_fn: Callable[..., Any] | None = None,
        catch_eval_exceptions: bool = False,
        **options: Any,
    ) -> None:
        self.public, self._algo, self._training = trials, algo, training
        self.catch_eval_exceptions = catch_eval_exceptions
        self._here = f"{place()}, process {os.getpid()} on {socket.gethostname()}"
        self._running: Document | None = None
        self._begun = self._longest = 0.0
        self._traceback = ""
        self._result: Taken | None = None
        """The result of the trial that ran last, where it returned one."""
        self._artifacts: StoreArtifacts | None = None
        self._keras: KerasSettings | None = None
        self.early_stop_args: Any = []
        domain.run, domain.trials = self._run_trial, trials
        stop = None
        if early_stop_fn is not None:

            def stop(_view: LoopView, *args: Any) -> Any:
                return early_stop_fn(trials, *args)

        super().__init__(
            self._suggest,
            domain,
            LoopView(trials),
            rstate=stream,
            early_stop_fn=stop,
            **options,
        )

    def exhaust(self) -> "TrialLoop":
        """Run what was inherited, then as FMinIter does, until `max_evals` trials are there."""
        with self.progress_callback(
            initial=self.trials.count_by_state_unsynced(JOB_STATE_DONE), total=self.max_evals
        ) as progress:
            # FMinIter opens a progress of its own; this one has shown what was inherited, too.
            self.progress_callback = lambda **_: nullcontext(progress)
            if not self._run_inherited(progress):
                with faster_tpe():
                    super().exhaust()
        return self

    def serial_evaluate(self, N: int = -1) -> None:  # noqa: N803 (hyperopt's name)
        """Run the new trials, and write down the end of the last one."""
        try:
            super().serial_evaluate(N)
        except _Stop as stop:
            raise stop.error from None
        finally:
            self._settle()

    def _run_inherited(self, progress: Any) -> bool:
        """Run the unfinished trials; True if the search is to stop after them."""
        if not self.trials.unfinished:
            return False
        losses = self.trials.losses()
        while any(document["state"] == JOB_STATE_NEW for document in self.trials.unfinished):
            if self.timeout is not None and timer() - self.start_time >= self.timeout:
                return True
            self.serial_evaluate(1)
            # What FMinIter does after each trial it runs itself.
            losses = self.trials.losses()
            if losses:
                progress.postfix = f"best loss: {losses[0]}"
            progress.update(1)
        if self.early_stop_fn is not None:
            stop, self.early_stop_args = self.early_stop_fn(self.trials, *self.early_stop_args)
            if stop:
                return True
        return bool(losses and self.loss_threshold is not None and losses[0] < self.loss_threshold)

    def _suggest(self, new_ids: list[int], domain: Domain, _view: Any, seed: Any) -> list[Document]:
        """Ask the algorithm, which sees the real Trials; remember which of its calls this was."""
        k = self.rstate.k - 1
        suggested = self._algo(new_ids, domain, self.public, seed)
        for document in suggested:
            self.public.log.k_of[document["tid"]] = k
        return suggested

    # -- one trial

    def _run_trial(self, document: Document, evaluate: Callable[[], Document]) -> Document:
        tid, training = document["tid"], self._training
        try:
            self._settle()
            trial = self._start(document)
        except Exception as error:
            raise _Stop(error) from error
        try:
            with run_as(trial):
                if training.seeded:
                    seed_trial(training.seed, tid, keras_wanted=training.keras_wanted)
                result, curves = self.public.models.take(evaluate(), tid)
                if curves:
                    document["misc"]["history"] = curves
                # Refused here, it counts as an error of the objective.
                plain = getattr(result, "plain", None)
                self._result = take(result if plain is None else plain())
        except Exception:
            self._traceback = traceback.format_exc()
            raise
        return result

    def _start(self, document: Document) -> RunningTrial:
        tid, log, training = document["tid"], self.public.log, self._training
        document["owner"] = self._here
        artifacts = self._artifacts = self.public.backups.of(tid, fresh=tid not in log.inherited)
        progress = 0
        if artifacts is not None and tid in log.inherited:
            progress = self.public.backups.progress(artifacts)
        log.start(document, self.trials.unfinished, progress=progress)
        if self._keras is None and "keras" in sys.modules:
            self._keras = keras_settings()
        self._running, self._begun = document, time.monotonic()
        return RunningTrial(
            search=self.public.name,
            tid=tid,
            seed=training.seed,
            attempt=1 + log.inherited.get(tid, 0),
            deadline=training.deadline,
            artifacts=artifacts,
        )

    def _reserve(self, seconds: float) -> None:
        """Before the deadline, leave as long as the longest trial took that cannot be resumed.

        One that is backed up stops itself at an epoch's end.
        """
        deadline = self._training.deadline
        if deadline is None or (self._artifacts is not None and has_backups(self._artifacts)):
            return
        self._longest = max(self._longest, seconds)
        left = deadline - time.monotonic() - self._longest
        limit: float = timer() - self.start_time + left
        self.timeout = limit if self.timeout is None else min(self.timeout, limit)

    def _settle(self) -> None:
        """Write down the end of the trial that ran last, if it has ended."""
        document, self._running = self._running, None
        result, self._result = self._result, None
        if document is None or document["state"] not in (JOB_STATE_DONE, JOB_STATE_ERROR):
            return
        how = DONE
        if document["state"] == JOB_STATE_ERROR:
            how = CAUGHT if self.catch_eval_exceptions else RAISED
            document["misc"]["traceback"] = self._traceback
        model = hasattr(document["result"], "plain")
        seconds = time.monotonic() - self._begun
        self._reserve(seconds)
        self.public.log.end(document, how, model=model, seconds=seconds, result=result)
        self.public.backups.ended(document["tid"], self._artifacts, self.public.log.history)
        if self._training.free_memory and "keras" in sys.modules and keras_grew(self._keras):
            free_memory(self._keras)
