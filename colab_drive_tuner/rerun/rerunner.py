"""Rerun of a search's notebook if the search is unfinished, once or until it is finished.

A rerun first loads the program, so that a schedule of a missing program always fails. Next it reads
the status of the search, takes the lock and checks the results of earlier runs. Only then does it
start a run, so that a superfluous rerun is safe and cheap.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from colab_drive_tuner.errors import (
    AccountMismatchError,
    ColabDriveTunerError,
    NoRuntimeError,
    NotebookRunError,
    RuntimeLostError,
    UnavailableError,
    UsageError,
)
from colab_drive_tuner.local_files import scratch_folder
from colab_drive_tuner.rerun.lock import RerunLockedError, rerun_lock
from colab_drive_tuner.rerun.program import CellError, Runner, RunTask, load_program
from colab_drive_tuner.rerun.runs import (
    ExitCode,
    RerunStatus,
    Run,
    RunEnd,
    count_fruitless,
    read_rerun_status,
    read_runs,
    record_run,
)
from colab_drive_tuner.rerun.stopping import StoppedError, StopSignals
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.text import visible

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 1800.0


@dataclass
class Rerunner:
    """Runs the program of a search with a runner, if the search is unfinished."""

    store: Store
    program: str
    """A notebook, a script, or a notebook in Drive (`drive://...`)."""
    search: str
    runner: Runner
    max_seconds: float | None = None
    """Time limit of a run; the search starts no trial that would exceed it. None: no limit."""
    give_up_after: int = 3
    """Number of successive runs without a new trial after which none is started; 0: no limit."""
    notify: Callable[[str], None] = print
    sleep: Callable[[float], None] = time.sleep
    stop_signals: StopSignals = field(default_factory=StopSignals)

    def once(self) -> RerunStatus:
        """Run the program once, if its search is unfinished and not running elsewhere.

        Returns the status of the search afterwards, with a message that says what happened.
        """
        with self.stop_signals.raising():
            program = load_program(self.program)
            status = read_rerun_status(self.store, self.search)
            if status.exit_code is not ExitCode.FINISHED:
                _check_account(self.search, status.account, self.store.account)
            if status.exit_code is not ExitCode.UNFINISHED:
                return status
            try:
                with rerun_lock(self.store, self.search, self.sleep), scratch_folder() as folder:
                    given_up = self.given_up(status)
                    if given_up is not None:
                        return given_up
                    began = time.time()
                    deadline = None if self.max_seconds is None else began + self.max_seconds
                    task = RunTask(
                        program=program,
                        search=self.search,
                        folder=folder,
                        stop_signals=self.stop_signals,
                        deadline=deadline,
                        environment=_environment(self.store),
                    )
                    self.runner.check(task)
                    self.notify(f"{status.message} Running {self.program} on {self.runner.name}.")
                    return self._run(task, status, began)
            except RerunLockedError as elsewhere:
                return RerunStatus(ExitCode.BUSY, str(elsewhere), done=status.done)

    def given_up(self, status: RerunStatus) -> RerunStatus | None:
        """Return a failed status if the last runs ended no trial; None if the search may be run."""
        if not self.give_up_after:
            return None
        count = count_fruitless(read_runs(self.store, self.search), status.done)
        if count < self.give_up_after:
            return None
        return RerunStatus(
            ExitCode.FAILED,
            f"{status.message} The last {count} runs ended no trial, so nothing was started: see "
            f"{self.store.command('status', self.search)} and the notebooks in its runs/. To try "
            "again, add --give-up-after 0.",
            done=status.done,
        )

    def _run(self, task: RunTask, before: RerunStatus, began: float) -> RerunStatus:
        ended = None
        try:
            error = self.runner.run(task)
        except RuntimeLostError as lost:
            error = CellError(str(lost), ExitCode.UNFINISHED)
        except NoRuntimeError as refused:
            error, ended = CellError(str(refused), ExitCode.FAILED), RunEnd.NOT_STARTED
        except NotebookRunError as failure:
            error = CellError(str(failure), ExitCode.FAILED)
        except StoppedError as stopped:
            after = before
            with self.stop_signals.ignored():
                with contextlib.suppress(ColabDriveTunerError):
                    after = read_rerun_status(self.store, self.search, own_run_ended=True)
                self._record(task, before, after, began, RunEnd.STOPPED)
            raise stopped from None
        with self.stop_signals.deferred():
            after = read_rerun_status(self.store, self.search, own_run_ended=True)
            if error is not None:
                message = f"{error.message.strip()}\n{after.message}"
                vanished = error.exit_code is ExitCode.UNFINISHED
                after = RerunStatus(
                    after.exit_code if vanished else error.exit_code, message, done=after.done
                )
            elif after.missing:
                message = f"{self.program} ended, but did not begin this search: check its name."
                after = replace(after, message=f"{message} {after.missing}")
            self._record(task, before, after, began, ended or RunEnd(after.exit_code.name.lower()))
        return after

    def _record(
        self, task: RunTask, before: RerunStatus, after: RerunStatus, began: float, ended: RunEnd
    ) -> None:
        run = Run(
            search=self.search,
            began=began,
            where=self.runner.name,
            seconds=time.time() - began,
            trials=max(0, after.done - before.done),
            done=after.done,
            ended=ended,
        )
        try:
            record_run(self.store, run, task.result_file(), after.message)
        except ColabDriveTunerError as error:
            # The search itself is unaffected, so a missing log entry is not a failure.
            self.notify(f"This run could not be recorded in the search's runs/: {error}")


def rerun_until_finished(rerunner: Rerunner) -> RerunStatus:
    """Run the program repeatedly until the search is finished, or the rerunner gives up.

    After a run that ended trials the next one starts at once; otherwise pauses double from 30
    seconds to 30 minutes. Returns the last status.
    """
    pause = FIRST_PAUSE
    while True:
        progress = False
        try:
            before = read_rerun_status(rerunner.store, rerunner.search).done
            status = rerunner.once()
            if status.exit_code is ExitCode.FINISHED:
                return status
            if status.exit_code is ExitCode.FAILED and rerunner.given_up(status) is not None:
                return status
            progress = status.done > before
        except UnavailableError as outage:  # wait until it is over
            status = RerunStatus(ExitCode.UNFINISHED, str(outage))
        if progress:
            pause = FIRST_PAUSE
            continue
        rerunner.notify(f"{status.message} Trying again in {pause:.0f} s.")
        with rerunner.stop_signals.raising():
            rerunner.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _check_account(search: str, owner: str | None, account: str) -> None:
    """Refuse a search of another account before a run is started; the journal would refuse it."""
    if owner not in (None, account):
        owner = visible(owner)
        raise AccountMismatchError(
            f"Search {search!r} belongs to {owner}, but this rerun is signed in as {account}: use "
            f"credentials of {owner} (see docs/scheduling.md), or begin another search."
        )


def _environment(store: Store) -> Mapping[str, str]:
    """Return the environment variables through which a run finds the store."""
    if store.environment is None:
        raise UsageError(
            f"{store.location} exists only in this process, but a run is another process: keep the "
            "search in a folder or in Drive."
        )
    return store.environment
