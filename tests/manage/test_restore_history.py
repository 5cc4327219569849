"""Histories kept by a restart: a warning at a second restart in a row, and their restoration."""

import json
import shlex
import warnings
from pathlib import Path
from typing import Any

import pytest

from colab_drive_tuner.errors import SearchRestartedWarning, UsageError
from colab_drive_tuner.manage.restore_history import list_histories, restore_search
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.store.protocol import Store
from tests.manage.conftest import Opener
from tests.search.sample_searches import resume_sample_search, trial_values


def result_values(result: Any) -> list[Any]:
    return trial_values(result.trials)


def test_a_second_restart_in_a_row_warns(tmp_path: Path, run_command: Any) -> None:
    """The second restart in a row warns, and names the kept history and how to restore it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resume_sample_search(tmp_path, restart=True)  # begins the search
        resume_sample_search(tmp_path, max_evals=7)
        resume_sample_search(tmp_path, restart=True)
    with pytest.warns(SearchRestartedWarning) as caught:
        resume_sample_search(tmp_path, restart=True, seed=4)
    (kept,) = [one for one in list_histories(FolderStore(tmp_path), "s") if not one.present][1:]
    text = str(caught[0].message)
    assert "It had 6 trials (best loss " in text
    assert f"history {kept.id} in" in text
    assert str(tmp_path / "s") in text
    assert caught[0].filename.endswith("sample_searches.py")  # the caller's line, not the package's
    with pytest.warns(SearchRestartedWarning):  # also if it is in the cell from the beginning
        resume_sample_search(tmp_path, restart=True)
    command = text.partition("`colab-drive-tuner ")[2].partition("`")[0]
    assert run_command(*shlex.split(command))[0] == 0  # as copied from the message
    assert len(resume_sample_search(tmp_path).trials) == 6


@pytest.mark.parametrize("kind", ["folder:s", "ann:s"])
def test_a_kept_history_is_restored_completely(kind: str, opened: Opener) -> None:
    """Seed, suggestions and attachments are restored, and the replaced history is kept."""
    store: Store = opened(kind)
    first = resume_sample_search(store)
    trials = DriveTrials("s", store=store)
    trials.attachments["large"], trials.attachments["small"] = b"x" * 40_000, 3
    trials.close()
    second = resume_sample_search(store, restart=True, seed=5, max_evals=4)
    kept, present = list_histories(store, "s")
    assert (kept.trials, kept.present, present.trials, present.present) == (6, False, 4, True)
    assert kept.best_loss == first.best_loss
    assert kept.begun <= present.begun
    assert repr(present) == f"{present.id}: 4 trials, best loss {present.best_loss:.6g} (present)"
    assert restore_search(store, "s", kept.id[:5]) == kept
    assert result_values(resume_sample_search(store, max_evals=9))[:6] == result_values(first)
    again = DriveTrials("s", store=store)
    assert (again.attachments["large"], again.attachments["small"]) == (b"x" * 40_000, 3)
    assert result_values(resume_sample_search(store, max_evals=9)) == result_values(
        resume_sample_search(store, name="whole", max_evals=9)
    )
    assert restore_search(store, "s").id == present.id
    assert result_values(resume_sample_search(store, seed=5, max_evals=4)) == result_values(second)
    assert [one.trials for one in list_histories(store, "s")] == [6, 4, 9, 4]


def test_models_are_restored_with_their_history(tmp_path: Path) -> None:
    """Each history has its own models, although its trials have the same ids."""
    store = FolderStore(tmp_path)
    resume_sample_search(store)
    trials = DriveTrials("s", store=store)
    folder, home = trials.log.journal.folder, store.reserve(1)[0]
    store.create(home, None, name="best", parent=str(folder))
    marks = {"cdt_kind": "model", "cdt_tid": "2", "cdt_loss": "0.5"}
    marks |= {"cdt_epoch": trials.log.journal.epoch}
    store.create(store.reserve(1)[0], b"m", name="m.keras", parent=home, properties=marks)
    resume_sample_search(store, restart=True)
    assert find_model(store) == []
    restore_search(store, "s")
    assert find_model(store) == [2]


def find_model(store: Store) -> list[int]:
    trials = DriveTrials("s", store=store)
    models = trials.models._models()
    assert models is not None
    models._list()
    return [kept.tid for kept in models.stored]


def test_an_impossible_restoration_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """A search without a restart, an unknown id and the present history are refused."""
    store = FolderStore(tmp_path)
    resume_sample_search(store)
    with pytest.raises(UsageError, match="never restarted"):
        restore_search(store, "s")
    resume_sample_search(store, restart=True)
    records = sorted((tmp_path / "s" / "records").iterdir())
    present = list_histories(store, "s")[-1]
    for wanted in ("", " ", "zz", present.id):
        with pytest.raises(UsageError, match=f"no history {wanted!r}"):
            restore_search(store, "s", wanted)
    assert sorted((tmp_path / "s" / "records").iterdir()) == records


def test_the_command_line_lists_and_restores_histories(tmp_path: Path, run_command: Any) -> None:
    """`status NAME --histories` prints the ids that `restore` takes."""
    resume_sample_search(tmp_path)
    resume_sample_search(tmp_path, restart=True, seed=5, max_evals=2)
    _, out, _ = run_command("--store", tmp_path, "status", "s", "--histories", "--json")
    kept, present = json.loads(out)
    assert (kept["trials"], kept["present"], present["present"]) == (6, False, True)
    _, out, _ = run_command("--store", tmp_path, "status", "s", "--histories")
    assert f"{kept['id']} " in out
    assert f"colab-drive-tuner --store {tmp_path} restore s HISTORY" in out
    assert run_command("--store", tmp_path, "restore", "s", kept["id"])[0] == 0
    assert len(resume_sample_search(tmp_path).trials) == 6
    assert run_command("--store", tmp_path, "status", "--histories")[0] == 2
