"""Rerun of a search's notebook if the search is unfinished, once or until it is finished.

A rerun first loads the program, so that a schedule of a missing program always fails. Next it reads
the status of the search, takes the lock and checks the results of earlier runs. Only then does it
start a run, so that a superfluous rerun is safe and cheap.

The lock allows one rerun per search at a time, so that no second runtime is allocated. Within a
machine a file lock is reliable. Across machines the lock is advisory: a property of the search's
folder is written, and read again a few seconds later; the last writer has the lock. The property is
renewed during the run, and expires if its machine dies; the next rerun then records the run that it
notes. If the advisory lock fails, a runtime is started in vain; the search itself is protected by
its chain.
"""

import contextlib
import hashlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout

from colab_drive_tuner.errors import (
    AccountMismatchError,
    ColabDriveTunerError,
    NoRuntimeError,
    NotebookRunError,
    RuntimeLostError,
    SearchFolderError,
    StoreError,
    UnavailableError,
    UsageError,
)
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.local_files import scratch_folder
from colab_drive_tuner.machine import machine_id, state_folder
from colab_drive_tuner.progress_bars import call_periodically
from colab_drive_tuner.rerun.program import CellError, Runner, RunTask, load_program
from colab_drive_tuner.rerun.runs import (
    ExitCode,
    RerunStatus,
    Run,
    RunEnd,
    count_fruitless,
    read_last_backup,
    read_rerun_status,
    read_runs,
    record_run,
    run_without_end,
)
from colab_drive_tuner.rerun.stopping import StoppedError, StopSignals
from colab_drive_tuner.store.protocol import Store, read_time
from colab_drive_tuner.text import visible

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 1800.0
RENEW_SECONDS, EXPIRE_SECONDS, SETTLE_SECONDS = 60.0, 200.0, 3.0
"""Of the lock: its renewal, its expiry, and the wait before it is read again."""
_PROPERTY = "cdt_rerun"


class RerunLockedError(Exception):
    """Another machine or process is rerunning this search; the message says which."""


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
            began = time.time()
            note = f"{began:.0f} {status.done} {self.runner.name[:30]}"
            lock = rerun_lock(self.store, self.search, self.sleep, note)
            try:
                with lock as left, scratch_folder() as folder:
                    self._record_killed(left, status.done)
                    given_up = self.given_up(status)
                    if given_up is not None:
                        return given_up
                    if self.store.free_space() == 0:  # not even the run could be recorded
                        message = (
                            f"{status.message} {self.store.location} is full, so nothing was "
                            "started: free some space, or keep the search in another store."
                        )
                        return replace(status, exit_code=ExitCode.FAILED, message=message)
                    task = RunTask(
                        program=program,
                        search=self.search,
                        folder=folder,
                        stop_signals=self.stop_signals,
                        max_seconds=self.max_seconds,
                        environment=_environment(self.store),
                        began=began,
                    )
                    self.runner.check(task)
                    self.notify(f"{status.message} Running {self.program} on {self.runner.name}.")
                    return self._run(task, status)
            except RerunLockedError as elsewhere:
                return replace(status, exit_code=ExitCode.BUSY, message=str(elsewhere))

    def given_up(self, status: RerunStatus) -> RerunStatus | None:
        """Return a failed status if the last runs ended no trial; None if the search may be run."""
        if not self.give_up_after:
            return None
        runs = read_runs(self.store, self.search)
        count = count_fruitless(runs, status.done, read_last_backup(self.store, self.search))
        if count < self.give_up_after:
            return None
        message = (
            f"{status.message} The last {count} runs ended no trial, so nothing was started: see "
            f"{self.store.command('status', self.search)} and the notebooks in its runs/. To try "
            "again, add --give-up-after 0."
        )
        return replace(status, exit_code=ExitCode.FAILED, message=message)

    def _run(self, task: RunTask, before: RerunStatus) -> RerunStatus:
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
                self._record(task, before, after, RunEnd.STOPPED)
            raise stopped from None
        with self.stop_signals.deferred():
            try:
                after = read_rerun_status(self.store, self.search, own_run_ended=True)
            except SearchFolderError as moved:  # by hand, during the run
                after = RerunStatus(ExitCode.FAILED, str(moved), done=before.done)
            if error is not None:
                message = f"{error.message.strip()}\n{after.message}"
                vanished = error.exit_code is ExitCode.UNFINISHED
                code = after.exit_code if vanished else error.exit_code
                after = replace(after, exit_code=code, message=message)
            elif after.missing:
                message = f"{self.program} ended, but did not begin this search: check its name."
                after = replace(after, message=f"{message} {after.missing}")
            self._record(task, before, after, ended or RunEnd(after.exit_code.name.lower()))
        return after

    def _record(
        self, task: RunTask, before: RerunStatus, after: RerunStatus, ended: RunEnd
    ) -> None:
        run = Run(
            search=self.search,
            began=task.began,
            where=self.runner.name,
            seconds=time.monotonic() - task.started,
            trials=max(0, after.done - before.done),
            done=after.done,
            ended=ended,
        )
        self._keep(run, task.result_file(), after.message)

    def _record_killed(self, note: str, done: int) -> None:
        """Record the run of a dead rerunner by the note in its lock, unless it did so itself."""
        run = run_without_end(self.search, note, done)
        if run and run.began not in [each.began for each in read_runs(self.store, self.search)]:
            why = "This run recorded no end: its process was killed, or the store did not answer."
            self._keep(run, None, why)

    def _keep(self, run: Run, executed: Path | None, message: str) -> None:
        try:
            record_run(self.store, run, executed, message)
        except ColabDriveTunerError as error:
            # The search itself is unaffected, so a missing log entry is not a failure.
            self.notify(f"A run could not be recorded in the search's runs/: {error}")


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


@contextlib.contextmanager
def rerun_lock(
    store: Store, search: str, sleep: Callable[[float], None] = time.sleep, note: str = ""
) -> Iterator[str]:
    """Hold the lock of a search during the block; raise `RerunLockedError` if it is taken.

    Yield the time and the note that a holder left which died; empty if there is none.
    """
    store.ensure_root()  # holds the property if the search does not exist yet
    digest = hashlib.sha256(f"{store.location}\0{search}".encode()).hexdigest()[:16]
    lock = FileLock(state_folder("rerun") / f"{digest}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RerunLockedError(f"Search {search!r} is being rerun by this machine.") from None
    try:
        with _store_lock(store, search, digest, sleep, note) as left:
            yield left
    finally:
        lock.release()


@contextlib.contextmanager
def _store_lock(
    store: Store, search: str, digest: str, sleep: Callable[[float], None], note: str
) -> Iterator[str]:
    places = [(store.root, f"{_PROPERTY}_{digest}")]  # also of a search that exists by now
    if (found := find_folder(store, search)) is not None:
        places.append((found.id, _PROPERTY))
    machine, left = machine_id()[:12], ""
    taken = RerunLockedError(f"Search {search!r} is being rerun by another machine.")
    ours = f"{machine}-{secrets.token_hex(8)}"
    for place in places:
        holder, alive, left_here = _read_mark(store, *place)
        # A property set by this machine belongs to a dead process: this process has the file lock.
        if alive and not holder.startswith(machine):
            raise taken
        left = left_here or left
        if holder and place != places[-1]:
            store.set_properties(place[0], {place[1]: ""})
    folder_id, key = places[-1]

    def mark() -> None:
        store.set_properties(folder_id, {key: f"{ours} {store.now():.0f} {note}"})

    def unmark() -> None:
        with contextlib.suppress(StoreError):  # it expires by itself
            store.set_properties(folder_id, {key: ""})

    try:
        mark()
        if store.is_shared:  # otherwise the file lock is enough
            sleep(SETTLE_SECONDS)
        holder = _read_mark(store, folder_id, key)[0]
    except BaseException:  # stopped, or an outage: the run that the note names never begins
        unmark()
        raise
    if holder != ours:
        raise taken

    def renew() -> None:
        with contextlib.suppress(StoreError):  # advisory; the next renewal may succeed
            mark()

    try:
        with call_periodically(renew, RENEW_SECONDS, "colab-drive-tuner-lock"):
            yield left
    finally:
        unmark()


def _read_mark(store: Store, folder_id: str, key: str) -> tuple[str, bool, str]:
    """Return the holder of the advisory lock, whether it is valid, and its time with the note."""
    holder, _, left = store.stat(folder_id).properties.get(key, "").partition(" ")
    now = store.now()
    try:
        seen = read_time({key: left.partition(" ")[0]}, key, now)
    except ValueError:
        return holder, False, ""
    return holder, now - seen < EXPIRE_SECONDS, left
