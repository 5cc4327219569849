"""Suppression of duplicate warnings while parsing or sampling a template, one thread at a time."""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

_lock = threading.RLock()
"""CPython 3.11's parser sometimes fails if several threads use it ("AST constructor recursion depth
mismatch"), and warnings are suppressed for the whole process."""


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Context manager without warnings, entered by one thread at a time.

    The user has seen the warnings of the source when it was first compiled, and hyperopt emits
    those of sampling again during the search.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def try_sampling(expression: Any) -> None:
    """Sample a hyperopt expression once, to raise its errors before the search starts.

    hyperopt checks most arguments only when it samples. It also prints the failed expression, which
    is suppressed because the error names it.
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
    """Raise for non-integer bounds, with which TPE fails, but only after its startup trials."""
    for bound in [*randint.pos_args, *(value for name, value in randint.named_args)]:
        value = getattr(bound, "obj", None)
        if isinstance(value, float):
            raise ValueError(f"randint takes integers, not {value}")
