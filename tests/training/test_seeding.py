"""Training seeds: stable, distinct, and independent of what ran before."""

import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_drive_tuner.training.seeding import seed_trial, training_seed

seeds = st.integers(0, 2**32 - 1)
small = st.integers(0, 10_000)


def test_the_seeds_of_released_versions_never_change():
    """A search that one version started resumes with the same numbers in the next."""
    assert training_seed(7, 3) == 2067156459
    assert training_seed(7, 3, 2) == 1148733296
    assert training_seed(7, 3, 2, 1) == 2126206779


@given(seeds, small, small, small)
def test_a_seed_fits_in_32_bits(seed, tid, epoch, fit):
    """numpy, Keras and TensorFlow accept every seed."""
    assert 0 <= training_seed(seed, tid, epoch, fit) < 2**32


def test_trials_epochs_and_fits_have_seeds_of_their_own():
    """Neighbouring trials, epochs and fits do not share a seed."""
    drawn = {training_seed(1, t, e, f) for t in range(12) for e in range(12) for f in range(12)}
    assert len(drawn) == 12**3


def test_a_trial_draws_the_same_numbers_whatever_ran_before():
    """After `seed_trial`, Python's and NumPy's global generators depend only on the trial."""

    def draw():
        seed_trial(5, 2)
        return random.random(), np.random.rand()

    first = draw()
    random.random(), np.random.rand(100)
    assert draw() == first
    seed_trial(5, 3)
    assert (random.random(), np.random.rand()) != first


def test_pytorch_is_seeded_if_it_is_loaded(monkeypatch: pytest.MonkeyPatch):
    """A trial that trains with PyTorch alone repeats too; Keras seeds it only as its backend."""
    seeded: list[int] = []
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(manual_seed=seeded.append))
    seed_trial(5, 2)
    assert seeded == [training_seed(5, 2)]
