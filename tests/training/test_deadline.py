"""Timing of a trial's backups, and its stop before the deadline."""

from datetime import timedelta

import keras
import pytest

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.training.backup.trial_backup import TrialBackup
from colab_drive_tuner.training.trial import TrialInterrupted, running_trial
from colab_drive_tuner.training.trial_backup_files import Pace
from tests.training.flaky_store import NUMPY_2, create_search_folder
from tests.training.small_trainings import (
    backup_names,
    convolutional_model,
    fit_with_backup,
    flush_all_backups,
    run_trial,
    train_once,
    training_outcome,
)

pytestmark = NUMPY_2


def test_every_seconds_limits_the_number_of_backups(store):
    """With a long `every_seconds` only the last epoch is backed up; a negative one is refused."""
    clock = iter(range(0, 1000, 10))
    folder = create_search_folder(store)
    run_trial(
        store,
        folder,
        lambda: fit_with_backup(convolutional_model(), 5, every_seconds=1e6, clock=clock.__next__),
    )
    assert [name[-12:] for name in backup_names(store, folder)] == ["00005.backup"]
    with pytest.raises(UsageError, match=r"every_seconds must be a number, got .*timedelta"):
        TrialBackup(every_seconds=timedelta(minutes=5))
    with pytest.raises(UsageError, match=r"every_seconds must be .* got -1"):
        TrialBackup(-1)


class Clock:
    """A clock that a callback moves by ten seconds for each epoch."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Ticking(keras.callbacks.Callback):
    """Moves the clock by ten seconds an epoch."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def on_epoch_end(self, epoch, logs=None):
        self.clock.now += 10


def test_a_deadline_stops_at_an_epochs_end_with_everything_flushed(store):
    """A trial stops before an epoch that would end too late; the next run ends it as usual."""
    whole = run_trial(store, create_search_folder(store, "whole"), lambda: train_once(epochs=6))
    folder = create_search_folder(store, "stopped")

    def training(start):
        clock = Clock()
        clock.now = start
        model = convolutional_model()
        return training_outcome(
            model, fit_with_backup(model, 6, Ticking(clock), clock=clock, every_seconds=1000)
        )

    with pytest.raises(TrialInterrupted) as stopped:
        run_trial(store, folder, lambda: training(0), deadline=35)
    assert (stopped.value.tid, stopped.value.epoch, stopped.value.stored) == (3, 3, True)
    assert not isinstance(stopped.value, Exception)
    with pytest.raises(TrialInterrupted) as stopped:
        run_trial(store, folder, lambda: training(30), deadline=35)
    assert (stopped.value.epoch, stopped.value.stored) == (3, True)
    assert run_trial(store, folder, lambda: training(0), deadline=1000) == whole


def test_epochs_of_the_previous_trial_predict_the_first_epoch(store):
    """A trial's first epoch does not start if one like the last trial's would end too late."""
    folder = create_search_folder(store)
    clock = Clock()
    artifacts = []

    def training():
        artifacts.append(running_trial().artifacts)
        return fit_with_backup(convolutional_model(), 2, Ticking(clock), clock=clock)

    pace = Pace()
    run_trial(store, folder, training, deadline=35, pace=pace)
    artifacts[0].writer.drop()
    with pytest.raises(TrialInterrupted) as stopped:
        run_trial(store, folder, training, tid=4, deadline=28, pace=pace)
    assert (clock.now, stopped.value.epoch, stopped.value.stored) == (20, 0, True)


def test_a_stop_without_a_backup_says_so(store):
    """If the store is unavailable, the trial stops in time and the error names what is missing."""
    folder = create_search_folder(store)
    clock = Clock()

    class Away(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            store.away, clock.now = True, clock.now + 10

    with pytest.raises(TrialInterrupted, match="did not reach the store in time") as stopped:
        run_trial(
            store,
            folder,
            lambda: fit_with_backup(convolutional_model(), 6, Away(), clock=clock),
            deadline=10.5,
        )
    assert not stopped.value.stored
    store.away = False
    assert flush_all_backups(200)
