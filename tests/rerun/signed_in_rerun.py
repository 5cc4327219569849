"""Program: rerun a notebook on Colab as a signed-in user, with the store on an emulator.

No credentials are sent to a runtime while DRIVE_EMULATOR_HOST is set, so the variable is removed
once the store is open; the runtime keeps it. Usage: `python signed_in_rerun.py NOTEBOOK [GPU]`.
"""

import os
import sys

from colab_drive_tuner.rerun.rerunner import Rerunner
from colab_drive_tuner.rerun.runners.colab import ColabRunner
from colab_drive_tuner.rerun.stopping import StoppedError
from colab_drive_tuner.store import open_store

if __name__ == "__main__":
    store = open_store()
    for variable in ("DRIVE_EMULATOR_HOST", "DRIVE_EMULATOR_TOKEN"):
        os.environ.pop(variable, None)
    notebook, *gpu = sys.argv[1:]
    try:
        verdict = Rerunner(store, notebook, "parabola", ColabRunner(*gpu)).once()
    except StoppedError as stopped:
        raise SystemExit(128 + stopped.signum) from None
    sys.stdout.write(verdict.message)
    raise SystemExit(verdict.exit_code)
