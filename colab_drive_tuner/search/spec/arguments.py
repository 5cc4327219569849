"""Validation of a search's arguments, before anything is written."""

import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from numbers import Real
from pathlib import Path
from typing import Any

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.search.spec.space_values import constants_of, parameters_of
from colab_drive_tuner.training.trial import as_integer

BEGIN_AGAIN = (
    "To begin again, pass restart=True to resume_search; with fmin or minimize, call "
    "trials.delete_all() first."
)
"""End of messages about a search that cannot, or perhaps should not, be resumed."""

ALGORITHMS = ("rand", "tpe", "anneal", "atpe")
_DURATION = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?")


def whole_number(name: str, value: Any, *, least: int, most: int = sys.maxsize) -> int:
    """Return `value`, which may be numpy's, as an int; raise `UsageError` if it is out of range."""
    number = as_integer(name, value, least=least)
    if number > most:
        raise UsageError(f"{name} must be at most {most}, got {value!r}.")
    return number


def check_early_stop(function: Any) -> None:
    """Raise `UsageError` unless `early_stop_fn` is a function or None."""
    if function is not None and not callable(function):
        raise UsageError(f"early_stop_fn must be a function or None, got {function!r:.80}.")


def parse_duration(duration: float | str | timedelta | None) -> float | None:
    """Return the seconds in "11h30m", "90s", "90", 3600 or a timedelta; None for None.

    Raises `UsageError` for anything else, and unless the duration is positive and finite.
    """
    if duration is None:
        return None
    seconds = 0.0
    if isinstance(duration, timedelta):
        seconds = duration.total_seconds()
    elif isinstance(duration, int | float | Real) and not isinstance(duration, bool):  # or numpy's
        with suppress(OverflowError):
            seconds = float(duration)
    elif isinstance(duration, str) and duration.isdecimal():  # from a command line
        seconds = float(duration)
    elif isinstance(duration, str) and (match := _DURATION.fullmatch(duration.replace(" ", ""))):
        parts = [int(part or 0) for part in match.groups()]
        seconds = float(sum(n * unit for n, unit in zip(parts, (86400, 3600, 60, 1), strict=True)))
    if not 0 < seconds < float("inf"):
        raise UsageError(f"max_time must be a time such as '11h30m', or seconds, got {duration!r}.")
    return seconds


def find_algorithm(algo: str | Callable[..., Any]) -> Callable[..., Any]:
    """Return the suggest function that `algo` names or is."""
    if callable(algo):
        return algo
    if algo not in ALGORITHMS:
        raise UsageError(
            f"algo must be one of {', '.join(map(repr, ALGORITHMS))}, or a suggest function, "
            f"got {algo!r}."
        )
    suggest: Callable[..., Any] = import_module(f"hyperopt.{algo}").suggest
    return suggest


def real_number(name: str, value: Any) -> float | None:
    """Return `value`, which may be a Decimal or Fraction, as a float; None for None.

    Raises `UsageError` for NaN, which cannot be compared, and for values that are not numbers.
    """
    if value is None:
        return None
    number = float("nan")
    if not isinstance(value, bool) and isinstance(value, Real | Decimal):
        with suppress(OverflowError, ValueError):
            number = float(value)
    if math.isnan(number):
        raise UsageError(f"{name} must be a number or None, got {value!r}.")
    return number


def check_save_file(path: Any) -> str:
    """Return the argument `trials_save_file` as text; raise `UsageError` if it is not writable."""
    try:
        name = os.fsdecode(path or "")
    except TypeError:
        raise UsageError(f"trials_save_file must be a path, got {path!r:.60}.") from None
    if name and (Path(name).is_dir() or not Path(name).parent.is_dir()):
        raise UsageError(f"trials_save_file must be a file in an existing folder, got {name!r}.")
    return name


_MAX_COUNTED = 2**28
"""Largest range of a `randint` for algorithms that count each integer of it: 2 GiB of counts."""


def check_ranges(space: Any, algo: Callable[..., Any], max_evals: int) -> None:
    """Raise `UsageError` if `algo` will fail on a range once the first, random trials have ended.

    hyperopt's TPE fails on each range that is an expression, its annealing on an `hp.randint`.
    Both hold an array with a count for each integer of an `hp.randint`.
    """
    from colab_drive_tuner.search.spec.fingerprints import describe_algorithm

    name = describe_algorithm(algo).partition("(")[0]
    if name not in ("tpe", "anneal"):
        return
    settings = getattr(algo, "keywords", {})
    if max_evals <= (settings.get("n_startup_jobs", 20) if name == "tpe" else 1):
        return
    for label, node in parameters_of(space).items():
        draw = node.pos_args[1]
        fails = draw.name == "randint" if name == "anneal" else draw.name != "categorical"
        if fails and any(argument.name != "literal" for argument in draw.inputs()):
            raise UsageError(
                f"algo={name!r} fails on the range of {label!r}, which is not made of numbers "
                "alone: pass algo='rand', or scale in the objective, such as upper * share with "
                "hp.uniform('share', 0, 1)."
            )
        if draw.name == "randint" and _size(draw) > _MAX_COUNTED:
            raise UsageError(
                f"algo={name!r} needs {8 * _size(draw) / 1e9:.0f} GB of memory for the range of "
                f"{label!r}, because it counts each integer: use hp.uniformint, which draws "
                "integers too, or pass algo='rand'."
            )


def _size(randint: Any) -> int:
    """Return the number of integers in the range of a `randint`."""
    low, high = (0, *(argument.obj for argument in randint.inputs()))[-2:]
    return abs(int(high) - int(low))  # as keywords, `high` comes first


_OTHER_TOOLS = ("ConfigSpace.", "keras_tuner.", "optuna.", "ray.tune.", "scipy.stats.", "skopt.")
"""Beginnings of the modules that define other tools' distributions."""


def check_space(space: Any, *, duplicate: type[Exception] = UsageError) -> None:
    """Raise `UsageError` if hyperopt cannot draw from the space, `duplicate` for equal labels.

    Also for a distribution of another tool, or an iterator, which every trial would receive as is.
    """
    from hyperopt.base import Domain, DuplicateLabel

    from colab_drive_tuner.templates.fresh_options import try_sampling

    shown, at = f"{space!r:.60}", ""
    try:
        Domain(None, space)
        for label, node in parameters_of(space).items():
            shown, at = "", f" (at {label!r})"
            try_sampling(node)
    except DuplicateLabel as error:
        raise duplicate(
            f"space= has two hyperparameters named {str(error)!r}: give one of them another name."
        ) from error
    except Exception as error:
        why = "there is nothing in it to choose" if isinstance(error, IndexError) else error
        raise UsageError(
            f"space={shown} cannot be searched{at}: {why}. A space is made of hyperopt's "
            "expressions, such as {'x': hp.uniform('x', 0, 1)}."
        ) from error
    for path, value in constants_of(space):
        modules = (f"{kind.__module__}." for kind in type(value).__mro__)
        if isinstance(value, Iterator) or any(name.startswith(_OTHER_TOOLS) for name in modules):
            key = path[-1] if path else "x"
            raise UsageError(
                f"{key!r} in space= is {value!r:.80}, which hyperopt takes for a constant: every "
                f"trial would receive this object. Write hp.uniform({key!r}, low, high), "
                f"hp.loguniform({key!r}, log(low), log(high)), hp.uniformint({key!r}, low, high), "
                f"hp.normal({key!r}, mean, deviation) or hp.choice({key!r}, [...])."
            )
