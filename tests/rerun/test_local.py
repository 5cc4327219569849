"""Reruns on this machine: real kernels through papermill, real scripts, real kills."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.emulator import DriveEmulator
from colab_drive_tuner.errors import NotebookError, UnavailableError
from colab_drive_tuner.rerun.program import RunTask, load_program
from colab_drive_tuner.rerun.rerunner import Rerunner, rerun_until_finished
from colab_drive_tuner.rerun.runners.local import LocalRunner
from colab_drive_tuner.rerun.runs import ExitCode, read_rerun_status, read_runs
from colab_drive_tuner.rerun.stopping import StopSignals
from colab_drive_tuner.store import open_store
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.store.protocol import Entry
from tests.processes import run_python, wait_until
from tests.rerun import programs


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a folder for searches."""
    return tmp_path / "store"


def rerun(store: Path, program: Path, *options: object) -> "subprocess.CompletedProcess[str]":
    """Rerun the search "parabola" once by the command line."""
    return programs.run("--store", store, "rerun", program, "--search", "parabola", *options)


def test_a_run_that_finishes_the_search_is_recorded_and_a_second_one_starts_nothing(
    tmp_path: Path, store: Path
) -> None:
    """The executed notebook is in `runs/`, `status` shows it, and the next run only checks."""
    nb = programs.notebook(
        tmp_path / "nb.ipynb", programs.source(), "print(answer, rate * 2, not debug)"
    )
    parameters = ("-p", "answer=42 😀", "-p", "rate=0.00001", "-p", "debug=False")
    misspelt = rerun(store, nb, *parameters, "-p", "rat=1")
    assert misspelt.returncode == 2
    assert "nb.ipynb has no parameter 'rat': no cell contains this name" in misspelt.stderr
    first = rerun(store, nb, *parameters)
    assert first.returncode == ExitCode.FINISHED, first.stderr
    assert "4 of 4 trials done" in first.stdout
    (kept,) = (store / "parabola" / "runs").glob("*finished.ipynb")
    assert "42 😀 2e-05 True" in programs.printed(kept, -1)
    shown = programs.run("--store", store, "status", "parabola").stdout
    assert re.search(rf"local +\d\.\d +\+4 +finished +{re.escape(str(kept))}", shown)
    second = rerun(store, nb, "--scheduled")
    assert second.returncode == ExitCode.FINISHED
    assert "schedule remove parabola" in second.stdout
    assert len(read_runs(open_store(store), "parabola")) == 1


def test_a_notebook_truncated_by_a_kill_of_papermill_is_a_failed_run(
    tmp_path: Path, store: Path
) -> None:
    """If papermill is killed while it writes the notebook, the run is recorded as failed."""
    truncate = """
import os, pathlib, signal
papermill = os.getppid()
command = pathlib.Path(f"/proc/{papermill}/cmdline").read_text().split(chr(0))
pathlib.Path(next(part for part in command if part.endswith("executed.ipynb"))).write_text("{")
os.kill(papermill, signal.SIGKILL)
"""
    failed = rerun(store, programs.notebook(tmp_path / "nb.ipynb", truncate))
    assert failed.returncode == ExitCode.FAILED
    assert "papermill failed (-9)" in failed.stderr
    assert [run.ended for run in read_runs(open_store(store), "parabola")] == ["failed"]


def test_a_missing_program_is_an_error_even_for_a_finished_search(
    tmp_path: Path, store: Path, run_command: Any
) -> None:
    """A rerun whose program is missing or damaged fails, even if the search is finished."""
    run_python("-c", programs.source(), environment={"COLAB_DRIVE_TUNER_STORE": str(store)})
    (tmp_path / "damaged.ipynb").write_text("{")
    for name, words in (
        ("gone.ipynb", "There is no notebook or script"),
        ("gone.py", "There is no notebook or script"),
        ("damaged.ipynb", "not a notebook of version 4"),
    ):
        for options in ((), ("--loop",), ("--scheduled",)):
            program = ("rerun", tmp_path / name, "--search", "parabola", *options)
            code, out, err = run_command("--store", store, *program)
            assert (code, out) == (ExitCode.FAILED, "")
            assert words in err
            assert name in err
    assert read_rerun_status(open_store(store), "parabola").exit_code is ExitCode.FINISHED


def test_a_cell_that_raises_fails_with_its_traceback(
    tmp_path: Path, store: Path, run_command: Any
) -> None:
    """An error names the cell; after as many failures as allowed nothing is started.

    `status`, to which the message refers, lists the runs of a search that has not begun.
    """
    nb = programs.notebook(tmp_path / "nb.ipynb", "fine = added = 1", "def f():\n    1 / 0\nf()")
    for _ in range(2):
        failed = rerun(store, nb, "--give-up-after", 2, "-p", "added=1")
        assert failed.returncode == ExitCode.FAILED
        assert "Cell 2 raised ZeroDivisionError: division by zero" in failed.stderr
        assert "1 / 0" in failed.stderr
        assert "\x1b" not in failed.stderr
    given_up = rerun(store, nb, "--give-up-after", 2)
    assert given_up.returncode == ExitCode.FAILED
    assert "nothing was started" in given_up.stderr
    assert [run.ended for run in read_runs(open_store(store), "parabola")] == ["failed"] * 2
    code, out, _ = run_command("--store", store, "status", "parabola")
    assert code == 0
    assert out.startswith("Search 'parabola' has not begun.\n")
    assert out.count(" failed ") == 2


def test_the_exit_code_of_a_script_decides_the_outcome(tmp_path: Path, store: Path) -> None:
    """`sys.exit(result.exit_code)` finishes, a kill is unfinished, a traceback is a failure.

    A script runs in its own folder, so that it finds its modules.
    """
    script = tmp_path / "a folder" / "search.py"
    script.parent.mkdir()
    script.with_name("beside.py").write_text("from pathlib import Path")
    begin = "from beside import Path; assert Path(__file__).with_name('beside.py').exists()\n"
    end = "\nimport sys; assert sys.stdin.read() == ''; sys.exit(result.exit_code)"
    script.write_text(begin + programs.source() + end)
    done = rerun(store, script)
    assert done.returncode == ExitCode.FINISHED, done.stderr
    script.write_text("import os; os.kill(os.getpid(), 9)")
    killed = programs.run("--store", store, "rerun", script, "--search", "other")
    assert killed.returncode == ExitCode.UNFINISHED  # a killed process is resumed by the next run
    assert "killed by signal 9" in killed.stdout
    script.write_text("1 / 0")
    other = programs.run("--store", store, "rerun", script, "--search", "other")
    assert other.returncode == ExitCode.FAILED
    assert "ZeroDivisionError" in other.stderr


def test_a_notebook_may_end_as_a_script_does(tmp_path: Path, store: Path) -> None:
    """`sys.exit(75)` in a cell is an unfinished search, not a failure."""
    nb = programs.notebook(tmp_path / "nb.ipynb", "import sys; sys.exit(75)")
    done = rerun(store, nb)
    assert done.returncode == ExitCode.UNFINISHED, done.stderr


def test_a_notebook_with_a_null_kernel_and_a_byte_order_mark_runs(
    tmp_path: Path, store: Path
) -> None:
    """Metadata with `"kernelspec": null` name no kernel; papermill refuses the mark."""
    nb = programs.notebook(tmp_path / "nb.ipynb", "import sys; sys.exit(75)")
    written = json.loads(nb.read_bytes())
    nb.write_text(json.dumps(written | {"metadata": {"kernelspec": None}}), "utf-8-sig")
    done = rerun(store, nb)
    assert done.returncode == ExitCode.UNFINISHED, done.stderr


def test_an_invalid_notebook_is_not_run(tmp_path: Path, store: Path) -> None:
    """With an invalid notebook or script nothing is started, and no run is recorded."""
    store.mkdir()
    valid = {"nbformat": 4, "metadata": {}, "cells": []}
    for wrong in (
        "[" * 100_000,
        json.dumps(valid | {"nbformat": 3}),
        json.dumps(valid | {"metadata": []}),
        json.dumps(valid | {"cells": [{"cell_type": "code"}]}),
    ):
        (tmp_path / "nb.ipynb").write_text(wrong)
        with pytest.raises(NotebookError, match="not a notebook of version 4"):
            load_program(str(tmp_path / "nb.ipynb"))
    (tmp_path / "script.py").write_bytes("1".encode("utf-16"))
    with pytest.raises(NotebookError, match="not Python source"):
        load_program(str(tmp_path / "script.py"))
    (tmp_path / "script.py").write_bytes("# coding: latin-1\n'\xe9'".encode("latin-1"))
    assert "\xe9" in str(load_program(str(tmp_path / "script.py")).notebook())
    spec = {"kernelspec": {"name": "conda-env-lab-py", "display_name": ""}}
    (tmp_path / "nb.ipynb").write_text(json.dumps(valid | {"metadata": spec}))
    done = rerun(store, tmp_path / "nb.ipynb")
    assert done.returncode == ExitCode.FAILED
    assert "asks for the kernel 'conda-env-lab-py'" in done.stderr
    assert done.stdout == ""
    assert read_runs(open_store(store), "parabola") == []
    spec["kernelspec"]["name"] = "Python3"  # Jupyter ignores the case
    (tmp_path / "nb.ipynb").write_text(json.dumps(valid | {"metadata": spec}))
    program = load_program(str(tmp_path / "nb.ipynb"))
    LocalRunner().check(RunTask(program, "parabola", tmp_path, StopSignals()))


def test_a_clock_that_is_set_changes_no_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that may last a minute still may after the clock was set by an hour."""
    (tmp_path / "script.py").write_text("")
    program, now = load_program(str(tmp_path / "script.py")), time.time()
    task = RunTask(program, "s", tmp_path, StopSignals(), began=now, max_seconds=60)
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert (task.seconds_left, task.deadline) == (pytest.approx(60, abs=50), now + 60)


def test_a_program_that_runs_another_search_is_reported(tmp_path: Path, store: Path) -> None:
    """The name in the program may be mistyped: the rerun says so, and names searches like it."""
    script = tmp_path / "search.py"
    script.write_text(programs.source("parabolla", 1))
    done = rerun(store, script)
    assert done.returncode == ExitCode.UNFINISHED
    assert "did not begin this search" in done.stdout
    assert "did you mean 'parabolla'?" in done.stdout


def test_a_search_that_somebody_holds_is_left_alone(tmp_path: Path, store: Path) -> None:
    """A rerun exits with 69 if another rerun has started, or if the search has a live owner."""
    begun = tmp_path / "begun"
    waiting = f"open({str(begun)!r}, 'w').close()\nwhile not os.path.exists({str(begun)!r} + '2'):"
    waiting += " time.sleep(0.02)"
    nb = programs.notebook(tmp_path / "nb.ipynb", programs.source(before=waiting))
    arguments = ("--store", store, "rerun", nb, "--search", "parabola")
    with subprocess.Popen(programs.command(*arguments), stdout=subprocess.PIPE) as first:
        wait_until(begun.exists, 600)
        second = programs.run(*arguments)
        assert second.returncode == ExitCode.BUSY
        assert "being rerun by this machine" in second.stdout
        begun.with_name("begun2").touch()
        assert first.wait(600) == ExitCode.FINISHED
    held = tmp_path / "held"
    in_trial = f"open({str(held)!r}, 'w').close(); time.sleep(600)"
    person = programs.source("other", in_trial=in_trial)
    with subprocess.Popen(
        [sys.executable, "-c", person], env=os.environ | {"COLAB_DRIVE_TUNER_STORE": str(store)}
    ) as holder:
        wait_until(held.exists, 600)
        busy = programs.run("--store", store, "rerun", nb, "--search", "other")
        assert busy.returncode == ExitCode.BUSY
        assert "is running" in busy.stdout
        holder.kill()


@pytest.mark.long
def test_a_search_finishes_after_five_killed_kernels(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kernel is killed in its second trial, and the loop continues until the end."""
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", str(store))
    in_trial = (
        "count.append(1)\n"
        "    if len(count) == 2 and len(deaths()) < 5:\n"
        "        open(f'{died}/{os.getpid()}', 'w').close(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    died = tmp_path / "died"
    died.mkdir()
    before = f"count = []; died = {str(died)!r}\ndef deaths(): return os.listdir(died)"
    nb = programs.notebook(
        tmp_path / "nb.ipynb", programs.source(max_evals=12, before=before, in_trial=in_trial)
    )
    pauses: list[float] = []
    messages: list[str] = []
    rerunner = Rerunner(
        open_store(),
        str(nb),
        "parabola",
        LocalRunner(),
        notify=messages.append,
        sleep=pauses.append,
    )
    verdict = rerun_until_finished(rerunner)
    assert verdict.exit_code is ExitCode.FINISHED, (verdict, messages)
    assert len(list(died.iterdir())) == 5
    runs = read_runs(open_store(), "parabola")
    assert [run.ended for run in runs] == ["unfinished"] * 5 + ["finished"]
    assert sum(run.trials for run in runs) == 12


def test_the_loop_pauses_longer_and_longer_and_gives_up(tmp_path: Path, store: Path) -> None:
    """Runs without a trial are 30, 60, ... seconds apart, and end after the third."""
    pauses: list[float] = []
    script = tmp_path / "nothing.py"
    script.write_text("raise SystemExit(75)")
    rerunner = Rerunner(
        open_store(store), str(script), "parabola", LocalRunner(), notify=lambda _: None,
        sleep=pauses.append,
    )  # fmt: skip
    verdict = rerun_until_finished(rerunner)
    assert verdict.exit_code is ExitCode.FAILED
    assert "last 3 runs ended no trial" in verdict.message
    assert pauses == [30, 60, 120]


def test_a_clock_set_during_a_run_does_not_change_its_duration(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The duration of a run is measured, not the difference of two times of day."""

    class ClockSetBack(LocalRunner):
        def run(self, _task: RunTask) -> None:
            right = time.time
            monkeypatch.setattr(time, "time", lambda: right() - 5 * 3600)

    script = tmp_path / "nothing.py"
    script.write_text("")
    Rerunner(
        open_store(store), str(script), "parabola", ClockSetBack(), notify=lambda _: None
    ).once()
    (run,) = read_runs(open_store(store), "parabola")
    assert 0 <= run.seconds < 60


def test_the_loop_waits_for_drive_to_come_back(tmp_path: Path, store: Path) -> None:
    """An outage longer than all retries is waited for like a run without a trial."""
    script = tmp_path / "search.py"
    script.write_text(programs.source())

    class Away(FolderStore):
        """A store that does not answer twice, also as `for_search` returns it."""

        silences = [1, 2]  # noqa: RUF012 - shared by the instances of for_search

        def list(self, *arguments: Any, **options: Any) -> list[Entry]:
            if self.silences:
                self.silences.pop()
                raise UnavailableError("Drive does not answer.")
            return super().list(*arguments, **options)

    pauses: list[float] = []
    messages: list[str] = []
    rerunner = Rerunner(
        Away(store),
        str(script),
        "parabola",
        LocalRunner(),
        notify=messages.append,
        sleep=pauses.append,
    )
    assert rerun_until_finished(rerunner).exit_code is ExitCode.FINISHED
    assert pauses == [30, 60]
    assert "Drive does not answer." in messages[0]


@pytest.mark.parametrize(
    "signum", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_rerun_that_is_stopped_ends_its_kernel(tmp_path: Path, store: Path, signum: int) -> None:
    """A stopped rerun ends its kernel, exits with 128 plus the signal and is recorded."""
    held = tmp_path / "pid"
    part = f"{held}.part"
    in_trial = f"open({part!r}, 'w').write(str(os.getpid())); os.rename({part!r}, {str(held)!r})"
    in_trial += "; time.sleep(600)"
    nb = programs.notebook(tmp_path / "nb.ipynb", programs.source(in_trial=in_trial))
    arguments = ("--store", store, "rerun", nb, "--search", "parabola")
    with subprocess.Popen(programs.command(*arguments), stderr=subprocess.PIPE) as rerunning:
        wait_until(held.exists, 600)
        rerunning.send_signal(signum)
        assert rerunning.wait(600) == 128 + signum
    kernel = Path("/proc", held.read_text())
    wait_until(lambda: not kernel.exists())
    assert [run.ended for run in read_runs(open_store(store), "parabola")] == ["stopped"]
    assert read_rerun_status(open_store(store), "parabola").exit_code is ExitCode.UNFINISHED


def test_a_second_signal_leaves_no_process_behind(tmp_path: Path) -> None:
    """A program that ignores the first one is killed, as without a second one."""
    held, part = tmp_path / "pid", tmp_path / "part"
    stubborn = f"trap '' TERM; echo $$ >{part}; mv {part} {held}; while :; do sleep 0.1; done"
    run = (
        "import sys; from colab_drive_tuner.rerun import stopping; stopping._GRACE_SECONDS = 2.0\n"
        "with stopping.StopSignals().raising():\n"
        "    stopping.run_command(['sh', '-c', sys.argv[1]], sys.stdout.buffer)"
    )
    command = (sys.executable, "-c", run, stubborn)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(held.exists, 200)
        time.sleep(0.2)  # until the process waits for the program
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)  # else both signals are one
    wait_until(lambda: not Path("/proc", held.read_text().strip()).exists())


@pytest.mark.long
def test_max_time_gives_the_kernel_a_deadline(tmp_path: Path, store: Path) -> None:
    """`--max-time` reaches the kernel as a point in time."""
    shown = "import os; print('until', os.environ['COLAB_DRIVE_TUNER_DEADLINE'])"
    nb = programs.notebook(tmp_path / "nb.ipynb", shown, programs.source())
    before = time.time()
    assert rerun(store, nb, "--max-time", "2h").returncode == ExitCode.FINISHED
    (kept,) = (store / "parabola" / "runs").glob("*.ipynb")
    until = float(programs.printed(kept, 0).split()[1])
    assert before + 7190 < until < time.time() + 7200


def test_the_notebook_in_the_repository_is_rerun_to_its_end(
    tmp_path: Path, drive_emulator: DriveEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """notebooks/scheduled.ipynb runs from Drive with a parameter and shows its best trial."""
    shipped = Path(__file__).parents[2] / "notebooks" / "scheduled.ipynb"
    monkeypatch.chdir(tmp_path)  # where the kernel runs, and setup() copies the notebook to
    drive = DriveClient.connect()
    drive.create_file("scheduled.ipynb", shipped, parent=drive.folder("Lab", create=True).id)
    arguments = ("rerun", "drive://Lab/scheduled.ipynb", "--search", "scheduled-digits")
    first = programs.run(*arguments, "-p", "max_evals=3")
    assert first.returncode == ExitCode.FINISHED, first.stderr
    assert "3 of 3 trials done" in first.stdout
    (run,) = read_runs(open_store(), "scheduled-digits")
    (tmp_path / "kept.ipynb").write_bytes(drive.download(run.url.partition("id=")[2]))
    assert "%" in programs.printed(tmp_path / "kept.ipynb", -1)
