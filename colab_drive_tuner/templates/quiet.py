"""Reading source, or trying a template, without warnings that are given elsewhere anyway."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quietly() -> Iterator[None]:
    """Within the block, no warnings.

    Those of the user's source were given when it was first compiled; those of hyperopt's draws come
    when the search draws.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
