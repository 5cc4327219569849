"""Torture a store: `python -m tests.torture --kills 300 --algo tpe --store drive --faults`."""

import argparse
import contextlib
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.torture.harness import Lab, kill_anywhere
from tests.torture.places import PLACES


def main() -> None:
    """Kill a search repeatedly; print the number of kills in each phase."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--algo", choices=["rand", "tpe", "anneal"], default="tpe")
    parser.add_argument("--store", choices=PLACES, default="folder")
    parser.add_argument("--faults", action="store_true", help="Drive: lag, latency, lost answers")
    parser.add_argument("--max-evals", type=int, default=26, help="trials of each search")
    parser.add_argument("--machines", type=int, default=2)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torture-")))
        place = stack.enter_context(PLACES[asked.store](folder, asked.faults, asked.seed))
        lab = Lab(place, folder)
        stack.callback(lab.close)
        report = kill_anywhere(
            lab,
            asked.algo,
            kills=asked.kills,
            max_evals=asked.max_evals,
            rng=random.Random(asked.seed),
            machines=asked.machines,
            tell=lambda text: print(text, flush=True),
        )
        print(report)


if __name__ == "__main__":
    sys.exit(main())
