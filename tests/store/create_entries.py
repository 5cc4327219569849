"""Program for the kill tests: create entries as its input says, and print each acknowledgement.

    python -m tests.store.create_entries ROOT WORD [DEADLY [PARENT]]

Each line of its input is an id (or `folder ID`). WORD is the content; the answer is `made ID` or
`taken ID`. PARENT is the id of a folder in the store, without it the root. With DEADLY the process
kills itself at its DEADLY-th call that changes the disk: an odd number dies before call number
DEADLY // 2, an even one after it; 0 never.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from colab_drive_tuner.errors import IdTakenError
from colab_drive_tuner.store.folder import FolderStore

CHANGES = ("open", "fsync", "link", "rename", "replace", "unlink", "mkdir", "rmdir")


def die_at(deadly: int) -> None:
    """Kill this process at the disk operation that `deadly` names, counted from here."""
    calls = 0

    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if deadly == 2 * calls - 1:
                os.kill(os.getpid(), signal.SIGKILL)
            now = calls
            try:
                return call(*args, **options)
            finally:
                if deadly == 2 * now:
                    os.kill(os.getpid(), signal.SIGKILL)

        return counted

    for name in CHANGES:
        setattr(os, name, wrap(getattr(os, name)))


def main(root: str, word: str, deadly: str = "0", parent: str = "root") -> None:
    """Create an entry per input line until the input ends."""
    store = FolderStore(Path(root))
    print("ready", flush=True)
    for line in sys.stdin:
        folder, _, entry_id = line.strip().rpartition(" ")
        if int(deadly):
            die_at(int(deadly))
        try:
            content = None if folder else word.encode()
            store.create(entry_id, content, name=entry_id[:4], parent=parent)
        except IdTakenError:
            print("taken", entry_id, flush=True)
        else:
            print("made", entry_id, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
