"""TPE without what it does anew for each suggestion, and need not: the points are the same.

hyperopt builds the graph of the posterior each time, though it depends on the space and two
settings only: what was observed enters when it is evaluated, which leaves it as it was. And it
gathers what was observed from all trials each time, though only one is new.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any
from weakref import WeakKeyDictionary

from hyperopt import tpe
from hyperopt.base import Domain

_Lists = dict[str, list[Any]]

_build, _gather = tpe.build_posterior_wrapper, tpe.miscs_to_idxs_vals
_built: WeakKeyDictionary[Domain, tuple[Any, Any]] = WeakKeyDictionary()
"""By domain, the settings and what was built with them last: some algorithms vary them."""
_NOTHING: tuple[list[Any], _Lists, _Lists] = [], {}, {}
_gathered = _NOTHING
"""The trials that were gathered last, and by parameter the trials' ids and the values."""
_lock = threading.Lock()
_users = 0


@contextmanager
def faster_tpe() -> Iterator[None]:
    """Within the block, `hyperopt.tpe` builds and gathers only what is new."""
    global _users, _gathered  # noqa: PLW0603 - as hyperopt's functions are, replaced meanwhile
    with _lock:
        _users += 1
        tpe.build_posterior_wrapper, tpe.miscs_to_idxs_vals = _build_once, _gather_on
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                tpe.build_posterior_wrapper, tpe.miscs_to_idxs_vals = _build, _gather
                _gathered = _NOTHING


def _build_once(domain: Domain, prior_weight: float, gamma: float) -> Any:
    settings = prior_weight, gamma
    known, built = _built.get(domain, (None, None))
    if known != settings:
        built = _build(domain, prior_weight, gamma)
        _built[domain] = settings, built
    return built


def _gather_on(miscs: list[Any], keys: list[str]) -> tuple[_Lists, _Lists]:
    """As hyperopt's; the lists are new ones, since another thread may have those before in use."""
    global _gathered  # noqa: PLW0603
    known, idxs, vals = _gathered
    if list(idxs) != keys or len(known) > len(miscs) or not all(map(is_, known, miscs)):
        known, idxs, vals = [], {key: [] for key in keys}, {key: [] for key in keys}
    new_idxs, new_vals = _gather(miscs[len(known) :], keys)
    idxs = {key: idxs[key] + new_idxs[key] for key in keys}
    vals = {key: vals[key] + new_vals[key] for key in keys}
    _gathered = miscs, idxs, vals
    return idxs, vals
