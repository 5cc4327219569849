"""Guards for every test: a fresh user's environment, and no network but loopback."""

import gc
import importlib.util
import ipaddress
import itertools
import os
import random
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from colab_drive_tuner import cli, store
from colab_drive_tuner.search.executors.trial_locations import UNROUTED_ADDRESS

TESTS = Path(__file__).parent

PACKAGE_VARIABLES = ("COLAB_DRIVE_TUNER_", "DRIVE_EMULATOR_")
"""Prefixes of the variables that configure this package."""

ENVIRONMENT_VARIABLES = (
    "COLAB_",
    "GOOGLE_",
    "CLOUDSDK_",
    "VERTEX_",
    "TBE_",
    "KMP_",
    "USE_AUTH_EPHEM",
)
"""Prefixes of the variables by which this package, or google-auth, detects machine and user."""

TERMINAL_VARIABLES = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PY_COLORS", "TTY_COMPATIBLE")
"""Variables that set the width and colours of output."""

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
"""Variables, in lower or upper case, that name a proxy, which would get requests to loopback."""

SLOWEST_FILES = (
    "test_demo.py",
    "rerun/test_colab.py",
    "training/test_backup.py",
    "training/test_kills.py",
    "test_bench.py",
    "store/test_folder_kills.py",
    "test_notebooks.py",
    "search/test_hyperopt_own_tests.py",
    "rerun/test_local.py",
    "test_hyperas_models.py",
    "training/test_pruner.py",
    "torture/test_contenders.py",
    "test_hyperas_compat.py",
    "training/test_deadline.py",
    "training/test_damaged_backups.py",
    "search/test_executor_kinds.py",
    "training/test_callback_files.py",
    "torture/test_kills.py",
)
"""Files that run first, so that no worker has a long file left when the others have finished."""

_USER_NUMBERS = itertools.count()

if importlib.util.find_spec("colab_drive_tuner.emulator.pytest_plugin"):
    pytest_plugins = ["colab_drive_tuner.emulator.pytest_plugin"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--long`."""
    parser.addoption("--long", action="store_true", help="run the tests marked as long, too")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker `long`, the hypothesis profile, and filters for other packages' warnings.

    Also restore Ctrl-C, which a shell makes its background processes and their children ignore.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "long: takes minutes; runs with --long only")
    if importlib.util.find_spec("hypothesis"):
        from hypothesis import HealthCheck, settings

        # Use the same examples in every run, except with `--long`. No limits of time, because
        # machines differ.
        same, slow = not config.getoption("--long"), [HealthCheck.too_slow]
        settings.register_profile(
            "here", deadline=None, derandomize=same, suppress_health_check=slow
        )
        settings.load_profile("here")
    # hyperopt 0.3.0 on NumPy 2.5 warns each time it draws from a choice.
    config.addinivalue_line(
        "filterwarnings",
        "ignore:Setting the shape on a NumPy array has been deprecated:DeprecationWarning:hyperopt",
    )
    # JAX, once an earlier test of this process has loaded it, warns at each fork of a test.
    config.addinivalue_line("filterwarnings", r"ignore:os\.fork\(\) was called:RuntimeWarning")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Without garbage collections, which would examine all tests and imported modules each time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: a zip file contains the time, and xdist compares test ids."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip long tests without `--long`; put the tests of the slowest files first."""
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: runs with --long"))
    ranks = {TESTS / name: rank for rank, name in enumerate(SLOWEST_FILES)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(autouse=True)
def fresh_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty home directory, and no variables that influence this package."""
    if os.environ.get("LIVE_DRIVE"):
        return  # the real Drive needs the user's own credentials
    # `mktemp` reads the folder of all tests each time: in a long run, several milliseconds.
    user = tmp_path_factory.getbasetemp() / "users" / str(next(_USER_NUMBERS))
    home, tmp = user / "home", user / "tmp"
    home.mkdir(parents=True)
    tmp.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("STATE", "CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    # Another test must not find the files of a process that a test killed.
    monkeypatch.setenv("TMPDIR", str(tmp))
    monkeypatch.setattr(tempfile, "tempdir", None)
    for variable in list(os.environ):
        ours = variable.startswith((*PACKAGE_VARIABLES, *ENVIRONMENT_VARIABLES))
        if ours or variable.lower() in PROXY_VARIABLES:
            monkeypatch.delenv(variable)
    for variable in (*TERMINAL_VARIABLES, "CI", "GITHUB_ACTIONS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TERM", "xterm")  # rich gives a dumb terminal 80 columns and ignores COLUMNS
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # google-auth would look for a metadata server
    monkeypatch.setattr(store, "_default", None)  # set by an earlier test's `setup()`


@pytest.fixture
def run_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """A function that runs the command line in this process: exit code, stdout, stderr."""

    def run_one(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["colab-drive-tuner", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run_one


@pytest.fixture(autouse=True)
def deterministic_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search without a seed draws the same seed in each run, whatever its test is called."""
    monkeypatch.setattr(secrets, "randbits", random.Random(0).getrandbits)


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Refuse connections to other machines, and fail the test that attempted one."""
    attempts: list[str] = []
    if os.environ.get("LIVE_DRIVE"):
        yield attempts
        return
    connect, connect_ex, getaddrinfo = (
        socket.socket.connect,
        socket.socket.connect_ex,
        socket.getaddrinfo,
    )

    def check(address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else None  # a Unix socket has a path
        if not _is_loopback(host):
            attempts.append(str(host))
            raise OSError(f"Tests reach this machine only, not {host}.")

    def guarded(self: socket.socket, address: Any) -> None:
        if not (
            self.type == socket.SOCK_DGRAM and address == UNROUTED_ADDRESS
        ):  # nothing is sent there
            check(address)
        connect(self, address)

    def guarded_ex(self: socket.socket, address: Any) -> int:
        check(address)
        return connect_ex(self, address)

    def guarded_lookup(host: Any, *args: Any, **options: Any) -> Any:
        check((host,))
        return getaddrinfo(host, *args, **options)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_lookup)
    yield attempts
    if attempts:
        pytest.fail(f"This test wanted to reach {', '.join(sorted(set(attempts)))}.")


def _is_loopback(host: Any) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    if not host or host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
