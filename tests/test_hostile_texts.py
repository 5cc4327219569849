"""Texts from a store cannot control the terminal or imitate the program's own output."""

import contextlib
import dataclasses
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import colab_drive_tuner as cdt
from colab_drive_tuner import session
from colab_drive_tuner.cli import main
from colab_drive_tuner.errors import ColabDriveTunerError, UsageError
from colab_drive_tuner.hyperas import compat as hyperas_compat
from colab_drive_tuner.journal import claim_and_takeover
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.rerun.runs import Run, record_run
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.store.drive import DriveStore
from colab_drive_tuner.text import visible
from tests.fakes.bare_machine import bare_machine  # noqa: F401 - a fixture
from tests.search.sample_searches import run_in_store
from tests.troubleshoot.damaged_searches import run_with_record_per_trial

HOSTILE = (
    "x\x1b]0;title\x07\x1b[2J\x9b2J\x1b]52;c;aGk=\x1b\\\u202egpj\u2066\u200b\x08\r\x85"
    "\u2028forged: ok\nforged: ok [red]a[/red] [link=http://e.example]b[/link] :warning: \\"
)
SHORT = HOSTILE[:40] + "\nforged: ok"

pytestmark = pytest.mark.usefixtures("bare_machine")


@pytest.fixture(autouse=True)
def own_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test starts without a session and default store."""
    monkeypatch.setattr(session, "_last", None)
    monkeypatch.setattr(cdt.store, "_default", None)
    yield
    hyperas_compat.disable()


@pytest.fixture
def store(drive_emulator: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[DriveStore]:
    """A Drive store in which a co-editor put hostile text wherever it can be put."""
    store = DriveStore.connect()
    honest = claim_and_takeover.Claimant

    def claimant(machine: str, pid: int, _host: str, account: str, _runtime: str) -> Any:
        return honest(machine, pid, HOSTILE, account, HOSTILE)

    def stranger(_machine: str, pid: int, _host: str, _account: str, _runtime: str) -> Any:
        return honest(HOSTILE, pid, HOSTILE, HOSTILE, HOSTILE)

    monkeypatch.setattr(claim_and_takeover, "Claimant", claimant)
    run_with_record_per_trial(store, 3, "mine")
    run_with_record_per_trial(store, 3, "held")
    held = DriveTrials("held", store=store, notify=lambda _: None)
    held.delete_all()  # claims
    run_with_record_per_trial(store, 3, "damaged")
    run_with_record_per_trial(store, 3, "renamed")
    monkeypatch.setattr(claim_and_takeover, "Claimant", stranger)
    theirs = DriveTrials("theirs", store=store, notify=lambda _: None)
    theirs.delete_all()
    monkeypatch.setattr(claim_and_takeover, "Claimant", honest)
    for name in ("mine", "damaged"):
        record_run(store, dataclasses.replace(RUN, search=name), None, HOSTILE)
    damaged = find_folder(store, "damaged")
    records = [entry for entry in store.list(damaged.records) if "record-000001" in entry.name]
    store.replace(records[0].id, HOSTILE.encode())
    rename(drive_emulator, find_folder(store, "renamed").id, f"renamed {HOSTILE}")
    for _ in range(2):
        (made,) = store.reserve(1)
        store.create(made, b"{}", name=f"{HOSTILE}.ipynb", parent=store.root)
    yield store
    for trials in (held, theirs):
        with contextlib.suppress(ColabDriveTunerError):  # the test took the search over
            trials.close(5)


RUN = Run("mine", 1e9, SHORT, 60.0, 1, 3, SHORT)


def rename(drive_emulator: Any, entry_id: str, name: str) -> None:
    """Rename a file, as its owner does in Drive's own pages."""
    requests.patch(
        f"{drive_emulator.url}/drive/v3/files/{entry_id}",
        headers={"Authorization": "Bearer emulator"},
        json={"name": name},
        timeout=100,
    ).raise_for_status()


def is_harmless(text: str) -> bool:
    """Whether the text has no control characters and no line that imitates the program."""
    lines = text.split("\n")
    return all(visible(line) == line and not line.strip().startswith("forged") for line in lines)


COMMANDS: list[list[str]] = [
    ["status"],
    ["status", "mine"],
    ["status", "held"],
    ["status", "theirs"],
    ["status", f"renamed {HOSTILE}"],
    ["status", "damaged"],
    ["status", HOSTILE],
    ["status", "--exit-code", "held"],
    ["rerun", "none.py", "--search", HOSTILE],
    ["rerun", "script.py", "--search", "held"],
    ["rerun", "script.py", "--search", "theirs"],
    ["rerun", f"drive://{HOSTILE}", "--search", "mine"],
    ["doctor"],
    ["doctor", "--json"],
    ["clean"],
    ["clean", "--yes"],
    ["clean", HOSTILE],
    ["repair", "mine"],
    ["repair", "theirs"],
    ["repair", f"renamed {HOSTILE}"],
    ["repair", "damaged"],
    ["export", f"renamed {HOSTILE}", "out.pkl"],
    ["export", "damaged", "out.pkl"],
    ["export", "mine", HOSTILE + "/x"],
    ["import", HOSTILE, HOSTILE],
    ["import", "mine", "out.pkl"],
    ["schedule", "list"],
    ["schedule", "remove", HOSTILE],
    ["whoami"],
    [HOSTILE],
]


def test_commands_show_hostile_texts_harmlessly(
    store: DriveStore,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Commands escape hostile names, hosts, accounts, run marks and files in all output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")  # no line may break within the text that is counted below
    (tmp_path / "script.py").write_text("raise SystemExit(0)")
    (tmp_path / "out.pkl").write_bytes(b"")
    shown = ""
    for command in COMMANDS:
        monkeypatch.setattr(sys, "argv", ["colab-drive-tuner", *command])
        with pytest.raises(SystemExit):
            main()
        printed = capfd.readouterr()
        assert printed.out + printed.err
        for text in printed:
            assert is_harmless(text), command
            shown += text
    assert shown.count("forged: ok") >= len(COMMANDS)  # the hostile text was really shown


def hostile_calls(store: DriveStore) -> Iterator[Any]:
    """Calls of the public API that show, warn of or refuse what lies in the store."""
    yield cdt.setup
    yield lambda: repr(cdt.setup(notebook=f"{HOSTILE}.ipynb"))
    yield lambda: cdt.find_notebook(f"{HOSTILE}.ipynb")
    yield lambda: run_in_store(store, "rand", 4)
    yield lambda: repr(cdt.setup().searches())
    yield lambda: "\n".join(map(str, cdt.setup().searches()))
    for name in ("theirs", "damaged", f"renamed {HOSTILE}", HOSTILE):
        yield lambda name=name: DriveTrials(name, store=store, on_busy="error").delete_all()
        yield lambda name=name: cdt.export_trials(store, name, "x.pkl")


def test_sessions_and_errors_show_hostile_texts_harmlessly(
    store: DriveStore,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Reprs, errors, warnings and printed lines in a notebook escape hostile text."""
    monkeypatch.chdir(tmp_path)
    shown = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for call in hostile_calls(store):
            try:
                shown.append(str(call()))
            except ColabDriveTunerError as error:
                shown += [str(error), repr(error)]
    shown += [str(warning.message) for warning in caught]
    printed = capfd.readouterr()
    for text in [*shown, printed.out, printed.err]:
        assert is_harmless(text), text


def test_markup_is_shown_as_it_is(store: DriveStore, monkeypatch, capfd) -> None:
    """Markup and emoji names in a search's name are printed literally."""
    monkeypatch.setattr(sys, "argv", ["colab-drive-tuner", "status"])
    with pytest.raises(SystemExit):
        main()
    out, _ = capfd.readouterr()  # on a slow machine, a progress bar is on stderr
    assert "[red]a[/red] [link=http://e.example]b[/link] :warning:" in out
    assert len(out.splitlines()) == 1 + 5
    assert "a name that no search can have" in out


def test_every_error_is_harmless() -> None:
    """An error's message escapes control characters and keeps its line breaks."""
    assert str(UsageError("a\nb\x1b[2J\u202e")) == "a\nb\\x1b[2J\\u202e"
