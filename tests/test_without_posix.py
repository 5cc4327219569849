"""Reading and reporting on searches works without POSIX modules, as on Windows."""

import json
import textwrap
from pathlib import Path

import hyperopt
from hyperopt import hp

from colab_drive_tuner.search.drive_trials import DriveTrials
from tests.processes import run_python

HIDE = """
import os, signal, sys
# Third parties adapt themselves to their platform when they are imported: they stay as they are.
import contextlib, subprocess, tempfile, uuid
import filelock, msgpack, numpy, platformdirs, rich.console, typer
with contextlib.suppress(ImportError):
    import optuna
for module in ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog"):
    sys.modules[module] = None
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGALRM", "SIGCHLD", "alarm", "pthread_kill"):
    delattr(signal, name)
for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY", "fork", "getuid", "geteuid",
             "killpg", "register_at_fork", "setsid", "uname", "fchmod", "mkfifo", "statvfs"):
    delattr(os, name)

def open_no_folder(path, *rest, opened=os.open, **more):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return opened(path, *rest, **more)

os.open = open_no_folder
"""


def run(script: str, folder: Path) -> str:
    """Run a script in a process that has no POSIX modules and return its output."""
    return run_python("-c", HIDE + textwrap.dedent(script), folder=folder).stdout


def test_the_package_imports_and_shows_searches(tmp_path: Path) -> None:
    """Every module but the emulator's is imported; `status`, `export`, `report` and `show` work."""
    trials = DriveTrials("s", store=tmp_path / "searches", seed=1)
    hyperopt.fmin(
        lambda x: x**2,
        hp.uniform("x", -1, 1),
        hyperopt.rand.suggest,
        3,
        trials=trials,
        verbose=False,
    )
    output = run(
        """
        import importlib, pkgutil
        import colab_drive_tuner
        from colab_drive_tuner.errors import MissingExtraError

        for found in pkgutil.walk_packages(colab_drive_tuner.__path__, "colab_drive_tuner."):
            if ".emulator" not in found.name and not found.name.endswith("__main__"):
                with contextlib.suppress(MissingExtraError):  # an extra that is not installed
                    importlib.import_module(found.name)

        from colab_drive_tuner.cli import main

        for words in (
            "status --json", "export s s.csv", "export s s.pkl", "report s -o s.html", "show s"
        ):
            try:
                sys.argv = ["colab-drive-tuner", "--store", "searches", *words.split()]
                main()
            except SystemExit as ended:
                assert not ended.code, (words, ended.code)
        """,
        tmp_path,
    )
    (status,), _ = json.JSONDecoder().raw_decode(output[output.index("[") :])
    assert status["name"] == "s"
    assert status["done"] == 3
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 4
    assert (tmp_path / "s.pkl").stat().st_size > 500
    assert "<html" in (tmp_path / "s.html").read_text()


def test_no_link_is_followed_where_the_system_cannot_refuse_one(tmp_path: Path) -> None:
    """Without O_NOFOLLOW, as on Windows, a symlink is found and refused.

    Files are opened in binary mode.
    """
    (tmp_path / "secret").write_text("of somebody else")
    (tmp_path / "link").symlink_to("secret")
    output = run(
        """
        os.O_BINARY = os.O_NOCTTY  # any bit that is harmless here, as Windows has it
        from pathlib import Path
        from colab_drive_tuner.errors import RefusedError
        from colab_drive_tuner.store.folder import disk

        print(disk.open_file(Path("secret")).read().decode())
        try:
            disk.open_file(Path("link"))
        except RefusedError as error:
            print(error)
        """,
        tmp_path,
    )
    assert output.splitlines()[0] == "of somebody else"
    assert "link is not a plain file" in output
