"""Files of ModelCheckpoint and CSVLogger in backups: uploaded once, restored to their paths."""

import hashlib
import tempfile
from functools import partial
from pathlib import Path

import keras
import pytest

from colab_drive_tuner.errors import ChecksumError, TrainingWarning, UsageError
from colab_drive_tuner.training.backup import callback_files
from colab_drive_tuner.training.backup.callback_files import (
    CallbackFiles,
    SavedFile,
    prepare_file_restore,
)
from colab_drive_tuner.training.backup.callback_state import key_callbacks
from colab_drive_tuner.training.backup.trial_backup import TrialBackup
from colab_drive_tuner.training.backup.variable_paths import IncompatibleBackupError
from colab_drive_tuner.troubleshoot.clean import local_leftovers
from tests.training.flaky_store import NUMPY_2, create_search_folder
from tests.training.small_trainings import (
    EpochCounter,
    KillAt,
    Killed,
    StatefulCallback,
    backup_names,
    convolutional_model,
    fit_with_backup,
    run_trial,
    train_once,
    training_outcome,
)

pytestmark = NUMPY_2


@pytest.fixture
def all_are_large(monkeypatch):
    """Store every file separately from the backup."""
    monkeypatch.setattr(callback_files, "MAX_EMBEDDED_BYTES", 0)


def checkpoint(path, **options):
    """Return a ModelCheckpoint of the best weights by the training loss."""
    return keras.callbacks.ModelCheckpoint(
        path, "loss", save_best_only=True, save_weights_only=True, **options
    )


def first_is_best(folder, kill=None, seen=None):
    """Train so that the first epoch is the best, then load the best weights."""
    model = convolutional_model()
    best = checkpoint(folder / "best.weights.h5", mode="max", initial_value_threshold=0.0)
    model.compile(keras.optimizers.SGD(1e-4), "mse")
    others = [c for c in (kill, seen) if c]
    history = fit_with_backup(model, 4, *others, before=[best])
    model.load_weights(folder / "best.weights.h5")
    return training_outcome(model, history), best.best


def test_clean_finds_the_copies_of_a_killed_process(tmp_path, monkeypatch):
    """A folder that a killed process left with the copy of a callback's file is listed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "log.csv").write_text("epoch,loss")
    copy = SavedFile(tmp_path / "log.csv", "CSVLogger", ())
    monkeypatch.setattr(local_leftovers, "process_start_time", lambda pid: None)
    (found,) = local_leftovers.temporary_folders()
    assert found.id == str(copy.path.parent)


def test_a_file_that_another_trial_removes_meanwhile_is_passed_over(tmp_path, monkeypatch):
    """A file that vanishes after it was listed, or was looked at once, does not end the trial."""
    gone, going = (tmp_path / f"{name}.weights.h5" for name in ("gone", "going"))
    going.touch()
    look = Path.stat

    def look_and_remove(path, **options):
        found = look(path, **options)
        if path == going:
            path.unlink()
        return found

    monkeypatch.setattr(callback_files.glob, "glob", lambda wild: [str(gone), str(going)])
    monkeypatch.setattr(Path, "stat", look_and_remove)
    files = CallbackFiles([checkpoint(tmp_path / "{epoch}.weights.h5")])
    assert files.capture() == []


def test_a_large_file_is_sent_once_and_goes_with_the_backups(store, tmp_path, all_are_large):
    """A large file is uploaded once for two backups, and another runtime restores it."""
    disks = [tmp_path / name for name in ("whole", "killed", "resumed")]
    for disk in disks:
        disk.mkdir()
    whole = run_trial(store, create_search_folder(store, "whole"), lambda: first_is_best(disks[0]))
    folder = create_search_folder(store)
    with pytest.raises(Killed):
        run_trial(store, folder, lambda: first_is_best(disks[1], KillAt(3)))
    names = [name.removeprefix("trial-00003-") for name in backup_names(store, folder)]
    (file,) = [name for name in names if name.startswith("file-")]
    assert names == [file, "fit-000-epoch-00002.backup", "fit-000-epoch-00003.backup"]
    seen = StatefulCallback()
    assert (
        run_trial(store, folder, lambda: first_is_best(disks[2], None, EpochCounter(seen))) == whole
    )
    assert seen.drawn == [3]


def test_a_file_that_no_backup_needs_is_dropped(store, tmp_path, all_are_large):
    """Of a file that changes in each epoch, only the versions of the two backups are kept."""

    def training(kill):
        newest = keras.callbacks.ModelCheckpoint(tmp_path / "newest.weights.h5", **options)
        return fit_with_backup(convolutional_model(), 4, kill, before=[newest])

    options = {"save_weights_only": True}
    folder = create_search_folder(store)
    with pytest.raises(Killed):
        run_trial(store, folder, lambda: training(KillAt(3)))
    assert len([name for name in backup_names(store, folder) if "file-" in name]) == 2


def test_a_damaged_file_makes_its_backup_unusable(store, tmp_path, all_are_large):
    """With a damaged file the trial uses nothing of the backup, starts again and ends the same."""
    whole = run_trial(store, create_search_folder(store, "whole"), lambda: first_is_best(tmp_path))
    folder = create_search_folder(store)
    with pytest.raises(Killed):
        run_trial(store, folder, lambda: first_is_best(tmp_path, KillAt(2)))
    (home,) = [e.id for e in store.list(folder, name="backups")]
    (file,) = [e.id for e in store.list(home) if "file-" in e.name]
    store.replace(file, b"damaged")
    seen = StatefulCallback()
    with pytest.warns(TrainingWarning, match=r"is damaged.* starts from its first epoch"):
        assert (
            run_trial(store, folder, lambda: first_is_best(tmp_path, None, EpochCounter(seen)))
            == whole
        )
    assert seen.drawn == [0, 1, 2, 3]


@pytest.mark.parametrize("fill", ["../../evil", "/etc/evil", "..", "a\\..\\b", "a\0b"])
def test_a_backup_cannot_choose_the_folder_of_a_file(tmp_path, fill):
    """A file's path comes from the callback; a backup that would change its folder is refused."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "3").mkdir()
    callback = checkpoint(tmp_path / "runs" / "{epoch}" / "best.weights.h5")
    files = CallbackFiles([callback])
    (tmp_path / "runs" / "3" / "best.weights.h5").write_bytes(b"weights")
    (saved,) = [file.as_plain() for file in files.capture()]
    assert saved["fills"] == ["3"]
    prepare_file_restore([callback], [saved], lambda *_: False)()
    with pytest.raises(IncompatibleBackupError):
        prepare_file_restore([callback], [{**saved, "fills": [fill]}], lambda *_: False)
    with pytest.raises(ChecksumError, match="is missing"):
        prepare_file_restore([callback], [{**saved, "content": None}], lambda *_: False)
    with pytest.raises(IncompatibleBackupError, match="fit lacks"):
        prepare_file_restore([], [saved], lambda *_: False)


def test_two_placeholders_cannot_form_the_parent_folder(tmp_path):
    """Two values that are valid names but together form `..` are refused."""
    callback = checkpoint(tmp_path / "runs" / "{epoch}{val_loss}" / "best.weights.h5")
    saved = {"callback": next(iter(key_callbacks([callback]))), "content": b"", "name": "x"}
    saved["sha256"] = hashlib.sha256(b"").hexdigest()
    prepare_file_restore([callback], [{**saved, "fills": [".", "5"]}], lambda *_: False)
    with pytest.raises(IncompatibleBackupError):
        prepare_file_restore([callback], [{**saved, "fills": [".", "."]}], lambda *_: False)


def test_a_file_from_before_fit_is_not_backed_up(tmp_path):
    """A file that exists when `fit` begins is backed up only once `fit` has rewritten it."""
    path = tmp_path / "best.weights.h5"
    path.write_bytes(b"old")
    files = CallbackFiles([checkpoint(path)])
    assert files.capture() == []
    path.write_bytes(b"newer")
    (saved,) = files.capture()
    (again,) = files.capture()
    assert saved is again


def test_keras_own_backup_callback_is_refused(store, tmp_path):
    """BackupAndRestore is refused, because it would also decide where `fit` resumes."""
    theirs = keras.callbacks.BackupAndRestore(tmp_path / "theirs")
    for before in ([theirs], []):
        after = [] if before else [theirs]
        training = partial(fit_with_backup, convolutional_model(), 2, *after, before=before)
        with pytest.raises(UsageError, match="Remove BackupAndRestore"):
            run_trial(store, create_search_folder(store), training)
    with pytest.raises(UsageError, match="give a list"):
        TrialBackup(ignore="Callback.value")


def test_state_that_cannot_be_saved_warns_once(store, uninterrupted):
    """A callback whose state cannot be saved prevents backups, unless `ignore=` names the state."""

    class Reading(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.lines = iter(range(99))

    folder = create_search_folder(store)
    with (
        pytest.warns(
            TrainingWarning, match=r"Reading\.lines \(.*ignore=\['Reading\.lines'\]"
        ) as caught,
        pytest.raises(Killed),
    ):
        run_trial(
            store,
            folder,
            lambda: fit_with_backup(convolutional_model(), 4, KillAt(3), before=[Reading()]),
        )
    assert [one.category for one in caught].count(TrainingWarning) == 1
    assert backup_names(store, folder) == []

    def training(*callbacks):
        model = convolutional_model()
        ignore = ["Reading.lines"]
        return training_outcome(
            model, fit_with_backup(model, 4, *callbacks, before=[Reading()], ignore=ignore)
        )

    with pytest.raises(Killed):
        run_trial(store, folder, lambda: training(KillAt(3)))
    seen = StatefulCallback()
    assert run_trial(store, folder, lambda: training(EpochCounter(seen))) == uninterrupted
    assert seen.drawn == [3]


def test_a_model_that_freezes_layers_in_mid_fit_starts_again(store):
    """A backup notes which layers were trainable, and is not used if they differ."""

    class Freezing(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.layers[1].trainable = False

    def training(*callbacks):
        model = convolutional_model()
        return training_outcome(model, fit_with_backup(model, 3, *callbacks, before=[Freezing()]))

    whole = run_trial(store, create_search_folder(store, "whole"), training)
    folder = create_search_folder(store)
    with pytest.raises(Killed):
        run_trial(store, folder, lambda: training(KillAt(2)))
    with pytest.warns(TrainingWarning, match="trainable"):
        assert run_trial(store, folder, training) == whole


def test_a_missing_callback_makes_the_backup_unusable(store, uninterrupted):
    """If a callback with state is missing, the trial starts from its first epoch."""
    folder = create_search_folder(store)
    with pytest.raises(Killed):
        run_trial(
            store,
            folder,
            lambda: fit_with_backup(
                convolutional_model(), 4, KillAt(2), before=[StatefulCallback()]
            ),
        )
    with pytest.warns(TrainingWarning, match="fit lacks callbacks that had a state"):
        assert run_trial(store, folder, train_once) == uninterrupted
