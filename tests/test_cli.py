"""The command line: output, files written and exit status of each command."""

import functools
import json
import os
import pickle
import re
import shlex
import socket
import stat
import subprocess
import sys
from pathlib import Path

import hyperopt
import nbformat
import pytest
from hyperopt import hp

import colab_drive_tuner as cdt
from colab_drive_tuner.cli import main
from colab_drive_tuner.emulator import DriveEmulator
from colab_drive_tuner.local_files import replace_file
from colab_drive_tuner.search.spec.settings import SearchSettings
from colab_drive_tuner.store import open_store
from tests.processes import running_python
from tests.troubleshoot.test_clean import copy_of_an_older_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder store with the search "parabola", which has 5 of 8 trials."""
    assert search(tmp_path / "store", stop_at=5).exit_code == 75
    return tmp_path / "store"


def search(store: Path, *, stop_at: int | None = None) -> cdt.SearchResult:
    """Run or resume the search "parabola"; stop after `stop_at` trials."""

    @functools.wraps(hyperopt.rand.suggest)  # so that it counts as the same algorithm
    def suggest(ids, domain, trials, seed):
        return [] if ids == [stop_at] else hyperopt.rand.suggest(ids, domain, trials, seed)

    return cdt.resume_search(
        parabola,
        space=hp.uniform("x", -1, 1),
        name="parabola",
        max_evals=8,
        seed=1,
        store=store,
        algo=suggest,
        progress=False,
    )


def parabola(x: float) -> float:
    """An objective."""
    return x**2


def test_version(run_command):
    """`--version` prints the version and nothing else."""
    assert run_command("--version") == (0, f"{cdt.__version__}\n", "")


def test_status_shows_every_search(run_command, folder):
    """`status` prints each search's name, number of trials, best loss and state."""
    cdt.resume_search(
        lambda x: 0.25, space=hp.uniform("x", 0, 1), name="flat", max_evals=1, store=folder,
        progress=False,
    )  # fmt: skip
    best = cdt.DriveTrials("parabola", store=folder).best_trial["result"]["loss"]
    code, out, _ = run_command("--store", folder, "status")
    assert code == 0
    flat, begun = out.splitlines()[-2:]
    assert re.fullmatch(r"flat +1 of 1 +0\.25 +0 +finished", flat.strip())
    assert re.fullmatch(rf"parabola +5 of 8 +{best:.6g} +0 +unfinished", begun.strip())


def test_status_as_json(run_command, folder, tmp_path):
    """`status --json` prints a list of searches, or one search as an object with its runs.

    Odd names and infinite losses are valid JSON.
    """
    odd = 'a "b" é' + "x" * 90
    cdt.resume_search(
        lambda x: float("inf"), space=hp.uniform("x", 0, 1), name=odd, max_evals=1, store=folder,
        progress=False,
    )  # fmt: skip
    code, out, err = run_command("--store", folder, "status", "--json")
    assert (code, err) == (0, "")
    first, second = json.loads(out, parse_constant=pytest.fail)
    assert (first["name"], first["best_loss"], first["state"]) == (odd, "inf", "finished")
    assert {key: second[key] for key in ("name", "state", "done", "max_evals", "failed")} == {
        "name": "parabola", "state": "unfinished", "done": 5, "max_evals": 8, "failed": 0,
    }  # fmt: skip
    assert (
        second["best_loss"]
        == cdt.DriveTrials("parabola", store=folder).best_trial["result"]["loss"]
    )
    alone = json.loads(run_command("--store", folder, "status", "parabola", "--json")[1])
    assert alone == {**second, "runs": []}
    (tmp_path / "empty").mkdir()
    assert json.loads(run_command("--store", tmp_path / "empty", "status", "--json")[1]) == []


def test_status_shows_failed_trials_and_whole_names_in_a_pipe(run_command, tmp_path, monkeypatch):
    """In a pipe, `status` counts failed trials and never cuts a name, however small COLUMNS is."""
    monkeypatch.setenv("COLUMNS", "40")

    def failing(x):
        raise ValueError("out of tune")

    names = ["n" * 100 + end for end in "ab"]
    for name in names:
        cdt.resume_search(
            failing, space=hp.uniform("x", 0, 1), name=name, max_evals=3, store=tmp_path,
            catch_eval_exceptions=True, progress=False,
        )  # fmt: skip
    head, *lines = run_command("--store", tmp_path, "status")[1].splitlines()
    assert head.split()[:3] == ["search", "trials", "failed"]
    assert [line.split()[:5] for line in lines] == [[name, "3", "of", "3", "3"] for name in names]


def test_status_on_a_narrow_terminal_is_a_block_for_each_search(run_command, folder, monkeypatch):
    """On a terminal too narrow for a row, `status` prints each value on a line of its own."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    name, *values = run_command("--store", folder, "status")[1].splitlines()
    assert name == "search: parabola"
    assert values[0] == "  trials: 5 of 8"
    assert values[-1] == "  state: unfinished"
    assert all(len(line) <= 40 for line in values)


def test_status_of_an_empty_store(run_command, tmp_path):
    """`status` of an empty store prints "No searches yet." instead of an empty table."""
    assert run_command("--store", tmp_path, "status") == (0, "No searches yet.\n", "")


@pytest.mark.parametrize(("state", "expected"), [("unfinished", 75), ("finished", 0)])
def test_exit_code_of_status(run_command, folder, state, expected):
    """`status --exit-code` exits 75 while trials are left and 0 when all are done."""
    if state == "finished":
        search(folder)
    assert run_command("--store", folder, "status", "--exit-code", "parabola")[0] == expected


def test_exit_code_of_a_search_held_elsewhere(run_command, folder, tmp_path, monkeypatch):
    """`status --exit-code` exits 69 while a session on another machine holds the search."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    trials = cdt.DriveTrials("parabola", store=folder)
    trials.own(SearchSettings(seeded=False))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "this machine"))
    code, out, _ = run_command("--store", folder, "status", "--exit-code", "parabola")
    assert code == 69
    assert "running" in out
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    trials.close()


def test_a_search_that_does_not_exist(run_command, folder):
    """`status` of an unknown search exits 1 with an error in one sentence and no traceback."""
    code, out, err = run_command("--store", folder, "status", "nothing")
    assert (code, out) == (1, "")
    assert err.startswith("colab-drive-tuner: There is no search 'nothing'")
    assert "Traceback" not in err


def test_clean_as_json(run_command, tmp_path, monkeypatch):
    """`clean --json` prints what it found, and with `--yes` where each file was moved."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").mkdir()
    path = copy_of_an_older_run()
    command = ["--store", tmp_path / "store", "clean", "--json"]
    (found,) = json.loads(run_command(*command)[1])
    assert (found["id"], found["ours"], found["moved_to"]) == (str(path), True, None)
    (moved,) = json.loads(run_command(*command, "--yes")[1])
    assert Path(moved["moved_to"]).exists()
    assert not path.exists()
    assert json.loads(run_command(*command)[1]) == []


@pytest.mark.parametrize(
    "command", [["clean"], ["clean", "--yes"], ["status"], ["status", "x"], ["repair", "x"]]
)
def test_a_store_that_does_not_exist_is_an_error(run_command, tmp_path, command):
    """`clean`, `status` and `repair` name a store that does not exist and do not create it."""
    missing = tmp_path / "missing"
    code, out, err = run_command("--store", missing, *command)
    assert (code, out) == (1, "")
    assert str(missing) in err
    assert not missing.exists()


@pytest.mark.parametrize("place", [("--store", "{}"), ("--store={}",)])
def test_the_store_may_be_named_after_the_command(run_command, folder, place):
    """`--store` works before and after the command; after `--` it is a search's name."""
    options = [part.format(folder) for part in place]
    assert run_command("status", "parabola", *options) == run_command(
        *options, "status", "parabola"
    )
    code, _, err = run_command("--store", folder, "status", "--", "--store")
    assert (code, err.partition(" in ")[0]) == (
        1,
        "colab-drive-tuner: There is no search '--store'",
    )


def test_a_store_without_a_value_is_named(run_command):
    """A final `--store` is refused as such; the command after it is not taken for its value."""
    code, _, err = run_command("status", "parabola", "--store")
    assert code == 2
    assert "Option '--store' requires an argument" in err


def test_a_similar_name_is_suggested(run_command, folder):
    """A name that is mistyped is answered with the names like it."""
    for command in (("status",), ("rm", "--yes")):
        err = run_command("--store", folder, *command, "parabolla")[2]
        assert "did you mean 'parabola'?" in err


def test_a_command_in_a_message_takes_a_name_that_begins_with_a_dash(run_command, folder):
    """The commands that messages recommend work for a search named like an option."""
    store = open_store(folder)
    assert run_command("--store", folder, "rename", "parabola", "--", "--yes")[0] == 0
    for command in (store.command("status", "--yes"), store.command("rm", "--yes", options=["-y"])):
        assert run_command(*shlex.split(command.strip("`"))[1:])[0] == 0
    assert run_command("--store", folder, "list") == (0, "", "")


def test_a_pipe_that_lacks_characters_shows_their_escapes(run_command, folder):
    """A name that the encoding of standard output lacks is escaped, and nothing fails."""
    assert run_command("--store", folder, "rename", "parabola", "日本")[0] == 0
    done = subprocess.run(
        [sys.executable, "-m", "colab_drive_tuner", "--store", folder, "list"],
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"\\u65e5\\u672c\n")


def test_a_rerun_in_an_outage_is_to_be_repeated(run_command, folder, tmp_path, monkeypatch):
    """A rerun that Drive does not answer exits with 75, at which schedulers fire again."""

    def fail(rerunner):
        raise cdt.errors.UnavailableError("Drive does not answer.")

    monkeypatch.setattr("colab_drive_tuner.rerun.rerunner.Rerunner.once", fail)
    script = tmp_path / "search.py"
    code, out, _ = run_command("--store", folder, "rerun", script, "--search", "parabola")
    assert (code, out) == (75, "Drive does not answer.\n")


def test_a_folder_of_drive_is_handed_on_to_local_runs_only(run_command, drive_emulator):
    """A run on this machine uses `--store drive:FOLDER`; a runtime elsewhere would not."""
    opened = cdt.open_store("drive:Lab")
    assert opened.environment == {"COLAB_DRIVE_TUNER_STORE": "drive:Lab"}
    assert cdt.open_store().environment == {}
    code, _, err = run_command(
        "--store", "drive:Lab", "rerun", "nb.ipynb", "--search", "s", "--on", "colab"
    )
    assert code == 2
    assert "use --folder here" in err


def test_a_path_that_cannot_be_written_is_named(run_command, tmp_path, monkeypatch):
    """A file in place of a folder is named, with what the system says of it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".github").write_text("a file")
    (tmp_path / "nb.py").write_text("")
    options = ("--search", "s", "--store", "drive:Lab", "--with", "github")
    code, _, err = run_command("schedule", "add", "nb.py", *options)
    assert code == 1
    assert re.search(r"^colab-drive-tuner: \S*\.github\S*: (Not a directory|File exists) ", err), (
        err
    )


def test_an_unexpected_error_is_printed_in_one_sentence(run_command, folder, monkeypatch):
    """An unexpected error is printed in one sentence; `--debug` raises it with its traceback."""

    def fail(store):
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("colab_drive_tuner.search.results.read_search.list_searches", fail)
    code, out, err = run_command("status", "--store", folder)
    assert (code, out) == (1, "")
    assert err == (
        "colab-drive-tuner: unexpected ZeroDivisionError: by nothing (--debug shows the "
        "traceback)\n"
    )
    monkeypatch.setattr(sys, "argv", ["colab-drive-tuner", "status", "--store", folder, "--debug"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_debug_shows_the_traceback(monkeypatch, folder):
    """With `--debug` before the command, the package's own errors are raised as well."""
    arguments = ["colab-drive-tuner", "--debug", "--store", str(folder), "status", "nothing"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(cdt.errors.SearchNotFoundError):
        main()


@pytest.mark.parametrize(
    "arguments",
    [("status", "a/b"), ("status", "--exit-code"), ("nonsense",), ("export", "parabola")],
    ids=["bad name", "no name", "no such command", "missing argument"],
)
def test_wrong_usage_exits_with_2(run_command, folder, arguments):
    """A wrong name, command or argument exits with 2, unlike a failure, which exits with 1."""
    assert run_command("--store", folder, *arguments)[0] == 2


def test_export_and_import_are_a_round_trip(run_command, folder, tmp_path):
    """`export` writes a pickle of plain Trials; `import` makes an equal search from it."""
    file = tmp_path / "trials.pkl"
    assert run_command("--store", folder, "export", "parabola", file)[0] == 0
    exported = pickle.loads(file.read_bytes())
    assert type(exported).__name__ == "Trials"
    assert len(exported) == 5
    code, out, _ = run_command("--store", folder, "import", "again", file)
    assert (code, out) == (0, "Imported 5 trials into the new search 'again'.\n")
    again = tmp_path / "again.pkl"
    run_command("--store", folder, "export", "again", again)
    assert pickle.loads(again.read_bytes()).losses() == exported.losses()


def test_import_runs_no_code_and_overwrites_no_search(run_command, folder, tmp_path):
    """`import` refuses a pickle that would run code, and a name that is taken."""
    file, proof = tmp_path / "hostile.pkl", tmp_path / "proof"

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {proof}",)

    file.write_bytes(pickle.dumps(Hostile()))
    code, _, err = run_command("--store", folder, "import", "hostile", file)
    assert code == 2
    assert "system" in err
    assert not proof.exists()
    assert run_command("--store", folder, "status", "hostile")[0] == 1
    run_command("--store", folder, "export", "parabola", file)
    assert run_command("--store", folder, "import", "parabola", file)[0] == 2


def test_export_names_a_file_that_cannot_be_written(run_command, folder, tmp_path):
    """`export` to a folder's path, or into a folder that is missing or a file, exits 2.

    The error names the path, and nothing is left behind.
    """
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for target in ("folder", "missing/trials.pkl", "file/trials.pkl"):
        code, _, err = run_command("--store", folder, "export", "parabola", tmp_path / target)
        assert code == 2
        assert repr(str(tmp_path / target)) in err
        assert sorted(tmp_path.rglob("*")) == before


def test_export_keeps_links_and_pipes(run_command, folder, tmp_path):
    """A link is followed, a pipe is written to: neither is replaced by a file."""
    link, pipe = tmp_path / "latest.csv", tmp_path / "pipe"
    link.symlink_to("today.csv")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    for file in (link, pipe):
        assert run_command("--store", folder, "export", "parabola", file)[0] == 0
    assert link.is_symlink()
    assert (tmp_path / "today.csv").read_text().startswith("tid,")
    assert pipe.is_fifo()
    assert len(pickle.loads(os.read(reader, 1 << 16))) == 5
    os.close(reader)
    with pytest.raises(FileExistsError, match="device or pipe"):
        replace_file(pipe, lambda sink: sink.write(b""))


def test_export_keeps_a_file_private(run_command, folder, tmp_path):
    """A file that only its owner may read stays so when it is replaced."""
    file = tmp_path / "trials.csv"
    file.touch(mode=0o600)
    assert run_command("--store", folder, "export", "parabola", file)[0] == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().startswith("tid,")


def notebook_of(path: Path, store: Path, *lines: str) -> Path:
    """Write a notebook that runs the search and has these lines in its last cell."""
    cells = [
        nbformat.v4.new_code_cell(
            "import colab_drive_tuner as cdt\nfrom hyperopt import hp\n"
            "def parabola(x):\n    return x ** 2"
        ),
        nbformat.v4.new_code_cell(
            "cdt.resume_search(parabola, space=hp.uniform('x', -1, 1), name='parabola', seed=1,\n"
            f"    max_evals=8, algo='rand', progress=False, store={str(store)!r})"
        ),
        nbformat.v4.new_code_cell("\n".join(lines)),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def test_an_emulator_that_cannot_start_says_why(run_command, tmp_path):
    """A port that is taken or invalid, or a file as the data folder, ends `emulator` with 2.

    The error names the taken port or the file.
    """
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = run_command(
            "emulator", "--port", taken.getsockname()[1], "--data", tmp_path / "a"
        )
        port = taken.getsockname()[1]
    assert (code, f"port {port}: Address already in use" in err) == (2, True), err
    code, _, err = run_command("emulator", "--port", 0, "--data", tmp_path / "file")
    assert (code, str(tmp_path / "file") in err) == (2, True), err
    assert run_command("emulator", "--port", 99999)[0] == 2


def test_an_emulator_without_its_packages_names_the_extra(run_command, tmp_path, monkeypatch):
    """Without uvicorn, the command and `DriveEmulator` name the extra to install.

    In a thread and in a process, the error comes before the server starts.
    """
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    advice = "The emulator needs uvicorn: pip install 'colab-drive-tuner[emulator]'."
    command = run_command("emulator", "--port", 0, "--data", tmp_path / "data")
    assert command == (1, "", f"colab-drive-tuner: {advice}\n")
    for process in (False, True):
        with pytest.raises(ModuleNotFoundError, match=re.escape(advice)):
            DriveEmulator(tmp_path, process=process).start()


def test_the_emulator_keeps_its_files_over_a_restart(tmp_path):
    """`emulator` prints its address, as text or JSON, and has its files again after a restart."""
    import requests

    command = ["-m", "colab_drive_tuner", "emulator", "--port", "0", "--data", tmp_path]
    headers = {"Authorization": "Bearer emulator"}
    for expected in (0, 1):
        form = ["--json"] * expected
        with running_python(*command, *form) as (server, line):
            url = json.loads(line)["url"] if form else line.split(" on ")[1].strip()
            files = requests.get(f"{url}/drive/v3/files", headers=headers, timeout=100).json()
            assert len(files["files"]) == expected, json.dumps(files)
            requests.post(
                f"{url}/drive/v3/files", headers=headers, json={"name": "kept"}, timeout=10
            )
            server.terminate()
            server.wait(60)
