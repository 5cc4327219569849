"""The process of `DriveEmulator(process=True)`; its argument is JSON with the values of `serve`."""

import json
import os
import signal
import sys
import threading

from .server import serve


def _end_with_stdin() -> None:
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Start the emulator with: colab-drive-tuner emulator")
    # It ends when its stdin closes, so that it does not outlive a killed test run.
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        serve(**json.loads(sys.argv[1]))
    except (ValueError, OSError) as error:
        sys.exit(f"The emulator cannot start: {error}")
