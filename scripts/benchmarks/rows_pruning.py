"""Rows about pruning: epochs until a loss is reached, with and without, and by other tools."""

import hashlib
import json
import math
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import HERE, Effort, Row, child

MAIN = "median"
"""The rule that `Pruner()` has by default."""
EPOCHS = 27
"""The epochs of a whole training."""


def pruning(effort: Effort) -> Iterator[Row]:
    """Searches on the curves of two spaces, in which each configuration was trained once."""
    seeds, trials = effort.trials(30, 1), effort.trials(30, 10)
    for name, what in (("digits", "CNN of the digits"), ("text", "docstrings by package")):
        curves = recorded(name)
        found = child("pruning.races", name=name, curves=curves, seeds=seeds, trials=trials)
        base = found["unpruned"]
        shares = {way: _median_share(needed, base) for way, needed in found.items()}
        share = shares[MAIN]
        others = "; ".join(
            f"{way} {_percent(shares[way])}{_missed(found[way])}"
            for way in found
            if way not in ("unpruned", MAIN)
        )
        yield Row(
            f"epochs to reach the best loss of the unpruned search, {what}, {MAIN}",
            "≤ 50 % at the median seed",
            f"{_percent(share)}{_missed(found[MAIN])}",
            share <= 0.5,
            f"{seeds} seeds; {len(curves)} configurations of {EPOCHS} epochs, each trained once; "
            f"unpruned, {trials} trials: {statistics.median(base):.0f} epochs; {others}",
        )


def recorded(name: str) -> list[list[float]]:
    """Return the curves; train them unless this machine has those of the same code."""
    code = (HERE / "curves.py").read_bytes()
    digest = hashlib.sha256(code).hexdigest()[:16]
    kept = Path(tempfile.gettempdir()) / f"colab-drive-tuner-curves-{name}-{digest}.json"
    if not kept.exists():
        kept.write_text(json.dumps(child("curves.train", name=name, epochs=EPOCHS)))
    curves: list[list[float]] = json.loads(kept.read_text())
    return curves


def _median_share(needed: list[float], base: list[float]) -> float:
    """Return the median over seeds of the needed epochs, as a share of the unpruned search's."""
    return statistics.median(one / whole for one, whole in zip(needed, base, strict=True))


def _percent(share: float) -> str:
    return "never" if math.isinf(share) else f"{share:.0%}"


def _missed(needed: list[Any]) -> str:
    missed = sum(map(math.isinf, needed))
    return f" (not reached by {missed})" if missed else ""
