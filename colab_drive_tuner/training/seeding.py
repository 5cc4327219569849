"""Seeding of Python, NumPy, Keras and PyTorch, so that a trial draws the same numbers in every run.

A seed depends on the search's training seed, the trial, the `fit` call and the epoch; not on the
search's name, on the attempt, or on earlier work in the same process. So a trial that is rerun or
resumed after a kill repeats the uninterrupted one.
"""

import hashlib
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.random import MT19937, PCG64, PCG64DXSM, SFC64, Philox

from colab_drive_tuner.training.trial import running_trial

BIT_GENERATORS: dict[str, Any] = {
    kind.__name__: kind for kind in (PCG64, PCG64DXSM, MT19937, Philox, SFC64)
}
"""numpy's bit generators by the name in their states."""


def training_seed(seed: int, tid: int, epoch: int = 0, fit: int = 0) -> int:
    """Return the seed for one epoch of one `fit` call of trial `tid`: 0 <= seed < 2**32.

    Epochs count from 1 here. Epoch 0 is the code before the first one: for `fit=0` the start of
    the trial (its initial weights), for `fit=n` the code after the model function's n-th `fit`.
    """
    key = f"{seed}/{tid}/{fit}/{epoch}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), "big")


def seed_trial(seed: int, tid: int) -> None:
    """Seed the global generators of Python, NumPy, Keras and PyTorch for trial `tid`.

    Keras, and with it TensorFlow's global seed, is seeded if Keras or TensorFlow is loaded, and
    PyTorch if it is. One that the objective imports only while it runs must be loaded before its
    first trial, because a resumed search starts in a new process.
    """
    _seed_generators(training_seed(seed, tid))


@contextmanager
def reseed_outer_trial() -> Iterator[None]:
    """If a seeded trial is running, it draws the same numbers after the block, whatever that draws.

    A search inside a trial seeds the generators for each trial that it still has to run: after a
    kill, for fewer trials or none.
    """
    trial = running_trial()
    if trial is None or not trial.seeded:
        yield
        return
    seed = random.getrandbits(32)
    try:
        yield
    finally:
        _seed_generators(seed)


def _seed_generators(value: int) -> None:
    if "keras" in sys.modules or "tensorflow" in sys.modules:
        import keras

        keras.utils.set_random_seed(value)
    else:
        random.seed(value)
        np.random.seed(value)
    if sys.modules.get("torch"):  # Keras seeds it only as its own backend
        import torch

        torch.manual_seed(value)


def seed_epoch(seed: int) -> None:
    """Seed the global generators for the next epoch; with TensorFlow, `random` and NumPy only.

    With TensorFlow, Keras's layers keep their random state in variables, which a backup includes,
    and `fit` shuffles with seeds drawn at its start. Setting TensorFlow's seed again would discard
    all compiled kernels, which costs tens of milliseconds per epoch. Therefore code that draws from
    `tf.random`, or from `keras.random` without a seed, draws other numbers in a resumed trial.
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        random.seed(seed)
        np.random.seed(seed)
    else:
        keras.utils.set_random_seed(seed)


def bit_generator_in(state: Any) -> Any:
    """Return a bit generator in a stored state, which is untrusted."""
    bits = BIT_GENERATORS[state["bit_generator"]]()
    check_generator_state(state)
    bits.state = state
    return bits


def check_generator_state(state: Any) -> None:
    """Raise ValueError for buffer positions at which numpy would read out of bounds."""
    if not (0 <= state.get("buffer_pos", 0) <= 4 and 0 <= state["state"].get("pos", 0) <= 624):
        raise ValueError("a position is out of range")
