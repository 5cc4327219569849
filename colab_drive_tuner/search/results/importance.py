"""Importance of parameters: the share of the losses' spread that each one explains by itself."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from colab_drive_tuner.search.trial_documents import float_of
from colab_drive_tuner.text import text_of

MIN_TRIALS = 10
"""With fewer trials, an order of parameters is meaningless."""


def parameter_importance(
    parameters: Sequence[str], trials: Sequence[tuple[Mapping[str, Any], float]]
) -> dict[str, float]:
    """Return the share of the losses' variance that each parameter explains, largest first.

    Losses count by their rank. Trials are grouped by the parameter's value (numbers in groups of
    equal size), and the importance is the variance between groups beyond what chance explains.

    Args:
        parameters: The parameters' names.
        trials: Parameters and loss of each trial that has a loss.

    Returns:
        Importance by name; empty if fewer than `MIN_TRIALS` trials have a loss.
    """
    if len(trials) < MIN_TRIALS:
        return {}
    order = sorted(range(len(trials)), key=lambda index: trials[index][1])
    ranks = {index: float(rank) for rank, index in enumerate(order)}
    found = {}
    for name in parameters:
        pairs = [
            (values[name], ranks[index])
            for index, (values, _) in enumerate(trials)
            if name in values
        ]
        found[name] = _explained_share(pairs) * len(pairs) / len(trials)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def is_number(value: Any) -> bool:
    """Return whether a parameter's value can be placed on an axis."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    number = float_of(value)  # None for an integer too large for a float
    return number is not None and math.isfinite(number)


def _explained_share(pairs: Sequence[tuple[Any, float]]) -> float:
    """Return the share of the ranks' variance that groups of equal values explain beyond chance."""
    groups: dict[object, list[float]] = {}
    if all(is_number(value) for value, _ in pairs) and len({value for value, _ in pairs}) > 10:
        ordered = sorted(pairs, key=lambda pair: pair[0])
        count = max(2, min(10, round(math.sqrt(len(pairs)) / 1.5)))
        for index, (_, rank) in enumerate(ordered):
            groups.setdefault(index * count // len(ordered), []).append(rank)
    else:
        for value, rank in pairs:
            groups.setdefault((type(value), text_of(value)), []).append(rank)
    spread = len(pairs) - len(groups)
    if len(groups) < 2 or spread < 1:
        return 0.0
    mean = sum(rank for _, rank in pairs) / len(pairs)
    whole = sum((rank - mean) ** 2 for _, rank in pairs)
    within = 0.0
    for ranks in groups.values():
        middle = sum(ranks) / len(ranks)
        within += sum((rank - middle) ** 2 for rank in ranks)
    return max(0.0, 1.0 - (within / spread) / (whole / (len(pairs) - 1))) if whole else 0.0
