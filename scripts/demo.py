"""The main job, on a local Drive: a Keras search is killed twice, goes on by itself, loses nothing.

Act one runs notebooks/quickstart.ipynb in a real Jupyter kernel and kills it with SIGKILL in the
middle of a trial, twice; then it runs the same search uninterrupted, and a fresh process compares
the two trials.pkl. Act two does the same, with one kill, to notebooks/hyperas.ipynb, which uses the
unmodified hyperas package. `scripts/demo` makes the environment that this needs.
"""

import argparse
import contextlib
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from jupyter_client.manager import start_new_kernel

ROOT = Path(__file__).resolve().parents[1]
COLAB_NOTEBOOK = "application/vnd.google.colaboratory"


def say(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


@dataclass
class Stage:
    """What stands around the kernels: the emulated Drive, and Colab's sessions endpoint."""

    folder: Path
    drive_host: str

    def upload(self, notebook):
        """Put a notebook into the emulated Drive as Colab does; return its id."""
        from colab_drive_tuner import DriveClient

        return (
            DriveClient.connect()
            .create_file(notebook.name, notebook, parent="root", mime_type=COLAB_NOTEBOOK)
            .id
        )

    def status(self, search):
        """How far a search is in the emulated Drive; None before it begins."""
        from colab_drive_tuner import errors, open_store, read_status

        try:
            return read_status(open_store(), search)
        except errors.SearchNotFoundError:
            return None

    def fetch_trials(self, search):
        """Download a search's trials.pkl from the emulated Drive."""
        from colab_drive_tuner import DriveClient

        client, path = DriveClient.connect(), self.folder / f"{search}.pkl"
        folder = client.folder(f"Colab Drive Tuner/{search}", create=False)
        (file,) = client.list_folder(folder.id, "trials.pkl")
        client.download_file(file.id, path)
        return path


@contextlib.contextmanager
def server(*command):
    """A server process of ours, with the URL or port that its first line tells."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    try:
        yield re.search(r"(127\.0\.0\.1:)?(\d+)", process.stdout.readline())[2]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


class Kernel:
    """One life of the notebook: a fresh kernel in an empty working directory."""

    def __init__(self, stage, number, sessions_port):
        folder = stage.folder / f"runtime-{number}"
        folder.mkdir()
        environment = os.environ | {
            "COLAB_RELEASE_TAG": "release-colab-demo",
            "COLAB_JUPYTER_IP": "127.0.0.1",
            "KMP_TARGET_PORT": sessions_port,
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        self.manager, self.client = start_new_kernel(
            cwd=str(folder), env=environment, extra_arguments=["--log-level=ERROR"]
        )

    def run(self, notebook, *, replace=("", ""), kill_when=lambda: False):
        """Run all cells; True if the kernel was killed because `kill_when` said so."""
        cells = json.loads(notebook.read_text())["cells"]
        for cell in cells:
            if cell["cell_type"] == "code":
                source = "".join(cell["source"]).replace(*replace)
                if self._run_cell(source, kill_when):
                    return True
        return False

    def _run_cell(self, source, kill_when):
        request = self.client.execute(source)
        while True:
            if kill_when():
                os.kill(self.manager.provisioner.process.pid, 9)
                return True
            try:
                message = self.client.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                print(content["text"], end="", flush=True)
            elif kind == "execute_result":
                print(content["data"]["text/plain"], flush=True)
            elif kind == "error":
                sys.exit("\n".join(content["traceback"]))
            elif kind == "status" and content["execution_state"] == "idle":
                return False

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


class MiddleOfTrial:
    """Says when so many trials are done and the next one is half-way through."""

    def __init__(self, stage, search, done):
        self.stage, self.search, self.done = stage, search, done
        self.looked_at = 0.0
        self.seen = {}

    def __call__(self):
        now = time.monotonic()
        if now - self.looked_at < 0.2:
            return False
        self.looked_at = now
        status = self.stage.status(self.search)
        done = status.done if status else 0
        self.seen.setdefault(done, now)
        if done < self.done:
            return False
        first, last = min(self.seen.values()), self.seen[done]
        trial_seconds = (last - first) / max(1, len(self.seen) - 1)
        return now - last > trial_seconds / 2


def play(stage, notebook, search, kills, numbers):
    """Run the notebook, killing its kernel after each of `kills` trials, until it is through."""
    notebook_id = stage.upload(notebook)
    endpoint = ROOT / "tests" / "standins" / "colab_sessions.py"
    with server(endpoint, "--name", notebook.name, "--id", notebook_id) as port:
        for done in (*kills, None):
            number = next(numbers)
            say(f"Runtime {number}: all cells of {notebook.name}, in an empty directory")
            kernel = Kernel(stage, number, port)
            try:
                middle = MiddleOfTrial(stage, search, done) if done else lambda: False
                killed = kernel.run(notebook, kill_when=middle)
            finally:
                kernel.close()
            if not killed:
                if done is not None:
                    sys.exit(f"The search was over before trial {done}: nothing was killed.")
                return
            status = stage.status(search)
            say(
                f"SIGKILL in the middle of a trial: {status.done} of {status.max_evals} trials "
                f"are safe in Drive. A new runtime starts in two seconds."
            )
            time.sleep(2)


def play_uninterrupted(stage, notebook, search, numbers):
    """Run the same notebook, under another search name, in one go."""
    name = f"{search}-uninterrupted"
    say(f"The same search, never interrupted, as {name!r}")
    notebook_id = stage.upload(notebook)
    endpoint = ROOT / "tests" / "standins" / "colab_sessions.py"
    with server(endpoint, "--name", notebook.name, "--id", notebook_id) as port:
        kernel = Kernel(stage, next(numbers), port)
        try:
            kernel.run(notebook, replace=(f'"{search}"', f'"{name}"'))
        finally:
            kernel.close()
    return name


def compare(stage, *searches):
    """Let a fresh process compare the two trials.pkl; exits non-zero at any difference."""
    say("A fresh process compares both trials.pkl, with nothing but pickle and hyperopt")
    paths = [stage.fetch_trials(search) for search in searches]
    verdict = subprocess.run(
        [sys.executable, ROOT / "scripts" / "compare_trials.py", *paths], check=False
    )
    if verdict.returncode:
        sys.exit("The resumed search is NOT the uninterrupted one.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--act", type=int, choices=(1, 2), help="play only one of the two acts")
    parser.add_argument("--folder", type=Path, default=ROOT / ".demo", help="where things lie")
    arguments = parser.parse_args()
    begun = time.monotonic()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    arguments.folder.mkdir(parents=True)
    data = arguments.folder / "drive"
    with server("-m", "colab_drive_tuner", "emulator", "--port", "0", "--data", data) as port:
        os.environ["DRIVE_EMULATOR_HOST"] = f"127.0.0.1:{port}"
        os.environ["XDG_STATE_HOME"] = str(arguments.folder / "state")
        say(f"A local Drive answers on 127.0.0.1:{port}")
        stage, numbers = Stage(arguments.folder, port), iter(range(1, 100))
        if arguments.act != 2:
            quickstart, search = ROOT / "notebooks" / "quickstart.ipynb", "digits-cnn"
            play(stage, quickstart, search, (5, 22), numbers)
            compare(stage, search, play_uninterrupted(stage, quickstart, search, numbers))
            status = stage.status(search)
            print(f"Killed twice: {status.done} of {status.max_evals} trials, none lost or twice.")
        if arguments.act != 1:
            hyperas, search = ROOT / "notebooks" / "hyperas.ipynb", "digits-hyperas"
            play(stage, hyperas, search, (3,), numbers)
            status = stage.status(search)
            if status.done != status.max_evals:
                sys.exit(f"hyperas: {status.done} trials of {status.max_evals} are in Drive.")
            say(f"The unmodified hyperas package finished all {status.done} trials on Keras 3")
    say(f"Done in {time.monotonic() - begun:.0f} s. The emulated Drive lies in {data}.")


if __name__ == "__main__":
    main()
