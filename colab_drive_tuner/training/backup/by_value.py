"""Values that cannot change: each is saved as what it is made of and made anew."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

Kind = tuple[str, Callable[[Any], Any], Callable[[Any], Any]]
"""Its name in a backup, a function to plain data, and one back."""

ATOMS = frozenset({type(None), bool, float, bytes})
"""What is written as it is; an int or a str is only if msgpack has room for it."""


def is_text(value: str) -> bool:
    """Whether a string is valid UTF-8: a file name need not be."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _zone(value: datetime | time) -> Any:
    zone = value.tzinfo
    if zone is None:
        return None
    if isinstance(zone, ZoneInfo) and zone.key:
        return zone.key
    if type(zone) is timezone:
        return zone.utcoffset(None)
    return zone  # cannot be saved, and will be named


def _set_zone(value: Any, zone: Any, fold: int) -> Any:
    made = ZoneInfo(zone) if isinstance(zone, str) else timezone(zone) if zone is not None else None
    return value.replace(tzinfo=made, fold=fold)


def _from_moment(parts: tuple[str, Any, int], kind: type[datetime] | type[time]) -> Any:
    text, zone, fold = parts
    return _set_zone(kind.fromisoformat(text), zone, fold)


def _moment(value: datetime | time) -> tuple[str, Any, int]:
    return value.replace(tzinfo=None).isoformat(), _zone(value), value.fold


KINDS: dict[type, Kind] = {
    int: ("int", hex, lambda text: int(text, 16)),
    str: (
        "str",
        lambda text: text.encode("utf-8", "surrogatepass"),
        lambda data: data.decode("utf-8", "surrogatepass"),
    ),
    complex: ("complex", lambda z: (z.real, z.imag), lambda parts: complex(*parts)),
    range: ("range", lambda r: (r.start, r.stop, r.step), lambda parts: range(*parts)),
    slice: ("slice", lambda s: (s.start, s.stop, s.step), lambda parts: slice(*parts)),
    datetime: ("datetime", _moment, lambda parts: _from_moment(parts, datetime)),
    time: ("time", _moment, lambda parts: _from_moment(parts, time)),
    date: ("date", date.isoformat, date.fromisoformat),
    timedelta: (
        "timedelta",
        lambda d: (d.days, d.seconds, d.microseconds),
        lambda parts: timedelta(*parts),
    ),
    timezone: ("timezone", lambda zone: zone.utcoffset(None), timezone),
    Decimal: ("Decimal", str, Decimal),
    Fraction: ("Fraction", lambda f: (f.numerator, f.denominator), lambda parts: Fraction(*parts)),
    UUID: ("UUID", lambda u: u.bytes, lambda data: UUID(bytes=data)),
    type(Path()): ("Path", str, Path),
    PurePosixPath: ("PurePosixPath", str, PurePosixPath),
    PureWindowsPath: ("PureWindowsPath", str, PureWindowsPath),
}

BY_NAME = {name: restore for name, _, restore in KINDS.values()}
"""The way back, by the name in a backup."""

BUILT_IN: tuple[type, ...] = (
    *KINDS,
    *(list, dict, set, frozenset, tuple, bytes, bytearray, float, BaseException),
)
"""Subclasses of these hold more than their attributes."""
