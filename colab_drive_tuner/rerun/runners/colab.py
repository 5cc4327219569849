"""Runner on a Colab runtime of its own, through the official command line (google-colab-cli).

Allocate, prepare (install, make room), upload the credentials, run, collect, release. What is taken
is released however the run ends: at a stop or a crash of ours by the `finally` here, after a sudden
death by the next run or the scheduler's stop hook (see `allocated_runtimes`), and by the runtime
itself when nothing happens in it any more (see `agent`). Colab's command line notices neither a
kernel that died nor a runtime that vanished while a cell ran: the signs of life of `agent` tell.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colab_drive_tuner.credentials import emulator_host, portable_file
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import (
    MissingExtraError,
    NoRuntimeError,
    NotebookRunError,
    RuntimeLostError,
    UsageError,
)
from colab_drive_tuner.rerun.program import CellError, find_error, with_first_cells
from colab_drive_tuner.rerun.runners.agent import GRACE_SECONDS, IDLE_SECONDS
from colab_drive_tuner.rerun.runners.allocated_runtimes import abandoned, allocation, lease
from colab_drive_tuner.rerun.runners.runner import RunTask
from colab_drive_tuner.rerun.stopping import run_command
from colab_drive_tuner.version import __version__

GPUS = ("T4", "L4", "G4", "A100", "H100")
_ALLOCATE_SECONDS, _PREPARE_SECONDS, _UPLOAD_SECONDS, _RELEASE_SECONDS = 900.0, 900.0, 300.0, 120.0
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

agent.watch({deadline!r}, idle_seconds={idle!r}, alive={folder!r} + "/alive")
print("colab-drive-tuner", "is", "ready")
"""
_BEGIN = """\
from colab_drive_tuner.rerun.runners import agent

{credentials}agent.begin_run({deadline!r})
del agent
"""


def colab_command() -> list[str]:
    """Colab's command line: the one named, `colab` here or on the PATH, or run by uvx."""
    named = shlex.split(Variable.COLAB_COMMAND.get())
    if named:
        return named
    beside = Path(sys.executable).parent  # in this environment, which need not be activated
    found = shutil.which("colab", path=os.pathsep.join([str(beside), os.environ.get("PATH", "")]))
    if found:
        return [found]
    if shutil.which("uvx"):
        return ["uvx", "--from", "google-colab-cli", "colab"]
    raise MissingExtraError(
        "Running on Colab needs its command line: `pip install google-colab-cli` with Python 3.12 "
        "or newer, and sign in once with `colab new` and `colab stop`; where it has another name, "
        f"set {Variable.COLAB_COMMAND}."
    )


@dataclass(frozen=True)
class ColabRunner:
    """A runtime that is taken for one run."""

    gpu: str | None = None
    install: str = f"colab-drive-tuner=={__version__}"
    """What pip installs there, where this very version is not installed yet."""
    idle_seconds: float = IDLE_SECONDS
    silent_seconds: float = 600.0
    """Without a sign of life from its kernel for so long, the runtime counts as lost."""
    look_every: float = 60.0
    """Seconds between looks at the sign of life."""
    pause: float = 10.0
    """Seconds between attempts to release."""

    @property
    def name(self) -> str:
        """As the log of runs has it."""
        return f"colab {self.gpu}" if self.gpu else "colab"

    def check(self, task: RunTask) -> None:
        """Raise where Colab cannot run the program; nothing is allocated."""
        if self.gpu is not None and self.gpu not in GPUS:
            raise UsageError(f"--gpu {self.gpu} is none of {', '.join(GPUS)}.")
        if emulator_host() and not Variable.COLAB_COMMAND.get():
            raise UsageError(
                f"{Variable.EMULATOR_HOST} is set, and a runtime of Colab cannot reach an emulator "
                "on this machine: unset it, or name another command line in "
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
        with lease(session, task.search) as note:
            try:
                with task.stops.deferred():  # what is half allocated could not be released
                    self._allocate(task, session, note)
                return self._use(task, session)
            finally:
                with task.stops.ignored():
                    _release(note, self.pause)

    def _allocate(self, task: RunTask, session: str, note: Path) -> None:
        arguments = ["new", "-s", session, *(["--gpu", self.gpu] if self.gpu else [])]
        with allocation(note) as held:
            try:
                self._step(task, "allocate", arguments, _ALLOCATE_SECONDS, keep_open=[held])
            except NotebookRunError as error:
                raise NoRuntimeError(str(error)) from None

    def _use(self, task: RunTask, session: str) -> CellError | None:
        remote = f"/tmp/{session}-{secrets.token_hex(8)}"  # noqa: S108 - made there, with mode 0700
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
        if _READY not in text:  # it exits 0 even where the code raised
            raise NotebookRunError(f"The Colab runtime could not be prepared:\n{text}")
        identity = portable_file()
        load = ""
        if identity is not None:
            file = f"{remote}/credentials.json"
            upload = ["upload", "-s", session, str(identity), file.lstrip("/")]
            self._step(task, "upload", upload, _UPLOAD_SECONDS)
            act_as = Variable.ACT_AS.get()
            load = f"agent.load_credentials({file!r}, {act_as!r})\n"
        begin = _BEGIN.format(credentials=load, deadline=task.deadline)
        return self._execute(task, session, begin, f"{remote}/alive")

    def _execute(self, task: RunTask, session: str, begin: str, alive: str) -> CellError | None:
        given = task.folder / "given.ipynb"
        given.write_text(json.dumps(with_first_cells(task.program.notebook(), begin)))
        left = task.seconds_left
        seconds = _DAY if left is None else max(60.0, left + GRACE_SECONDS)
        command = ["exec", "-s", session, "-f", str(given), "--timeout", f"{seconds:.0f}"]
        collected = task.folder / "given_output.ipynb"
        check = _SignOfLife(session, alive, task.folder / "alive", self.silent_seconds).check
        try:
            text = self._step(
                task, "run", command, seconds + 60, check=check, check_every=self.look_every
            )
        except NotebookRunError as error:
            raise RuntimeLostError(f"The Colab runtime was lost. {error}") from None
        finally:
            if collected.exists():  # also what a broken run got to
                collected.replace(task.executed)
        if not task.executed.exists():
            raise NotebookRunError(f"No executed notebook came back from Colab:\n{text}")
        return find_error(task.executed)

    def _step(
        self, task: RunTask, step: str, arguments: Sequence[str], seconds: float, **how: Any
    ) -> str:
        """Run one command; returns its output, raises `NotebookRunError` where it failed."""
        file = task.folder / f"{step}.txt"
        try:
            code = _run_colab(arguments, file, seconds, **how)
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


def _run_colab(arguments: Sequence[str], output: Path, seconds: float, **how: Any) -> int | None:
    """Run Colab's command line; return its exit code, None where its time was up."""
    with output.open("wb") as file, contextlib.suppress(subprocess.TimeoutExpired):
        return run_command([*colab_command(), *arguments], file, timeout=seconds, **how)
    return None


class _SignOfLife:
    """What the kernel of a runtime last showed, and when that was new."""

    def __init__(self, session: str, remote: str, copy: Path, patience: float) -> None:
        self._command = ["download", "-s", session, remote.lstrip("/"), str(copy)]
        self._copy, self._patience = copy, patience
        self._seen, self._since = b"", time.monotonic()

    def check(self) -> None:
        """Raise `RuntimeLostError` where nothing new has been seen for too long."""
        _run_colab(self._command, Path(os.devnull), _UPLOAD_SECONDS)
        shown = self._copy.read_bytes() if self._copy.exists() else self._seen
        if shown != self._seen:
            self._seen, self._since = shown, time.monotonic()
        elif time.monotonic() - self._since > self._patience:
            minutes = self._patience / 60
            raise RuntimeLostError(
                f"Its kernel has shown no sign of life for {minutes:.0f} minutes."
            )


def release_abandoned(search: str | None = None, *, pause: float = 10.0) -> list[str]:
    """Release the runtimes of runs that died here (of one search, or all); returns their names."""
    with abandoned(search) as notes:
        for note in notes:
            _release(note, pause)
        return [note.stem for note in notes]


def _release(note: Path, pause: float) -> None:
    """Stop the session and remove its note; what cannot be stopped now keeps its note."""
    file, session = note.with_suffix(".txt"), ["-s", note.stem]
    for attempt in range(3):
        if attempt:
            time.sleep(pause)
            # It forgets a session whose runtime has vanished.
            _run_colab(["status", *session], file, _RELEASE_SECONDS)
        code = _run_colab(["stop", *session], file, _RELEASE_SECONDS)
        if code == 0:
            file.unlink()
            note.unlink()
            return
    text = file.read_text(errors="replace")[-1500:].strip()
    raise NotebookRunError(
        f"The Colab runtime {note.stem} could not be released ({code or 'no answer'}); the next "
        f"run tries again, and it releases itself when idle. To do it now: `colab stop -s "
        f"{note.stem}`.\n{text}"
    )
