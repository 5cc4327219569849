"""Reruns on Colab through its unmodified official command line, with real kernels."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from colab_drive_tuner.emulator import DriveEmulator
from colab_drive_tuner.errors import NotebookRunError, UsageError
from colab_drive_tuner.machine import state_folder
from colab_drive_tuner.rerun.program import RunTask, load_program
from colab_drive_tuner.rerun.rerunner import Rerunner
from colab_drive_tuner.rerun.runners.colab import (
    ColabRunner,
    colab_command,
    release_abandoned,
    runtime_record,
)
from colab_drive_tuner.rerun.runs import ExitCode, read_rerun_status, read_runs
from colab_drive_tuner.rerun.stopping import StopSignals
from colab_drive_tuner.store import open_store
from tests.processes import wait_until
from tests.rerun import programs
from tests.rerun.colab_backend import SECRET, Backend, jupyter_of_colab

COLAB = programs.tool("colab")
pytestmark = [
    pytest.mark.skipif(COLAB is None, reason="needs google-colab-cli (`colab`) on the PATH"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a runtime of Colab writes /content"),
]
DIGEST = """
import glob, hashlib, json, os
path = os.environ["COLAB_DRIVE_TUNER_CREDENTIALS"]
print("digest", hashlib.sha256(open(path, "rb").read()).hexdigest())
print("left", glob.glob("/tmp/cdt-*/credentials*"))
planted = "".join(["5f2", "b61"]).encode()
processes = [open(file, "rb").read() for file in glob.glob("/proc/self/[ce][mn]*i*")]
print("secrets", len(processes), planted in b"".join(processes) + str(os.environ).encode())
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return the folder with the planted credentials of a person who has signed in."""
    identity = {
        "type": "authorized_user", "client_id": "id", "client_secret": "planted-client-5f2b61",
        "refresh_token": SECRET,
    }  # fmt: skip
    folder = tmp_path / "person"
    folder.mkdir()
    (folder / "credentials.json").write_text(json.dumps(identity))
    return folder


@pytest.fixture
def colab(
    tmp_path: Path, home: Path, drive_emulator: DriveEmulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Backend]:
    """Simulate Colab as its command line sees it, with one real Jupyter server."""
    folder = tmp_path / "colab"
    folder.mkdir()
    with jupyter_of_colab(folder) as url:
        backend = Backend(folder, url)
        for name, value in backend.environment.items():
            monkeypatch.setenv(name, value)
        credentials = str(home / "credentials.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", credentials)
        monkeypatch.setenv("COLAB_DRIVE_TUNER_COLAB", f"{COLAB} --auth adc")
        try:
            yield backend
        finally:
            backend.close()
            for room in Path("/tmp").glob("cdt-*"):  # a runtime's disk is deleted with it
                if any(room.name.startswith(session) for session in sessions()):
                    shutil.rmtree(room)


def sessions() -> set[str]:
    """Return the sessions in the logs of Colab's command line for this test's user."""
    logs = Path(os.environ["HOME"], ".config", "colab-cli").rglob("*.*")
    return {
        session
        for log in logs
        for session in re.findall("cdt-[0-9a-f]{8}", log.read_text(errors="replace"))
    }


@pytest.fixture
def rerun() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """A function that reruns the search "parabola" on Colab once."""

    def run(program: Path, *options: object) -> "subprocess.CompletedProcess[str]":
        where = ("--search", "parabola", "--on", "colab")
        return programs.run("rerun", program, *where, *options)

    return run


def test_a_run_acts_as_its_owner_and_leaves_neither_runtime_nor_secret(
    tmp_path: Path, home: Path, colab: Backend, rerun: Any
) -> None:
    """A run gets its owner's credentials, which are in no other file, log, record or notebook."""
    nb = programs.notebook(tmp_path / "nb.ipynb", DIGEST, programs.source())
    done = subprocess.run(
        as_a_person(nb, "T4"), capture_output=True, text=True, check=False, timeout=800
    )
    assert done.returncode == ExitCode.FINISHED, done.stderr + done.stdout
    assert (colab.allocated, colab.taken) == (1, {})
    store = open_store()
    (run,) = read_runs(store, "parabola")
    assert (run.where, run.trials, run.ended) == ("colab T4", 4, "finished")
    content = store.read(run.url.partition("id=")[2])
    kept = tmp_path / "kept.ipynb"
    kept.write_bytes(content)
    identity = (home / "credentials.json").read_bytes()
    assert f"digest {hashlib.sha256(identity).hexdigest()}" in programs.printed(kept, 1)
    (session,) = sessions()
    assert session not in programs.printed(kept, 1)  # its credentials file is gone
    assert "secrets 2 False" in programs.printed(kept, 1)  # its command line and its environment
    found = [
        path
        for root in (tmp_path, *map(Path, (os.environ["HOME"], os.environ["TMPDIR"], "/content")))
        for path in root.rglob("*")
        if path.is_file() and b"5f2b61" in content_of(path)
    ]
    assert found == [home / "credentials.json"]
    assert "5f2b61" not in done.stdout + done.stderr
    assert b"5f2b61" not in content
    assert rerun(nb).returncode == ExitCode.FINISHED
    assert colab.allocated == 1  # only a check, without a runtime


def content_of(path: Path) -> bytes:
    """Return the content of a file; nothing if a process that is ending has just removed it."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


def as_a_person(*arguments: object) -> list[str]:
    """Return the command of a rerun with the person's credentials."""
    program = Path(__file__).with_name("signed_in_rerun.py")
    return [sys.executable, str(program), *map(str, arguments)]


@pytest.mark.long
def test_a_cell_that_raises_ends_the_run(tmp_path: Path, colab: Backend, rerun: Any) -> None:
    """Colab's command line would run the next cell and exit with 0, but the rerun fails."""
    after = tmp_path / "after"
    nb = programs.notebook(tmp_path / "nb.ipynb", "1 / 0", f"open({str(after)!r}, 'w').close()")
    failed = rerun(nb)
    assert failed.returncode == ExitCode.FAILED
    assert "Cell 1 raised ZeroDivisionError: division by zero" in failed.stderr
    assert not after.exists()
    assert (colab.allocated, colab.taken) == (1, {})


@pytest.mark.long
def test_a_script_runs_on_colab_too(tmp_path: Path, colab: Backend, rerun: Any) -> None:
    """A script that ends with `sys.exit(result.exit_code)` succeeds."""
    script = tmp_path / "search.py"
    script.write_text(programs.source() + "\nimport sys; sys.exit(result.exit_code)")
    assert rerun(script).returncode == ExitCode.FINISHED
    assert colab.taken == {}


STAGES = {
    "allocate": "new",
    "prepare": "exec",
    "upload": "upload",
    "run": "exec",
    "release": "stop",
}


def stage_script(folder: Path, step: str) -> str:
    """Return a command in place of `colab` that reports its step and then becomes `colab`.

    It pauses before the step `step`, so that a signal arrives within it.
    """
    shim = folder / "shim"
    shim.write_text(
        f"""#!/bin/sh
case "$* " in
  *"prepare.py"*) step=prepare ;;
  *"given.ipynb"*) step=run ;;
  "new "*) step=allocate ;; "upload "*) step=upload ;; "stop "*) step=release ;;
esac
if [ $step = {step} ]; then touch {folder}/reached; sleep 1; fi
exec {COLAB} --auth adc "$@"
"""
    )
    shim.chmod(0o755)
    return str(shim)


KILLS = [
    pytest.param(
        step, signum, marks=() if (step, signum) == ("run", signal.SIGTERM) else pytest.mark.long
    )
    for step in ("allocate", "prepare", "upload", "run", "release")
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
]


@pytest.mark.parametrize(("step", "signum"), KILLS)
def test_a_run_that_is_killed_releases_its_runtime(
    tmp_path: Path, colab: Backend, monkeypatch: pytest.MonkeyPatch, step: str, signum: int
) -> None:
    """A stopped run releases its runtime at every step; after SIGKILL the stop hook does."""
    begun = tmp_path / "reached-trial"
    in_trial = f"open({str(begun)!r}, 'w').close(); time.sleep(600)"
    body = programs.source(in_trial=in_trial if step == "run" else "")
    nb = programs.notebook(tmp_path / "nb.ipynb", body)
    monkeypatch.setenv("COLAB_DRIVE_TUNER_COLAB", stage_script(tmp_path, step))
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    command = programs.command("rerun", nb, "--search", "parabola", "--on", "colab")
    if step == "upload":
        command = as_a_person(nb)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until((begun if step == "run" else tmp_path / "reached").exists, 600)
    process.send_signal(signum)
    code = process.wait(600)
    if signum == signal.SIGKILL:
        if step == "allocate":  # the allocating command runs a moment longer
            wait_until(lambda: colab.allocated, 30)
        time.sleep(1)
        programs.run("schedule", "release")
    elif step != "release":
        assert code == 128 + signum
    assert colab.allocated == 1
    assert colab.taken == {}
    assert "Released" not in programs.run("schedule", "release").stdout


@pytest.mark.long
def test_a_runtime_that_cannot_be_released_is_named_and_released_by_the_next_run(
    tmp_path: Path, colab: Backend, rerun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message names the session of such a runtime, and the next run releases it first."""
    script = tmp_path / "nothing.py"
    script.write_text("raise SystemExit(75)")
    colab.refuse_release = 3
    rerunner = Rerunner(
        open_store(), str(script), "parabola", ColabRunner(pause=0.0), notify=lambda _: None,
        sleep=lambda _: None,
    )  # fmt: skip
    verdict = rerunner.once()
    assert verdict.exit_code is ExitCode.FAILED
    assert "could not be released" in verdict.message
    assert "colab stop -s cdt-" in verdict.message
    assert len(colab.taken) == 1
    rerunner.once()
    assert colab.taken == {}
    assert colab.allocated == 2
    with pytest.raises(UsageError, match=r"must be one of T4.*got T3"):
        Rerunner(open_store(), str(script), "parabola", ColabRunner("T3")).once()


@pytest.mark.long
def test_two_schedulers_at_once_take_one_runtime(
    tmp_path: Path, colab: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two machines that start a run in the same second, one runs and one is busy."""
    colab.slow = 4.0
    nb = programs.notebook(tmp_path / "nb.ipynb", programs.source())
    arguments = ("rerun", nb, "--search", "parabola", "--on", "colab")
    machines = [
        subprocess.Popen(
            programs.command(*arguments),
            env=os.environ | {"XDG_STATE_HOME": str(tmp_path / f"machine-{number}")},
            stdout=subprocess.DEVNULL,
        )
        for number in range(2)
    ]
    codes = sorted(machine.wait(400) for machine in machines)
    assert codes == [ExitCode.FINISHED, ExitCode.BUSY]
    assert (colab.allocated, colab.taken) == (1, {})
    assert read_rerun_status(open_store(), "parabola").exit_code is ExitCode.FINISHED


@pytest.fixture
def hasty(colab: Backend) -> Callable[[Path], Rerunner]:
    """A function that makes a rerun that counts a runtime as lost after 15 silent seconds."""
    place = ColabRunner(
        idle_seconds=20.0, heartbeat_timeout=15.0, heartbeat_check_seconds=3.0, pause=0.0
    )
    return lambda nb: Rerunner(open_store(), str(nb), "parabola", place, notify=lambda _: None)


def test_a_kernel_that_dies_on_colab_is_noticed(
    tmp_path: Path, colab: Backend, hasty: Callable[[Path], Rerunner], rerun: Any
) -> None:
    """A dead kernel whose runtime has vanished ends the run as unfinished (75).

    Colab's command line would wait forever; the next run continues the search. Its runtime uses the
    emulator and gets no credentials of the person.
    """
    died = tmp_path / "died"
    dying = (
        f"if not os.path.exists({str(died)!r}):\n"
        f"        open({str(died)!r}, 'w').close(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    look = "import os; print('named', os.environ.get('COLAB_DRIVE_TUNER_CREDENTIALS'))"
    nb = programs.notebook(tmp_path / "nb.ipynb", look, programs.source(in_trial=dying))

    def vanish() -> None:
        wait_until(died.exists, 600)
        colab.taken.clear()

    vanishing = threading.Thread(target=vanish)
    vanishing.start()
    lost = hasty(nb).once()
    vanishing.join()
    assert lost.exit_code is ExitCode.UNFINISHED, lost.message
    assert "no sign of life" in lost.message
    assert any(path.endswith("/assignments") for path in colab.asked)
    done = rerun(nb)
    assert done.returncode == ExitCode.FINISHED, done.stderr + done.stdout
    assert (colab.allocated, colab.taken) == (2, {})
    store = open_store()
    run = read_runs(store, "parabola")[-1]
    kept = tmp_path / "kept.ipynb"
    kept.write_bytes(store.read(run.url.partition("id=")[2]))
    assert "named None" in programs.printed(kept, 1)


def test_a_runtime_that_is_refused_does_not_count_against_the_notebook(
    tmp_path: Path, colab: Backend, hasty: Callable[[Path], Rerunner]
) -> None:
    """However often Colab refuses a runtime, the next run requests one again."""
    nb = programs.notebook(tmp_path / "nb.ipynb", programs.source())
    colab.refuse_assign = 4
    for _ in range(4):  # one more than the limit of runs without a trial
        refused = hasty(nb).once()
        assert refused.exit_code is ExitCode.FAILED
        assert "Allocation refused" in refused.message
    assert {run.ended for run in read_runs(open_store(), "parabola")} == {"not started"}
    assert list(state_folder("rerun/leases").iterdir()) == []


def test_a_runtime_still_being_allocated_is_released(
    tmp_path: Path, colab: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After SIGKILL during the allocation, the stop hook waits for the runtime and releases it."""
    colab.slow = 5.0
    nb = programs.notebook(tmp_path / "nb.ipynb", programs.source())
    process = subprocess.Popen(
        programs.command("rerun", nb, "--search", "parabola", "--on", "colab"),
        stdout=subprocess.DEVNULL,
    )
    wait_until(lambda: [asked for asked in colab.asked if re.match("POST.*assign", asked)], 600)
    process.kill()
    process.wait(200)
    assert "Released cdt-" in programs.run("schedule", "release").stdout
    assert (colab.allocated, colab.taken) == (1, {})


def test_a_notebook_that_comes_back_truncated_is_named(
    tmp_path: Path, drive_emulator: DriveEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A truncated notebook shows no result of the run, so the runner has failed."""
    command = tmp_path / "colab"
    command.write_text(
        "#!/bin/sh\n[ $1 = exec ] || exit 0\necho colab-drive-tuner is ready\n"
        "printf { >$(dirname $5)/given_output.ipynb\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("COLAB_DRIVE_TUNER_COLAB", str(command))
    program = load_program(str(programs.notebook(tmp_path / "nb.ipynb", "1")))
    task = RunTask(program, "parabola", tmp_path, StopSignals())
    with pytest.raises(NotebookRunError, match="No complete notebook came back from Colab"):
        ColabRunner(pause=0).run(task)


def test_a_runtime_that_cannot_be_released_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two runtimes of killed runs, the second is released although the first cannot be."""
    command, stopped = tmp_path / "colab", tmp_path / "stopped"
    command.write_text(f"#!/bin/sh\necho $* >>{stopped}\n[ $3 != cdt-0 ]\n")
    command.chmod(0o755)
    monkeypatch.setenv("COLAB_DRIVE_TUNER_COLAB", str(command))
    for session in ("cdt-0", "cdt-1"):
        with runtime_record(session, "parabola"):
            pass
    with pytest.raises(NotebookRunError, match="cdt-0 could not be released"):
        release_abandoned(pause=0)
    assert "stop -s cdt-1" in stopped.read_text()
    assert not list(state_folder("rerun/leases").glob("cdt-1*"))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("'colab", "is not a command: No closing"),
        ("no-colab --auth adc", "'no-colab', which cannot"),
    ],
)
def test_a_command_line_that_cannot_be_run_is_named(
    monkeypatch: pytest.MonkeyPatch, command: str, words: str
) -> None:
    """Before anything is allocated: a wrong variable is a wrong use, not an unexpected error."""
    monkeypatch.setenv("COLAB_DRIVE_TUNER_COLAB", command)
    with pytest.raises(UsageError, match=f"COLAB_DRIVE_TUNER_COLAB.*{words}"):
        colab_command()
