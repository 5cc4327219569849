"""Dates, times and time zones as bytes, checked by their own constructors on the way back."""

import re
import struct
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

_DATETIME = struct.Struct("<HBBBBBIB")
_DATE = struct.Struct("<HBB")
_TIMEDELTA = struct.Struct("<iii")
_MICROSECOND = timedelta(microseconds=1)
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]{1,40}(?:/[A-Za-z0-9_+-]{1,40}){0,3}")


def write_datetime(moment: datetime) -> bytes:
    """Every field of a datetime, and its time zone; ValueError for a zone of unknown type."""
    fields = _DATETIME.pack(
        moment.year,
        moment.month,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
        moment.microsecond,
        moment.fold,
    )
    return fields if moment.tzinfo is None else fields + _write_zone(moment.tzinfo)


def read_datetime(data: bytes) -> datetime:
    """The inverse of `write_datetime`; ValueError or struct.error for other bytes."""
    head = data[: _DATETIME.size]
    year, month, day, hour, minute, second, microsecond, fold = _DATETIME.unpack(head)
    zone = _read_zone(data[_DATETIME.size :]) if len(data) > _DATETIME.size else None
    return datetime(year, month, day, hour, minute, second, microsecond, zone, fold=fold)


def _write_zone(zone: tzinfo) -> bytes:
    if zone is UTC:
        return b"u"
    if type(zone) is timezone:
        # Not in the stubs: what pickle asks, which tells a name that was given from a made one.
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        text = "".join(f"={n}" for n in name)
        return f"o{offset // _MICROSECOND}{text}".encode("utf-8", "surrogatepass")
    if type(zone) is ZoneInfo and zone.key is not None and _ZONE_KEY.fullmatch(zone.key):
        return b"z" + zone.key.encode()
    raise ValueError(
        f"its time zone is a {type(zone).__qualname__}; use `.astimezone(datetime.timezone.utc)`"
    )


def _read_zone(data: bytes) -> tzinfo:
    kind, text = data[:1], data[1:].decode("utf-8", "surrogatepass")
    if kind == b"u" and not text:
        return UTC
    if kind == b"o":
        microseconds, named, name = text.partition("=")
        if not re.fullmatch(r"-?[0-9]{1,12}", microseconds):
            raise ValueError("a time zone has no proper offset")
        offset = int(microseconds) * _MICROSECOND
        return timezone(offset, name) if named else timezone(offset)
    if kind == b"z":
        return find_zone(text)
    raise ValueError("a time zone is written in an unknown way")


def find_zone(key: str) -> ZoneInfo:
    """The time zone of that name; ValueError if it cannot be one, or this machine lacks it."""
    if not _ZONE_KEY.fullmatch(key):
        raise ValueError("a time zone has no proper name")
    try:
        return ZoneInfo(key)
    except (KeyError, OSError) as error:
        message = f"this machine knows no time zone {key!r}; `pip install tzdata` brings them"
        raise ValueError(message) from error


def write_date(day: date) -> bytes:
    """A date's year, month and day."""
    return _DATE.pack(day.year, day.month, day.day)


def read_date(data: bytes) -> date:
    """The inverse of `write_date`; ValueError or struct.error for other bytes."""
    return date(*_DATE.unpack(data))


def write_timedelta(span: timedelta) -> bytes:
    """A timedelta's days, seconds and microseconds."""
    return _TIMEDELTA.pack(span.days, span.seconds, span.microseconds)


def read_timedelta(data: bytes) -> timedelta:
    """The inverse of `write_timedelta`; ValueError or struct.error for other bytes."""
    days, seconds, microseconds = _TIMEDELTA.unpack(data)
    return timedelta(days, seconds, microseconds)
