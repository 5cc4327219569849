"""The manual recovery steps of 2019 (delete, restart, reload) are no longer needed."""

import json
import os
from pathlib import Path

import pytest
from hyperopt import hp

import colab_drive_tuner as cdt
from colab_drive_tuner import session, store
from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.hyperas import compat as hyperas_compat
from tests.fakes import google_colab
from tests.fakes.bare_machine import bare_machine  # noqa: F401 - a fixture
from tests.fakes.colab_sessions import SessionsServer, entry
from tests.test_session import notebook, put


@pytest.fixture(autouse=True)
def fresh_process(bare_machine, monkeypatch):  # noqa: F811
    """A process without a session or default store."""
    monkeypatch.setattr(session, "_last", None)
    monkeypatch.setattr(store, "_default", None)
    yield
    hyperas_compat.disable()


def test_none_of_the_recipes_three_steps_is_needed(drive_emulator, monkeypatch):
    """After a bug in the model, editing the notebook and running its cells again is enough."""
    client = DriveClient.connect()
    file = put(client, "quickstart.ipynb", notebook("first = 1"))
    page = google_colab.Page(json.loads(notebook("first = 1")))
    google_colab.install(monkeypatch, page)
    with SessionsServer([entry("quickstart.ipynb", f"fileId={file.id}")]) as server:
        monkeypatch.setenv("COLAB_JUPYTER_IP", "127.0.0.1")
        monkeypatch.setenv("KMP_TARGET_PORT", str(server.port))
        here = cdt.setup()
        assert Path("quickstart.ipynb").read_bytes() == notebook("first = 1")
        calls = []

        def parabola(x, broken=True):
            calls.append(x)
            if len(calls) == 3:
                raise RuntimeError("a bug in the user's model")
            return x**2

        def run():
            return cdt.resume_search(
                parabola,
                space=hp.uniform("x", -1, 1),
                name="recipe",
                max_evals=6,
                algo="rand",
                seed=1,
                progress=False,
            )

        with pytest.raises(RuntimeError, match="a bug"):
            run()

        # Not deleted: setup() replaced the local copy by the saved notebook.
        client.update_content(file.id, notebook("second = 2"))
        page.notebook = json.loads(notebook("second = 2"))
        # Not restarted: it is the same process. Not reloaded: same page, same sign-in.
        process, session_before = os.getpid(), here
        assert cdt.setup() is session_before
        assert Path("quickstart.ipynb").read_bytes() == notebook("second = 2")
        assert [path.name for path in Path().iterdir()] == ["quickstart.ipynb"]
        result = run()
        assert os.getpid() == process
        # Not all again: the two trials that had ended did not run a second time.
        assert result.finished
        assert len(calls) == 3 + 4
        assert calls[3] == calls[2]
