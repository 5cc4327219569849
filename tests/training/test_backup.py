"""Backups of trials: a resumed training equals the uninterrupted one, or the user is warned."""

import keras
import numpy as np
import pytest
from keras.callbacks import CallbackList

from colab_drive_tuner.errors import TrainingWarning
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.training.backup.trial_backup import TrialBackup
from colab_drive_tuner.training.seeding import training_seed
from colab_drive_tuner.training.trial import RunningTrial, TrialInterrupted, run_as, running_trial
from tests.processes import run_python
from tests.training.flaky_store import NUMPY_2, FlakyStore, create_search_folder
from tests.training.small_trainings import (
    SEED,
    EpochCounter,
    KillAt,
    Killed,
    StatefulCallback,
    X,
    Y,
    assert_resumed_equals_whole,
    backup_names,
    convolutional_model,
    fit_with_backup,
    flush_all_backups,
    run_trial,
    train_once,
    training_outcome,
)

pytestmark = NUMPY_2


def test_a_killed_trial_resumes_to_the_same_outcome(store, uninterrupted):
    """Two kills in mid-epoch change nothing, with Dropout, augmentation and shuffling."""
    folder = create_search_folder(store)
    for kill in KillAt(1), KillAt(3):
        with pytest.raises(Killed):
            run_trial(store, folder, lambda kill=kill: train_once(kill))
    assert run_trial(store, folder, train_once) == uninterrupted
    ((epochs, history),) = uninterrupted["histories"]
    assert epochs == [0, 1, 2, 3]
    assert len(history["val_mae"]) == 4


def test_only_the_epochs_left_are_trained(store):
    """A resumed trial trains only the epochs after its backup."""
    folder = create_search_folder(store)
    with pytest.raises(Killed):
        run_trial(store, folder, lambda: train_once(KillAt(2)))
    seen = StatefulCallback()
    run_trial(store, folder, lambda: fit_with_backup(convolutional_model(), 4, before=[seen]))
    assert len(seen.drawn) == 2


def test_a_trial_that_is_done_but_not_recorded_trains_nothing_again(store):
    """A trial killed after its `fit` and before the record of its result repeats no epoch."""
    folder = create_search_folder(store)
    first = run_trial(store, folder, train_once)
    assert flush_all_backups(200)
    assert run_trial(store, folder, lambda: train_once(KillAt(0))) == first


def process(store, folder, result, kill_in, backend="tensorflow"):
    """Run `small_trainings` in a process killed in epoch `kill_in` (-1: none); return its code."""
    command = ("-m", "tests.training.small_trainings", store._root, folder, result, kill_in)
    return run_python(*command, environment={"KERAS_BACKEND": backend}, status=None).returncode


def test_a_process_killed_by_sigkill_resumes(tmp_path, uninterrupted):
    """After SIGKILL in mid-epoch another process gets the uninterrupted outcome."""
    store, out = FolderStore(tmp_path / "store"), tmp_path / "out"
    folder = create_search_folder(store)
    assert process(store, folder, out, 2) == -9
    assert not out.exists()
    assert process(store, folder, out, -1) == 0
    assert out.read_text() == repr(uninterrupted)


@pytest.mark.long
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_killed_many_times_at_any_moment(tmp_path, backend):
    """SIGKILL twice in every epoch, while uploads may be running, changes nothing."""
    pytest.importorskip(backend)
    store, whole, out = FolderStore(tmp_path / "store"), tmp_path / "whole", tmp_path / "out"
    assert process(store, create_search_folder(store, "whole"), whole, -1, backend) == 0
    folder = create_search_folder(store, "killed")
    for kill_in in (0, 0, 1, 1, 2, 2, 3, 3):
        # If an epoch was backed up before its first kill, there is no second one.
        assert process(store, folder, out, f"{kill_in}!", backend) in (-9, 0)
    assert process(store, folder, out, -1, backend) == 0
    assert out.read_text() == whole.read_text()


def test_two_fits_in_one_model_function(store):
    """Of two fits the first is skipped and the second resumed, even if code between them draws."""

    def training(kill):
        model = convolutional_model()
        first = fit_with_backup(model, 2, *([kill] if kill and kill.epoch < 2 else []))
        model.layers[1].trainable = False
        model.compile(keras.optimizers.SGD(float(np.random.rand()) / 100), "mse")
        second = fit_with_backup(model, 5, *([kill] if kill and kill.epoch >= 2 else []))
        return training_outcome(model, first, second)

    whole = assert_resumed_equals_whole(store, training, KillAt(1), KillAt(4))
    assert whole["histories"][1][0] == [0, 1, 2, 3, 4]


class Probing(keras.callbacks.Callback):
    """After each epoch, trains a model of its own on what the trained one predicts."""

    def on_epoch_end(self, epoch, logs=None):
        probe = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        probe.compile("sgd", "mse")
        predicted = self.model.predict(X, verbose=0)
        history = probe.fit(
            predicted, Y, epochs=2, shuffle=False, verbose=0, callbacks=[TrialBackup()]
        )
        logs["probe"] = history.history["loss"][-1]


def test_a_fit_within_an_epoch_is_repeated_or_skipped_with_it(store):
    """A callback's own fits do not take the backups of earlier epochs, nor another fit's number."""

    def training(kill):
        model = convolutional_model()
        first = fit_with_backup(model, 3, before=[Probing(), *([kill] if kill else [])])
        return training_outcome(model, first, fit_with_backup(model, 2))

    assert_resumed_equals_whole(store, training, KillAt(1), KillAt(2))


class Unfreezing(keras.callbacks.Callback):
    """Unfreezes a layer in the second epoch, which Keras applies at the next `compile`."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.model.layers[1].trainable = True


def unfreezing(kill):
    model = convolutional_model()
    model.layers[1].trainable = False
    return training_outcome(
        model, fit_with_backup(model, 4, before=[Unfreezing(), *([kill] if kill else [])])
    )


def test_a_fit_that_unfreezes_layers_starts_from_its_first_epoch(store):
    """After a change of `trainable` no backup is used, because it would train other layers."""
    with pytest.warns(TrainingWarning, match="differs.*It starts from its first epoch"):
        assert_resumed_equals_whole(store, unfreezing, KillAt(2))


def test_a_resumed_fit_that_unfreezes_layers_is_interrupted(store):
    """A backup from before layers are unfrozen is dropped, and the next run ends as usual."""
    whole = run_trial(store, create_search_folder(store, "whole"), lambda: unfreezing(None))
    folder = create_search_folder(store, "killed")
    with pytest.raises(Killed):
        run_trial(store, folder, lambda: unfreezing(KillAt(1)))
    with (
        pytest.warns(TrainingWarning, match="a callback changes `trainable`"),
        pytest.raises(TrialInterrupted),
    ):
        run_trial(store, folder, lambda: unfreezing(None))
    assert run_trial(store, folder, lambda: unfreezing(None)) == whole


def test_the_state_of_callbacks_is_restored(store):
    """Patience, cooldown, best weights, learning rate and a user's own state are restored."""

    def training(kill):
        model = convolutional_model()
        own = StatefulCallback()
        early = keras.callbacks.EarlyStopping(
            "loss", patience=3, min_delta=5.0, restore_best_weights=True
        )
        history = fit_with_backup(
            model,
            12,
            keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=2.0, cooldown=1),
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
            *([kill] if kill else []),
            before=[own, early],
        )
        state = (early.best, early.wait, early.best_epoch, early.stopped_epoch)
        return training_outcome(model, history), state, own.best, own.lines, own.drawn[-1:]

    whole = assert_resumed_equals_whole(store, training, KillAt(1), KillAt(3))
    ((epochs, history),) = whole[0]["histories"]
    assert 3 < len(epochs) < 12, "EarlyStopping must have stopped it"
    assert "learning_rate" in history


def test_a_fit_after_one_that_raised_begins_at_its_own_first_epoch(store):
    """After a resumed `fit` has raised, the model's next `fit` starts from its first epoch."""

    class Raising(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ArithmeticError

    def training():
        model = convolutional_model()
        with pytest.raises(ArithmeticError):
            fit_with_backup(model, 4, Raising())
        return model.fit(X, Y, epochs=2, verbose=0).epoch

    folder = create_search_folder(store)
    with pytest.raises(Killed):
        run_trial(store, folder, lambda: train_once(KillAt(1)))
    assert run_trial(store, folder, training) == [0, 1]


@pytest.mark.parametrize("epochs", [2, 9])
def test_a_fit_ended_by_early_stopping_trains_no_further_epoch(store, epochs):
    """A trial killed after EarlyStopping ended its `fit` trains no further epoch."""

    def training():
        model = convolutional_model()
        stopping = keras.callbacks.EarlyStopping("loss", patience=0, min_delta=99)
        history = fit_with_backup(model, epochs, stopping)
        return training_outcome(model, history), model.stop_training

    folder = create_search_folder(store)
    first = run_trial(store, folder, training)
    assert first[0]["histories"][0][0] == [0, 1]
    assert first[1] is True
    assert flush_all_backups(200)
    assert run_trial(store, folder, training) == first


class Summary(keras.callbacks.Callback):
    """Adds to an epoch's logs, and keeps those that Keras passes when the training ends."""

    def on_epoch_end(self, epoch, logs=None):
        logs["added"] = 1.0

    def on_train_end(self, logs=None):
        self.final = dict(logs)


def test_callbacks_get_the_last_logs_of_a_fit_that_has_ended(store):
    """When a `fit` that has no epoch left ends, callbacks get the logs that they got at first."""

    def training():
        summary = Summary()
        fit_with_backup(convolutional_model(), 2, before=[summary])
        return summary.final

    folder = create_search_folder(store)
    first = run_trial(store, folder, training)
    assert sorted(first) == ["loss", "mae", "val_loss", "val_mae"]
    assert flush_all_backups(200)
    assert run_trial(store, folder, training) == first


@pytest.mark.long
def test_a_model_that_fit_builds(store):
    """Models that have no variables before `fit` resume, too."""

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.flat, self.drop = keras.layers.Flatten(), keras.layers.Dropout(0.3)
            self.dense = keras.layers.Dense(1)

        def call(self, x, training=False):
            return self.dense(self.drop(self.flat(x), training=training))

    def sequential():
        return keras.Sequential(
            [keras.layers.Flatten(), keras.layers.Dropout(0.3), keras.layers.Dense(1)]
        )

    for number, make in enumerate((sequential, Own)):

        def training(kill, make=make):
            model = make()
            model.compile("adam", "mse")
            return training_outcome(model, fit_with_backup(model, 3, *([kill] if kill else [])))

        inner = FlakyStore(store._root / str(number))
        seen = StatefulCallback()
        assert_resumed_equals_whole(inner, training, KillAt(2), resumed=EpochCounter(seen))
        assert len(seen.drawn) == 1


def test_a_model_that_fit_builds_is_built_for_the_data_of_today(store):
    """If the data have another shape than before a kill, the trial starts again and can train."""
    folder = create_search_folder(store)

    def training(features, *others):
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        x = np.ones((48, features))
        return model.fit(x, x, epochs=2, verbose=0, callbacks=[TrialBackup(), *others]).epoch

    with pytest.raises(Killed):
        run_trial(store, folder, lambda: training(8, KillAt(1)))
    with pytest.warns(TrainingWarning, match=r"was float32\(8, 1\) and is float32\(10, 1\)"):
        assert run_trial(store, folder, lambda: training(10)) == [0, 1]


def as_attributes(model, one, other):
    model.one, model.other = one, other


def in_containers(model, one, other):
    model.held = {"one": [one], "other": {"it": other}}


def in_parts(model, *optimizers):
    for part, optimizer in zip(model.parts, optimizers, strict=True):
        part.compile(optimizer, "mse")


@pytest.mark.parametrize(
    ("hold", "called"), [(as_attributes, True), (in_containers, False), (in_parts, True)]
)
def test_optimizers_that_a_training_step_builds(store, hold, called):
    """Two optimizers for parts of a model are restored, besides the unused one of `compile`.

    This also holds if the step calls the parts and never builds the whole model.
    """
    import tensorflow as tf

    class Halves(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = [keras.Sequential([keras.layers.Dense(units)]) for units in (2, 1)]
            hold(self, *two)

        def call(self, x):
            return self.parts[1](self.parts[0](keras.ops.reshape(x, (-1, 16))))

        def train_step(self, data):
            x, y = data
            predict = self if called else self.call
            for part, optimizer in zip(self.parts, two, strict=True):
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean((predict(x) - y) ** 2)
                gradients = tape.gradient(loss, part.trainable_variables)
                optimizer.apply(gradients, part.trainable_variables)
            return {"loss": loss}

        def test_step(self, data):
            """Return the loss of the whole model, as Keras evaluates it."""
            predict = self if called else self.call
            return {"loss": tf.reduce_mean((predict(data[0]) - data[1]) ** 2)}

    two = []

    def training(kill):
        two[:] = keras.optimizers.Adam(0.01), keras.optimizers.RMSprop()
        model = Halves()
        model.compile()
        history = fit_with_backup(model, 3, *([kill] if kill else []))
        moments = [np.asarray(v.value).tobytes() for one in two for v in one.variables]
        return training_outcome(model, history), moments

    seen = StatefulCallback()
    assert_resumed_equals_whole(store, training, KillAt(2), resumed=EpochCounter(seen))
    assert len(seen.drawn) == 1


def test_tf_data_with_a_fixed_order(store):
    """A pipeline that gives the same batches in each epoch resumes exactly."""
    import tensorflow as tf

    def training(kill):
        data = tf.data.Dataset.from_tensor_slices((X, Y))
        data = data.shuffle(48, seed=5, reshuffle_each_iteration=False).batch(16)
        model = convolutional_model()
        callbacks = [TrialBackup(), *([kill] if kill else [])]
        return training_outcome(
            model, model.fit(data, epochs=4, shuffle=False, verbose=0, callbacks=callbacks)
        )

    assert_resumed_equals_whole(store, training, KillAt(2))


def test_backups_are_dropped_when_the_result_is_acknowledged(store):
    """Only the ended trial's backups are dropped."""
    folder = create_search_folder(store)
    kept = []

    def training():
        kept.append(running_trial().artifacts)
        return train_once()

    run_trial(store, folder, train_once, tid=4)
    run_trial(store, folder, training)
    kept[0].writer.drop()
    left = backup_names(store, folder)
    assert len(left) == 2
    assert all(name.startswith("trial-00004") for name in left)


def test_trial_backup_outside_of_a_search_warns_and_does_nothing():
    """Outside of a search a TrialBackup changes nothing, and its warning names the user's line."""
    keras.utils.set_random_seed(1)
    plain = convolutional_model()
    plain.fit(X, Y, epochs=2, verbose=0)
    keras.utils.set_random_seed(1)
    tried = convolutional_model()
    with pytest.warns(TrainingWarning, match="no search is running") as caught:
        tried.fit(X, Y, epochs=2, verbose=0, callbacks=[TrialBackup()])
    assert caught[0].filename == __file__, "a line of Keras's says nothing to the user"
    for one, other in zip(plain.get_weights(), tried.get_weights(), strict=True):
        assert np.array_equal(one, other)
    with run_as(RunningTrial("search", 0, 0)), pytest.warns(TrainingWarning):
        tried.fit(X, Y, verbose=0, callbacks=[TrialBackup()])


@pytest.mark.parametrize("known", [{}, {"model": 1}, {"model": 1, "epochs": 3}])
def test_a_custom_training_loop_warns_that_nothing_is_backed_up(store, known):
    """A custom loop cannot resume in the middle; it runs undisturbed and stores no backup."""
    backup, folder = TrialBackup(), create_search_folder(store)
    options = known | ({"model": convolutional_model()} if known else {})

    def training():
        for callbacks in CallbackList([backup], **options), backup:
            with pytest.warns(TrainingWarning, match=r"not Keras's `fit`.*train_step"):
                callbacks.on_train_begin()
            for epoch in range(3):
                callbacks.on_epoch_begin(epoch)
                callbacks.on_epoch_end(epoch, {"loss": 1.0})
            callbacks.on_train_end()

    run_trial(store, folder, training)
    assert backup_names(store, folder) == []


def test_a_callback_list_without_a_model_is_backed_up_in_fit(store):
    """`fit` accepts a CallbackList that has neither its model nor its epochs."""

    def training(kill):
        model, history = convolutional_model(), keras.callbacks.History()
        given = [history, TrialBackup(), *([kill] if kill else [])]
        history.set_model(model)
        options = {"epochs": 4, "batch_size": 16, "verbose": 0}
        return training_outcome(model, model.fit(X, Y, callbacks=CallbackList(given), **options))

    assert_resumed_equals_whole(store, training, KillAt(2))


def test_a_second_trial_backup_in_one_fit_has_no_effect(store, uninterrupted):
    """Two TrialBackups in one list act as one, and one instance can be used in several fits."""

    def training():
        backup = TrialBackup()
        model = convolutional_model()
        options = {"batch_size": 16, "verbose": 0, "validation_split": 0.25}
        first = model.fit(X, Y, epochs=4, callbacks=[backup, TrialBackup()], **options)
        ended = training_outcome(model, first)
        model.fit(X, Y, epochs=1, callbacks=[backup], **options)
        return ended

    assert run_trial(store, create_search_folder(store), training) == uninterrupted


def test_seeds_do_not_depend_on_the_search_or_the_attempt(store, uninterrupted):
    """The next number after a fit depends only on the seed, the trial's id and the fit."""
    np.random.seed(training_seed(SEED, 3, fit=1))
    assert uninterrupted["drawn"] == np.random.rand()
    assert run_trial(store, create_search_folder(store), train_once, tid=6) != uninterrupted


def test_a_resumed_fit_prints_where_it_resumes(store, capsys):
    """A resumed `fit` with progress prints after which epoch it resumes."""
    folder = create_search_folder(store)
    with pytest.raises(Killed):
        run_trial(store, folder, lambda: train_once(KillAt(1)))
    assert "resumes" not in capsys.readouterr().out
    run_trial(
        store, folder, lambda: fit_with_backup(convolutional_model(), 2, KillAt(9), verbose=2)
    )
    assert "Trial 3 resumes after epoch 1 of 2." in capsys.readouterr().out
