"""Kills at each step of a copy or move leave the old search, the new one, or both."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colab_drive_tuner.errors import SearchFolderError, UsageError
from colab_drive_tuner.manage.copy_search import copy_search, move_search
from colab_drive_tuner.manage.naming import list_names, remove_search, rename_search
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.store.folder.description import MirroredFiles
from colab_drive_tuner.store.folder.index import Index
from colab_drive_tuner.troubleshoot.clean import remove
from colab_drive_tuner.troubleshoot.clean.search_leftovers import leftovers_of_searches
from tests.search.sample_searches import resume_sample_search, run_in_fork, trial_values


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    """Return a store with a search of five trials, restarted once, with a large attachment."""
    resume_sample_search(tmp_path / "s", seed=8, max_evals=2)
    trials = resume_sample_search(tmp_path / "s", restart=True, max_evals=5).trials
    trials.attachments["large"] = b"x" * 40_000
    trials.close()
    return tmp_path / "s"


def dying(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Kill this process after it has changed something on the disk `step` times."""
    left = [step]

    def counted(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def act(*args: Any, **options: Any) -> Any:
            result = original(*args, **options)
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        monkeypatch.setattr(owner, name, act)

    for owner, name in (
        (Path, "rename"), (Index, "commit"), (MirroredFiles, "write"), (MirroredFiles, "rewrite"),
    ):  # fmt: skip
        counted(owner, name)


def values_after_nine_trials(store: Path, name: str) -> list[Any]:
    """Resume the search up to nine trials and return their values."""
    result = resume_sample_search(store, name=name, max_evals=9)
    assert result.trials.attachments["large"] == b"x" * 40_000
    return trial_values(result.trials)


def at_each_step(
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[], object],
    judge: Callable[[], None],
    stride: int = 1,
) -> int:
    """Kill a process at every `stride`-th step of `act`, and judge after each; return the steps."""
    step = 1 - stride
    while True:
        step += stride

        def work(step: int = step) -> None:
            dying(monkeypatch, step)
            act()

        code = run_in_fork(work)
        judge()
        if code != -signal.SIGKILL:
            assert code == 0
            return step


@pytest.mark.parametrize("act", [copy_search, move_search])
def test_a_killed_copy_is_not_a_search(
    act: Callable[..., str], searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`clean` finds a killed copy's leftovers; the original is complete and can be copied again."""
    expected = values_after_nine_trials(tmp_path / "s", "s") if act is copy_search else []
    cut = 0
    store, other = FolderStore(searched), tmp_path / "t"

    def judge() -> None:
        nonlocal cut
        names = list_names(FolderStore(other)) if other.exists() else []
        assert names in ([], ["s"])
        if names:
            assert trial_values(resume_sample_search(other, max_evals=5).trials)
            if act is copy_search:
                with pytest.raises(UsageError, match="already"):
                    copy_search(store, "s", other)
                remove_search(FolderStore(other), "s")
            return
        assert list_names(store) == ["s"]
        if other.exists():
            left = [
                one
                for one in leftovers_of_searches(FolderStore(other))
                if one.kind == "unfinished copy"
            ]
            folders = [path for path in other.iterdir() if path.name[0] != "."]
            assert len(left) == len(folders)
            cut += len(left)
            # With its first record it may be a search with a forged mark, so it is removed by name
            # only.
            named = [one.id for one in left if not one.ours]
            assert len(remove(left, yes=True, named=named)) == len(left)
            assert [path for path in other.iterdir() if path.name[0] != "."] == []

    steps = at_each_step(monkeypatch, lambda: act(store, "s", other), judge, 3)
    assert steps > 20
    assert cut > 5
    if act is move_search:
        assert list_names(store) == []
        assert values_after_nine_trials(other, "s") == trial_values(
            resume_sample_search(tmp_path / "whole", max_evals=9).trials
        )
    else:
        assert values_after_nine_trials(searched, "s") == expected


def test_a_run_under_the_name_of_a_killed_copy_says_what_lies_there(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between its first record and its name; after its removal the name is free."""

    def work() -> None:
        monkeypatch.setattr(FolderStore, "rename", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        copy_search(searched, "s", tmp_path / "t")

    assert run_in_fork(work) == -signal.SIGKILL
    (half,) = [path for path in (tmp_path / "t").iterdir() if path.name[0] != "."]
    with pytest.raises(SearchFolderError, match="copy that gets the name 's' is unfinished"):
        resume_sample_search(tmp_path / "t", max_evals=1)
    left = list(leftovers_of_searches(FolderStore(tmp_path / "t")))
    assert [one.kind for one in left] == ["unfinished copy"]
    assert remove(left, yes=True, named=[left[0].id])
    assert not half.exists()
    assert len(resume_sample_search(tmp_path / "t", max_evals=1).trials) == 1


def test_repeating_a_killed_copy_removes_its_leftovers(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command trashes what a killed one left, and makes a complete copy."""

    def work() -> None:
        dying(monkeypatch, 20)
        copy_search(FolderStore(searched), "s", tmp_path / "t")

    assert run_in_fork(work) == -signal.SIGKILL
    (half,) = [path.name for path in (tmp_path / "t").iterdir() if path.name[0] != "."]
    assert half.startswith("s~copying-")
    resume_sample_search(tmp_path / "t", name="s~", max_evals=1)  # leftovers are ignored
    copy_search(FolderStore(searched), "s", tmp_path / "t")
    assert list_names(FolderStore(tmp_path / "t")) == ["s", "s~"]
    assert [
        one for one in leftovers_of_searches(FolderStore(tmp_path / "t")) if "copy" in one.kind
    ] == []
    assert values_after_nine_trials(tmp_path / "t", "s") == values_after_nine_trials(searched, "s")


def test_a_killed_rename_leaves_one_search_of_one_name(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill the search is complete under its old or its new name."""
    names = ["s", "a: b"]

    def judge() -> None:
        (name,) = list_names(FolderStore(searched))
        assert name in (
            *names,
            "a_ b",
        )  # killed between the directory's name and its entry in the index
        assert len(resume_sample_search(searched, name=name, max_evals=5).trials) == 5
        if name != "s":
            rename_search(FolderStore(searched), name, "s")

    assert (
        at_each_step(monkeypatch, lambda: rename_search(FolderStore(searched), "s", "a: b"), judge)
        > 5
    )
