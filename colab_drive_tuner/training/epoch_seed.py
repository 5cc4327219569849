"""Seeding between two epochs, without paying for what no epoch needs.

With TensorFlow, Keras's layers keep their random state in variables, which a backup holds, and
`fit` shuffles with seeds from its beginning; setting TensorFlow's seed again would only throw all
compiled kernels away, tens of milliseconds an epoch. So there `random` and `numpy.random` are
seeded. What code draws otherwise, from `tf.random` or from `keras.random` without a seed of its
own, goes on undisturbed, but a resumed trial draws other numbers there.
"""

import random

import keras
import numpy as np


def seed_epoch(seed: int) -> None:
    """Seed what the next epoch draws from global generators."""
    if keras.backend.backend() == "tensorflow":
        random.seed(seed)
        np.random.seed(seed)
    else:
        keras.utils.set_random_seed(seed)
