"""Jupyter's form of the session list, from a real Jupyter server with a real kernel."""

import json
import time
import urllib.request

import pytest

from tests.processes import jupyter_server

TOKEN = "a-token-of-the-test"
NAME = "Bob's 100% 🧪.ipynb"
ASK = """
from colab_drive_tuner.notebook.local_copy import download_notebook
from colab_drive_tuner.notebook.detect_running import open_notebook_paths, running_notebook
from colab_drive_tuner.runtime import detect
from pathlib import Path
here = detect()
Path({answer!r}).write_text("\\n".join(map(str, [
    here.kind, here.can_prompt, running_notebook().path, download_notebook(),
    *open_notebook_paths()])), encoding="utf-8")
"""


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Start a Jupyter server with a notebook in a folder; give a function that calls it."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / NAME).write_text('{"cells": [], "metadata": {}, "nbformat": 4}')
    environment = {
        "http_proxy": "http://127.0.0.1:9",  # a dead proxy, because local addresses must not use it
        "CI": "",
    }
    options = (f"--ServerApp.root_dir={root}", f"--IdentityProvider.token={TOKEN}")
    with jupyter_server(tmp_path, *options, environment=environment) as url:

        def call(method, path, body=None):
            request = urllib.request.Request(
                url + path,
                method=method,
                data=json.dumps(body).encode() if body is not None else None,
                headers={"Authorization": f"token {TOKEN}"},
            )
            with urllib.request.urlopen(request, timeout=200) as response:
                return json.loads(response.read() or b"null")

        yield call, tmp_path / "runtime", root


def wait_for_ready(client):
    """Wait until the kernel answers; a late heartbeat on a busy machine is ignored."""
    deadline = time.monotonic() + 400
    while True:
        try:
            return client.wait_for_ready(timeout=200)
        except RuntimeError:
            assert time.monotonic() < deadline


# Colab's version of jupyter_client is older than its Python.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client")
def test_the_notebook_that_a_real_server_runs_is_found_and_not_copied(server, tmp_path):
    """A notebook is found by the kernel's id, also after a rename, and used from this disk."""
    from jupyter_client import BlockingKernelClient

    call, runtime, root = server
    session = call(
        "POST",
        "api/sessions",
        {"path": f"sub/{NAME}", "name": NAME, "type": "notebook", "kernel": {"name": "python3"}},
    )
    kernel = session["kernel"]["id"]
    client = BlockingKernelClient(connection_file=str(runtime / f"kernel-{kernel}.json"))
    client.load_connection_file()
    client.start_channels()
    answer = tmp_path / "answer"

    def ask(*, allow_stdin=False):
        reply = client.execute_interactive(
            ASK.format(answer=str(answer)), allow_stdin=allow_stdin, timeout=200
        )
        assert reply["content"]["status"] == "ok", reply["content"]
        return answer.read_text(encoding="utf-8").splitlines()

    try:
        wait_for_ready(client)
        path = str(root / "sub" / NAME)
        assert ask() == ["jupyter", "False", path, path, path]
        (root / "sub" / NAME).rename(root / "renamed.ipynb")
        call("PATCH", f"api/sessions/{session['id']}", {"path": "renamed.ipynb"})
        path = str(root / "renamed.ipynb")
        assert ask(allow_stdin=True) == ["jupyter", "True", path, path, path]
    finally:
        client.stop_channels()
        call("DELETE", f"api/sessions/{session['id']}")
