"""Attachments: small ones in the records, large ones in separate files, read on demand."""

import pickle
from pathlib import Path

import hyperopt
import pytest
from hyperopt import hp

import colab_drive_tuner as cdt
from colab_drive_tuner.errors import SearchDamagedError

LARGE = bytes(range(256)) * 400


def objective(x: float) -> dict:
    """A result with a small and a large attachment, different in each trial."""
    size = int(abs(x) * 100)
    return {
        "loss": x**2,
        "status": hyperopt.STATUS_OK,
        "attachments": {"small": b"s" * size, "large": LARGE + b"l" * size},
    }


def run(store: Path, max_evals: int) -> cdt.DriveTrials:
    """Run the search up to so many trials."""
    return cdt.resume_search(
        objective,
        space=hp.uniform("x", -1, 1),
        name="s",
        max_evals=max_evals,
        seed=3,
        algo="rand",
        store=store,
        progress=False,
    ).trials


def files_beside(store: Path) -> list[Path]:
    """The files that hold large attachments."""
    return sorted((store / "s" / "records").glob("attachment-*"))


def check(trials: hyperopt.Trials) -> None:
    """Every trial has the attachments that its parameter gave it."""
    for trial in trials.trials:
        size = int(abs(trial["misc"]["vals"]["x"][0]) * 100)
        attached = trials.trial_attachments(trial)
        assert attached["small"] == b"s" * size
        assert attached["large"] == LARGE + b"l" * size


def test_they_come_back_in_another_process(tmp_path):
    """A fresh DriveTrials has every attachment, also of trials that a resumed run added."""
    run(tmp_path, 3)
    run(tmp_path, 5)
    fresh = cdt.DriveTrials("s", store=tmp_path)
    assert len(fresh) == 5
    check(fresh)


def test_what_is_set_or_deleted_first_of_all_shows(tmp_path):
    """Where nobody holds the search, that claims it and reads on; the same object shows it."""
    trials = cdt.DriveTrials("s", store=tmp_path)
    attachments = trials.attachments
    attachments["a"] = 1
    attachments["b"] = 2
    assert dict(attachments) == dict(trials.attachments) == {"a": 1, "b": 2}
    trials.close()
    trials = cdt.DriveTrials("s", store=tmp_path)
    with pytest.raises(KeyError):
        del trials.attachments["c"]
    assert not trials.log.owned
    del trials.attachments["a"]
    assert dict(trials.attachments) == {"b": 2}
    trials.close()
    assert dict(cdt.DriveTrials("s", store=tmp_path).attachments) == {"b": 2}


def test_large_ones_lie_beside_the_records(tmp_path):
    """Records stay small; each large attachment is a file of its own."""
    run(tmp_path, 4)
    assert len(files_beside(tmp_path)) == 4
    records = (tmp_path / "s" / "records").glob("record-*")
    assert sum(path.stat().st_size for path in records) < len(LARGE)


def test_large_ones_are_loaded_when_asked_for(tmp_path):
    """Opening the search reads none of them; one that was altered is named when it is read."""
    run(tmp_path, 2)
    for path in files_beside(tmp_path):
        path.write_bytes(path.read_bytes()[:-1])
    fresh = cdt.DriveTrials("s", store=tmp_path)
    attached = fresh.trial_attachments(fresh.trials[0])
    assert attached["small"].startswith(b"s")
    with pytest.raises(SearchDamagedError, match="'ATTACH::0::large' was cut or altered"):
        attached["large"]


def test_an_export_holds_all_of_them(tmp_path):
    """`export_trials` loads what lies beside the chain; a pickled DriveTrials does, too."""
    trials = run(tmp_path / "store", 3)
    file = tmp_path / "trials.pkl"
    cdt.export_trials(cdt.open_store(tmp_path / "store"), "s", file)
    check(pickle.loads(file.read_bytes()))
    check(pickle.loads(pickle.dumps(trials)))


def test_a_deleted_one_is_gone(tmp_path):
    """Deleting is recorded like setting."""
    trials = run(tmp_path, 2)
    del trials.trial_attachments(trials.trials[0])["large"]
    trials.close()
    fresh = cdt.DriveTrials("s", store=tmp_path)
    assert "large" not in fresh.trial_attachments(fresh.trials[0])
    assert "large" in fresh.trial_attachments(fresh.trials[1])


def test_one_may_have_an_empty_name(tmp_path):
    """It is written like any other, so that the search can be read."""
    trials = run(tmp_path, 1)
    trials.attachments["a"] = b"1"
    trials.attachments[""] = b"2"
    trials.close()
    attachments = cdt.DriveTrials("s", store=tmp_path).attachments
    assert (attachments["a"], attachments[""]) == (b"1", b"2")
