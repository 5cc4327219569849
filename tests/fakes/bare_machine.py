"""A fixture for a machine without Colab, Kaggle, CI or Jupyter variables and a fresh state."""

import os

import pytest

_TELLING = ("COLAB", "KAGGLE", "VERTEX", "KMP_", "JPY_", "JUPYTER", "TBE_", "DRIVE_EMULATOR")


@pytest.fixture
def bare_machine(monkeypatch, tmp_path):
    """Simulate a machine on which nothing has ever run; return its empty working directory."""
    for name in list(os.environ):
        if name.startswith(_TELLING) or name in ("CI", "USE_AUTH_EPHEM"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PATH", os.environ["PATH"])
    work = tmp_path / "content"
    work.mkdir()
    monkeypatch.chdir(work)
    return work
