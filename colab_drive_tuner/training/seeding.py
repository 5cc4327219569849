"""Seeds for training: the same trial draws the same random numbers in every run and attempt.

A seed depends on the search's training seed, the trial, the `fit` call and the epoch; never on the
search's name, on the attempt, or on what ran before in the same process. So a trial that is run
again after a kill, or from its middle, repeats what the uninterrupted one did.
"""

import hashlib
import random
import sys


def training_seed(seed: int, tid: int, epoch: int = 0, fit: int = 0) -> int:
    """The seed for one epoch of one `fit` call of trial `tid`: 0 <= s < 2**32.

    Epochs count from 1 here; epoch 0 is what comes before the first one: for `fit=0` the trial's
    start (its initial weights), for `fit=n` what the model function does after its n-th `fit`.
    """
    key = f"{seed}/{tid}/{fit}/{epoch}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), "big")


def seed_trial(seed: int, tid: int, *, keras_wanted: bool = False) -> int:
    """Seed Python's `random`, NumPy's global generator and Keras for trial `tid`; return the seed.

    Keras (and with it TensorFlow's global seed) is seeded where Keras or TensorFlow is loaded
    already, or `keras_wanted`. An objective that imports Keras only while it runs needs
    `keras_wanted` from its first trial on: a resumed search starts in a fresh process.
    """
    value = training_seed(seed, tid)
    if keras_wanted or "keras" in sys.modules or "tensorflow" in sys.modules:
        import keras

        keras.utils.set_random_seed(value)
    else:
        import numpy as np

        random.seed(value)
        np.random.seed(value)
    return value


def seed_epoch(seed: int) -> None:
    """Seed what the next epoch draws from global generators, without paying for what none needs.

    With TensorFlow, Keras's layers keep their random state in variables, which a backup holds, and
    `fit` shuffles with seeds from its beginning; setting TensorFlow's seed again would only throw
    all compiled kernels away, tens of milliseconds an epoch. So there `random` and `numpy.random`
    are seeded. What code draws otherwise, from `tf.random` or from `keras.random` without a seed of
    its own, goes on undisturbed, but a resumed trial draws other numbers there.
    """
    import keras
    import numpy as np

    if keras.backend.backend() == "tensorflow":
        random.seed(seed)
        np.random.seed(seed)
    else:
        keras.utils.set_random_seed(seed)
