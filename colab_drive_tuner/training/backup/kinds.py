"""Kinds of values that a backup takes apart: those made anew, and those filled in again.

What cannot change is saved as what it is made of. A container or a random generator has a head,
which a new one is made from, and a body, which one that is there takes over. Classes and functions
of the user's own are saved by name, as another process knows them.
"""

import io
import random
import sys
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timezone
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import FunctionType, SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np
from numpy.random import MT19937, PCG64, PCG64DXSM, SFC64, Philox

from colab_drive_tuner.checkpoint.codec.plain_data import ATOMS, keys_collide

VALUES: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    range: (lambda r: (r.start, r.stop, r.step), lambda parts: range(*parts)),
    slice: (lambda s: (s.start, s.stop, s.step), lambda parts: slice(*parts)),
    time: (lambda t: datetime.combine(date(2000, 1, 1), t), datetime.timetz),
    timezone: (lambda zone: zone.utcoffset(None), timezone),
    Decimal: (str, Decimal),
    Fraction: (lambda f: (f.numerator, f.denominator), lambda parts: Fraction(*parts)),
    UUID: (lambda u: u.bytes, lambda data: UUID(bytes=data)),
    type(Path()): (str, Path),
    PurePosixPath: (str, PurePosixPath),
    PureWindowsPath: (str, PureWindowsPath),
}
"""What cannot change: a function to what it is made of, and one back."""

VALUES_BY_NAME = {kind.__name__: restore for kind, (_, restore) in VALUES.items()}
"""The way back, by the name in a backup."""

BUILT_IN: tuple[type, ...] = (
    *(VALUES.keys() | ATOMS),
    *(list, dict, set, frozenset, tuple, bytearray, BaseException),
)
"""Subclasses of these hold more than their attributes."""

FACTORIES: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        *(bool, int, float, complex, str, bytes, list, dict, set, tuple),
        *(deque, OrderedDict, Counter, defaultdict, SimpleNamespace),
    )
} | {"None": None}
"""What a defaultdict may make its values with; any other function must be there already."""

BIT_GENERATORS: dict[str, Any] = {
    kind.__name__: kind for kind in (PCG64, PCG64DXSM, MT19937, Philox, SFC64)
}
_MOST_SEEDS = 100_000
"""No sequence of seeds is that long: each takes time that a backup could claim."""


@dataclass(frozen=True)
class Kind:
    """How objects of one class are taken apart, made and filled."""

    name: str
    body: Callable[[Any], Any]
    make: Callable[[Any], Any]
    fill: Callable[[Any, Any], Any]
    head: Callable[[Any], Any] = lambda _: None


def _pairs(value: dict[Any, Any]) -> tuple[Any, ...]:
    """Keys and values in turn."""
    return tuple(chain.from_iterable(value.items()))


def checked_keys(keys: tuple[Any, ...]) -> tuple[Any, ...]:
    """Keys or elements from a backup; ValueError for those that only an attack has."""
    if keys_collide(keys):
        raise ValueError("many keys hash alike")
    return keys


def _fill_dict(target: dict[Any, Any], body: tuple[Any, ...]) -> None:
    checked_keys(body[::2])
    target.clear()
    # Not as pairs: those a Counter would count.
    target.update(dict(zip(body[::2], body[1::2], strict=True)))


def _fill_items(target: Any, body: tuple[Any, ...]) -> None:
    target.clear()
    target.extend(body)


def _fill_set(target: set[Any], body: tuple[Any, ...]) -> None:
    checked_keys(body)
    target.clear()
    target.update(body)


def _fill_buffer(target: Any, body: tuple[Any, int]) -> None:
    target.seek(0)
    target.truncate()
    target.write(body[0])
    target.seek(body[1])


def _factory_name(value: defaultdict[Any, Any]) -> str | None:
    """The name of a factory that can be found again; None for any other."""
    factory = value.default_factory
    return next((name for name, known in FACTORIES.items() if known is factory), None)


def _seed_parts(seeds: Any) -> Any:
    if type(seeds) is not np.random.SeedSequence:
        return None
    entropy = seeds.entropy
    if isinstance(entropy, list | tuple | np.ndarray):
        entropy = tuple(int(word) for word in entropy)
    return (entropy, seeds.spawn_key, seeds.pool_size, seeds.n_children_spawned)


def _seeds(parts: Any) -> Any:
    if parts is None:
        return None
    entropy, spawn_key, pool_size, spawned = parts
    if pool_size > _MOST_SEEDS:
        raise ValueError(f"a pool of {pool_size} seeds is none of a generator's")
    return np.random.SeedSequence(
        entropy, spawn_key=spawn_key, pool_size=pool_size, n_children_spawned=spawned
    )


def _bits(value: Any) -> tuple[str, Any]:
    return type(value).__name__, _seed_parts(value.seed_seq)


def _make_bits(head: tuple[str, Any]) -> Any:
    return BIT_GENERATORS[head[0]](_seeds(head[1]))


def _fill_bits(target: Any, body: tuple[Any, int]) -> None:
    state, spawned = body
    check_state(state)
    target.state = state
    if type(target.seed_seq) is np.random.SeedSequence:
        _spawn(target.seed_seq, spawned)


def _bits_body(value: Any) -> tuple[Any, int]:
    seeds = value.seed_seq
    return value.state, getattr(seeds, "n_children_spawned", 0)


def check_state(state: Any) -> None:
    """Raise for positions of a bit generator with which numpy would read behind its buffer."""
    if not (0 <= state.get("buffer_pos", 0) <= 4 and 0 <= state["state"].get("pos", 0) <= 624):
        raise ValueError("a position is out of range")


def _fill_random_state(target: Any, body: dict[str, Any]) -> None:
    check_state(body)
    target.set_state(body)


def _spawn(seeds: Any, spawned: int) -> None:
    """Let a sequence that has spawned fewer children catch up."""
    if spawned - seeds.n_children_spawned > _MOST_SEEDS:
        raise ValueError(f"{spawned} children of a sequence of seeds cannot be made again")
    seeds.spawn(max(0, spawned - seeds.n_children_spawned))


KINDS: dict[type, Kind] = {
    list: Kind("list", tuple, lambda _: [], _fill_items),
    dict: Kind("dict", _pairs, lambda _: {}, _fill_dict),
    set: Kind("set", tuple, lambda _: set(), _fill_set),
    deque: Kind("deque", tuple, lambda most: deque(maxlen=most), _fill_items, lambda d: d.maxlen),
    OrderedDict: Kind("OrderedDict", _pairs, lambda _: OrderedDict(), _fill_dict),
    Counter: Kind("Counter", _pairs, lambda _: Counter(), _fill_dict),
    defaultdict: Kind(
        "defaultdict",
        _pairs,
        lambda name: defaultdict(FACTORIES[name]),
        _fill_dict,
        _factory_name,
    ),
    SimpleNamespace: Kind(
        "SimpleNamespace",
        lambda n: _pairs(vars(n)),
        lambda _: SimpleNamespace(),
        lambda n, body: _fill_dict(vars(n), body),
    ),
    bytearray: Kind(
        "bytearray", bytes, lambda _: bytearray(), lambda b, body: b.__setitem__(slice(None), body)
    ),
    array: Kind(
        "array.array",
        bytes,
        array,
        lambda a, body: a.__setitem__(slice(None), array(a.typecode, body)),
        lambda a: a.typecode,
    ),
    io.StringIO: Kind(
        "StringIO", lambda s: (s.getvalue(), s.tell()), lambda _: io.StringIO(), _fill_buffer
    ),
    io.BytesIO: Kind(
        "BytesIO", lambda s: (s.getvalue(), s.tell()), lambda _: io.BytesIO(), _fill_buffer
    ),
    random.Random: Kind(
        "Random",
        random.Random.getstate,
        lambda _: random.Random(0),  # noqa: S311 - the user's own generator, which gets its state
        random.Random.setstate,
    ),
    np.random.SeedSequence: Kind(
        "SeedSequence", lambda s: s.n_children_spawned, _seeds, _spawn, _seed_parts
    ),
    np.random.Generator: Kind(
        "Generator",
        lambda g: _bits_body(g.bit_generator),
        lambda head: np.random.Generator(_make_bits(head)),
        lambda g, body: _fill_bits(g.bit_generator, body),
        lambda g: _bits(g.bit_generator),
    ),
    np.random.RandomState: Kind(
        "RandomState",
        lambda r: r.get_state(legacy=False),
        lambda name: np.random.RandomState(BIT_GENERATORS[name](0)),
        _fill_random_state,
        lambda r: r.get_state(legacy=False)["bit_generator"],
    ),
    **{
        kind: Kind(name, _bits_body, _make_bits, _fill_bits, _bits)
        for name, kind in BIT_GENERATORS.items()
    },
}

KINDS_BY_NAME = {kind.name: (cls, kind) for cls, kind in KINDS.items()}


def name_of(kind: Any) -> str:
    """A class's or function's module and name."""
    return f"{kind.__module__}:{kind.__qualname__}"


def short(name: str) -> str:
    """A name without its module."""
    return name.partition(":")[2]


def identity(value: Any) -> str:
    """What a thing that stays as it is must agree in: a function's name, or a class's."""
    return name_of(value if isinstance(value, FunctionType) else type(value))


def find(name: str) -> Any:
    """The user's own class or function of that name, if its module is loaded; None otherwise."""
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    if not isinstance(found, type | FunctionType) or name_of(found) != name:
        return None
    return found if is_users_own(found) else None


def is_users_own(kind: Any) -> bool:
    """Whether a class or function was written by the user: in a notebook, a script or a package.

    Those of the standard library and of installed packages were not.
    """
    module = str(kind.__module__)
    root = module.partition(".")[0]
    if root == "__main__":
        return True
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    installed = "site-packages" in file or "dist-packages" in file
    return root not in sys.stdlib_module_names and bool(file) and not installed
