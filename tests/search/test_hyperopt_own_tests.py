"""hyperopt's own unit tests, with `DriveTrials` in place of `Trials`."""

import re
import subprocess
import sys
from pathlib import Path

MODULES = ("anneal", "criteria", "domains", "fmin", "pchoice", "randint", "tpe")


def test_hyperopts_own_tests_pass(tmp_path: Path) -> None:
    """All unit tests of hyperopt pass.

    Left out are those of atpe, whose packages may be missing, and one that measures durations.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", tmp_path),
            *("-p", "no:cacheprovider", "-p", "tests.search.hyperopt_plugin"),
            *("-W", "ignore", "-k", "not atpe and not Atpe and not test_timeout", "--pyargs"),
            *(f"hyperopt.tests.unit.test_{module}" for module in MODULES),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    searches = re.search(r"searches: (\d+)", done.stdout)
    assert passed is not None
    assert searches is not None
    assert int(passed[1]) >= 60
    assert int(searches[1]) >= 60
