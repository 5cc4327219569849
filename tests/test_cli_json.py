"""`--json`: every command supports it, and then prints only JSON to standard output."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hyperopt import hp

import colab_drive_tuner as cdt
from colab_drive_tuner.store.folder.store import FolderStore
from tests.search.sample_searches import run_in_fork
from tests.test_cli_help import COMMANDS

LEAVES = [path for path, command in COMMANDS.items() if not hasattr(command, "commands")]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_json(path: tuple[str, ...]) -> None:
    """Every command has the option `--json`."""
    options = {word for parameter in COMMANDS[path].params for word in parameter.opts}
    assert "--json" in options


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, named in the environment, with the searches "one" and "two", both finished."""
    folder = tmp_path / "store"
    for name in ("one", "two"):
        cdt.resume_search(
            lambda x: x, space=hp.uniform("x", 0, 1), name=name, max_evals=2, seed=1,
            store=folder, progress=False, seed_training=False,
        )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", str(folder))
    Path("script.py").write_text("raise SystemExit(3)")
    return folder


def test_a_holder_of_which_no_time_is_known_has_none(run_command, store: Path) -> None:
    """Times in the future do not count, so none is left if the store's clock was fast."""

    def killed() -> None:
        FolderStore.now = lambda self: time.time() + 1e8  # type: ignore[method-assign]
        cdt.resume_search(
            lambda x: os._exit(9), space=hp.uniform("x", 0, 1), name="fast", max_evals=2,
            store=store, progress=False, seed_training=False,
        )  # fmt: skip

    assert run_in_fork(killed) == 9
    _, out, _ = run_command("status", "fast")
    assert "interrupted" in out
    assert "1970" not in out
    _, out, _ = run_command("status", "fast", "--json")
    assert json.loads(out)["holder"]["last_seen"] is None


def test_json_is_all_that_commands_print(run_command, store: Path) -> None:
    """With `--json`, a command prints one JSON document and nothing else to standard output."""

    def facts(*arguments: str) -> Any:
        code, out, err = run_command(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    assert [one["name"] for one in facts("status")] == ["one", "two"]
    assert facts("status", "one")["done"] == facts("show", "one")["done"] == 2
    assert [one["trials"] for one in facts("status", "one", "--histories")] == [2]
    assert facts("list") == ["one", "two"]
    assert [one["tid"] for one in facts("trials", "one")] == [0, 1]
    assert list(facts("best", "one")) == ["x"]
    assert list(facts("compare", "one", "two")) == ["one", "two"]
    assert facts("report", "one") == {"name": "one", "file": "one.html"}
    exported = {"name": "one", "trials": 2, "file": "trials.pkl"}
    assert facts("export", "one", "trials.pkl") == exported
    assert facts("import", "three", "trials.pkl") == {"name": "three", "trials": 2}
    renamed = {"name": "drei", "url": str(store / "drei")}
    assert facts("rename", "three", "drei") == renamed
    copied = {"name": "four", "url": str(store / "four")}
    assert facts("copy", "one", "--to", str(store), "--as", "four") == copied
    moved = facts("move", "two", "--to", "elsewhere")
    assert (moved["name"], Path(moved["url"]).parts[-2:]) == ("two", ("elsewhere", "two"))
    assert facts("rm", "drei", "--yes") == {"name": "drei", "trash": str(store / ".trash")}
    assert facts("repair", "one")["reason"] == ""
    assert facts("clean") == []
    assert facts("rerun", "script.py", "--search", "one")["outcome"] == "finished"
    planned = facts("schedule", "add", "script.py", "--search", "one", "--print")
    assert (planned["when"], planned["installed"]) == ("*/30 * * * *", None)
    assert "script.py" in planned["text"]
    assert facts("schedule", "release") == []
    assert facts("logout") == {"deleted": None, "revoked": False}


def test_a_question_goes_to_standard_error(run_command, store: Path) -> None:
    """`rm --json` without `--yes` asks on standard error; without an answer the search stays."""
    code, out, err = run_command("rm", "one", "--json")
    assert (code, out.strip()) == (1, "")  # the prompt may print a space
    assert "will be moved to the trash" in err
    assert (store / "one").is_dir()


def test_a_failed_rerun_is_json_too(run_command, store: Path) -> None:
    """`rerun --json` prints a failure as JSON with its message, and exits 1."""
    code, out, err = run_command("rerun", "script.py", "--search", "new", "--json")
    report = json.loads(out)
    assert (code, report["outcome"], report["done"]) == (1, "failed", 0)
    assert "exit code 3" in report["message"]
    assert "Running script.py" in err
