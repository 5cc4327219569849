"""Suppress duplicate warnings while parsing or sampling a template, one thread at a time."""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

_lock = threading.RLock()
"""CPython 3.11's parser fails now and then where threads use it at once ("AST constructor recursion
depth mismatch"), and what is suppressed here is suppressed for the whole process."""


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Within the block, no warnings, and no other thread in such a block.

    Those of the user's source were given when it was first compiled; those of hyperopt's draws come
    when the search draws.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def try_sampling(expression: Any) -> None:
    """Draw once from a hyperopt expression, and raise what that raises.

    hyperopt checks most arguments only when it draws, which a search does much later. It also
    prints what it could not draw; the error says so better.
    """
    import numpy as np
    from hyperopt.pyll import as_apply, dfs
    from hyperopt.pyll.stochastic import sample

    with suppress_warnings(), redirect_stdout(io.StringIO()):
        sample(expression, np.random.default_rng(0))
        for node in dfs(as_apply(expression)):
            if node.name == "randint":
                _check_bounds(node)
            elif node.name == "hyperopt_param":
                drawn = sample(node, np.random.default_rng(0))
                if not np.isfinite(drawn):
                    raise ValueError(f"it draws {drawn}, which is not a finite number")


def _check_bounds(randint: Any) -> None:
    """TPE fails on a fraction, but only once it has learned from its first trials."""
    for bound in [*randint.pos_args, *(value for name, value in randint.named_args)]:
        value = getattr(bound, "obj", None)
        if isinstance(value, float):
            raise ValueError(f"randint takes integers, not {value}")
