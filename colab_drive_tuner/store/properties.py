"""Values in the properties of files: texts that anybody with access may have set.

Each function reads one kind, and raises ValueError for what no writer of ours can have meant.
"""

import math
from collections.abc import Mapping

LATEST = 253_402_300_799.0
"""The end of the year 9999, in seconds since 1970: what a date can show."""
_LARGEST = 2**53
_CLOCKS_DIFFER = 60.0


def read_number(properties: Mapping[str, str], key: str) -> float:
    """A finite number."""
    number = float(properties.get(key, ""))
    if not math.isfinite(number):
        raise ValueError(f"property {key} is not a finite number")
    return number


def read_count(properties: Mapping[str, str], key: str) -> int:
    """A number of things, 0 or more."""
    count = int(properties.get(key, ""))
    if not 0 <= count <= _LARGEST:
        raise ValueError(f"property {key} is not a count")
    return count


def read_time(properties: Mapping[str, str], key: str, now: float | None = None) -> float:
    """Seconds since 1970; given the present time by the same clock, not later than that."""
    seconds = read_number(properties, key)
    if not 0 <= seconds <= (LATEST if now is None else now + _CLOCKS_DIFFER):
        raise ValueError(f"property {key} is not a possible time")
    return seconds
