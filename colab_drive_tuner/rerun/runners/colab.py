"""Runner that allocates a Colab runtime, through the official command line (google-colab-cli).

Steps of a run: allocate, prepare (install, create a folder), upload the credentials, run, collect
the notebook, release. The runtime is always released: by the `finally` here after an error or a
stop; by the next run or the scheduler's stop hook if this process was killed; and by the runtime
itself when it is idle (see `agent`). Colab's command line detects neither a dead kernel nor a
runtime that vanished during a cell; the heartbeat of `agent` reveals both.

A record of each runtime is written before the allocation and removed after the release. Its writer
holds a lock on it, so a record whose lock is free belongs to a process that died. The command that
allocates the runtime may outlive that process, and a pending allocation cannot be released. The
command therefore holds a second lock, which is waited for.
"""

import contextlib
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from colab_drive_tuner.credentials import emulator_host, portable_file
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import (
    MissingExtraError,
    NoRuntimeError,
    NotebookRunError,
    RuntimeLostError,
    UsageError,
)
from colab_drive_tuner.machine import state_folder
from colab_drive_tuner.rerun.program import CellError, RunTask, find_error, with_first_cell
from colab_drive_tuner.rerun.runners.agent import GRACE_SECONDS, IDLE_SECONDS
from colab_drive_tuner.rerun.stopping import run_command
from colab_drive_tuner.version import __version__

GPUS = ("T4", "L4", "G4", "A100", "H100")
_ALLOCATE_SECONDS, _PREPARE_SECONDS, _UPLOAD_SECONDS = 900.0, 900.0, 300.0
_RELEASE_SECONDS = 120.0
_DAY = 86400.0
_READY = "colab-drive-tuner is ready"
_PREPARE = """\
import os, pathlib, subprocess, sys
from importlib.metadata import PackageNotFoundError, version

folder = pathlib.Path({folder!r})
folder.mkdir(mode=0o700)
os.close(os.open(folder / "credentials.json", os.O_CREAT | os.O_WRONLY, 0o600))
try:
    installed = version("colab-drive-tuner") == {version!r}
except PackageNotFoundError:
    installed = False
if not installed:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", {install!r}]
    done = subprocess.run(pip, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError("pip install failed: " + done.stderr[-1500:])
from colab_drive_tuner.rerun.runners import agent

agent.start_watchdog({deadline!r}, idle_seconds={idle!r}, heartbeat_file={folder!r} + "/heartbeat")
print("colab-drive-tuner", "is", "ready")
"""
_FIRST_CELL = """\
from colab_drive_tuner.rerun.runners import agent

{credentials}agent.prepare_kernel({deadline!r})
del agent
"""


@dataclass(frozen=True)
class ColabRunner:
    """Runs a program on a Colab runtime that is allocated for this run."""

    gpu: str | None = None
    install: str = f"colab-drive-tuner=={__version__}"
    """Requirement that pip installs there unless this version is already installed."""
    idle_seconds: float = IDLE_SECONDS
    heartbeat_timeout: float = 600.0
    """Seconds without a heartbeat after which the runtime counts as lost."""
    heartbeat_check_seconds: float = 60.0
    pause: float = 10.0
    """Seconds between attempts to release the runtime."""

    @property
    def name(self) -> str:
        """Its name in the log of runs."""
        return f"colab {self.gpu}" if self.gpu else "colab"

    def check(self, task: RunTask) -> None:
        """Raise if Colab cannot run the program; nothing is allocated."""
        if self.gpu is not None and self.gpu not in GPUS:
            raise UsageError(f"--gpu must be one of {', '.join(GPUS)}, got {self.gpu}.")
        if emulator_host() and not Variable.COLAB_COMMAND.get():
            raise UsageError(
                f"{Variable.EMULATOR_HOST} is set, but a Colab runtime cannot reach an emulator on "
                "this machine: unset it, or name another command line in "
                f"{Variable.COLAB_COMMAND}."
            )
        colab_command()
        portable_file()
        task.program.notebook()

    def run(self, task: RunTask) -> CellError | None:
        """See `Runner.run`."""
        try:
            release_abandoned(task.search, pause=self.pause)
        except NotebookRunError as error:
            raise NoRuntimeError(str(error)) from None
        session = f"cdt-{secrets.token_hex(4)}"
        with runtime_record(session, task.search) as record:
            try:
                with task.stop_signals.deferred():  # a pending allocation cannot be released
                    self._allocate(task, session, record)
                return self._run_on_runtime(task, session)
            finally:
                with task.stop_signals.ignored():
                    release(record, self.pause)

    def _allocate(self, task: RunTask, session: str, record: Path) -> None:
        arguments = ["new", "-s", session, *(["--gpu", self.gpu] if self.gpu else [])]
        with allocation_lock(record) as descriptor:
            try:
                self._step(task, "allocate", arguments, _ALLOCATE_SECONDS, keep_open=[descriptor])
            except NotebookRunError as error:
                raise NoRuntimeError(str(error)) from None

    def _run_on_runtime(self, task: RunTask, session: str) -> CellError | None:
        remote = f"/tmp/{session}-{secrets.token_hex(8)}"  # noqa: S108 - created with mode 0700
        prepare = task.folder / "prepare.py"
        prepare.write_text(
            _PREPARE.format(
                folder=remote,
                version=__version__,
                install=self.install,
                deadline=task.deadline,
                idle=self.idle_seconds,
            )
        )
        timeout = ["--timeout", f"{_PREPARE_SECONDS:.0f}"]
        text = self._step(
            task, "prepare", ["exec", "-s", session, "-f", str(prepare), *timeout], _PREPARE_SECONDS
        )
        if _READY not in text:  # the exit code is 0 even if the code raised
            raise NotebookRunError(f"The Colab runtime could not be prepared:\n{text}")
        identity = portable_file()
        load = ""
        if identity is not None:
            file = f"{remote}/credentials.json"
            upload = ["upload", "-s", session, str(identity), file.lstrip("/")]
            self._step(task, "upload", upload, _UPLOAD_SECONDS)
            act_as = Variable.ACT_AS.get()
            load = f"agent.load_credentials_file({file!r}, {act_as!r})\n"
        first_cell = _FIRST_CELL.format(credentials=load, deadline=task.deadline)
        return self._execute(task, session, first_cell, f"{remote}/heartbeat")

    def _execute(
        self, task: RunTask, session: str, first_cell: str, remote_heartbeat: str
    ) -> CellError | None:
        given = task.folder / "given.ipynb"
        given.write_text(json.dumps(with_first_cell(task.program.notebook(), first_cell)))
        left = task.seconds_left
        seconds = _DAY if left is None else max(60.0, left + GRACE_SECONDS)
        command = ["exec", "-s", session, "-f", str(given), "--timeout", f"{seconds:.0f}"]
        collected = task.folder / "given_output.ipynb"
        check = self._heartbeat_check(session, remote_heartbeat, task.folder / "heartbeat")
        interval = self.heartbeat_check_seconds
        try:
            text = self._step(task, "run", command, seconds + 60, check=check, check_every=interval)
        except NotebookRunError as error:
            raise RuntimeLostError(f"The Colab runtime was lost. {error}") from None
        finally:
            if collected.exists():  # also after a failed run, as far as it got
                collected.replace(task.executed)
        try:
            return find_error(task.executed)
        except (FileNotFoundError, ValueError):
            message = f"No complete notebook came back from Colab:\n{text}"
            raise NotebookRunError(message) from None

    def _heartbeat_check(self, session: str, remote: str, copy: Path) -> Callable[[], None]:
        """Return a function that raises `RuntimeLostError` once the heartbeat file is unchanged."""
        command = ["download", "-s", session, remote.lstrip("/"), str(copy)]
        known, changed = b"", time.monotonic()

        def check() -> None:
            nonlocal known, changed
            run_colab(command, Path(os.devnull), _UPLOAD_SECONDS)
            content = copy.read_bytes() if copy.exists() else known
            if content != known:
                known, changed = content, time.monotonic()
            elif time.monotonic() - changed > self.heartbeat_timeout:
                raise RuntimeLostError(
                    f"Its kernel has shown no sign of life for {self.heartbeat_timeout / 60:.0f} "
                    f"minutes."
                )

        return check

    def _step(
        self, task: RunTask, step: str, arguments: Sequence[str], seconds: float, **options: Any
    ) -> str:
        """Run one command and return its output; raise `NotebookRunError` if it failed."""
        file = task.folder / f"{step}.txt"
        try:
            code = run_colab(arguments, file, seconds, **options)
        finally:
            with task.output.open("ab") as log:
                log.write(f"\n[{step}]\n".encode() + file.read_bytes())
        text = file.read_text(errors="replace").strip()
        if code is None:
            raise NotebookRunError(
                f"Colab's command line took more than {seconds:.0f} s to {step}."
            )
        if code:
            raise NotebookRunError(
                f"Colab's command line failed to {step} ({code}):\n{text[-4000:]}"
            )
        return text


def colab_command() -> list[str]:
    """Find Colab's command line: as configured, in this environment, on the PATH, or by uvx."""
    try:
        named = shlex.split(Variable.COLAB_COMMAND.get())
    except ValueError as error:
        raise UsageError(f"{Variable.COLAB_COMMAND} is not a command: {error}.") from None
    if named:
        if shutil.which(named[0]) is None:
            raise UsageError(f"{Variable.COLAB_COMMAND} names {named[0]!r}, which cannot be run.")
        return named
    scripts = Path(sys.executable).parent  # this environment, which may not be activated
    found = shutil.which("colab", path=os.pathsep.join([str(scripts), os.environ.get("PATH", "")]))
    if found:
        return [found]
    if shutil.which("uvx"):
        return ["uvx", "--from", "google-colab-cli", "colab"]
    raise MissingExtraError(
        "Running on Colab needs its command line: `pip install google-colab-cli` with Python 3.12 "
        "or newer, and sign in once with `colab new` and `colab stop`. If it is installed under "
        f"another name, set {Variable.COLAB_COMMAND}."
    )


def run_colab(arguments: Sequence[str], output: Path, seconds: float, **options: Any) -> int | None:
    """Run Colab's command line; return its exit code, or None after a timeout."""
    with output.open("wb") as file, contextlib.suppress(subprocess.TimeoutExpired):
        return run_command([*colab_command(), *arguments], file, timeout=seconds, **options)
    return None


@contextlib.contextmanager
def runtime_record(session: str, search: str) -> Iterator[Path]:
    """Record that `session` is allocated for `search`, and yield the record's path.

    The caller removes the record after the release. A record that still exists at the end of the
    block is left for the next run.
    """
    record = _folder() / f"{session}.json"
    with FileLock(_lock(record)):
        record.write_text(json.dumps({"search": search}))
        yield record


@contextlib.contextmanager
def allocation_lock(record: Path) -> Iterator[int]:
    """Wait for a pending allocation of this record, lock it, and yield the lock's descriptor.

    A process that inherits the descriptor keeps the lock after the block.
    """
    import fcntl  # Colab's command line, too, requires a platform that has it

    with _pending(record).open("w") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        yield lock_file.fileno()


@contextlib.contextmanager
def _abandoned_runtimes(search: str | None = None) -> Iterator[list[Path]]:
    """Yield the records left by dead processes, of one search or all; locked during the block."""
    with contextlib.ExitStack() as locks:
        found = []
        for record in sorted(_folder().glob("*.json")):
            lock = FileLock(_lock(record))
            try:
                locks.enter_context(lock.acquire(timeout=0))
                about = json.loads(record.read_text()).get("search")
            except (Timeout, FileNotFoundError):
                continue  # its writer is alive, or has just released the runtime
            except (ValueError, AttributeError):
                about = search  # truncated by a crash; the file's name is sufficient
            if search is None or about == search:
                with allocation_lock(record):
                    found.append(record)
        yield found


def release_abandoned(search: str | None = None, *, pause: float = 10.0) -> list[str]:
    """Release the runtimes of killed runs (of one search or all), and return their names.

    If one cannot be released, the others still are before its error is raised.
    """
    failures = []
    with _abandoned_runtimes(search) as records:
        for record in records:
            try:
                release(record, pause)
            except NotebookRunError as error:
                failures.append(error)
    if failures:
        raise failures[0]
    return [record.stem for record in records]


def release(record: Path, pause: float) -> None:
    """Release the runtime and remove its record and locks; if that fails, they are kept."""
    file, session = record.with_suffix(".txt"), ["-s", record.stem]
    for attempt in range(3):
        if attempt:
            time.sleep(pause)
            # `status` drops a session whose runtime has vanished.
            run_colab(["status", *session], file, _RELEASE_SECONDS)
        code = run_colab(["stop", *session], file, _RELEASE_SECONDS)
        if code == 0:
            for left in (file, record, _pending(record), _lock(record)):
                left.unlink(missing_ok=True)
            return
    text = file.read_text(errors="replace")[-1500:].strip()
    raise NotebookRunError(
        f"The Colab runtime {record.stem} could not be released ({code or 'no answer'}); the next "
        f"run tries again, and it releases itself when idle. To do it now: `colab stop -s "
        f"{record.stem}`.\n{text}"
    )


def _folder() -> Path:
    return state_folder("rerun/leases")


def _lock(record: Path) -> Path:
    return record.with_suffix(".lock")


def _pending(record: Path) -> Path:
    return record.with_suffix(".pending")
