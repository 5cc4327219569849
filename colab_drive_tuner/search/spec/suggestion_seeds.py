"""Seeds of the algorithm's calls: a resumed search draws the same ones as an uninterrupted one.

Plain `hyperopt.fmin` gives the k-th call of the algorithm the k-th draw of
`rstate.integers(2**31 - 1)`, and does not store the rstate. Here the initial state is stored with
the search, and a session that continues after k calls skips the first k draws.
"""

import hashlib
from typing import Any, NoReturn

import numpy as np

from colab_drive_tuner.checkpoint.codec.codec import decode, encode
from colab_drive_tuner.errors import SearchDamagedError, UsageError
from colab_drive_tuner.search.spec.arguments import BEGIN_AGAIN
from colab_drive_tuner.training.seeding import bit_generator_in


def generator_of(rstate: Any) -> np.random.Generator:
    """Return the Generator for a caller's `rstate` or `seed`.

    A Generator is returned unchanged. A RandomState (hyperas passes one, although hyperopt cannot
    use it) becomes a Generator with a copy of its state, so equal ones give equal searches. An
    integer is a seed.
    """
    if isinstance(rstate, np.random.Generator):
        return rstate
    if isinstance(rstate, np.random.RandomState):
        return np.random.Generator(bit_generator_in(rstate.get_state(legacy=False)))
    if isinstance(rstate, int | np.integer) and not isinstance(rstate, bool) and rstate >= 0:
        return np.random.default_rng(int(rstate))
    raise UsageError(
        "rstate must be a numpy Generator such as numpy.random.default_rng(seed), "
        f"got {rstate!r:.80}."
    )


def encode_generator(generator: np.random.Generator) -> bytes:
    """Encode the generator's current state."""
    return encode(dict(generator.bit_generator.state))


def decode_generator(encoded: bytes) -> np.random.Generator:
    """Return the generator of a stored state; raise `SearchDamagedError` if it is not valid."""
    try:
        return np.random.Generator(bit_generator_in(decode(encoded)))
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        raise_unusable("random state", error)


def raise_unusable(what: str, error: Exception) -> NoReturn:
    """Raise the error of a stored value that no run can use; `repair` omits the value."""
    reason = SearchDamagedError(f"The stored {what} cannot be used: {error!r:.200}.")
    raise SearchDamagedError(
        f"{reason} Run `colab-drive-tuner repair` with the search's name. {BEGIN_AGAIN}"
    ) from reason


def training_seed_of(encoded: bytes) -> int:
    """Return the search's training seed, 0 <= s < 2**32, from the initial state alone."""
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=4).digest(), "big")


class SeedStream:
    """The seeds of the algorithm's calls: the k-th seed is the k-th draw of the generator.

    The generator is in its initial state; it advances, as the caller's does in plain fmin. The
    first `k` draws, which earlier sessions have used, are skipped.
    """

    def __init__(self, generator: np.random.Generator, k: int = 0) -> None:
        self._generator, self._k = generator, 0
        while self._k < k:
            self.draw()

    def draw(self) -> tuple[int, Any]:
        """Return the index of the next draw, and the seed."""
        self._k += 1
        return self._k - 1, self._generator.integers(2**31 - 1)
