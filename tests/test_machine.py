"""Files and processes of this machine."""

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from colab_drive_tuner.credentials.files import existing_login_file
from colab_drive_tuner.errors import StoreError
from colab_drive_tuner.local_files import TEMPORARY_NAME, replace_file, scratch_folder
from colab_drive_tuner.machine import _exit_with, exit_with, process_start_time, state_folder
from tests.processes import run_python


def test_a_file_is_replaced_atomically_or_left_unchanged(tmp_path):
    """An interrupted write keeps the old content and leaves no other file behind."""
    path = tmp_path / "file"
    path.write_bytes(b"before")
    seen: list[str] = []

    def fails(sink):
        sink.write(b"half")
        seen.extend(one.name for one in tmp_path.iterdir() if one != path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, fails)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    (part,) = seen  # the name tells which process left the file
    assert TEMPORARY_NAME.fullmatch(part)[1] == str(os.getpid())
    replace_file(path, lambda sink: sink.write(b"after"), mode=0o600)
    assert path.read_bytes() == b"after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_scratch_folder_is_private_and_removed():
    """A scratch folder has mode 0700 and the process id in its name, and is removed at the end."""
    with scratch_folder() as folder:
        assert folder.name.startswith(f"colab-drive-tuner-{os.getpid()}-")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_a_user_without_a_home_directory_is_told_what_to_set(monkeypatch):
    """A container can run under a number without an account, and without HOME."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    with pytest.raises(StoreError, match="set XDG_STATE_HOME to a folder"):
        state_folder()
    assert existing_login_file() is None


def test_a_process_is_known_by_its_start_time():
    """A process has one start time while it runs and none afterwards.

    Ids are reused: the same id with another start time is another process.
    """
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        began = process_start_time(process.pid)
        assert began
        assert process_start_time(process.pid) == began
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
        assert process_start_time(process.pid) is None
    assert process_start_time(process.pid) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has prctl")
def test_a_process_may_have_any_name():
    """A process whose name is not UTF-8, as one cut in the middle of a letter, has a start time."""
    program = "import ctypes; ctypes.CDLL(None).prctl(15, b'caf\\xc3'); print(); input()"
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        process.stdout.readline()
        assert b"caf\xc3" in Path(f"/proc/{process.pid}/stat").read_bytes()
        assert process_start_time(process.pid)


def end_with(parent, ready, **options):
    """Set `ready`, then wait for the end of `parent`."""
    ready.set()
    _exit_with(parent, **options)


@pytest.mark.parametrize(
    ("method", "options"), [("fork", {}), ("fork", {"by_handle": True}), ("forkserver", {})]
)
def test_a_process_exits_with_the_one_that_started_it(method, options):
    """An orphan is noticed by its parent's id, by a handle as on Windows, or by the start time."""
    script = f"""if True:
        import multiprocessing, os, signal
        from tests.test_machine import end_with

        context = multiprocessing.get_context({method!r})
        ready = context.Event()
        context.Process(target=end_with, args=(os.getpid(), ready), kwargs={options}).start()
        ready.wait()
        os.kill(os.getpid(), signal.SIGKILL)
        """
    run_python("-c", script, status=-signal.SIGKILL)  # returns as nobody holds the pipe open


def test_only_a_process_that_another_started_exits_with_it():
    """In a process that multiprocessing did not start, `exit_with` starts no thread."""
    before = threading.active_count()
    exit_with(os.getppid())
    assert threading.active_count() == before
