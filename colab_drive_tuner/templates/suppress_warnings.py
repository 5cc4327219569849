"""Suppression of duplicate warnings while parsing or sampling a template, one thread at a time."""

import io
import math
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from numbers import Real
from typing import Any

_MAX_EXPONENT = math.log(sys.float_info.max)

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
        nodes = dfs(as_apply(expression))
        for node in nodes:
            if node.name == "hyperopt_param":
                _check_distribution(node.arg["obj"])
        sample(expression, np.random.default_rng(0))
        for node in nodes:
            if node.name == "hyperopt_param":
                drawn = sample(node, np.random.default_rng(0))
                if not np.isfinite(drawn):
                    raise ValueError(f"it draws {drawn}, which is not a finite number")


def _check_distribution(distribution: Any) -> None:
    """Raise for constants with which a search would fail, perhaps only after many trials."""
    given = {
        name: part.obj
        for name, part in distribution.arg.items()
        if isinstance(getattr(part, "obj", None), Real)
    }
    if distribution.name == "randint":
        for bound in given.values():
            if isinstance(bound, float):
                raise ValueError(f"randint takes integers, not {bound}")
        low, high = given.get("low", 1), given.get("high")
        if low <= 0 if high is None else high <= low:
            raise ValueError("there is nothing in it to choose")
    elif "loguniform" in distribution.name and given.get("high", 0) > _MAX_EXPONENT:
        raise ValueError(
            f"its bounds are logarithms, and exp({given['high']}) is too large for a float"
        )
    elif given.get("sigma", 1) <= 0:
        raise ValueError(f"sigma must be > 0, got {given['sigma']}")
