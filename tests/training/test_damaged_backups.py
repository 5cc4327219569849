"""Backups that are damaged, missing or of another trial: training continues without them."""

import errno

import keras
import numpy as np
import pytest

from colab_drive_tuner.errors import TrainingWarning
from colab_drive_tuner.training.backup.writer import BackupWriter, read_backup, write_backup
from colab_drive_tuner.training.trial_backup_files import TrialBackupFiles
from tests.training.flaky_store import NUMPY_2, create_search_folder
from tests.training.small_trainings import (
    EpochCounter,
    KillAt,
    Killed,
    StatefulCallback,
    backup_names,
    convolutional_model,
    fit_with_backup,
    flush_all_backups,
    run_trial,
    train_once,
    training_outcome,
)

pytestmark = NUMPY_2


def altered(content):
    return content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]


def emptied(content):
    return b""


def cut(content):
    return content[: len(content) // 2]


def missing(content):
    return None


def damage(store, folder, epoch, how=altered):
    """Change the content of an epoch's backup, or trash it."""
    entry = stored_backup(store, folder, epoch)
    content = how(store.read(entry.id))
    if content is None:
        store.trash(entry.id)
    else:
        store.replace(entry.id, content)


def stored_backup(store, folder, epoch):
    (home,) = [e.id for e in store.list(folder, name="backups")]
    (entry,) = [e for e in store.list(home) if f"epoch-{epoch:05d}" in e.name]
    return entry


@pytest.mark.parametrize("how", [altered, emptied, cut])
def test_a_damaged_backup_falls_back_to_the_previous_one(store, killed, uninterrupted, how):
    """A warning names the damaged backup, and the outcome is the same."""
    assert [n[-23:] for n in backup_names(store, killed)] == [
        "fit-000-epoch-00002.backup"[-23:],
        "fit-000-epoch-00003.backup"[-23:],
    ]
    damage(store, killed, 3, how)
    seen = StatefulCallback()
    with pytest.warns(TrainingWarning, match="after epoch 3 cannot be used"):
        assert run_trial(store, killed, lambda: train_once(EpochCounter(seen))) == uninterrupted
    assert seen.drawn == [2, 3]


def test_a_backup_under_the_name_of_another_is_not_used(store, killed, uninterrupted):
    """Two backups with swapped contents are both refused."""
    contents = {epoch: store.read(stored_backup(store, killed, epoch).id) for epoch in (2, 3)}
    damage(store, killed, 2, lambda _: contents[3])
    damage(store, killed, 3, lambda _: contents[2])
    words = "after epoch 3 .* belongs to another.* after epoch 2 .* belongs to another"
    with pytest.warns(TrainingWarning, match=words):
        assert run_trial(store, killed, train_once) == uninterrupted


@pytest.mark.parametrize("fields", [{"longest_epoch": "5"}, {"longest_epoch": np.inf}, {}])
def test_a_forged_backup_is_not_used(store, killed, uninterrupted, tmp_path, fields):
    """A complete file with invalid fields is refused before anything is restored."""

    def forged(content):
        path = tmp_path / "backup"
        path.write_bytes(content)
        tree = read_backup(path)
        path.unlink()
        if not fields:
            del tree["stopped"]
        write_backup(path, tree | fields)
        return path.read_bytes()

    damage(store, killed, 3, forged)
    with pytest.warns(TrainingWarning, match="after epoch 3 .* is not a readable backup"):
        assert run_trial(store, killed, train_once) == uninterrupted


def test_a_backup_that_the_local_disk_cannot_hold_is_not_used(
    store, killed, uninterrupted, monkeypatch
):
    """A full local disk costs the backup, not the trial."""

    def full(entry_id, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "fetch", full)
    with pytest.warns(TrainingWarning, match="epoch 3 could not be read.*No space left"):
        assert run_trial(store, killed, train_once) == uninterrupted


def test_a_missing_backup_falls_back_to_the_previous_one(store, killed, uninterrupted):
    """If the newest backup was trashed, the trial resumes from the previous one."""
    damage(store, killed, 3, missing)
    seen = StatefulCallback()
    assert run_trial(store, killed, lambda: train_once(EpochCounter(seen))) == uninterrupted
    assert seen.drawn == [2, 3]


@pytest.mark.long
def test_two_damaged_backups_fall_back_to_the_first_epoch(store, killed, uninterrupted):
    """Without a usable backup the trial starts again, with the same outcome."""
    damage(store, killed, 2)
    damage(store, killed, 3)
    words = "after epoch 3 cannot be used.* after epoch 2 cannot be used.* starts from its first"
    with pytest.warns(TrainingWarning, match=words):
        assert run_trial(store, killed, train_once) == uninterrupted
    assert len(backup_names(store, killed)) == 2


def test_a_backup_of_another_model_is_not_used(store):
    """If the model was changed between two runs, a warning says so and the trial starts again."""
    folder = create_search_folder(store)
    with pytest.raises(Killed):
        run_trial(store, folder, lambda: train_once(KillAt(1)))

    def other():
        model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
        model.add(keras.layers.Dense(1))
        model.compile("sgd", "mse")
        return fit_with_backup(model, 2).epoch

    with pytest.warns(TrainingWarning, match=r"the variable _layers.* was float32\(2,.*\) and is"):
        assert run_trial(store, folder, other) == [0, 1]


def test_a_fit_with_fewer_epochs_than_its_backup_starts_again(store):
    """If `epochs` was lowered below the backup, a warning says why the trial starts again."""
    folder = create_search_folder(store)
    with pytest.raises(Killed):
        run_trial(store, folder, lambda: train_once(KillAt(3)))
    whole = run_trial(store, create_search_folder(store), lambda: train_once(epochs=1))
    with pytest.warns(TrainingWarning, match="fit now ends after epoch 1. It starts from its firs"):
        assert run_trial(store, folder, lambda: train_once(epochs=1)) == whole


def test_backups_of_other_code_give_way_to_new_ones(store):
    """A trial that starts again, because its first `fit` was edited, keeps none of the old backups.

    If they outlived it, the second `fit` would resume from the old code's.
    """

    def training(optimizer, first=(), second=()):
        model = convolutional_model()
        model.compile(optimizer, "mse")
        histories = [fit_with_backup(model, 4, *first)]
        model.compile("sgd", "mse")
        histories += [fit_with_backup(model, 2, *second)]
        return training_outcome(model, *histories)

    folder = create_search_folder(store)
    with pytest.raises(Killed):
        run_trial(store, folder, lambda: training("adam", second=[KillAt(1)]))
    other = pytest.warns(TrainingWarning, match="after epoch 3 cannot be used")
    with other, pytest.raises(Killed):
        run_trial(store, folder, lambda: training("sgd", first=[KillAt(2)]))
    assert [name[-23:-7] for name in backup_names(store, folder)] == [
        "-000-epoch-00001",
        "-000-epoch-00002",
    ]
    seen = StatefulCallback()
    resumed = run_trial(store, folder, lambda: training("sgd", *[[EpochCounter(seen)]] * 2))
    assert seen.drawn == [2, 3, 0, 1]
    whole = create_search_folder(store, "whole")
    assert resumed == run_trial(store, whole, lambda: training("sgd"))


def test_a_fit_with_more_epochs_than_before_trains_those_left(store):
    """If `epochs` is raised between two runs, later fits do not resume from before the change."""
    folder, seen = create_search_folder(store), StatefulCallback()

    def training(epochs, *others):
        model = convolutional_model()
        first = fit_with_backup(model, epochs, EpochCounter(seen))
        return training_outcome(model, first, fit_with_backup(model, 2, *others))

    with pytest.raises(Killed):
        run_trial(store, folder, lambda: training(2, KillAt(1)))
    resumed = run_trial(store, folder, lambda: training(3))
    assert seen.drawn == [0, 1, 2]
    whole = create_search_folder(store, "whole")
    assert resumed == run_trial(store, whole, lambda: training(3))


def test_the_newest_backups_are_kept_whatever_their_names(store):
    """Names of backups sort as texts only up to epoch 99,999."""
    folder = create_search_folder(store)
    writer = BackupWriter(TrialBackupFiles(store, folder, 3, fresh=True))
    for epoch in range(99_998, 100_002):
        writer.submit(0, epoch, {"files": []})
        assert writer.wait(200)
    left = [f"fit-000-epoch-{epoch}.backup" for epoch in (100_000, 100_001)]
    assert TrialBackupFiles(store, folder, 3).names() == left


def test_an_outage_does_not_stop_the_training(store, uninterrupted):
    """With the store unavailable the trial warns, trains and ends with the same outcome."""
    folder = create_search_folder(store)
    store.away = True
    with pytest.warns(TrainingWarning, match="could not be listed"):
        assert run_trial(store, folder, train_once) == uninterrupted
    assert not flush_all_backups(0)
    store.away = False
    assert backup_names(store, folder) == ["trial-00003-fit-000-epoch-00004.backup"]
