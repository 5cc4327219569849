"""Rerun of a search's notebook if the search is unfinished, once or until it is finished.

The order makes it safe to run twice and cheap when there is nothing to do: the program is read,
whatever the search says, so that a schedule of one that is not there fails; the verdict on the
search comes next, then the lock, then the outcome of earlier runs; only then is anything started.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
from colab_drive_tuner.rerun.exit_code import Outcome, Verdict, read_verdict
from colab_drive_tuner.rerun.lock import RerunLockedError, rerun_lock
from colab_drive_tuner.rerun.program import CellError, load_program
from colab_drive_tuner.rerun.runners.runner import Runner, RunTask
from colab_drive_tuner.rerun.runs import Run, RunEnd, fruitless, keep_run, read_runs
from colab_drive_tuner.rerun.stopping import StoppedError, Stops
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.text import visible

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 1800.0


@dataclass
class Rerunner:
    """A program that is run again, the search that it works on, and the runner that runs it.

    Attributes:
        store: Where the search is kept.
        program: A notebook, a script, or a notebook in Drive (`drive://...`).
        search: The search's name.
        runner: Runs the program once.
        max_seconds: How long one run may take; its search starts nothing that would take longer.
            None: without a limit.
        give_up_after: Runs without a new trial after which nothing is started any more; 0: never.
        notify: Called with sentences for the user.
        sleep: Waits so many seconds.
        stops: The signals that end a run.
    """

    store: Store
    program: str
    search: str
    runner: Runner
    max_seconds: float | None = None
    give_up_after: int = 3
    notify: Callable[[str], None] = print
    sleep: Callable[[float], None] = time.sleep
    stops: Stops = field(default_factory=Stops)

    def once(self) -> Verdict:
        """Run the program once if its search is unfinished and nobody else runs it.

        Returns:
            The verdict on the search afterwards; its message says what happened.

        Raises:
            AccountMismatchError: The search belongs to another account.
            NotebookError: There is no such program.
        """
        with self.stops.raising():
            program = load_program(self.program)
            verdict = read_verdict(self.store, self.search)
            if verdict.outcome is not Outcome.FINISHED:
                _check_account(self.search, verdict.account, self.store.account)
            if verdict.outcome is not Outcome.UNFINISHED:
                return verdict
            try:
                with rerun_lock(self.store, self.search, self.sleep), scratch_folder() as folder:
                    given_up = self.given_up(verdict)
                    if given_up is not None:
                        return given_up
                    began = time.time()
                    deadline = None if self.max_seconds is None else began + self.max_seconds
                    task = RunTask(
                        program, self.search, folder, self.stops, deadline, _environment(self.store)
                    )
                    self.runner.check(task)
                    self.notify(f"{verdict.message} Running {self.program} on {self.runner.name}.")
                    return self._run(task, verdict, began)
            except RerunLockedError as elsewhere:
                return Verdict(Outcome.BUSY, str(elsewhere), done=verdict.done)

    def given_up(self, verdict: Verdict) -> Verdict | None:
        """The verdict of a search whose last runs were all in vain; None while it may be run."""
        if not self.give_up_after:
            return None
        count = fruitless(read_runs(self.store, self.search), verdict.done)
        if count < self.give_up_after:
            return None
        return Verdict(
            Outcome.FAILED,
            f"{verdict.message} The last {count} runs ended no trial, so nothing was started: see "
            f"{self.store.command('status', self.search)} and the notebooks in its runs/. To try "
            "once more, add --give-up-after 0.",
            done=verdict.done,
        )

    def _run(self, task: RunTask, before: Verdict, began: float) -> Verdict:
        ended = None
        try:
            error = self.runner.run(task)
        except RuntimeLostError as lost:
            error = CellError(str(lost), Outcome.UNFINISHED)
        except NoRuntimeError as refused:
            error, ended = CellError(str(refused), Outcome.FAILED), RunEnd.NOT_STARTED
        except NotebookRunError as failure:
            error = CellError(str(failure), Outcome.FAILED)
        except StoppedError as stopped:
            after = before
            with self.stops.ignored():
                with contextlib.suppress(ColabDriveTunerError):
                    after = read_verdict(self.store, self.search, own_run_ended=True)
                self._note(task, before, after, began, RunEnd.STOPPED)
            raise stopped from None
        with self.stops.deferred():
            after = read_verdict(self.store, self.search, own_run_ended=True)
            if error is not None:
                message = f"{error.message.strip()}\n{after.message}"
                vanished = error.outcome is Outcome.UNFINISHED
                after = Verdict(
                    after.outcome if vanished else error.outcome, message, done=after.done
                )
            self._note(task, before, after, began, ended or RunEnd(after.outcome.name.lower()))
        return after

    def _note(
        self, task: RunTask, before: Verdict, after: Verdict, began: float, ended: RunEnd
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
            keep_run(self.store, run, task.result_file(), after.message)
        except ColabDriveTunerError as error:
            # The search is what counts, and it is as it is: that a note is missing is no failure.
            self.notify(f"This run could not be noted in the search's runs/: {error}")


def rerun_until_finished(rerunner: Rerunner) -> Verdict:
    """Run again and again until the search is finished, or several runs ended no trial.

    After a run that ended trials the next follows at once; else pauses double from half a minute to
    half an hour.

    Args:
        rerunner: The program, its search and its runner.

    Returns:
        The last verdict.
    """
    pause = FIRST_PAUSE
    while True:
        progress = False
        try:
            before = read_verdict(rerunner.store, rerunner.search).done
            verdict = rerunner.once()
            if verdict.outcome is Outcome.FINISHED:
                return verdict
            if verdict.outcome is Outcome.FAILED and rerunner.given_up(verdict) is not None:
                return verdict
            progress = verdict.done > before
        except UnavailableError as away:  # an outage is something to wait for, too
            verdict = Verdict(Outcome.UNFINISHED, str(away))
        if progress:
            pause = FIRST_PAUSE
            continue
        rerunner.notify(f"{verdict.message} Trying again in {pause:.0f} s.")
        with rerunner.stops.raising():
            rerunner.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _check_account(search: str, owner: str | None, account: str) -> None:
    """Refuse before anything is started what the journal would refuse later."""
    if owner not in (None, account):
        owner = visible(owner)
        raise AccountMismatchError(
            f"Search {search!r} belongs to {owner}, and this rerun is {account}: give it "
            f"credentials of {owner} (see docs/scheduling.md), or begin a search of its own."
        )


def _environment(store: Store) -> Mapping[str, str]:
    """The variables by which a run finds the store."""
    if store.environment is None:
        raise UsageError(
            f"{store.location} ends with this process, and a run is another one: keep the search "
            f"in a folder or in Drive."
        )
    return store.environment
