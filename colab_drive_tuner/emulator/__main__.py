"""`python -m colab_drive_tuner.emulator`: run the emulator as a process."""

import argparse
import os
import signal
import sys
import threading

from .faults import KINDS
from .server import serve


def main() -> None:
    """Parse the arguments and serve until interrupted."""
    kinds = "; ".join(f"{name}: {what}" for name, what in KINDS.items())
    parser = argparse.ArgumentParser(prog="drive-emulator", description="A local Google Drive.")
    parser.add_argument("--port", type=int, default=0, help="0, the default, chooses a free port")
    parser.add_argument("--data", help="a folder that keeps all data; default: nothing is kept")
    parser.add_argument(
        "--token",
        action="append",
        default=[],
        metavar="TOKEN=ACCOUNT",
        help="also TOKEN=ACCOUNT,client=ID,scopes=drive.file+drive.readonly",
    )
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="do=KIND,NAME=VALUE",
        help=f"for example do=error,status=503,probability=0.1. Kinds: {kinds}",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults' random choices")
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="web pages of other sites that may call the API, such as https://app.example",
    )
    parser.add_argument("--until-stdin-closes", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.until_stdin_closes:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        serve(
            given.port,
            given.data,
            given.token,
            given.latency,
            faults=given.fault,
            seed=given.seed,
            origins=given.allow_origin,
        )
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.exit(1, f"{parser.prog} cannot start: {error}\n")


def _end_with_stdin() -> None:
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
