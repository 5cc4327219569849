"""Fixture: an unfinished search to repair."""

import shutil
from pathlib import Path

import pytest

from colab_drive_tuner.journal import maintenance
from colab_drive_tuner.journal.chain import chain
from tests.troubleshoot.damaged_searches import run_with_record_per_trial


@pytest.fixture
def no_waiting(monkeypatch):
    """Read an entry whose id is taken without waiting for it to settle."""
    monkeypatch.setattr(chain, "_READ_PAUSES", (0.0,))


_made: list[Path] = []
"""The store created for the first test; later tests get copies of it."""


@pytest.fixture
def folder(tmp_path, tmp_path_factory) -> Path:
    """A store with "search": 12 of 30 trials, two sessions, a record per trial, no snapshot."""
    if not _made:
        original = tmp_path_factory.mktemp("made") / "store"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(maintenance, "SNAPSHOT_RECORDS", 1000)
            run_with_record_per_trial(original, 7)
            run_with_record_per_trial(original, 12)
        _made.append(original)
    return Path(shutil.copytree(_made[0], tmp_path / "store"))
