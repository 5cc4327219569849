"""One run of a search's notebook, if anything is left to do; or one after another until done.

The order is what makes it safe to run twice and cheap when there is nothing to do: look at the
search first (one look at the store), then take the turn, look at what earlier runs came to, and
only then start anything.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from colab_drive_tuner.errors import (
    AccountMismatchError,
    ColabDriveTunerError,
    SearchNotFoundError,
    UnavailableError,
)
from colab_drive_tuner.rerun.outcome import (
    NoRuntimeError,
    NotebookRunError,
    Outcome,
    RuntimeLostError,
    Verdict,
    look,
)
from colab_drive_tuner.rerun.place import Place, RunTask
from colab_drive_tuner.rerun.program import CellError, load_program
from colab_drive_tuner.rerun.runs import Run, fruitless, keep_run, read_runs
from colab_drive_tuner.rerun.stopping import StoppedError, Stops
from colab_drive_tuner.rerun.turn import NotOurTurnError, our_turn
from colab_drive_tuner.search.status import open_journal
from colab_drive_tuner.store.protocol import Store

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 1800.0
_ENDED = {
    Outcome.FINISHED: "finished",
    Outcome.UNFINISHED: "unfinished",
    Outcome.FAILED: "failed",
    Outcome.BUSY: "busy",
}


@dataclass
class Rerunner:
    """What to run, for which search, where."""

    store: Store
    program: str
    """A notebook, a script, or a notebook in Drive (`drive://...`)."""
    search: str
    place: Place
    max_seconds: float | None = None
    """How long one run may take; its search starts nothing that would take longer."""
    give_up_after: int = 3
    """Runs without a new trial after which nothing is started any more; 0: never."""
    say: Callable[[str], None] = print
    sleep: Callable[[float], None] = time.sleep
    stops: Stops = field(default_factory=Stops)

    def once(self) -> Verdict:
        """Run the program once if its search is unfinished and nobody is at it.

        The verdict's words say what happened. Raises `AccountMismatchError` where the search
        belongs to another account, and a `NotebookError` where there is no program.
        """
        with self.stops.heeded():
            verdict = look(self.store, self.search)
            if verdict.outcome in (Outcome.UNFINISHED, Outcome.BUSY):
                _check_account(self.store, self.search)
            if verdict.outcome is not Outcome.UNFINISHED:
                return verdict
            program = load_program(self.program)
            try:
                with our_turn(self.store, self.search, self.sleep), _private_folder() as folder:
                    given_up = self.given_up(verdict)
                    if given_up is not None:
                        return given_up
                    began = time.time()
                    deadline = None if self.max_seconds is None else began + self.max_seconds
                    kind, _, path = self.store.location.partition(":")
                    local = path if kind == "folder" else None
                    task = RunTask(program, self.search, folder, self.stops, deadline, local)
                    self.place.check(task)
                    self.say(f"{verdict.words} Running {self.program} on {self.place.name}.")
                    return self._run(task, verdict, began)
            except NotOurTurnError as elsewhere:
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
            f"{verdict.words} The last {count} runs ended no trial, so nothing was started: see "
            f"`colab-drive-tuner status {self.search}` and the notebooks in its runs/. To try once "
            "more, add --give-up-after 0.",
            done=verdict.done,
        )

    def _run(self, task: RunTask, before: Verdict, began: float) -> Verdict:
        ended = None
        try:
            error = self.place.run(task)
        except RuntimeLostError as lost:
            error = CellError(str(lost), Outcome.UNFINISHED)
        except NoRuntimeError as refused:
            error, ended = CellError(str(refused), Outcome.FAILED), "not started"
        except NotebookRunError as failure:
            error = CellError(str(failure), Outcome.FAILED)
        except StoppedError as stopped:
            with self.stops.ignored():
                self._note(task, before, look_or(before, self.store, self.search), began, "stopped")
            raise stopped from None
        with self.stops.held_back():
            after = look(self.store, self.search, own_run_ended=True)
            if error is not None:
                words = f"{error.words.strip()}\n{after.words}"
                vanished = error.outcome is Outcome.UNFINISHED
                after = Verdict(
                    after.outcome if vanished else error.outcome, words, done=after.done
                )
            self._note(task, before, after, began, ended or _ENDED[after.outcome])
        return after

    def _note(
        self, task: RunTask, before: Verdict, after: Verdict, began: float, ended: str
    ) -> None:
        run = Run(
            search=self.search,
            began=began,
            where=self.place.name,
            seconds=time.time() - began,
            trials=max(0, after.done - before.done),
            done=after.done,
            ended=ended,
        )
        try:
            keep_run(self.store, run, task.kept(), after.words)
        except ColabDriveTunerError as error:
            # The search is what counts, and it is as it is: that a note is missing is no failure.
            self.say(f"This run could not be noted in the search's runs/: {error}")


def rerun_until_finished(rerunner: Rerunner) -> Verdict:
    """Run again and again until the search is finished, or nothing more comes of it.

    After a run that ended trials the next follows at once; else pauses double from half a minute to
    half an hour.
    """
    pause = FIRST_PAUSE
    while True:
        progress = False
        try:
            before = look(rerunner.store, rerunner.search).done
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
        rerunner.say(f"{verdict.words} Looking again in {pause:.0f} s.")
        with rerunner.stops.heeded():
            rerunner.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def look_or(otherwise: Verdict, store: Store, search: str) -> Verdict:
    """How the search stands now, or as it was where the store does not say."""
    try:
        return look(store, search, own_run_ended=True)
    except ColabDriveTunerError:
        return otherwise


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="colab-drive-tuner-") as folder:  # mode 0700
        yield Path(folder)


def _check_account(store: Store, search: str) -> None:
    """Refuse before anything is started what the journal would refuse later."""
    try:
        journal = open_journal(store, search)
    except SearchNotFoundError:
        return
    owner = journal.account
    if owner not in (None, store.account):
        raise AccountMismatchError(
            f"Search {search!r} belongs to {owner}, and this rerun is {store.account}: give it "
            f"credentials of {owner} (see docs/scheduling.md), or begin a search of its own."
        )
