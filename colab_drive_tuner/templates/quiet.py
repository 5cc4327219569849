"""Reading source a second time without repeating the warnings that the first time gave."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quietly() -> Iterator[None]:
    """Within the block, no warnings: they were given when the user's code was first compiled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
