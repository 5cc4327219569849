"""The command line's help and its shell completion, which needs no network."""

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path

import pytest
import typer
from hyperopt import hp

import colab_drive_tuner as cdt
from colab_drive_tuner.cli.app import app
from tests.processes import run_python

PROGRAM = typer.main.get_command(app)
ROOT = Path(__file__).parents[1]


def commands(command=PROGRAM, path=()):
    """Yield each command and group with the words that call it."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


COMMANDS = dict(commands())


def examples(command) -> list[str]:
    """Return the lines below "Example:" in a command's help."""
    _, _, text = (command.help or "").partition("Example:\n")
    return [line.strip() for line in text.splitlines()]


def printed(capsys, *arguments: str) -> str:
    PROGRAM.main(list(arguments), prog_name="colab-drive-tuner", standalone_mode=False)
    return capsys.readouterr().out


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_shows_an_example_that_parses(path, monkeypatch, capsys):
    """Each example in a help text is shown uncut, parses, and calls the command it belongs to."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = examples(COMMANDS[path])
    assert lines, "no example"
    called = []
    for other, command in COMMANDS.items():
        if not hasattr(command, "commands"):
            monkeypatch.setattr(command, "callback", lambda _at=other, **_: called.append(_at))
    shown = [line.strip() for line in printed(capsys, *path, "--help").splitlines()]
    for line in lines:
        assert line in shown
        program, *arguments = shlex.split(line)
        assert program == "colab-drive-tuner"
        printed(capsys, *arguments)
    assert len(called) == len(lines)
    assert all(at[: len(path)] == path for at in called)


def test_help_has_a_short_option(capsys):
    """`-h` is `--help`, for the program and for each command."""
    for path in ((), ("schedule", "add")):
        assert printed(capsys, *path, "-h") == printed(capsys, *path, "--help")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_explains_every_argument_in_sentences(path):
    """Each option and argument of each command has a help text that ends with a period."""
    command = COMMANDS[path]
    assert command.help
    silent = [
        parameter.name
        for parameter in command.params
        if not getattr(parameter, "hidden", False) and not (parameter.help or "").endswith(".")
    ]
    assert silent == []


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder with four searches, two with names that a shell would change, and another folder."""
    for name in ("mnist-cnn", "mnist-mlp", "mnist:old", "with space", "$(touch hacked)"):
        cdt.resume_search(
            lambda x: x, space=hp.uniform("x", 0, 1), name=name, max_evals=1,
            store=tmp_path / "store", progress=False, seed_training=False,
        )  # fmt: skip
    (tmp_path / "store" / "mnist-no-search").mkdir()
    return tmp_path / "store"


def complete(line: str, environ: dict[str, str] | None = None) -> list[str]:
    """Return bash's completions of a line's last word, by the script of `--show-completion`."""
    script = """
        eval "$(colab-drive-tuner --show-completion)"
        COMP_WORDS=($1 "$2")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _colab_drive_tuner_completion colab-drive-tuner
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    words, _, last = line.rpartition(" ")
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script, "bash", words, last],
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)} | (environ or {}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_and_names(store):
    """Bash completes commands and search names, but no name that a shell would split or run."""
    assert complete("colab-drive-tuner sta") == ["status"]
    assert complete(f"colab-drive-tuner --store {store} status ") == ["mnist-cnn", "mnist-mlp"]


def offered(monkeypatch, capsys, line: str) -> list[str]:
    """Return the completions that the program prints for a line, without a shell."""
    monkeypatch.setenv("_COLAB_DRIVE_TUNER_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(shlex.split(line)) - (not line.endswith(" "))))
    with pytest.raises(SystemExit):
        PROGRAM.main([], prog_name="colab-drive-tuner")
    return capsys.readouterr().out.split()


TAKE_A_NAME = (
    "status", "export", "repair", "rerun x.py --search", "schedule add x.py --search",
    "schedule remove",
)  # fmt: skip


def test_names_are_completed_wherever_one_is_expected(store, monkeypatch, capsys):
    """Search names are completed from the store of `--store` or of the environment.

    `import`, which takes the name of a new search, completes none.
    """
    for command in TAKE_A_NAME:
        monkeypatch.delenv("COLAB_DRIVE_TUNER_STORE", raising=False)
        line = f"colab-drive-tuner --store {store} {command} mnist-c"
        assert offered(monkeypatch, capsys, line) == ["mnist-cnn"]
        monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", f"folder:{store}")
        assert offered(monkeypatch, capsys, f"colab-drive-tuner {command} mnist-m") == ["mnist-mlp"]
        monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", str(store / "missing"))
        assert offered(monkeypatch, capsys, f"colab-drive-tuner {command} ") == []
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", str(store))
    assert offered(monkeypatch, capsys, "colab-drive-tuner import mnist-m") == []
    monkeypatch.setenv("HOME", str(store.parent))  # the shell hands on ~ as it is typed
    assert offered(monkeypatch, capsys, "colab-drive-tuner status --store ~/store mnist-c") == [
        "mnist-cnn"
    ]
    for option, value in (("rerun --on", "colab"), ("schedule add --with", "systemd")):
        assert value in offered(monkeypatch, capsys, f"colab-drive-tuner {option} ")


def test_names_in_drive_are_those_that_this_machine_has_run(
    store, drive_emulator, monkeypatch, capsys
):
    """For a Drive store, completion offers the searches that this machine has run.

    It sends no request, because Drive may be slow and nobody may be signed in.
    """
    cdt.resume_search(
        lambda x: x, space=hp.uniform("x", 0, 1), name="in-drive", max_evals=1, progress=False,
        seed_training=False,
    )  # fmt: skip
    drive_emulator.faults.add("outage")
    assert offered(monkeypatch, capsys, "colab-drive-tuner status ") == ["in-drive"]
    assert store.is_dir()


def test_completion_loads_nothing_heavy(store):
    """Completion loads neither hyperopt nor Google's client, so that Tab answers at once."""
    program = (
        "import sys\nfrom colab_drive_tuner.cli.app import app\n"
        "try:\n    app(prog_name='colab-drive-tuner')\n"
        "finally:\n    print(*sys.modules, file=sys.stderr)"
    )
    environment = {
        "_COLAB_DRIVE_TUNER_COMPLETE": "complete_bash",
        "COMP_WORDS": "colab-drive-tuner status m",
        "COMP_CWORD": "2",
        "COLAB_DRIVE_TUNER_STORE": str(store),
    }
    done = run_python("-c", program, environment=environment)
    assert done.stdout.split() == ["mnist-cnn", "mnist-mlp"]
    heavy = {"hyperopt", "numpy", "google.auth", "googleapiclient", "requests", "msgpack"}
    assert heavy.isdisjoint(done.stderr.split())
