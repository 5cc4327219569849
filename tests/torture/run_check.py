"""One check in a separate process, with a mutant patched in if one is named."""

import os
import sys
import traceback
from pathlib import Path

import pytest

from tests.journal import faulty_store
from tests.torture import search_checks, search_mutants, workers  # noqa: F401 - they add theirs
from tests.torture.checks import CHECKS, go_to
from tests.torture.mutants import MUTANTS

CAUGHT = 9
"""Exit status of a check that found its rule broken."""


def run_check(mutant: str | None, name: str, folder: str) -> None:
    """Run one check, in a build with one rule removed if a mutant is named."""
    output = os.open(Path(folder, "output"), os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = (open(n, "w", buffering=1, closefd=False) for n in (1, 2))  # noqa: SIM115
    go_to(Path(folder), "first")
    if mutant is not None:
        faulty_store.patience = 20.0  # it may wait in vain
        MUTANTS[mutant]()
    try:
        CHECKS[name](Path(folder))
    except (AssertionError, pytest.fail.Exception):
        traceback.print_exc()
        os._exit(CAUGHT)
    except BaseException:  # noqa: BLE001 - a check must fail for the reason it names
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # no clean close, which a broken build may not manage
