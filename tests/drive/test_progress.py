"""Transfers of seconds show a bar; short ones, and those in the background, show nothing."""

import threading

from colab_drive_tuner.drive.progress import bar
from colab_drive_tuner.store.drive import DriveStore


def test_a_bar_appears_after_seconds(clock, capsys):
    """It says what is transferred and how far it is, also where a transfer begins anew."""
    with bar("model.keras", clock) as progress:
        progress(10_000, 50_000)
        assert capsys.readouterr().err == ""
        clock.time += 3
        progress(20_000, 50_000)
        assert "model.keras:  40%" in capsys.readouterr().err
        progress(0, 50_000)
        progress(50_000, 50_000)


def test_nothing_is_shown_in_the_background(clock):
    """There is nobody who waits."""
    found = []

    def work():
        with bar("x", clock) as progress:
            found.append(progress)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]


def test_a_store_shows_what_it_moves(client, tmp_path, monkeypatch, capsys):
    """A model that goes up from a file, and comes down to one."""
    monkeypatch.setattr("colab_drive_tuner.drive.progress.AFTER_SECONDS", 0)
    store = DriveStore(client)
    path = tmp_path / "m"
    path.write_bytes(bytes(1000))
    (entry_id,) = store.reserve(1)
    store.create(entry_id, path, name="model.keras", parent=store.root)
    assert "model.keras" in capsys.readouterr().err
    store.fetch(entry_id, tmp_path / "back.keras")
    assert "back.keras" in capsys.readouterr().err
