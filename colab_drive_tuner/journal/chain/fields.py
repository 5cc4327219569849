"""Validation of untrusted fields: each function returns the value or raises an error naming it.

The errors are KeyError, TypeError and ValueError; `decoding` turns them into `SearchDamagedError`.
"""

import contextlib
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from enum import StrEnum
from functools import cache, partial
from types import NoneType
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

import msgpack

from colab_drive_tuner.errors import SearchDamagedError
from colab_drive_tuner.store.protocol import LATEST_TIME

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
MAX_COUNT = 2**64 - 1
"""Upper limit of any count."""
FILE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SHA = re.compile(r"[0-9a-f]{64}")


@contextlib.contextmanager
def decoding(what: str) -> Iterator[None]:
    """Turn the errors of msgpack, zlib and the checks here into `SearchDamagedError`."""
    try:
        yield
    except (
        KeyError,
        ValueError,
        TypeError,  # a list or a map as a map's key
        OverflowError,
        RecursionError,
        MemoryError,
        msgpack.UnpackException,
        zlib.error,
    ) as error:
        raise SearchDamagedError(f"{what} cannot be decoded: {error!r:.200}.") from error


def typed(value: Any, kind: type[T]) -> T:
    """Check that the value is of exactly this type."""
    if type(value) is not kind:
        raise TypeError(f"{value!r:.60} should be of type {kind.__name__}")
    return value


def whole(value: Any, most: int = MAX_COUNT) -> int:
    """Check an integer from 0 to `most`."""
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r:.60} should be an integer from 0 to {most}")
    return value


def duration(value: Any) -> float:
    """Check a finite number of seconds, 0 or more."""
    if type(value) is not float or not 0 <= value <= MAX_COUNT:
        raise ValueError(f"{value!r:.60} should be a number of seconds")
    return value


def moment(value: Any) -> float:
    """Check a time in seconds since 1970 that a date can show."""
    if type(value) is not float or not 0 <= value <= LATEST_TIME:
        raise ValueError(f"{value!r:.60} is not a possible time")
    return value


def file_id(value: Any) -> str:
    """Check a string that can be a file's id in a store."""
    if type(value) is not str or not FILE_ID.fullmatch(value):
        raise ValueError(f"{value!r:.60} is not a file's id")
    return value


def file_ids(value: Any) -> tuple[str, ...]:
    """Check a list of file ids; return a tuple."""
    return tuple(map(file_id, typed(value, list)))


def sha256_hex(value: Any) -> str:
    """Check a sha256 in hexadecimal digits."""
    if type(value) is not str or not _SHA.fullmatch(value):
        raise ValueError(f"{value!r:.60} is not a sha256")
    return value


def one_of(kind: type[E], value: Any) -> E:
    """Return the enum member with this value."""
    try:
        return kind(typed(value, str))
    except (TypeError, ValueError):
        raise ValueError(f"{value!r:.60} is unknown here") from None


def load(kind: type[T], values: Any) -> T:
    """Build a dataclass from a map, checking each field as its annotation says.

    A missing field gets its default; other keys of the map are ignored.
    """
    fields = typed(values, dict)
    checks = _checks(cast(Any, kind)).items()
    return kind(**{name: check(fields[name]) for name, check in checks if name in fields})


def load_row(kind: type[T], values: Any) -> T:
    """Build a dataclass from the list of its fields, as `load` does; the last ones may be missing.

    Raises TypeError or ValueError.
    """
    row, checks = typed(values, list), _checks(cast(Any, kind)).values()
    return kind(*[check(value) for check, value in zip(checks, row, strict=False)])


@cache
def _checks(kind: Any) -> dict[str, Callable[[Any], Any]]:
    return {name: _check(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}


def _check(hint: Any) -> Callable[[Any], Any]:
    """Return the check for a field's annotation; `Annotated` contains it."""
    if get_origin(hint) is Annotated:
        check: Callable[[Any], Any] = get_args(hint)[1]
        return check
    if NoneType in get_args(hint):
        inner = _check(next(one for one in get_args(hint) if one is not NoneType))
        return lambda value: None if value is None else inner(value)
    if is_dataclass(hint):
        return partial(load, cast(Any, hint))
    if issubclass(hint, StrEnum):
        return partial(one_of, hint)
    return whole if hint is int else lambda value: typed(value, hint)
