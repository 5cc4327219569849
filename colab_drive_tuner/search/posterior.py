"""TPE's posterior, built once per space instead of once per trial.

hyperopt builds the graph anew for each suggestion, which is a fifth of its work where the objective
is trivial. The graph depends on the space and two settings; what was observed enters when it is
evaluated, which leaves it as it was. So the points are the same.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from hyperopt import tpe
from hyperopt.base import Domain

_build = tpe.build_posterior_wrapper
_kept: WeakKeyDictionary[Domain, tuple[Any, Any]] = WeakKeyDictionary()
"""By domain, the settings and what was built with them last: some algorithms vary them."""
_lock = threading.Lock()
_users = 0


@contextmanager
def posterior_built_once() -> Iterator[None]:
    """Within the block, `hyperopt.tpe` builds a posterior only where it needs another one."""
    global _users  # noqa: PLW0603 - as hyperopt's function is, which is replaced meanwhile
    with _lock:
        _users += 1
        tpe.build_posterior_wrapper = _built_once
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                tpe.build_posterior_wrapper = _build


def _built_once(domain: Domain, prior_weight: float, gamma: float) -> Any:
    settings = prior_weight, gamma
    known, built = _kept.get(domain, (None, None))
    if known != settings:
        built = _build(domain, prior_weight, gamma)
        _kept[domain] = settings, built
    return built
