"""What it costs to suggest points while trials are pending, and whether TPE should see those.

    python scripts/regret.py [--seeds 30] [--trials 100]

Trials take random times on `width` workers. Each suggestion sees the ends so far, and the pending
trials either counted as hyperopt counts them (infinitely bad) or hidden. Printed: the median over
seeds of the best loss above the optimum, and its quartiles, at equal numbers of trials.
"""

import argparse
import heapq
import math
import sys
from collections.abc import Callable
from typing import Any

import hyperopt
import numpy as np
from hyperopt import hp, tpe
from hyperopt.base import Domain

from colab_drive_tuner.search.tpe import fast_algorithm

_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
_C = np.array([1.0, 1.2, 3.0, 3.2])


def branin(point: dict[str, float]) -> float:
    """Two parameters, three optima; above the optimum."""
    x, y = point["x"], point["y"]
    bow = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return bow + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887


def hartmann6(point: dict[str, float]) -> float:
    """Six parameters, one optimum; above the optimum."""
    x = np.array([point[f"x{n}"] for n in range(6)])
    return float(3.32237 - _C @ np.exp(-(_A * (x - _P) ** 2).sum(axis=1)))


PROBLEMS: dict[str, tuple[Callable[[Any], float], dict[str, Any]]] = {
    "branin": (branin, {"x": hp.uniform("x", -5, 10), "y": hp.uniform("y", 0, 15)}),
    "hartmann6": (hartmann6, {f"x{n}": hp.uniform(f"x{n}", 0, 1) for n in range(6)}),
}


def regret(problem: str, width: int, seed: int, count: int, *, hidden: bool) -> float:
    """The best loss after `count` trials, `width` at once."""
    objective, space = PROBLEMS[problem]
    domain, algo = Domain(objective, space), fast_algorithm(tpe.suggest)
    seeds, times = np.random.default_rng(seed), np.random.default_rng(seed + 10_000)
    trials = hyperopt.Trials()
    running: list[tuple[float, int, dict[str, Any]]] = []
    now, best = 0.0, math.inf
    for tid in range(count):
        if len(running) == width:
            now, _, document = heapq.heappop(running)
            best = min(best, _end(objective, document))
        seen = trials
        if hidden:
            seen = hyperopt.Trials(refresh=False)
            seen._dynamic_trials = [d for d in trials._dynamic_trials if d["state"] == 2]
            seen.refresh()
        (document,) = algo([tid], domain, seen, seeds.integers(2**31 - 1))
        document["state"] = 1
        trials._dynamic_trials.append(document)
        trials.refresh()
        heapq.heappush(running, (now + times.lognormal(0, 0.5), tid, document))
    return min([best, *(_end(objective, document) for _, _, document in running)])


def _end(objective: Callable[[Any], float], document: dict[str, Any]) -> float:
    loss = objective({label: given[0] for label, given in document["misc"]["vals"].items()})
    document |= {"state": 2, "result": {"status": "ok", "loss": loss}}
    return loss


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trials", type=int, default=100)
    given = parser.parse_args()
    sys.stdout.write("| problem | width | pending trials | median regret | quartiles |\n")
    sys.stdout.write("|---|---|---|---|---|\n")
    for problem in PROBLEMS:
        for width, hidden in ((1, False), (4, False), (4, True), (16, False), (16, True)):
            found = [
                regret(problem, width, seed, given.trials, hidden=hidden)
                for seed in range(given.seeds)
            ]
            low, middle, high = np.quantile(found, [0.25, 0.5, 0.75])
            how = "" if width == 1 else "hidden" if hidden else "counted"
            line = f"| {problem} | {width} | {how} | {middle:.3g} | {low:.3g} to {high:.3g} |\n"
            sys.stdout.write(line)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
