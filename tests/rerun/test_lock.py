"""The rerun lock, the log of runs, permission to run a search, and the cost of one check."""

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from colab_drive_tuner.emulator import DriveEmulator
from colab_drive_tuner.errors import (
    AccountMismatchError,
    SearchFolderError,
    StoreError,
    UnavailableError,
)
from colab_drive_tuner.journal.folder.creation import BACKUPS, find_or_create_subfolder
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.machine import state_folder
from colab_drive_tuner.rerun.program import RunTask
from colab_drive_tuner.rerun.rerunner import (
    RerunLockedError,
    Rerunner,
    rerun_lock,
    rerun_until_finished,
)
from colab_drive_tuner.rerun.runners.local import LocalRunner
from colab_drive_tuner.rerun.runs import (
    ExitCode,
    Run,
    count_fruitless,
    read_rerun_status,
    read_runs,
    record_run,
)
from colab_drive_tuner.store import drive, open_store
from colab_drive_tuner.store.drive import DriveStore
from tests.processes import run_python
from tests.rerun import programs


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let this process act as another machine, with another state folder."""
    return lambda name: monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / name))


@pytest.mark.parametrize("error", [KeyboardInterrupt, UnavailableError])
def test_a_stop_or_an_outage_while_the_lock_settles_leaves_no_run(
    drive_emulator: DriveEmulator,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    """A rerun that ends before its run began leaves no note of a run that was killed."""
    store = open_store()

    def fail(_: object) -> None:
        raise error

    with monkeypatch.context() as outage:

        def settle(_: float) -> None:
            if error is KeyboardInterrupt:
                raise error
            outage.setattr(store, "stat", fail)

        with pytest.raises(error), rerun_lock(store, "search", settle, "1 0 local"):
            pass
    with rerun_lock(store, "search", lambda _: None) as left:
        assert left == ""


def test_one_machine_at_a_time_holds_the_rerun_lock(
    drive_emulator: DriveEmulator, machine: Callable[[str], None]
) -> None:
    """The rerun lock works before the search exists, and until its first holder releases it."""
    store = open_store()
    machine("a")
    with rerun_lock(store, "search", lambda _: None):
        machine("b")
        with pytest.raises(RerunLockedError, match="another machine"):
            rerun_lock(store, "search", lambda _: None).__enter__()
        with rerun_lock(store, "another search", lambda _: None):
            pass
    with rerun_lock(store, "search", lambda _: None):
        pass


def test_two_simultaneous_requests_give_the_lock_to_one(
    drive_emulator: DriveEmulator, machine: Callable[[str], None]
) -> None:
    """If two machines set the mark, the last writer holds the lock, and the other notices."""
    store = open_store()
    machine("a")

    def meanwhile(seconds: float) -> None:
        key = next(key for key in store.stat(store.root).properties if key.startswith("cdt_rerun"))
        store.set_properties(store.root, {key: f"other {store.now():.0f}"})

    with pytest.raises(RerunLockedError, match="another machine"):
        rerun_lock(store, "search", meanwhile).__enter__()


def test_the_lock_of_a_dead_process_is_freed(
    drive_emulator: DriveEmulator, machine: Callable[[str], None]
) -> None:
    """A dead process's lock is free at once on its machine, elsewhere after 200 seconds."""
    die = (
        "import os; from colab_drive_tuner.rerun.rerunner import rerun_lock\n"
        "from colab_drive_tuner.store import open_store\n"
        "turn = rerun_lock(open_store(), 'search', lambda _: None); turn.__enter__(); os._exit(0)"
    )
    store = open_store()
    machine("a")
    run_python("-c", die)
    machine("b")
    with pytest.raises(RerunLockedError):
        rerun_lock(store, "search", lambda _: None).__enter__()
    machine("a")
    with rerun_lock(store, "search", lambda _: None):
        pass
    machine("c")
    run_python("-c", die)
    machine("b")
    drive_emulator.advance_clock(201)
    with rerun_lock(store, "search", lambda _: None):
        pass


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_run_whose_rerunner_was_killed_is_recorded_by_the_next(
    tmp_path: Path,
    drive_emulator: DriveEmulator,
    machine: Callable[[str], None],
    where: str,
    begun: bool,
) -> None:
    """The next rerun records it, once, also if the killed run began the search."""
    script = tmp_path / "search.py"
    script.write_text(programs.source(max_evals=2))
    if begun:
        run_python(script)
    machine("here")
    die = (
        "import os; from tests.rerun.test_lock import ByHand, Rerunner, open_store\n"
        "die = ByHand(lambda: os._exit(0))\n"
        f"Rerunner(open_store(), {str(script)!r}, 'parabola', die, sleep=lambda _: None).once()"
    )
    if begun:
        script.write_text(programs.source(max_evals=4))
        interrupted = programs.source(max_evals=4, in_trial="os._exit(1)")
        run_python("-c", interrupted, status=None)
    run_python("-c", die)
    if not begun:
        interrupted = programs.source(max_evals=4, in_trial="if x < 0.1: os._exit(1)")
        run_python("-c", interrupted, status=None)
    drive_emulator.advance_clock(201)
    machine(where)
    store = open_store()
    assert read_runs(store, "parabola") == []
    rerunner = Rerunner(store, str(script), "parabola", ByHand(lambda: None), sleep=lambda _: None)
    done = rerunner.once().done
    rerunner.once()
    runs = read_runs(store, "parabola")
    assert sorted(run.ended for run in runs) == ["unfinished", "unfinished", "unknown"]
    (killed,) = [run for run in runs if run.ended == "unknown"]
    assert (killed.where, killed.done) == ("by hand", done)
    assert killed.trials == (0 if begun else done)
    assert not any("cdt_rerun" in key for key in store.stat(store.root).properties)


def run(n: int, trials: int, done: int, ended: str = "unfinished") -> Run:
    """Return a run of the search "search"."""
    return Run("search", 1e9 + n, "local", 60.0, trials, done, ended)


def test_runs_are_recorded_and_read(tmp_path: Path) -> None:
    """A search's recorded runs are read; runs of other searches and foreign files are ignored."""
    store = open_store(tmp_path)
    record_run(store, run(1, 3, 3), None, "words")
    record_run(store, Run("other", 1.0, "local", 1.0, 0, 0, "failed"), None, "words")
    (store_runs,) = store.list(store.root, name="runs")
    (entry_id,) = store.reserve(1)
    store.create(entry_id, b"mine", name="mine.txt", parent=store_runs.id)
    found = read_runs(store, "search")
    assert [(kept.began, kept.trials, kept.ended) for kept in found] == [(1e9 + 1, 3, "unfinished")]
    assert Path(found[0].url).read_text() == "words"


def test_only_runs_in_a_row_without_a_trial_count_as_fruitless() -> None:
    """Progress, also a person's own, ends a row of fruitless runs; stopped runs do not count."""
    assert count_fruitless([], 0) == 0
    row = [run(1, 2, 2), run(2, 0, 2), run(3, 0, 2, "stopped"), run(4, 0, 2, "failed")]
    assert count_fruitless(row, 2) == 2
    assert count_fruitless(row, 5) == 0
    assert count_fruitless([*row, run(5, 1, 3)], 3) == 0
    assert [count_fruitless(row, 2, 1e9 + n) for n in (1.5, 3.5, 4.5)] == [2, 1, 0]


def test_another_account_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """A rerun of another account than the search's is refused; the error names both accounts."""
    script = tmp_path / "search.py"
    script.write_text(programs.source(in_trial="os._exit(1)"))
    accounts = ["one=one@example.com", "two=two@example.com"]
    with DriveEmulator(tokens=accounts) as emulator, pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.environment.items():
            patch.setenv(name, value)
        run_python(script, status=1)
        folder = open_store().root
        share(emulator, folder, "two@example.com")
        patch.setenv("DRIVE_EMULATOR_TOKEN", "two")
        store = DriveStore.connect(folder)
        assert read_rerun_status(store, "parabola").exit_code is not ExitCode.FINISHED
        messages: list[str] = []
        with pytest.raises(AccountMismatchError, match=r"one@.* this rerun is signed in as two@"):
            Rerunner(store, str(script), "parabola", LocalRunner(), notify=messages.append).once()
        assert messages == []


class ByHand:
    """A runner whose run is an act by hand on the search's folder."""

    name = "by hand"

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def check(self, task: RunTask) -> None:
        """Accept every task."""

    def run(self, task: RunTask) -> None:
        """Do it."""
        self._act()


@pytest.mark.parametrize("loop", [False, True])
def test_a_search_that_was_moved_by_hand_is_not_run(
    tmp_path: Path, drive_emulator: DriveEmulator, loop: bool
) -> None:
    """A search in the trash ends a rerun at once, whether it got there before or during a run."""
    script = tmp_path / "search.py"
    script.write_text(programs.source(in_trial="os._exit(1)"))
    run_python(script, status=None)
    store = open_store()
    folder = find_folder(store, "parabola")
    assert folder is not None
    started: list[str] = []

    def act() -> None:
        started.append("once")
        store.trash(folder.id)

    rerunner = Rerunner(store, str(script), "parabola", ByHand(act), sleep=lambda _: None)
    if loop:
        with pytest.raises(SearchFolderError, match="in the trash"):
            rerun_until_finished(rerunner)
    else:
        ended = rerunner.once()
        assert ended.exit_code is ExitCode.FAILED
        assert "in the trash" in ended.message
        with pytest.raises(SearchFolderError, match="in the trash"):
            rerunner.once()
    assert started == ["once"]
    assert [run.ended for run in read_runs(store, "parabola")] == ["failed"]


def test_a_run_that_got_further_within_a_trial_is_not_fruitless(tmp_path: Path) -> None:
    """A trial that is longer than several runs ends: only runs without a new backup count."""
    script = tmp_path / "search.py"
    script.write_text(programs.source(in_trial="os._exit(1)"))
    searches = tmp_path / "searches"
    run_python(script, status=None, environment={"COLAB_DRIVE_TUNER_STORE": str(searches)})
    store, started = open_store(searches), list[str]()
    folder = find_folder(store, "parabola")
    assert folder is not None

    def act() -> None:
        started.append("once")
        if len(started) == 1:
            time.sleep(1.1)  # the start of a run is recorded in whole seconds
            (entry_id,) = store.reserve(1)
            backups = find_or_create_subfolder(store, folder.id, BACKUPS)
            store.create(entry_id, b"", name="trial-00000-fit-000-epoch-00001", parent=backups)
            time.sleep(1.1)

    rerunner = Rerunner(store, str(script), "parabola", ByHand(act), give_up_after=1)
    ended = [rerunner.once().exit_code for _ in range(3)]
    assert ended == [ExitCode.UNFINISHED, ExitCode.UNFINISHED, ExitCode.FAILED]
    assert len(started) == 2


def test_a_full_drive_starts_nothing(tmp_path: Path, drive_emulator: DriveEmulator) -> None:
    """A run that could not be recorded, and would not count as fruitless, is not started."""
    script = tmp_path / "search.py"
    script.write_text(programs.source())
    store, started = open_store(), list[str]()
    runner = ByHand(lambda: started.append("once"))
    rerunner = Rerunner(store, str(script), "parabola", runner, sleep=lambda _: None)
    rerunner.once()
    drive_emulator.set_quota("owner@example.com", 1)
    full = rerunner.once()
    assert (full.exit_code, started) == (ExitCode.FAILED, ["once"])
    assert "is full, so nothing was started" in full.message
    drive_emulator.set_quota("owner@example.com", None)
    rerunner.once()
    assert started == ["once"] * 2


def test_a_state_folder_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a folder for its lock nothing is run; the error names the folder and the remedy."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    store, folder = open_store(tmp_path / "store"), state_folder()
    (folder / "rerun").write_text("in its way")
    with pytest.raises(StoreError, match=r"rerun of this machine cannot be used .* XDG_STATE_HOME"):
        rerun_lock(store, "search").__enter__()
    (folder / "rerun").unlink()
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write to any folder
    with pytest.raises(StoreError, match=r"rerun of this machine cannot be used .Permission"):
        rerun_lock(store, "search").__enter__()


def share(emulator: DriveEmulator, folder: str, account: str) -> None:
    request = urllib.request.Request(
        f"{emulator.url}/drive/v3/files/{folder}/permissions",
        data=json.dumps({"type": "user", "role": "writer", "emailAddress": account}).encode(),
        headers={"Authorization": "Bearer one", "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=30).close()


def test_a_rerun_of_a_finished_search_is_one_check(
    tmp_path: Path, drive_emulator: DriveEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished search costs the requests of `status`, writes nothing and runs no program."""
    monkeypatch.setattr(drive, "_CACHE_SECONDS", -1.0)  # list each time, even on a fast machine
    script = tmp_path / "search.py"
    script.write_text(programs.source())
    run_python(script)
    store = open_store()
    rerunner = Rerunner(store, str(script), "parabola", LocalRunner())
    before = len(drive_emulator.log)
    assert rerunner.once().exit_code is ExitCode.FINISHED
    asked = drive_emulator.log[before:]
    assert all(entry["method"] == "GET" for entry in asked)
    seen = len(asked)
    read_rerun_status(store, "parabola")
    assert len(drive_emulator.log) - before - seen == seen
