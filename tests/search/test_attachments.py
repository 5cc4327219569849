"""Attachments: small ones in the records, large ones in separate files, read on demand."""

import copy
import hashlib
import pickle
from pathlib import Path

import hyperopt
import pytest
from hyperopt import hp

import colab_drive_tuner as cdt
from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.checkpoint.trials_and_sessions import AttachmentFile
from colab_drive_tuner.errors import SearchDamagedError
from colab_drive_tuner.search.trials.attachments import Attachments

LARGE = bytes(range(256)) * 400


def objective(x: float) -> dict:
    """Return a result with a small and a large attachment that differ in each trial."""
    size = int(abs(x) * 100)
    return {
        "loss": x**2,
        "status": hyperopt.STATUS_OK,
        "attachments": {"small": b"s" * size, "large": LARGE + b"l" * size},
    }


def run(store: Path, max_evals: int) -> cdt.DriveTrials:
    """Run the search up to `max_evals` trials."""
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
    """List the files that hold large attachments."""
    return sorted((store / "s" / "records").glob("attachment-*"))


def check(trials: hyperopt.Trials) -> None:
    """Assert that every trial has the attachments that belong to its parameter."""
    for trial in trials.trials:
        size = int(abs(trial["misc"]["vals"]["x"][0]) * 100)
        attached = trials.trial_attachments(trial)
        assert attached["small"] == b"s" * size
        assert attached["large"] == LARGE + b"l" * size


def test_attachments_are_read_by_a_new_reader(tmp_path):
    """A new `DriveTrials` has every attachment, including those that a resumed run added."""
    run(tmp_path, 3)
    run(tmp_path, 5)
    fresh = cdt.DriveTrials("s", store=tmp_path)
    assert len(fresh) == 5
    check(fresh)


def test_setting_or_deleting_an_attachment_claims_a_free_search(tmp_path):
    """Setting or deleting an attachment claims a free search; the same object shows the change."""
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


def test_attachments_are_copied_and_joined_like_a_dict(tmp_path):
    """A copy, or a join with a dict, is a dict of all values; `|=` sets and records each one."""
    trials = cdt.DriveTrials("s", store=tmp_path)
    trials.attachments["a"] = 1
    trials.close()
    trials = cdt.DriveTrials("s", store=tmp_path)
    attachments = trials.attachments
    for copied in (copy.copy(attachments), attachments.copy(), attachments | {}, {} | attachments):
        assert type(copied) is dict
        assert copied == {"a": 1}
    assert dict(attachments) == {"a": 1}
    assert not trials.log.owned
    attachments |= {"b": 2}
    trials.close()
    assert dict(cdt.DriveTrials("s", store=tmp_path).attachments) == {"a": 1, "b": 2}


def test_attachments_that_are_not_read_yet_are_shown(tmp_path):
    """`repr` shows small values, and large ones once they are read; reading one downloads it."""
    trials = cdt.DriveTrials("s", store=tmp_path)
    trials.attachments["a"] = 1
    trials.attachments["b"] = LARGE
    trials.close()
    attachments = cdt.DriveTrials("s", store=tmp_path).attachments
    assert repr(attachments) == "{'a': 1, 'b': <not read>}"
    assert attachments["b"] == LARGE
    assert repr(attachments) == repr({"a": 1, "b": LARGE})


def test_large_attachments_are_separate_files(tmp_path):
    """Each large attachment is a file of its own, so that records stay small."""
    run(tmp_path, 4)
    assert len(files_beside(tmp_path)) == 4
    records = (tmp_path / "s" / "records").glob("record-*")
    assert sum(path.stat().st_size for path in records) < len(LARGE)


def test_large_attachments_are_loaded_on_access(tmp_path):
    """Opening a search reads no large attachment; an altered one raises an error on access."""
    run(tmp_path, 2)
    for path in files_beside(tmp_path):
        path.write_bytes(path.read_bytes()[:-1])
    fresh = cdt.DriveTrials("s", store=tmp_path)
    attached = fresh.trial_attachments(fresh.trials[0])
    assert attached["small"].startswith(b"s")
    with pytest.raises(SearchDamagedError, match="'ATTACH::0::large' was cut or altered"):
        attached["large"]


def test_an_export_contains_all_attachments(tmp_path):
    """`export_trials` and a pickled `DriveTrials` contain the large attachments, too."""
    trials = run(tmp_path / "store", 3)
    file = tmp_path / "trials.pkl"
    cdt.export_trials(cdt.open_store(tmp_path / "store"), "s", file)
    check(pickle.loads(file.read_bytes()))
    check(pickle.loads(pickle.dumps(trials)))


def test_a_deleted_attachment_is_gone(tmp_path):
    """The deletion of an attachment is recorded: a new reader does not find it."""
    trials = run(tmp_path, 2)
    del trials.trial_attachments(trials.trials[0])["large"]
    trials.close()
    fresh = cdt.DriveTrials("s", store=tmp_path)
    assert "large" not in fresh.trial_attachments(fresh.trials[0])
    assert "large" in fresh.trial_attachments(fresh.trials[1])


def test_an_attachment_may_have_an_empty_name(tmp_path):
    """An attachment with an empty name is recorded and read like any other."""
    trials = run(tmp_path, 1)
    trials.attachments["a"] = b"1"
    trials.attachments[""] = b"2"
    trials.close()
    attachments = cdt.DriveTrials("s", store=tmp_path).attachments
    assert (attachments["a"], attachments[""]) == (b"1", b"2")


def test_an_attachment_that_is_set_while_it_is_read_stays_set() -> None:
    """A reader that waits for the file in one thread does not undo what another one sets."""

    def read(_: str) -> bytes:
        attachments["a"] = "new"
        return old

    old = encode("old")
    attachments = Attachments(lambda name, value: None, read)
    attachments.restore({"a": AttachmentFile("id", hashlib.sha256(old).hexdigest())})
    assert attachments["a"] == "new"
    assert attachments["a"] == "new"
