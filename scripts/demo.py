"""Demo on an emulated Drive: a Keras search is killed twice, resumes, and loses nothing.

Act one runs notebooks/quickstart.ipynb in a real Jupyter kernel and kills it with SIGKILL in the
middle of a trial, twice; then it runs the same search uninterrupted, and a fresh process compares
the two trials.pkl. Act two does the same, with one kill, to notebooks/hyperas.ipynb, which uses the
unmodified hyperas package. `scripts/demo` creates the environment.
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


def announce(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def print_output(text):
    """Print the output of a cell; in a file, each update of progress is a new line."""
    print(text if sys.stdout.isatty() else text.replace("\r", "\n"), end="", flush=True)


@dataclass
class Stage:
    """Access to the emulated Drive, and the folder of the demo."""

    folder: Path

    def upload(self, notebook):
        """Upload a notebook to the emulated Drive as Colab does; return its id."""
        from colab_drive_tuner import DriveClient

        return (
            DriveClient.connect()
            .create_file(notebook.name, notebook, parent="root", mime_type=COLAB_NOTEBOOK)
            .id
        )

    def status(self, search):
        """Return the status of a search in the emulated Drive; None before it begins."""
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
    """Start a server process; yield the port from its first line."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    try:
        yield re.search(r"(127\.0\.0\.1:)?(\d+)", process.stdout.readline())[2]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


class Kernel:
    """A fresh kernel in an empty working directory."""

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

    def run(self, notebook, kill_when=lambda: False):
        """Run all cells; return True if the kernel was killed because `kill_when()` was true."""
        cells = json.loads(notebook.read_text())["cells"]
        return any(
            self._run_cell("".join(cell["source"]), kill_when)
            for cell in cells
            if cell["cell_type"] == "code"
        )

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
                print_output(content["text"])
            elif kind in ("display_data", "update_display_data"):
                print_output(f"\r{content['data'].get('text/plain', '')}")
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
    """True once `done` or more trials have ended and the next one is about half-way through."""

    def __init__(self, stage, search, done):
        self.stage, self.search, self.wanted = stage, search, done
        self.done = self.looked_at = self.ended_at = None
        self.trial_seconds = 1.0

    def __call__(self):
        now = time.monotonic()
        if self.looked_at and now - self.looked_at < 0.2:
            return False
        self.looked_at = now
        status = self.stage.status(self.search)
        done = status.done if status else 0
        if done != self.done:
            if self.ended_at is not None:
                self.trial_seconds = now - self.ended_at
            self.ended_at = None if self.done is None else now
            self.done = done
        if done < self.wanted or self.ended_at is None:
            return False
        # On a busy machine, this check may come too late for the intended trial.
        return done > self.wanted or now - self.ended_at > self.trial_seconds / 2


def play(stage, notebook, search, kills, numbers):
    """Run the notebook until it ends, killing its kernel after each number of trials in `kills`.

    Return how many trials were recorded at each kill.
    """
    recovered = []
    endpoint = ROOT / "tests" / "fakes" / "colab_sessions.py"
    notebook_id = stage.upload(notebook)
    with server(endpoint, "--name", notebook.name, "--id", notebook_id) as port:
        for done in (*kills, None):
            number = next(numbers)
            announce(f"Runtime {number}: all cells of {notebook.name}, in an empty directory")
            kernel = Kernel(stage, number, port)
            try:
                middle = MiddleOfTrial(stage, search, done) if done else lambda: False
                killed = kernel.run(notebook, middle)
            finally:
                kernel.close()
            if not killed:
                if done is not None:
                    sys.exit(f"The search ended before trial {done}: nothing was killed.")
                break
            status = stage.status(search)
            recovered.append(status.done)
            announce(
                f"SIGKILL in the middle of a trial: {status.done} of {status.max_evals} trials "
                f"are safe in Drive. A new runtime starts in two seconds."
            )
            time.sleep(2)
    return recovered


def edited(stage, notebook, *changes):
    """Return a copy of the notebook in which each (old, new) text is replaced."""
    text = notebook.read_text()
    for old, new in changes:
        text = text.replace(old, new)
    folder = stage.folder / f"edited-{len(list(stage.folder.glob('edited-*')))}"
    folder.mkdir()
    (folder / notebook.name).write_text(text)
    return folder / notebook.name


def compare(stage, *searches):
    """Compare the two trials.pkl in a fresh process; exit non-zero at any difference."""
    announce("A fresh process compares both trials.pkl, using only pickle and hyperopt")
    paths = [stage.fetch_trials(search) for search in searches]
    verdict = subprocess.run(
        [sys.executable, ROOT / "scripts" / "compare_trials.py", *paths], check=False
    )
    if verdict.returncode:
        sys.exit("The resumed search is NOT the uninterrupted one.")


def resume_and_compare(stage, quickstart, kills, numbers):
    """Act one: compare a killed and resumed search with an uninterrupted one, bit for bit."""
    search, uninterrupted = "digits-cnn", "digits-cnn-uninterrupted"
    recovered = play(stage, quickstart, search, kills, numbers)
    announce(f"The same search, never interrupted, as {uninterrupted!r}")
    play(stage, edited(stage, quickstart, (search, uninterrupted)), uninterrupted, (), numbers)
    compare(stage, search, uninterrupted)
    status = stage.status(search)
    print(
        f"Killed {len(kills)} times, {' and '.join(map(str, recovered))} trials recovered: "
        f"{status.done} of {status.max_evals} done. They are in {status.url} of the emulated "
        f"Drive, and in {stage.folder / search}.pkl."
    )


def resume_hyperas(stage, notebook, numbers):
    """Act two: the unmodified hyperas package, killed once."""
    search = "digits-hyperas"
    play(stage, notebook, search, (3,), numbers)
    status = stage.status(search)
    if not status.finished:
        sys.exit(f"hyperas: {status.done} trials of {status.max_evals} are in Drive.")
    announce(f"The unmodified hyperas package finished all {status.done} trials on Keras 3")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--act", type=int, choices=(1, 2), help="play only one of the two acts")
    parser.add_argument("--quick", action="store_true", help="six trials instead of 24")
    parser.add_argument(
        "--folder", type=Path, help="an empty folder for all files; default: .demo, emptied before"
    )
    arguments = parser.parse_args()
    begun, numbers = time.monotonic(), iter(range(1, 100))
    folder = (arguments.folder or ROOT / ".demo").resolve()
    if arguments.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f"{folder} is not empty.")
    for name in list(os.environ):
        if name.startswith(("COLAB_DRIVE_TUNER_", "DRIVE_EMULATOR_")):
            del os.environ[name]  # such as the user's own store
    emulator = ("-m", "colab_drive_tuner", "emulator", "--port", "0", "--data", folder / "drive")
    with server(*emulator) as port:
        os.environ["DRIVE_EMULATOR_HOST"] = f"127.0.0.1:{port}"
        os.environ["XDG_STATE_HOME"] = str(folder / "state")
        announce(f"A local Drive answers on 127.0.0.1:{port}")
        stage = Stage(folder)
        if arguments.act != 2:
            quickstart, kills = ROOT / "notebooks" / "quickstart.ipynb", (5, 22)
            if arguments.quick:
                quickstart, kills = (
                    edited(stage, quickstart, ("max_evals=24", "max_evals=6")),
                    (2, 4),
                )
            resume_and_compare(stage, quickstart, kills, numbers)
        if arguments.act != 1:
            resume_hyperas(stage, ROOT / "notebooks" / "hyperas.ipynb", numbers)
    announce(f"Done in {time.monotonic() - begun:.0f} s. The emulated Drive is {folder / 'drive'}.")


if __name__ == "__main__":
    main()
