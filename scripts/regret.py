"""Measure the cost of pending trials for TPE, and whether TPE should see them.

    python scripts/regret.py [--seeds 30] [--trials 100] [--write]

Trials take random times on `width` workers. Each suggestion sees the ended trials. Pending trials
are either counted as hyperopt does (infinitely bad) or hidden. The script prints the regret, which
is the best loss above the optimum, as median and quartiles over seeds, at equal numbers of trials.
`--write` writes the table into docs/cluster.md, and draws docs/regret.svg: the medians per trial.

Two problems are standard functions. The third is a small network that learns to read
scikit-learn's handwritten digits. Its optimum is the lowest loss of all runs.
"""

import argparse
import heapq
import math
import re
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import hyperopt
import numpy as np
from hyperopt import hp, tpe
from hyperopt.base import Domain

from colab_drive_tuner.search.algorithms.fast_algorithm import fast_algorithm
from colab_drive_tuner.search.results.svg_charts.svg import Canvas, Scale, short_numbers

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- measured by scripts/regret.py --write -->", "<!-- end of the measured part -->"
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
    """Branin's function minus its optimum: two parameters, three optima."""
    x, y = point["x"], point["y"]
    bow = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return bow + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887


def hartmann6(point: dict[str, float]) -> float:
    """Hartmann's function minus its optimum: six parameters, one optimum."""
    x = np.array([point[f"x{n}"] for n in range(6)])
    return float(3.32237 - _C @ np.exp(-(_A * (x - _P) ** 2).sum(axis=1)))


@cache
def _digits() -> tuple[Any, Any, Any, Any]:
    """Return 600 training images and 600 test images, with their digits."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))[:1200]
    images, labels = images[order] / 16.0, labels[order]
    return images[:600], labels[:600], images[600:], labels[600:]


def digits(point: dict[str, float]) -> float:
    """Test cross entropy of a network with one hidden layer after 3 epochs."""
    images, labels, unseen, expected = _digits()
    rng = np.random.default_rng(1)
    units = int(point["units"])
    layers = [
        rng.normal(0, point["scale"] / math.sqrt(rows), (rows, columns))
        for rows, columns in ((65, units), (units + 1, 10))
    ]
    speeds = [np.zeros_like(layer) for layer in layers]
    wanted = np.eye(10)[labels]
    for epoch in range(3):
        order = rng.permutation(len(images))
        rate = point["rate"] * point["decay"] ** epoch
        for batch in np.split(order, len(order) // 30):
            inputs, hidden, output = _read(images[batch], layers)
            error = (output - wanted[batch]) / len(batch)
            inner = (error @ layers[1][:-1].T) * (1 - hidden[:, :-1] ** 2)
            for at, slope in enumerate((inputs.T @ inner, hidden.T @ error)):
                pull = slope + point["weight_decay"] * layers[at]
                speeds[at] = point["momentum"] * speeds[at] - rate * pull
                layers[at] = layers[at] + speeds[at]
    chances = _read(unseen, layers)[2][np.arange(len(expected)), expected]
    return float(-np.log(np.maximum(chances, 1e-12)).mean())


def _read(images: Any, layers: list[Any]) -> tuple[Any, Any, Any]:
    """Return inputs and hidden layer, each with a constant, and the probability of each digit."""
    ones = np.ones((len(images), 1))
    inputs = np.hstack([images, ones])
    hidden = np.hstack([np.tanh(inputs @ layers[0]), ones])
    logits = hidden @ layers[1]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return inputs, hidden, powers / powers.sum(axis=1, keepdims=True)


PROBLEMS: dict[str, tuple[Callable[[Any], float], dict[str, Any]]] = {
    "branin": (branin, {"x": hp.uniform("x", -5, 10), "y": hp.uniform("y", 0, 15)}),
    "hartmann6": (hartmann6, {f"x{n}": hp.uniform(f"x{n}", 0, 1) for n in range(6)}),
    "digits": (
        digits,
        {
            "units": hp.quniform("units", 4, 48, 1),
            "rate": hp.loguniform("rate", math.log(1e-3), math.log(3)),
            "momentum": hp.uniform("momentum", 0, 0.99),
            "decay": hp.uniform("decay", 0.2, 1),
            "weight_decay": hp.loguniform("weight_decay", math.log(1e-6), math.log(0.1)),
            "scale": hp.loguniform("scale", math.log(0.03), math.log(3)),
        },
    ),
}


class Setting(NamedTuple):
    """Number of trials at once, and whether pending trials are hidden from TPE."""

    width: int
    hidden: bool

    @property
    def label(self) -> str:
        """The setting's name in the picture."""
        return f"{self.width} {'hidden' if self.hidden else 'counted'}" if self.width > 1 else "1"


SETTINGS = [
    Setting(1, False),
    Setting(4, False),
    Setting(4, True),
    Setting(16, False),
    Setting(16, True),
]
COLOURS = {1: "#444b5c", 4: "#2a78b5", 16: "#d1622b"}


def lowest_losses(problem: str, setting: Setting, count: int, seed: int) -> list[float]:
    """Return the best loss after each of `count` trials."""
    objective, space = PROBLEMS[problem]
    domain = Domain(objective, space)
    algo = fast_algorithm(tpe.suggest, domain)
    seeds, times = np.random.default_rng(seed), np.random.default_rng(seed + 10_000)
    trials = hyperopt.Trials()
    running: list[tuple[float, int, dict[str, Any]]] = []
    now = 0.0
    for tid in range(count):
        if len(running) == setting.width:
            now, _, document = heapq.heappop(running)
            _end(objective, document)
        seen = trials
        if setting.hidden:
            seen = hyperopt.Trials(refresh=False)
            seen._dynamic_trials = [d for d in trials._dynamic_trials if d["state"] == 2]
            seen.refresh()
        (document,) = algo([tid], domain, seen, seeds.integers(2**31 - 1))
        document["state"] = 1
        trials._dynamic_trials.append(document)
        trials.refresh()
        heapq.heappush(running, (now + times.lognormal(0, 0.5), tid, document))
    for _, _, document in running:
        _end(objective, document)
    losses = [document["result"]["loss"] for document in trials._dynamic_trials]
    return np.minimum.accumulate(losses).tolist()


def _end(objective: Callable[[Any], float], document: dict[str, Any]) -> None:
    loss = objective({label: given[0] for label, given in document["misc"]["vals"].items()})
    document |= {"state": 2, "result": {"status": "ok", "loss": loss}}


def measured(problem: str, seeds: int, count: int) -> dict[Setting, Any]:
    """Return, per setting, the regret of each seed (rows) after each trial (columns)."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        found = {
            setting: np.array(
                list(pool.map(partial(lowest_losses, problem, setting, count), range(seeds)))
            )
            for setting in SETTINGS
        }
    # The optimum of the two functions is known to be 0.
    optimum = min(losses.min() for losses in found.values()) if problem == "digits" else 0.0
    return {setting: losses - optimum for setting, losses in found.items()}


def table(problem: str, regrets: dict[Setting, Any]) -> list[str]:
    """Return the rows of the table: the regret after the last trial."""
    rows = []
    for setting, found in regrets.items():
        low, middle, high = np.quantile(found[:, -1], [0.25, 0.5, 0.75])
        how = "" if setting.width == 1 else "hidden" if setting.hidden else "counted"
        rows.append(
            f"| {problem} | {setting.width} | {how} | {middle:.3g} | {low:.3g} to {high:.3g} |"
        )
    return rows


def picture(regrets: dict[str, dict[Setting, Any]]) -> str:
    """Draw the medians over the seeds per trial, with a panel for each problem."""
    width, height, panel = 780, 300, 260
    canvas = Canvas(width, height, "Median regret of TPE by trials, one, 4 and 16 at once")
    canvas.rect(0, 0, width, height, "#fbfbfd")
    for number, (problem, found) in enumerate(regrets.items()):
        medians = {setting: np.median(one, axis=0) for setting, one in found.items()}
        left, right = number * panel + 50, (number + 1) * panel - 10
        count = len(medians[SETTINGS[0]])
        x = Scale(1, count, left, right)
        shown = np.concatenate([one[2:] for one in medians.values()])
        y = Scale(float(shown.min()), float(shown.max()), 250, 40, log=True)
        canvas.text(left, 24, f"{problem}: regret by number of trials")
        canvas.x_axis(x, 250, short_numbers)
        canvas.y_axis(y, left, right)
        for setting, median in medians.items():
            points = [(x(at + 1), y(value)) for at, value in enumerate(median) if at >= 2]
            canvas.path(points, COLOURS[setting.width], dashed=setting.hidden)
    for number, setting in enumerate(SETTINGS):
        at = 50 + 140 * number
        canvas.path([(at, 286), (at + 26, 286)], COLOURS[setting.width], dashed=setting.hidden)
        canvas.text(
            at + 32, 290, f"{setting.label} at once" if setting.width == 1 else setting.label
        )
    return f"{canvas}\n"


def main() -> None:
    """Print the table; with `--write`, update the documentation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="write table and picture into docs")
    given = parser.parse_args()
    lines = [
        "| problem | width | pending trials | median regret | quartiles |",
        "|---|---|---|---|---|",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    regrets = {}
    for problem in PROBLEMS:
        regrets[problem] = measured(problem, given.seeds, given.trials)
        rows = table(problem, regrets[problem])
        lines += rows
        sys.stdout.write("\n".join(rows) + "\n")
        sys.stdout.flush()
    if given.write:
        (DOCS / "regret.svg").write_text(picture(regrets), encoding="utf-8")
        page = DOCS / "cluster.md"
        text, inside = page.read_text(encoding="utf-8"), "\n".join(["", "", *lines, "", ""])
        between = re.compile(f"(?<={re.escape(BEGIN)}).*(?={re.escape(END)})", re.DOTALL)
        page.write_text(between.sub(lambda _: inside, text), encoding="utf-8")


if __name__ == "__main__":
    main()
