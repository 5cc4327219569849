"""Progress bars: shown for slow calls, not for short ones or in background threads."""

import functools
import io
import os
import sys
import threading
import time

import pytest
from hyperopt import hp
from tqdm import tqdm

from colab_drive_tuner.progress_bars import countdown, progress_bar
from colab_drive_tuner.search.results.read_search import list_searches
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.store.drive import DriveStore
from tests.kernel import run_cells


def test_a_bar_appears_after_seconds(clock, capsys):
    """After seconds a bar shows name and percentage, also if the transfer starts again."""
    with progress_bar("model.keras", clock=clock) as progress:
        progress(10_000, 50_000)
        assert capsys.readouterr().err == ""
        clock.time += 3
        progress(20_000, 50_000)
        assert "model.keras:  40%" in capsys.readouterr().err
        progress(0, 50_000)
        progress(50_000, 50_000)


def test_nothing_is_shown_in_the_background(clock):
    """A background thread gets no bar, because nobody waits for it."""
    found = []

    def work():
        with progress_bar("x", clock=clock) as progress:
            found.append(progress)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]


def test_a_store_shows_its_transfers(client, tmp_path, monkeypatch, capsys):
    """Uploading a model from a file and downloading it to one show a bar."""
    monkeypatch.setattr("colab_drive_tuner.progress_bars.AFTER_SECONDS", 0)
    store = DriveStore(client)
    path = tmp_path / "m"
    path.write_bytes(bytes(1000))
    (entry_id,) = store.reserve(1)
    store.create(entry_id, path, name="model.keras", parent=store.root)
    assert "model.keras" in capsys.readouterr().err
    store.fetch(entry_id, tmp_path / "back.keras")
    assert "back.keras" in capsys.readouterr().err


@pytest.fixture
def at_once(monkeypatch):
    """Show each bar at once."""
    monkeypatch.setattr("colab_drive_tuner.progress_bars.AFTER_SECONDS", 0)


def test_opening_a_search_shows_its_progress(tmp_path, at_once, capsys):
    """Reading records and decoding trials show bars on standard error only."""
    run = functools.partial(
        resume_search, lambda x: x, space=hp.uniform("x", 0, 1), name="s", progress=False
    )
    run(max_evals=5, store=tmp_path)
    capsys.readouterr()
    assert len(run(max_evals=5, store=tmp_path).trials) == 5
    printed = capsys.readouterr()
    assert "Reading s: " in printed.err
    assert "Opening s: " in printed.err
    assert printed.out == ""


def test_listing_searches_shows_its_progress(tmp_path, at_once, capsys):
    """Searches are read in threads, which show no bars of their own."""
    space = hp.uniform("x", 0, 1)
    for name in ("a", "b"):
        resume_search(
            lambda x: x, space=space, name=name, max_evals=1, store=tmp_path, progress=False
        )
    capsys.readouterr()
    assert [search.name for search in list_searches(tmp_path)] == ["a", "b"]
    assert "Reading the searches" in capsys.readouterr().err


def test_a_wait_shows_how_long_it_lasts_at_most(at_once, monkeypatch, capsys):
    """A countdown advances while its block runs; a block that ends at once shows nothing."""
    monkeypatch.setattr("colab_drive_tuner.progress_bars._TICK_SECONDS", 3600)
    with countdown("Waiting for a", 90):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("colab_drive_tuner.progress_bars._TICK_SECONDS", 0.01)
    monkeypatch.setattr("colab_drive_tuner.progress_bars.LOG_SECONDS", 0)
    lasted, shown, deadline = 0.0, "", time.monotonic() + 60
    with countdown("Waiting for b", 90, clock=lambda: lasted):
        for lasted in (0.0, 1.0):
            while f"{lasted:.0f} of at most 90 s" not in shown:
                assert time.monotonic() < deadline, shown
                time.sleep(0.01)
                shown += capsys.readouterr().err
    assert shown.startswith("Waiting for b: 0 of at most 90 s\n")
    assert [one for one in threading.enumerate() if one.name == "countdown"] == []


@pytest.mark.parametrize("broken", [None, "closed", "full"])
def test_work_outlives_its_standard_error(clock, at_once, broken, monkeypatch):
    """Work with a bar continues if standard error is missing, closed or full.

    So does that of other threads with bars of their own.
    """
    out = io.StringIO()
    if broken == "closed":
        out.close()
    elif broken == "full":
        monkeypatch.setattr(out, "write", lambda _: os.fsync(-1))  # an OSError
    monkeypatch.setattr(sys, "stderr", out if broken else None)
    with progress_bar("steps", " steps", clock) as progress:
        assert (progress is None) == (broken is None)
        if progress:
            progress(1, 2)
            progress(2, 2)
    bar = threading.Thread(target=lambda: list(tqdm([1], file=io.StringIO())), daemon=True)
    bar.start()
    bar.join(60)
    assert not bar.is_alive()


def test_a_log_is_not_flooded(clock, at_once, capsys):
    """A log, in which no line can be overwritten, does not get a line for each step."""
    with progress_bar("steps", " steps", clock) as progress:
        for step in range(500):
            progress(step, 500)
        assert capsys.readouterr().err.count("steps:") == 1


def test_a_log_has_whole_lines(clock, at_once, capsys):
    """A log gets whole lines without carriage returns, and escaped names."""
    with progress_bar("Reading \x1b[2Ja", " steps", clock) as progress:
        progress(1, 4)
    shown = capsys.readouterr().err
    assert shown.startswith("Reading \\x1b[2Ja:  25% 1/4 [")
    assert shown.count("\n") == 1
    assert "\r" not in shown


CELL = """
from tqdm import tqdm
from colab_drive_tuner import progress_bars

progress_bars.AFTER_SECONDS = 0
begun = get_ipython().display_pub.publish
get_ipython().display_pub.publish = lambda data, *args, **kwargs: (
    shown.append(data["text/plain"]), begun(data, *args, **kwargs)
)
shown = []
for _ in tqdm([1]):  # a bar of the user's own, around this one
    with progress_bars.progress_bar("Reading", " files") as seen:
        seen(1, 4)
del get_ipython().display_pub.publish
"""


def test_a_saved_notebook_keeps_no_bar(tmp_path):
    """A cell shows the bar while it lasts; what a notebook saves of it is empty."""
    cell, shown = run_cells([CELL, "print(shown[0].partition('|')[0], shown[-1])"], tmp_path)
    assert "Reading" not in cell
    assert shown.strip() == "Reading:  25%"
