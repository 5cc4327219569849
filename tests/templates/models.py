"""Model functions in the styles that people wrote for hyperas, with fakes in place of Keras."""
# ruff: noqa: E731 - model functions as people type them

# fmt: off  (how people typed them)
from functools import update_wrapper, wraps

from hyperas.distributions import (
    choice,
    lognormal,
    loguniform,
    normal,
    pchoice,
    qlognormal,
    qloguniform,
    qnormal,
    quniform,
    randint,
    uniform,
)


class Layer:
    """A layer that keeps its arguments and counts its uses."""

    def __init__(self, *args, **kwargs):
        self.args, self.kwargs, self.used = args, kwargs, 0

    def __call__(self, other):
        self.used += 1
        return other

    def __repr__(self):
        return f"{type(self).__name__}{self.args}"


class Dense(Layer):
    pass


class Dropout(Layer):
    pass


class Activation(Layer):
    pass


class Sequential:
    def __init__(self):
        self.layers = []

    def add(self, layer):
        self.layers.append(layer)

    def compile(self, **kwargs):
        self.compiled = kwargs

    def fit(self, *args, **kwargs):
        self.fitted = kwargs


def stacked(x_train, y_train):
    """A model with dropouts, an unnamed condition, layers as options and keywords."""
    model = Sequential()
    model.add(Dropout({{uniform(0, 1)}}))
    model.add(Dense({{choice([256, 512, 1024])}}))
    model.add(Activation({{choice(["relu", "sigmoid"])}}))
    model.add(Dropout({{uniform(0, 1)}}))
    if {{choice(["three", "four"])}} == "four":
        model.add(Dense(100))
        model.add({{choice([Dropout(0.5), Activation("linear")])}})
    model.compile(loss="mse", optimizer={{choice(["rmsprop", "adam", "sgd"])}})
    model.fit(x_train, y_train, batch_size={{choice([64, 128])}}, verbose=2)
    return {"loss": 1.0, "status": "ok", "model": model}


def unnamed_arguments(x):
    model = Sequential()
    model.add(Dense({{choice([64, 128])}}, {{choice([6, 8])}}, mode="valid"))
    return {"loss": 0.5, "status": "ok", "model": model}


def assigned(x):
    size = {{quniform(12, 256, 4)}}
    rate = {{uniform(0.001, 0.7)}}
    rate_again = {{uniform(0.001, 0.7)}}
    typed = {{uniform(0, 3)}}
    return {"loss": rate + rate_again + typed, "size": int(size), "status": "ok"}


def every_distribution():
    a = {{choice([1, 2])}}
    b = {{randint(10)}}
    c = {{pchoice([(0.25, "x"), (0.75, "y")])}}
    d = {{uniform(0, 1)}}
    e = {{quniform(0, 10, 2)}}
    f = {{loguniform(-3, 0)}}
    g = {{qloguniform(0, 3, 1)}}
    h = {{normal(0, 1)}}
    i = {{qnormal(0, 10, 2)}}
    j = {{lognormal(0, 1)}}
    k = {{qlognormal(0, 1, 1)}}
    return {"loss": 0, "all": [a, b, c, d, e, f, g, h, i, j, k], "status": "ok"}


def expressions(x):
    units = {{choice([2**i for i in range(4)])}}
    shift = {{quniform(1, 10, 1) + 1}}
    Dense({{choice([1, 2])}})
    rate = lambda: {{uniform(0, 1)}}
    nested = [{{choice([3, 4])}} + n for n in range(3)]
    for _ in range(2):
        units += {{randint(5)}}
    while x == {{randint(7)}}:
        break
    return {"loss": rate(), "units": units, "shift": shift, "nested": nested, "status": "ok"}


def several_lines(x_train, y_train, x_test=(1, 2), *, verbose=0):
    units = Dense({{choice([20, 30])}}, activation="relu")
    return {"loss": x_test[0], "units": units.args[0], "status": "ok"}


def functional(x_train, y_train, x_test, y_test):
    """A model in the functional API."""
    inputs = Dense(784)
    x = Dense({{choice([20, 30, 40])}}, activation="relu")(inputs)
    x = Dense({{choice([20, 30, 40])}}, activation="relu")(x)
    outputs = Dense(10, activation="softmax")(x)
    model = Sequential()
    model.fit(
        x_train,
        y_train,
        batch_size={{choice([64, 128])}},
        epochs=1,
        validation_data=(x_test, y_test),
    )
    return {"loss": -1.0, "status": "ok", "model": (inputs, outputs)}


def recurrent():
    """A model with imports, comments between arguments and equal templates of other names."""
    import math
    from fractions import Fraction

    rnn = Sequential()
    rnn.add(Dropout({{uniform(0, 1)}}))
    rnn.add(Dense(int({{quniform(16, 64, 16)}})))
    rate = {{uniform(0, 1)}}
    stop = Activation("patience=4")
    rnn.fit(
        batch_size={{choice([32, 64, 128])}},
        # batch_size=128,
        epochs={{choice([1, 2])}},
        callbacks=[stop],
    )
    return {"loss": rate * math.pi, "half": str(Fraction(1, 2)), "status": "ok"}


def with_generator(generator, x_train):
    """A model that takes an object from data() and passes the batch size to its method."""
    model = Sequential()
    model.add(Dropout({{uniform(0, 1)}}))
    model.add(Dropout({{uniform(0, 1)}}))
    model.fit(generator.flow(x_train, batch_size={{choice([16, 32])}}), steps=len(x_train))
    return {"loss": 0.1, "status": "ok", "model": model}


def base_network(shape, width, rate):
    return Sequential(), Dense(width), Dropout(rate), shape


def siamese(pairs, shape):
    """A model that passes values to helpers."""
    rate1 = {{uniform(0, 1)}}
    rate2 = {{uniform(0, 1)}}
    width1 = {{choice([64, 128, 256])}}
    width2 = {{choice([64, 128, 256])}}
    base = base_network(shape, width1, rate1), base_network(shape, width2, rate2)
    optimizer = {{choice(["adam", "sgd"])}}
    if optimizer == "adam":
        lr = {{choice([10**-3, 10**-2, 10**-1])}}
    elif optimizer == "sgd":
        lr = {{loguniform(-5, 0)}}
    return {"loss": lr, "model": base, "status": "ok"}


def numbered(x):
    """A model with many templates of one name, and names with digits."""
    conv2d_1 = Dense({{choice([16, 32])}}, ({{choice([3, 5])}}, 3))
    conv2d_2 = Dense({{choice([16, 32])}}, ({{choice([3, 5])}}, 3))
    pool = Dense(({{choice([2, 3])}}, {{choice([2, 3])}}))
    loss = Dropout({{normal(0, 1)}}) if {{choice([True, False])}} else Dense({{normal(0, 1)}})
    return {"loss": 1.0, "layers": [conv2d_1, conv2d_2, pool, loss], "status": "ok"}


SAME_AS_HYPERAS = [
    functional,
    recurrent,
    with_generator,
    siamese,
    numbered,
    stacked,
    unnamed_arguments,
    assigned,
    every_distribution,
    expressions,
    several_lines,
]


def timed(function):
    @wraps(function)
    def timer(*args, **kwargs):
        return {**function(*args, **kwargs), "seconds": 3}

    return timer


def plain_decorator(factor):
    def decorate(function):
        def inner(*args):
            result = function(*args)
            return {**result, "loss": factor * result["loss"]}

        return inner

    return decorate


class Counted:
    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, *args):
        self.calls += 1
        return self.function(*args)


@timed
@plain_decorator(10)
def decorated(x):
    rate = {{uniform(0, 1)}}
    return {"loss": rate + x, "status": "ok"}


@Counted
def counted(x):
    rate = {{uniform(0, 1)}}
    return {"loss": rate + x, "status": "ok"}


class Marked:
    """Keeps the function twice, as `functools.update_wrapper` does."""

    def __init__(self, function):
        update_wrapper(self, function)
        self.function = function

    def __call__(self, *args):
        return {**self.function(*args), "marked": True}


@Marked
def marked(x):
    rate = {{uniform(0, 1)}}
    return {"loss": rate + x, "status": "ok"}


class Base:
    def width(self):
        return 7


class Study(Base):
    __secret = 5

    def width(self):
        return 8

    def model(self, x):
        units = {{choice([self_free, 2 * self_free])}}
        return {"loss": super().width() + self.__secret + x + units, "status": "ok"}


self_free = 100


def closure_model(scale):
    bonus = 1

    def model(x):
        nonlocal bonus
        bonus += 1
        n = {{choice([scale, 10 * scale])}}
        return {"loss": n + bonus + x, "status": "ok"}

    return model, lambda: bonus
