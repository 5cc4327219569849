"""Run one workload in this process and print its answer: `child.py MODULE.FUNCTION JSON`."""

import importlib
import json
import sys


def main() -> None:
    module, _, workload = sys.argv[1].partition(".")
    try:
        answer = getattr(importlib.import_module(module), workload)(**json.loads(sys.argv[2]))
    except ModuleNotFoundError as error:
        answer = {"missing": error.name}
    sys.stdout.write("\n@" + json.dumps(answer))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
