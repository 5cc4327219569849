"""Types that a backup can save besides plain data.

Immutable values are saved as their constructor arguments. Containers and random generators are
saved as constructor arguments and a state, which can also be set on an existing object.
"""

import io
import random
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timezone
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np

from colab_drive_tuner.checkpoint.codec.plain_data import ATOMS, keys_collide
from colab_drive_tuner.training.seeding import BIT_GENERATORS, check_generator_state

IMMUTABLE_TYPES: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
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
"""Immutable types: a function to plain data, and one back."""

IMMUTABLE_TYPES_BY_NAME = {kind.__name__: restore for kind, (_, restore) in IMMUTABLE_TYPES.items()}
"""The function back from plain data, by the name in a backup."""

BUILTIN_TYPES: tuple[type, ...] = (
    *(IMMUTABLE_TYPES.keys() | ATOMS),
    *(list, dict, set, frozenset, tuple, bytearray, BaseException),
)
"""Types whose subclasses hold more than their attributes, so they cannot be saved as objects."""

FACTORIES: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        *(bool, int, float, complex, str, bytes, list, dict, set, tuple),
        *(deque, OrderedDict, Counter, defaultdict, SimpleNamespace),
    )
} | {"None": None}
"""Supported factories of a defaultdict; one with another factory is only restored in place."""

_MAX_SEEDS = 100_000
"""Limit of a SeedSequence's pool and children: each costs time, and a backup is untrusted."""


@dataclass(frozen=True)
class MutableType:
    """Functions that save and restore the objects of one class."""

    state: Callable[[Any], Any]
    set_state: Callable[[Any, Any], Any]
    create: Callable[[Any], Any] | None = None
    """Creates an object from `args(original)`; None: the class does, without arguments."""
    args: Callable[[Any], Any] = lambda _: None


def _pairs(value: dict[Any, Any]) -> tuple[Any, ...]:
    """Return keys and values, alternating."""
    return tuple(chain.from_iterable(value.items()))


def checked_keys(keys: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return keys or elements from a backup; raise ValueError for a hash-collision attack."""
    if keys_collide(keys):
        raise ValueError("many keys hash alike")
    return keys


def _set_pairs(target: dict[Any, Any], state: tuple[Any, ...]) -> None:
    checked_keys(state[::2])
    target.clear()
    # As a dict, because a Counter would count pairs.
    target.update(dict(zip(state[::2], state[1::2], strict=True)))


def _set_items(target: Any, state: tuple[Any, ...]) -> None:
    target.clear()
    target.extend(state)


def _set_elements(target: set[Any], state: tuple[Any, ...]) -> None:
    checked_keys(state)
    target.clear()
    target.update(state)


def _set_buffer(target: Any, state: tuple[Any, int]) -> None:
    target.seek(0)
    target.truncate()
    target.write(state[0])
    target.seek(state[1])


def _factory_name(value: defaultdict[Any, Any]) -> str | None:
    """Return the name of a supported factory; None for any other."""
    factory = value.default_factory
    return next((name for name, known in FACTORIES.items() if known is factory), None)


def _seed_sequence_args(seeds: Any) -> Any:
    if type(seeds) is not np.random.SeedSequence:
        return None
    entropy = seeds.entropy
    if isinstance(entropy, list | tuple | np.ndarray):
        entropy = tuple(int(word) for word in entropy)
    return (entropy, seeds.spawn_key, seeds.pool_size, seeds.n_children_spawned)


def _create_seed_sequence(args: Any) -> Any:
    if args is None:
        return None
    entropy, spawn_key, pool_size, spawned = args
    if pool_size > _MAX_SEEDS:
        raise ValueError(f"a pool of {pool_size} seeds is too large for a generator")
    return np.random.SeedSequence(
        entropy, spawn_key=spawn_key, pool_size=pool_size, n_children_spawned=spawned
    )


def _bit_generator_args(value: Any) -> tuple[str, Any]:
    return type(value).__name__, _seed_sequence_args(value.seed_seq)


def _create_bit_generator(args: tuple[str, Any]) -> Any:
    return BIT_GENERATORS[args[0]](_create_seed_sequence(args[1]))


def _bit_generator_state(value: Any) -> tuple[Any, int]:
    return value.state, getattr(value.seed_seq, "n_children_spawned", 0)


def _set_bit_generator(target: Any, state_and_spawned: tuple[Any, int]) -> None:
    state, spawned = state_and_spawned
    check_generator_state(state)
    target.state = state
    if type(target.seed_seq) is np.random.SeedSequence:
        _spawn(target.seed_seq, spawned)


def _set_random_state(target: Any, state: dict[str, Any]) -> None:
    check_generator_state(state)
    target.set_state(state)


def _spawn(seeds: Any, spawned: int) -> None:
    """Spawn children until `spawned` exist."""
    if spawned - seeds.n_children_spawned > _MAX_SEEDS:
        raise ValueError(f"{spawned} children of a sequence of seeds are too many")
    seeds.spawn(max(0, spawned - seeds.n_children_spawned))


MUTABLE_TYPES: dict[type, MutableType] = {
    list: MutableType(tuple, _set_items),
    dict: MutableType(_pairs, _set_pairs),
    set: MutableType(tuple, _set_elements),
    deque: MutableType(tuple, _set_items, lambda most: deque(maxlen=most), lambda d: d.maxlen),
    OrderedDict: MutableType(_pairs, _set_pairs),
    Counter: MutableType(_pairs, _set_pairs),
    defaultdict: MutableType(
        _pairs, _set_pairs, lambda name: defaultdict(FACTORIES[name]), _factory_name
    ),
    SimpleNamespace: MutableType(
        lambda n: _pairs(vars(n)), lambda n, state: _set_pairs(vars(n), state)
    ),
    bytearray: MutableType(bytes, lambda b, state: b.__setitem__(slice(None), state)),
    array: MutableType(
        bytes,
        lambda a, state: a.__setitem__(slice(None), array(a.typecode, state)),
        array,
        lambda a: a.typecode,
    ),
    io.StringIO: MutableType(lambda s: (s.getvalue(), s.tell()), _set_buffer),
    io.BytesIO: MutableType(lambda s: (s.getvalue(), s.tell()), _set_buffer),
    random.Random: MutableType(random.Random.getstate, random.Random.setstate),
    np.random.SeedSequence: MutableType(
        lambda s: s.n_children_spawned, _spawn, _create_seed_sequence, _seed_sequence_args
    ),
    np.random.Generator: MutableType(
        lambda g: _bit_generator_state(g.bit_generator),
        lambda g, state: _set_bit_generator(g.bit_generator, state),
        lambda args: np.random.Generator(_create_bit_generator(args)),
        lambda g: _bit_generator_args(g.bit_generator),
    ),
    np.random.RandomState: MutableType(
        lambda r: r.get_state(legacy=False),
        _set_random_state,
        lambda name: np.random.RandomState(BIT_GENERATORS[name](0)),
        lambda r: r.get_state(legacy=False)["bit_generator"],
    ),
    **dict.fromkeys(
        BIT_GENERATORS.values(),
        MutableType(
            _bit_generator_state, _set_bit_generator, _create_bit_generator, _bit_generator_args
        ),
    ),
}

MUTABLE_TYPES_BY_NAME = {cls.__name__: (cls, kind) for cls, kind in MUTABLE_TYPES.items()}
