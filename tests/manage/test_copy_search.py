"""Copying and moving complete searches between folders, Drives, accounts and names."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colab_drive_tuner.errors import (
    QuotaError,
    RefusedError,
    SearchBusyError,
    SearchDamagedError,
    SearchFolderError,
    SearchNameError,
    SearchNotFoundError,
    StoreError,
    UnavailableError,
    UsageError,
)
from colab_drive_tuner.journal.folder.creation import create_folder
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.journal.folder.properties import Property
from colab_drive_tuner.manage import copy_writer
from colab_drive_tuner.manage.copy_search import copy_search, move_search
from colab_drive_tuner.manage.naming import list_names, remove_search, rename_search
from colab_drive_tuner.manage.restore_history import list_histories, restore_search
from colab_drive_tuner.rerun.runs import Run, read_runs, record_run
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.results.read_search import read_status
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.training.file_copier import model_files
from colab_drive_tuner.training.trial_backup_files import TrialBackupFiles
from colab_drive_tuner.troubleshoot.clean import find_leftovers
from colab_drive_tuner.troubleshoot.repair.repair import repair
from tests.manage.conftest import Opener
from tests.search.sample_searches import (
    killing_objective,
    resume_sample_search,
    run_in_fork,
    sample_objective,
    trial_values,
)
from tests.search.test_models import run as run_with_models
from tests.troubleshoot.conftest import folder as folder_with_many_records  # noqa: F401
from tests.troubleshoot.damaged_searches import record_files

WAYS = [
    (copy_search, "folder:s", "folder:t", "s"),
    (copy_search, "folder:s", "folder:s", "t"),
    (copy_search, "folder:s", "ann:Searches", "a: b?"),
    (copy_search, "ann:Searches", "bob:Other", "it's"),
    (copy_search, "memory:s", "folder:t", "日本"),
    (move_search, "ann:Searches", "folder:t", "s"),
    (move_search, "ann:Searches", "ann:Other", "s"),
]


def begin(store: Store) -> None:
    """Create a search with a kept history, attachments and a run."""
    resume_sample_search(store, seed=8, max_evals=2)
    resume_sample_search(store, restart=True, max_evals=5, algo="tpe")
    trials = DriveTrials("s", store=store)
    trials.attachments["large"], trials.attachments["small"] = b"x" * 40_000, 3
    trials.close()
    record_run(store, Run("s", 1e9, "local", 60.0, 5, 5, "unfinished"), None, "a message")


def unfinished(store: Store) -> None:
    """Kill the process in the search's sixth trial, and leave a backup."""
    run_in_fork(
        lambda: resume_sample_search(
            store, killing_objective(sample_objective, 1), max_evals=30, algo="tpe"
        )
    )
    journal = DriveTrials("s", store=store).log.journal
    assert journal.folder is not None
    path = Path("backup.part")
    path.write_bytes(b"epoch 3")
    TrialBackupFiles(store, journal.folder, 5, epoch=journal.epoch).put("model", path)


def on(store: Store, name: str) -> list[Any]:
    return trial_values(resume_sample_search(store, name=name, max_evals=24, algo="tpe").trials)


@pytest.mark.parametrize(("act", "here", "there", "name"), WAYS)
def test_a_copy_continues_as_the_original_search(
    act: Callable[..., str],
    here: str,
    there: str,
    name: str,
    opened: Opener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seed, histories, attachments, backups and runs are copied; the trials continue equally."""
    monkeypatch.chdir(tmp_path)
    source, target = opened(here), opened(there)
    begin(source)
    if not here.startswith("memory"):
        unfinished(source)
    before = [(one.trials, one.begun) for one in list_histories(source, "s")]
    assert act(source, "s", target, new_name=name)
    assert ("s" in list_names(source)) == (act is copy_search)
    assert [(one.trials, one.begun) for one in list_histories(target, name)] == before
    trials = DriveTrials(name, store=target)
    assert (trials.attachments["large"], trials.attachments["small"]) == (b"x" * 40_000, 3)
    if not here.startswith("memory"):
        journal = trials.log.journal
        backups = TrialBackupFiles(target, str(journal.folder), 5, epoch=journal.epoch)
        assert backups.get("model", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == b"epoch 3"
    assert [run.seconds for run in read_runs(target, name)] == [60.0]
    assert read_status(target, name).holder is None
    resume_sample_search(opened("folder:whole"), name="whole", max_evals=24, algo="tpe")
    assert on(target, name) == on(opened("folder:whole"), "whole")
    if act is copy_search:
        assert on(source, "s") == on(target, name)
    restore_search(target, name)
    assert len(resume_sample_search(target, name=name, seed=8, max_evals=3).trials) == 3


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_models_are_copied(tmp_path: Path, opened: Opener) -> None:
    """The best models are in the copy, and `result.best_model` loads there."""
    import numpy as np

    best = run_with_models(tmp_path, keep_models=2).best_model
    copy_search(FolderStore(tmp_path), "s", opened("ann:Other"))
    copied = run_with_models(opened("ann:Other"), keep_models=2)
    there = model_files(opened("ann:Other"), copied.trials.log.journal.folder)
    assert len(there) == len(list((tmp_path / "s" / "best").iterdir())) == 2
    for one, other in zip(copied.best_model.weights, best.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_search_moves_to_a_folder_whose_name_is_not_utf8(tmp_path: Path) -> None:
    """The original's mark names such a folder by escapes."""
    source, target = FolderStore(tmp_path / "s"), FolderStore(tmp_path / os.fsdecode(b"\xff"))
    resume_sample_search(source, max_evals=3)
    move_search(source, "s", target)
    assert (list_names(source), list_names(target)) == ([], ["s"])
    with pytest.raises(SearchFolderError, match=r"it continues in .*udcff"):
        read_status(source, "s")


def test_a_moved_search_says_where_it_went(tmp_path: Path) -> None:
    """A cell that still names the old store gets an error with the new place."""
    source, target = FolderStore(tmp_path / "s"), FolderStore(tmp_path / "t")
    resume_sample_search(source)
    url = move_search(source, "s", target, new_name="new")
    with pytest.raises(SearchFolderError, match=f"was moved: it continues in {url}"):
        resume_sample_search(source)


def test_an_impossible_target_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    """A name in use, the search itself, a store within it and an invalid name are refused."""
    source, target = FolderStore(tmp_path / "s"), FolderStore(tmp_path / "t")
    resume_sample_search(source)
    resume_sample_search(target, max_evals=2)
    before = sorted(tmp_path.rglob("*"))
    for act in (copy_search, move_search):
        for to, name, error in (
            (target, None, UsageError),
            (source, None, UsageError),
            (tmp_path / "s" / "s", None, UsageError),
            (tmp_path / "s" / "s" / "new", "x", UsageError),
            (FolderStore(tmp_path / "s" / ".trash"), "x", UsageError),
            (target, "a/b", SearchNameError),
            (target, "..", SearchNameError),
        ):
            with pytest.raises(error):
                act(source, "s", to, new_name=name)
        with pytest.raises(SearchNotFoundError):
            act(source, "other", target)
        assert sorted(tmp_path.rglob("*")) == before


def test_a_search_that_runs_is_not_copied(tmp_path: Path) -> None:
    """A search that this process is running can be neither copied nor moved."""
    source = FolderStore(tmp_path / "s")

    def objective(point: Any) -> float:
        for act in (copy_search, move_search):
            with pytest.raises(SearchBusyError):
                act(source, "s", tmp_path / "t")
        return sample_objective(point)

    resume_sample_search(source, objective, max_evals=1)
    assert list_names(source) == ["s"]
    assert not (tmp_path / "t" / "s").exists()


@pytest.mark.parametrize("act", [copy_search, move_search])
def test_a_search_that_another_machine_takes_over_is_not_copied(
    act: Callable[..., str], tmp_path: Path
) -> None:
    """If another machine runs the search during the copy, no copy is made and nothing is lost."""
    source = FolderStore(tmp_path / "s")
    resume_sample_search(source, max_evals=2)
    statuses: list[int] = []

    def run_elsewhere() -> None:
        os.environ["XDG_STATE_HOME"] = str(tmp_path / "another machine")
        resume_sample_search(FolderStore(tmp_path / "s"), on_busy="takeover", max_evals=3)

    class Target(FolderStore):
        def create(self, *args: Any, **options: Any) -> Any:
            if not statuses:
                statuses.append(run_in_fork(run_elsewhere))
            return super().create(*args, **options)

    with pytest.raises(SearchBusyError, match="was run while it was copied"):
        act(source, "s", Target(tmp_path / "t"))
    assert statuses == [0]
    assert list_names(FolderStore(tmp_path / "t")) == []
    assert read_status(source, "s").done == 3


@pytest.mark.parametrize("before", ["set_properties", "trash"])
def test_results_of_a_takeover_at_the_end_of_a_move_are_not_trashed(
    before: str, tmp_path: Path
) -> None:
    """A takeover after the copy was made ends the move; the original is restored if trashed."""
    resume_sample_search(tmp_path / "s", max_evals=2)
    statuses: list[int] = []

    def run_elsewhere() -> None:
        os.environ["XDG_STATE_HOME"] = str(tmp_path / "another machine")
        resume_sample_search(FolderStore(tmp_path / "s"), on_busy="takeover", max_evals=3)

    class Source(FolderStore):
        def __getattribute__(self, name: str) -> Any:
            if name == before and not statuses and (tmp_path / "t" / "s").exists():
                statuses.append(run_in_fork(run_elsewhere))
            return super().__getattribute__(name)

    with pytest.raises(SearchBusyError, match=r"taken over.*restored.*Its copy in .*remove"):
        move_search(Source(tmp_path / "s"), "s", tmp_path / "t")
    assert statuses == [0]
    assert list_names(FolderStore(tmp_path / "s")) == ["s"]
    remove_search(tmp_path / "t", "s")
    url = move_search(tmp_path / "s", "s", tmp_path / "t")
    assert read_status(tmp_path / "t", "s").done == 3
    with pytest.raises(SearchFolderError, match=f"was moved: it continues in {url}"):
        resume_sample_search(tmp_path / "s")


@pytest.mark.parametrize("harm", ["gap", "cut", "old gap"])
def test_a_damaged_search_is_not_copied(harm: str, folder_with_many_records: Path) -> None:  # noqa: F811
    """The error about a missing or altered record names the remedy, even behind a snapshot."""
    chain = record_files(folder_with_many_records)
    if harm != "old gap":
        for path in (folder_with_many_records / "search" / "records").glob("snapshot*"):
            path.unlink()
    if harm == "cut":
        chain[3].write_bytes(chain[3].read_bytes()[:-5])
    else:
        chain[3].unlink()
    for act in (copy_search, move_search):
        with pytest.raises(SearchDamagedError, match="colab-drive-tuner --store"):
            act(FolderStore(folder_with_many_records), "search", folder_with_many_records / "t")
    assert list_names(FolderStore(folder_with_many_records)) == ["search"]


def test_a_full_target_keeps_nothing(opened: Opener, drive_emulator: Any) -> None:
    """If the target is full, nothing is written, or the partial copy is trashed."""
    source, target = opened("folder:s"), opened("ann:Other")
    begin(source)
    assert target.free_space() is not None
    drive_emulator.set_quota("ann@example.com", 45_000)
    drive_emulator.clear_log()
    with pytest.raises(QuotaError, match="nothing was copied"):
        copy_search(source, "s", target)
    assert target.list(target.root) == target.list_trash(target.root) == []

    class Roomy(type(target)):  # type: ignore[misc]
        def free_space(self) -> int | None:
            return None  # as for a shared drive

    target.__class__ = Roomy
    with pytest.raises(QuotaError):
        move_search(source, "s", target)
    assert target.list(target.root) == []
    drive_emulator.set_quota("ann@example.com", 5_000_000)
    move_search(source, "s", target)
    assert (list_names(source), list_names(target)) == ([], ["s"])


class Refusing(FolderStore):
    """A store in which some calls are refused or interrupted."""

    def __init__(self, root: Path, call: str, error: BaseException, after: int = 0) -> None:
        self._refused = (call, error)  # first, because the store looks at itself
        self._left = [after]
        super().__init__(root)

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or name != self._refused[0]:
            return found

        def refuse(*args: Any, **options: Any) -> Any:
            if not self._left[0]:
                raise self._refused[1]
            self._left[0] -= 1
            return found(*args, **options)

        return refuse


def test_a_move_whose_original_cannot_be_trashed_says_that_both_exist(tmp_path: Path) -> None:
    """The search can be resumed in both stores; the same call later trashes the original."""
    resume_sample_search(tmp_path / "s")
    source = Refusing(tmp_path / "s", "trash", RefusedError("You may not."))
    with pytest.raises(StoreError, match=r"copied completely to .*You may not.*Both exist"):
        move_search(source, "s", tmp_path / "t")
    source = FolderStore(tmp_path / "s")
    assert read_status(source, "s").holder is None
    resume_sample_search(tmp_path / "t", max_evals=8)
    move_search(source, "s", tmp_path / "t")
    assert list_names(source) == []
    assert len(resume_sample_search(tmp_path / "t", max_evals=8).trials) == 8


def test_a_move_does_not_trash_an_original_with_newer_results(tmp_path: Path) -> None:
    """If the original continued after an incomplete move, it is not trashed."""
    resume_sample_search(tmp_path / "s")
    source = Refusing(tmp_path / "s", "trash", RefusedError("You may not."))
    with pytest.raises(StoreError):
        move_search(source, "s", tmp_path / "t")
    resume_sample_search(tmp_path / "s", max_evals=8)
    with pytest.raises(UsageError, match="newer results that the copy lacks"):
        move_search(FolderStore(tmp_path / "s"), "s", tmp_path / "t")
    assert len(resume_sample_search(tmp_path / "s", max_evals=8).trials) == 8


@pytest.mark.parametrize("after", [0, 1, 3, 5])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), UnavailableError("away")], ids=str)
def test_an_interrupted_copy_leaves_nothing_in_its_place(
    error: BaseException, after: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After Ctrl-C or an outage the target has no search and can be used again."""
    begin(FolderStore(tmp_path / "s"))
    target = Refusing(tmp_path / "t", "create", error, after)
    with pytest.raises(type(error)):
        move_search(FolderStore(tmp_path / "s"), "s", target)
    stopped = isinstance(error, KeyboardInterrupt) and after
    assert ("Stopped: search 's' is unchanged" in capsys.readouterr().out) == bool(stopped)
    target = FolderStore(tmp_path / "t")
    if (tmp_path / "t").exists():
        assert [path.name for path in (tmp_path / "t").iterdir() if path.name[0] != "."] == []
    move_search(FolderStore(tmp_path / "s"), "s", target)
    resume_sample_search(tmp_path / "whole", max_evals=24, algo="tpe")
    assert on(target, "s") == on(FolderStore(tmp_path / "whole"), "s")


def test_an_interrupted_copy_that_cannot_be_trashed_is_listed_by_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the target does not answer any more, the message names `clean`, which finds the copy."""

    def away(*_: Any) -> None:
        raise UnavailableError("away")

    begin(FolderStore(tmp_path / "s"))
    target, told = Refusing(tmp_path / "t", "create", KeyboardInterrupt(), 3), list[str]()
    with monkeypatch.context() as patch:
        patch.setattr(copy_writer, "trash_and_free", away)
        with pytest.raises(KeyboardInterrupt):
            copy_search(tmp_path / "s", "s", target, notify=told.append)
    assert told == [
        "Stopped: search 's' is unchanged; `colab-drive-tuner clean` lists the partial copy."
    ]
    found = find_leftovers(store=tmp_path / "t")
    assert [one.ours for one in found if one.kind == "unfinished copy"] == [True]


def test_an_interrupted_copy_leaves_its_name_free(tmp_path: Path) -> None:
    """Also when its first record, which names the search, is written already."""
    begin(FolderStore(tmp_path / "s"))
    with pytest.raises(KeyboardInterrupt):
        copy_search(tmp_path / "s", "s", Refusing(tmp_path / "t", "rename", KeyboardInterrupt(), 0))
    assert len(resume_sample_search(tmp_path / "t", max_evals=2).trials) == 2


def test_spooled_results_are_copied(tmp_path: Path) -> None:
    """Results that a killed process spooled are recorded before the search is copied."""
    source = FolderStore(tmp_path / "s")
    resume_sample_search(source, max_evals=2)
    run_in_fork(
        lambda: resume_sample_search(
            source, killing_objective(sample_objective, 3, "once"), max_evals=9
        )
    )
    copy_search(source, "s", tmp_path / "t")
    copied = trial_values(DriveTrials("s", store=tmp_path / "t"))
    assert copied == trial_values(DriveTrials("s", store=source))
    assert trial_values(resume_sample_search(tmp_path / "t", max_evals=9).trials) == trial_values(
        resume_sample_search(source, max_evals=9).trials
    )


def test_a_search_of_another_account_is_copied_once_it_is_released(
    opened: Opener, drive_emulator: Any
) -> None:
    """Another account's search can be copied and continued, or repaired, but not moved."""
    source = opened("ann:Searches")
    resume_sample_search(source)
    shared = source.root
    share(drive_emulator, shared, "bob@example.com")
    theirs, mine = opened(f"bob:{shared}"), opened("bob:Mine")
    copy_search(theirs, "s", mine)
    assert trial_values(resume_sample_search(mine, max_evals=9).trials)[:6] == trial_values(
        resume_sample_search(source).trials
    )
    with pytest.raises(Exception, match=r"belongs to ann@example\.com"):
        move_search(theirs, "s", mine, new_name="other")
    assert list_names(mine) == ["s"]
    report = repair(theirs, "s")
    assert (report.done, report.lost, report.notes) == (6, (), ())


def test_an_account_that_may_only_view_reads_and_copies(
    opened: Opener, drive_emulator: Any
) -> None:
    """A folder that was shared for viewing is opened; only a write is refused."""
    source = opened("ann:Searches")
    resume_sample_search(source)
    share(drive_emulator, source.root, "bob@example.com", role="reader")
    theirs, mine = opened(f"bob:{source.root}"), opened("bob:Mine")
    assert list_names(theirs) == ["s"]
    assert read_status(theirs, "s").done == 6
    copy_search(theirs, "s", mine)
    copied = trial_values(DriveTrials("s", store=mine))
    assert copied == trial_values(DriveTrials("s", store=theirs))
    for name in ("s", "new"):
        with pytest.raises(RefusedError, match="may only read the folder 'Searches'"):
            resume_sample_search(theirs, name=name, max_evals=9)


def share(emulator: Any, file_id: str, account: str, role: str = "writer") -> None:
    import requests

    answer = requests.post(
        f"{emulator.url}/drive/v3/files/{file_id}/permissions",
        json={"type": "user", "role": role, "emailAddress": account},
        headers={"Authorization": "Bearer ann"},
        timeout=100,
    )
    assert answer.ok, answer.text


def test_foreign_files_in_the_folder_are_named_and_not_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a person's notes nor files with forged properties are copied."""
    source = FolderStore(tmp_path / "s")
    resume_sample_search(source)
    (tmp_path / "s" / "s" / "notes.md").write_text("mine")
    folder = find_folder(source, "s")
    assert folder is not None
    (home, other) = source.reserve(2)
    source.create(home, None, name="best", parent=folder.id)
    marks = {"cdt_kind": "search", "cdt_first": folder.first, "cdt_epoch": "x"}
    source.create(other, b"", name="../../evil.keras", parent=home, properties=marks)
    copy_search(source, "s", tmp_path / "t")
    assert "not part of search 's': notes.md" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "t" / "s").iterdir()}
    assert names == {"index", "records", "trials.pkl"}


def test_the_command_line_copies_and_moves(tmp_path: Path, run_command: Any) -> None:
    """Each command prints the search's new place; a memory store as target is refused."""
    resume_sample_search(tmp_path / "s")
    there = ("--store", tmp_path / "s")
    code, out, _ = run_command(*there, "copy", "s", "--to", tmp_path / "t", "--as", "b c")
    assert (code, str(tmp_path / "t" / "b c") in out) == (0, True)
    assert run_command(*there, "copy", "s", "--to", "memory:x")[0] == 2
    assert run_command(*there, "copy", "s", "--to", tmp_path / "t", "--as", "b c")[0] == 2
    assert run_command(*there, "rename", "s", "r")[0] == 0
    assert run_command(*there, "move", "r", "--to", tmp_path / "t")[0] == 0
    assert run_command("--store", tmp_path / "t", "list")[1] == "b c\nr\n"
    assert run_command("--store", tmp_path / "t", "list", "--json")[1] == '[\n  "b c",\n  "r"\n]\n'
    assert run_command("--store", tmp_path / "t", "rm", "r", "--yes")[0] == 0
    assert run_command("--store", tmp_path / "t", "rm", "b c")[0] == 1  # no answer
    assert run_command("--store", tmp_path / "t", "list")[1] == "b c\n"


def test_a_search_that_was_stopped_stays_stopped(tmp_path: Path) -> None:
    """Neither a copy nor a new name lets a stopped search run again."""
    source = FolderStore(tmp_path / "s")
    resume_sample_search(source, max_evals=30, loss_threshold=5.0)
    stopped = read_status(source, "s").stopped
    assert stopped
    copy_search(source, "s", tmp_path / "t")
    rename_search(source, "s", "r")
    for store, name in ((FolderStore(tmp_path / "t"), "s"), (source, "r")):
        assert read_status(store, name).stopped == stopped
        before = read_status(store, name).sessions
        resume_sample_search(store, name=name, max_evals=30, loss_threshold=5.0)
        assert read_status(store, name).sessions == before


def test_properties_that_lead_to_another_search_are_not_followed(tmp_path: Path) -> None:
    """With a forged property nothing of the other search is copied or restored."""
    source = FolderStore(tmp_path / "s")
    resume_sample_search(source, name="secret", max_evals=3)
    resume_sample_search(source, name="secret", max_evals=2, restart=True)
    resume_sample_search(source, max_evals=20)
    secret, mine = find_folder(source, "secret"), find_folder(source, "s")
    assert secret is not None
    assert mine is not None
    before = sorted((tmp_path / "s").rglob("*"))
    source.set_properties(mine.id, {Property.FIRST: secret.first})
    for act in (copy_search, move_search):
        with pytest.raises(SearchDamagedError):
            act(source, "s", tmp_path / "t")
    for look in (list_histories, restore_search):
        with pytest.raises(SearchDamagedError):
            look(source, "s")
    assert not (tmp_path / "t").exists()
    records = set((tmp_path / "s").rglob("record-*"))
    assert len(records - {*before}) <= 4  # claims and releases


def test_a_search_without_records_is_not_copied(tmp_path: Path) -> None:
    """A search whose runtime died before it recorded anything can only be removed."""
    source = FolderStore(tmp_path / "s")
    create_folder(source, "s", lambda seconds: None)
    for act in (copy_search, move_search):
        with pytest.raises(SearchNotFoundError, match="no records yet"):
            act(source, "s", tmp_path / "t")
    remove_search(source, "s")
    assert list_names(source) == []
