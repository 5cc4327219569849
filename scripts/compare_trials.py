"""Compare two trials.pkl, trial by trial, using only pickle and hyperopt.

usage: python scripts/compare_trials.py FIRST SECOND

Exits 1 at any difference in number, parameters, status or loss.
"""

import pickle
import sys
from pathlib import Path


def outcome(trial):
    """Return the values to compare: parameters, status, and every bit of the loss."""
    result = trial["result"]
    loss = result.get("loss")
    return trial["misc"]["vals"], result["status"], loss if loss is None else float(loss).hex()


def main():
    first, second = (pickle.loads(Path(path).read_bytes()) for path in sys.argv[1:3])
    differences = [] if len(first) == len(second) else ["the number of trials"]
    for one, other in zip(first.trials, second.trials, strict=False):
        same = one["tid"] == other["tid"] and outcome(one) == outcome(other)
        loss = one["result"].get("loss")
        print(f"  trial {one['tid']:3d}  loss {loss!s:<22}  {'equal' if same else 'DIFFERS'}")
        if not same:
            print(f"    first:  {outcome(one)}\n    second: {outcome(other)}")
            differences.append(f"trial {one['tid']}")
    if differences:
        sys.exit(f"The searches differ in {', '.join(differences)}.")
    print(f"All {len(first)} trials are equal, in every parameter and every bit of every loss.")


if __name__ == "__main__":
    main()
