"""Run one workload in this process and print its answer: `child.py WORKLOAD JSON`."""

import importlib
import json
import sys

MODULES = {
    "search": "searches",
    "race": "searches",
    "stall": "searches",
    "reopen": "searches",
    "suggestions": "suggestions",
    "upload_all": "uploads",
    "optuna_trials": "uploads",
    "transfer": "uploads",
    "epochs": "trainings",
    "throughput": "workers",
    "other_tool": "workers",
    "train": "curves",
    "races": "pruning",
}


def main() -> None:
    workload, arguments = sys.argv[1], json.loads(sys.argv[2])
    try:
        answer = getattr(importlib.import_module(MODULES[workload]), workload)(**arguments)
    except ModuleNotFoundError as error:
        answer = {"missing": error.name}
    sys.stdout.write("\n@" + json.dumps(answer))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
