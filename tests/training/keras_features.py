"""Trainings with unusual Keras features, to be killed in mid-epoch.

`python -m tests.training.keras_features STORE OUT DISK (whole|killed|resumed) EPOCH NAME...` runs
them in a separate process. With `killed`, each training starts the next one in the middle of its
epoch, so that one SIGKILL interrupts all of them.
"""

import collections
import dataclasses
import enum
import os
import random
import signal
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.training.backup.trial_backup import TrialBackup
from tests.training.flaky_store import create_search_folder
from tests.training.small_trainings import flush_all_backups, run_trial

X = np.random.default_rng(0).normal(size=(24, 6)).astype("float32")
Y = X.sum(axis=1, keepdims=True)
SERIES = np.random.default_rng(1).normal(size=(12, 3, 2)).astype("float32")
EPOCHS = 5
CASES = {}
TENSORFLOW = set()
"""Names of the trainings that need TensorFlow's backend."""


def case(function):
    """Add a training to `CASES`."""
    CASES[function.__name__] = function
    return function


def tensorflow(function):
    """Add a training that needs TensorFlow's backend."""
    TENSORFLOW.add(function.__name__)
    return case(function)


class Stage:
    """The files of a training, and the epoch in whose middle it is stopped."""

    def __init__(self, disk, epoch=None, then=None):
        self.disk, self.epoch, self.then = disk, epoch, then
        self.fits, self.trained = 0, []

    def fit(self, model, x, y=None, *, callbacks=(), kill_in_fit=0, epochs=EPOCHS, **options):
        """Call `fit` with a TrialBackup; stop it if it is the `fit` to be killed."""
        stop = self.epoch if self.fits == kill_in_fit else None
        self.fits += 1
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            history = model.fit(
                *(x, y),
                epochs=epochs,
                verbose=0,
                callbacks=[*callbacks, TrialBackup(), Watch(lambda: self, stop)],
                **options,
            )
        self.trained += [str(w.message) for w in caught if "Trial" in str(w.message)]
        return outcome(model, history)


class Watch(keras.callbacks.Callback):
    """Records the trained epochs, and stops in the middle of epoch `stop_in`."""

    def __init__(self, stage, epoch):
        super().__init__()
        self.stage, self.stop_in, self.now = stage, epoch, lambda: None

    def on_epoch_begin(self, epoch, logs=None):
        self.stage().trained.append(epoch)

    def on_train_batch_end(self, batch, logs=None):
        stage = self.stage()
        if batch >= 1 and stage.trained and stage.trained[-1] == self.stop_in and stage.then:
            assert flush_all_backups(60)
            then, stage.then = stage.then, None
            then()


def outcome(model, history):
    """Return everything that must be equal in equal trainings."""
    optimizers = [model.optimizer] if model.optimizer else []
    return {
        "history": (history.epoch, history.history),
        "weights": [w.tobytes().hex() for w in model.get_weights()],
        "optimizer": [
            np.asarray(ops.convert_to_numpy(v)).tobytes().hex()
            for one in optimizers
            for v in one.variables
        ],
        "drawn": float(np.random.rand()),
    }


def dense(*more, optimizer=None, loss="mse", metrics=(), **options):
    """Return a small model with Dropout."""
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(4), *more, layers.Dropout(0.3), layers.Dense(1)]
    )
    model.compile(optimizer or keras.optimizers.Adam(0.01), loss, metrics=list(metrics), **options)
    return model


def recurrent(layer):
    """Return a model with a stateful recurrent layer."""
    model = keras.Sequential([keras.Input(batch_shape=(4, 3, 2)), layer, layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def states(layer):
    """Return the states of a recurrent layer."""
    flat = keras.tree.flatten(layer.states)
    return [np.asarray(ops.convert_to_numpy(v)).tobytes().hex() for v in flat]


@case
def stateful_lstm(stage):
    layer = layers.LSTM(3, stateful=True)
    ended = stage.fit(recurrent(layer), SERIES, SERIES[:, 0, :1], batch_size=4, shuffle=False)
    return ended, states(layer)


@case
def stateful_gru_in_a_model_in_a_model(stage):
    layer = layers.GRU(3, stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(4, 3, 2)), layer, layers.Dense(1)])
    whole = keras.Sequential([keras.Input(batch_shape=(4, 3, 2)), model])
    whole.compile("sgd", "mse")
    ended = stage.fit(
        whole, SERIES, SERIES[:, 0, :1], batch_size=4, shuffle=False, validation_split=1 / 3
    )
    return ended, states(layer)


@case
def stateful_stacked_cells(stage):
    layer = layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)], stateful=True)
    ended = stage.fit(recurrent(layer), SERIES, SERIES[:, 0, :1], batch_size=4, shuffle=False)
    return ended, states(layer)


@case
def normalizations(stage):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.GaussianNoise(0.1),
            layers.SpectralNormalization(layers.Dense(4)),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01, gradient_accumulation_steps=2), "mse")
    return stage.fit(model, X, Y, batch_size=4, validation_split=0.25)


class Gated(layers.Layer):
    """A layer with variables in containers and a generator of its own."""

    def build(self, shape):
        self.gates = {"one": [self.add_weight(shape=(shape[-1],), initializer="ones")]}
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, x, training=False):
        if training:
            self.count.assign_add(1.0)
            x = x + 0.1 * keras.random.normal(ops.shape(x), seed=self.seeds)
        return x * self.gates["one"][0] * (1.0 + 0.01 * self.count)


@case
def own_layer(stage):
    return stage.fit(dense(Gated()), X, Y, batch_size=8)


@tensorflow
def variables_of_tensorflow(stage):
    import tensorflow as tf

    class Holder:
        pass

    class Counting(layers.Layer):
        def __init__(self):
            super().__init__()
            self.helper = Holder()
            self.helper.steps = tf.Variable(0.0, trainable=False)

        def call(self, x):
            self.helper.steps.assign_add(1.0)
            return x * (1.0 + 0.01 * self.helper.steps)

    layer = Counting()
    ended = stage.fit(dense(layer), X, Y, batch_size=8)
    return ended, float(layer.helper.steps)


class Forever(keras.metrics.Mean):
    """A metric that never resets."""

    def reset_state(self):
        pass


@case
def metric_that_never_resets(stage):
    class Both(Forever):
        def update_state(self, y, p, sample_weight=None):
            return super().update_state(ops.abs(y - p), sample_weight)

    return stage.fit(dense(metrics=["mae", Both(name="ever")]), X, Y, batch_size=8)


class Growing(keras.losses.Loss):
    """A loss that has a variable."""

    def __init__(self):
        super().__init__()
        self.seen = keras.Variable(1.0, trainable=False, name="seen")

    def call(self, y_true, y_pred):
        self.seen.assign(self.seen + 0.1)
        return ops.mean(ops.square(y_true - y_pred), axis=-1) * self.seen


@tensorflow
def loss_with_a_variable(stage):
    loss = Growing()
    ended = stage.fit(dense(loss=loss), X, Y, batch_size=8)
    return ended, float(ops.convert_to_numpy(loss.seen))


@tensorflow
def training_step_of_its_own(stage):
    import tensorflow as tf

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = dense()
            self.mean = keras.metrics.Mean(name="mean")
            self.ever = Forever(name="ever")
            self.steps = self.add_weight(shape=(), initializer="zeros", trainable=False)

        def call(self, x, training=False):
            return self.inner(x, training=training)

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x, training=True) - y) ** 2)
            self.optimizer.apply(
                tape.gradient(loss, self.trainable_variables), self.trainable_variables
            )
            self.steps.assign_add(1.0)
            for metric in (self.mean, self.ever):
                metric.update_state(loss * self.steps)
            return {"mean": self.mean.result(), "ever": self.ever.result()}

        @property
        def metrics(self):
            return [self.mean, self.ever]

    model = Own()
    model.compile("adam")
    return stage.fit(model, X, Y, batch_size=8)


class Heavy(keras.optimizers.Optimizer):
    """A user's own optimizer."""

    def build(self, variables):
        super().build(variables)
        self.speeds = [self.add_variable_from_reference(v, name="speed") for v in variables]
        self.total = self.add_variable(shape=(), name="total", initializer="zeros")

    def update_step(self, gradient, variable, learning_rate):
        speed = self.speeds[self._get_variable_index(variable)]
        self.assign(speed, 0.9 * speed + gradient)
        self.assign_add(self.total, 0.001)
        self.assign_sub(variable, learning_rate * speed * (1.0 + self.total))


@case
def optimizer_of_its_own(stage):
    return stage.fit(dense(optimizer=Heavy(learning_rate=0.01)), X, Y, batch_size=8)


@case
def loss_scaling(stage):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(4, dtype="mixed_float16"),
            layers.Dropout(0.3),
            layers.Dense(1, dtype="float32"),
        ]
    )
    inner = keras.optimizers.Adam(0.01)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, 2.0**18, dynamic_growth_steps=2)
    model.compile(optimizer, "mse", metrics=["mae"])
    return stage.fit(model, X, Y, batch_size=8)


@case
def moving_averages(stage):
    optimizer = keras.optimizers.Adam(0.01, use_ema=True, ema_overwrite_frequency=4)
    return stage.fit(
        dense(optimizer=optimizer),
        *(X, Y),
        batch_size=8,
        validation_split=0.25,
        callbacks=[keras.callbacks.SwapEMAWeights(swap_on_epoch=True)],
    )


class Steps(keras.optimizers.schedules.LearningRateSchedule):
    """A user's own learning rate schedule."""

    def __call__(self, step):
        return 0.01 / (1.0 + ops.cast(step, "float32"))


@case
def schedules(stage):
    decay = keras.optimizers.schedules.CosineDecay(0.01, 20, warmup_target=0.02, warmup_steps=5)
    first = stage.fit(dense(optimizer=keras.optimizers.Adam(decay)), X, Y, batch_size=8)
    second = stage.fit(dense(optimizer=keras.optimizers.SGD(Steps())), X, Y, batch_size=8)
    return first, second


@case
def patience(stage):
    early = keras.callbacks.EarlyStopping(
        "loss", patience=2, min_delta=50.0, restore_best_weights=True
    )
    slower = keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, min_delta=9.0, cooldown=1)
    rate = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9)
    ended = stage.fit(
        dense(), X, Y, batch_size=8, validation_split=0.25, callbacks=[early, slower, rate]
    )
    return ended, early.best, early.wait, early.best_epoch, early.stopped_epoch, slower.wait


@case
def tables(stage):
    made = []
    for append in (True, False):
        path = stage.disk / f"{append}.csv"
        logger = keras.callbacks.CSVLogger(path, append=append)
        made.append(stage.fit(dense(), X, Y, batch_size=8, callbacks=[logger]))
        made.append(path.read_text())
    return made


@tensorflow
def tensorboard(stage):
    board = keras.callbacks.TensorBoard(stage.disk / "board", update_freq=1, histogram_freq=1)
    ended = stage.fit(dense(), X, Y, batch_size=8, validation_split=0.25, callbacks=[board])
    return ended, board._global_train_batch, board._global_test_batch


@case
def weights_of_classes_and_samples(stage):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    labels = (np.arange(24) % 3)[:, None]
    first = stage.fit(model, X, labels, batch_size=8, class_weight={0: 1.0, 1: 2.0, 2: 0.5})
    second = stage.fit(
        model, X, labels, batch_size=8, sample_weight=np.linspace(0, 1, 24), validation_split=0.25
    )
    return first, second


@case
def best_file(stage):
    made = []
    for name, options in (
        ("best.weights.h5", {"save_weights_only": True, "save_best_only": True}),
        ("runs/best-{epoch:02d}-{val_loss:.3f}.keras", {"save_best_only": True}),
        ("newest.keras", {"save_freq": 2}),
    ):
        model = dense(optimizer=keras.optimizers.SGD(0.3))
        callback = keras.callbacks.ModelCheckpoint(stage.disk / name, "val_loss", **options)
        ended = stage.fit(model, X, Y, batch_size=8, validation_split=0.25, callbacks=[callback])
        newest = max(stage.disk.rglob(f"*{Path(name).suffix}"), key=lambda p: p.stat().st_mtime_ns)
        model.load_weights(newest)
        made.append((ended, callback.best, newest.name, [w.tolist() for w in model.get_weights()]))
        newest.unlink()
    return made


@case
def several_steps_at_once(stage):
    return stage.fit(dense(steps_per_execution=2, metrics=["mae"]), X, Y, batch_size=4)


@case
def second_fit_with_another_optimizer(stage):
    model = dense()
    first = stage.fit(model, X, Y, batch_size=8, epochs=2)
    model.layers[0].trainable = False
    model.compile(keras.optimizers.RMSprop(float(np.random.rand()) / 100), "mae")
    second = stage.fit(model, X, Y, batch_size=8, kill_in_fit=1, initial_epoch=1)
    return first, second


class Mood(enum.Enum):
    """A state of a callback."""

    CALM = 1
    TENSE = 2


@dataclasses.dataclass
class Record:
    """A record that a callback keeps."""

    epoch: int
    loss: float


Pair = collections.namedtuple("Pair", "epoch loss")


class TrialCounts:
    """A user's own object in a callback."""

    def __init__(self):
        self.count, self.lock = 0, None


class Remembering(keras.callbacks.Callback):
    """A callback whose containers, generators and objects decide what is trained and how long."""

    def __init__(self, lines):
        super().__init__()
        self.window = collections.deque(maxlen=3)
        self.seen, self.frozen = set(), frozenset()
        self.sums = collections.defaultdict(list)
        self.grouped = collections.defaultdict(lambda: collections.deque(maxlen=2))
        self.counted = collections.Counter()
        self.generator, self.old = np.random.default_rng(5), np.random.RandomState(5)
        self.dice = random.Random(5)
        self.mood, self.best, self.pair = Mood.CALM, None, None
        self.counts, self.lines, self.same = TrialCounts(), lines, lines
        self.mean = keras.metrics.Mean()
        self.matrix = np.zeros((2, 2))
        self.phase = self.wait
        self.log = print

    def wait(self, loss):
        self.phase = self.act

    def act(self, loss):
        self.counted["acted"] += 1

    def on_epoch_end(self, epoch, logs=None):
        loss = logs["loss"]
        self.window.append(loss)
        self.seen.add(epoch % 2)
        self.frozen |= {epoch}
        self.sums["loss"].append(loss)
        self.grouped[epoch % 2].append((epoch, loss))
        self.counted[epoch % 2] += 1
        self.mood = Mood.TENSE if self.mood is Mood.CALM else Mood.CALM
        if self.best is None or loss < self.best.loss:
            self.best = Record(epoch, loss)
        self.pair = Pair(epoch, loss)
        self.counts.count += 1
        self.same.append(float(loss))
        self.mean.update_state(loss)
        self.matrix[epoch % 2] += loss
        self.phase(loss)
        rate = 0.01 * self.generator.random() + 0.01 * self.old.rand() + 0.01 * self.dice.random()
        self.model.optimizer.learning_rate = rate
        if self.counts.count >= 5 and len(self.window) == 3:
            self.model.stop_training = True

    def state_text(self):
        """Return the whole state as text."""
        grouped = {key: list(value) for key, value in self.grouped.items()}
        parts = (self.window, sorted(self.seen), sorted(self.frozen), self.sums, grouped)
        more = (self.counted, self.mood, self.best, self.pair, self.counts.count, self.matrix)
        drawn = self.generator.random(), self.old.rand(), self.dice.random()
        return repr((parts, more, drawn, float(self.mean.result()), self.same is self.lines))


@case
def containers_in_callbacks(stage):
    lines = []
    callback = Remembering(lines)
    ended = stage.fit(dense(), X, Y, batch_size=8, epochs=9, callbacks=[callback])
    return ended, callback.state_text(), lines


class Logging(keras.callbacks.Callback):
    """Puts numbers of all kinds into the logs."""

    def on_epoch_end(self, epoch, logs=None):
        logs["tensor"] = ops.convert_to_tensor(epoch + 0.5)
        logs["one"] = ops.convert_to_tensor([epoch + 0.25])
        logs["scalar"], logs["array"] = np.float32(epoch), np.array(epoch)
        logs["whole"], logs["flag"] = epoch, epoch > 2


@case
def numbers_of_all_kinds_in_logs(stage):
    ended = stage.fit(dense(), X, Y, batch_size=8, callbacks=[Logging()])
    kinds = {type(v).__name__ for values in ended["history"][1].values() for v in values}
    assert kinds == {"float"}, kinds
    return ended


class Shuffled(keras.utils.PyDataset):
    """Draws its order from NumPy's global generator when an epoch begins."""

    def __init__(self):
        super().__init__()
        self.order = np.arange(24)

    def __len__(self):
        return 3

    def __getitem__(self, number):
        if number == 0:
            self.order = np.random.permutation(24)
        rows = self.order[8 * number : 8 * number + 8]
        return X[rows], Y[rows]


@case
def rows_drawn_when_an_epoch_begins(stage):
    return stage.fit(dense(), Shuffled(), shuffle=False)


@tensorflow
def one_pass_of_a_repeating_dataset(stage):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).repeat()
    return stage.fit(dense(), data, steps_per_epoch=3)


class Iterating(keras.callbacks.Callback):
    """A callback with an iterator, which no backup can hold."""

    def __init__(self):
        super().__init__()
        self.rates = iter(np.linspace(0.01, 0.02, 20).tolist())

    def on_epoch_begin(self, epoch, logs=None):
        self.model.optimizer.learning_rate = next(self.rates)


@case
def cannot_be_saved(stage):
    return stage.fit(dense(), X, Y, batch_size=8, callbacks=[Iterating()])


def main(root, out, disk, how, epoch, *names):
    """Run the cases; killed ones run inside each other."""
    Path(root).mkdir(exist_ok=True)
    store, out = FolderStore(Path(root)), Path(out)

    def one(number):
        if number == len(names):
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            return
        name = names[number]
        folder = Path(disk) / name
        folder.mkdir(parents=True, exist_ok=True)
        stop = int(epoch) if how == "killed" else None
        stage = Stage(folder, stop, lambda: one(number + 1))
        found = store.list(store.root, name=name)
        home = found[0].id if found else create_search_folder(store, name)
        ended = run_trial(store, home, lambda: CASES[name](stage))
        assert how != "killed", f"{name} was not stopped in epoch {epoch}"
        (out / f"{name}.ended").write_text(repr(ended))
        (out / f"{name}.trained").write_text(repr(stage.trained))
        one(number + 1)

    one(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
