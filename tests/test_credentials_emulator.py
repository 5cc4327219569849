"""With DRIVE_EMULATOR_HOST set, no command or runner uses or sends real credentials."""

import json
import os
import stat
from pathlib import Path

import pytest
from google.oauth2.credentials import Credentials

from colab_drive_tuner.credentials import (
    SOURCES,
    account_variables,
    cloud_credentials,
    find_credentials,
    portable_file,
)
from colab_drive_tuner.credentials import lookup as lookup_module
from colab_drive_tuner.credentials.source_interface import CredentialSource
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import CredentialsError, UsageError
from tests.fakes.sign_in import SignInServer
from tests.rerun import programs

PLANTED = "planted-secret-of-a-real-person"
WATCH = """\
import os, sys
sys.addaudithook(lambda event, args: event in ("open", "os.listdir", "subprocess.Popen") and [
    os.write({log}, (f"{{event}} {{what}}\\n").encode())
    for what in args[:2] if {home!r} in str(what) or "gcloud" in str(what)])
"""


@pytest.fixture
def person(tmp_path, monkeypatch):
    """The home folder of a user who is signed in by every source."""
    home = tmp_path / "person"
    user = dict.fromkeys(("client_id", "client_secret", "refresh_token"), PLANTED)
    user["type"] = "authorized_user"
    robot = {"type": "service_account", "client_email": "r@p.iam.x", "private_key": PLANTED}
    for name, content in {
        "key.json": robot,
        "adc.json": user,
        ".config/gcloud/application_default_credentials.json": user,
        ".config/gcloud/properties": {"core": "project"},
        ".config/colab-drive-tuner/login.json": {**user, "token_uri": "http://127.0.0.1:1/token"},
    }.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    (home / ".netrc").write_text(f"machine 127.0.0.1 login me password {PLANTED}\n")
    for name, value in {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "COLAB_DRIVE_TUNER_CREDENTIALS": str(home / "key.json"),
        "GOOGLE_APPLICATION_CREDENTIALS": str(home / "adc.json"),
        "CLOUDSDK_CONFIG": str(home / ".config" / "gcloud"),
        "COLAB_RELEASE_TAG": "release",
    }.items():
        monkeypatch.setenv(name, value)
    return home


@pytest.fixture
def metadata():
    """A metadata server of a machine on which somebody has signed in."""
    with SignInServer() as server:
        server.signed_in = True
        yield server


@pytest.fixture
def colab_commands(tmp_path, monkeypatch):
    """A fake Colab command line; returns the file that records its arguments."""
    notes = tmp_path / "colab.txt"
    notes.touch()
    command = tmp_path / "colab"
    command.write_text(
        f'#!/bin/sh\necho "$@" >> {notes}\n'
        'if [ "$1" = exec ]; then echo "colab-drive-tuner is ready"; fi\n'
    )
    command.chmod(command.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("COLAB_DRIVE_TUNER_COLAB", str(command))
    return notes


@pytest.fixture
def run(person, metadata, drive_emulator, tmp_path):
    """A function that runs the command line and records each opened file of `person`."""
    opened = tmp_path / "opened.txt"
    hook = tmp_path / "hook"
    hook.mkdir()
    watch = WATCH.format(home=str(person), log="_log")
    (hook / "sitecustomize.py").write_text(
        f"import os\n_log = os.open({str(opened)!r}, os.O_CREAT | os.O_WRONLY | os.O_APPEND)\n"
        + watch
    )

    def run_one(*arguments):
        path = os.pathsep.join([str(hook), str(Path(__file__).parents[1])])
        return programs.run(*arguments, **metadata.environment, PYTHONPATH=path)

    run_one.opened = opened
    return run_one


@pytest.fixture
def notebook(tmp_path):
    return programs.notebook(tmp_path / "nb.ipynb", programs.source(max_evals=1))


WHERE = ("--search", "parabola")
ENTERPRISE = ("--project", "p", "--bucket", "gs://b", "--user", "me@example.com")
COMMANDS = {
    "status": ("status",),
    "whoami": ("whoami",),
    "doctor": ("doctor",),
    "clean": ("clean",),
    "login": ("login", "--client-secrets", "NOTEBOOK"),
    "logout": ("logout",),
    "local": ("rerun", "NOTEBOOK", *WHERE),
    "colab": ("rerun", "NOTEBOOK", *WHERE, "--on", "colab"),
    "enterprise": ("rerun", "NOTEBOOK", *WHERE, "--on", "enterprise", *ENTERPRISE),
    "schedule": ("schedule", "list"),
    "github": ("schedule", "add", "nb.ipynb", *WHERE, "--every", "2h", "--with", "github"),
    "vertex": (
        *("schedule", "add", "NOTEBOOK", *WHERE, "--every", "2h", "--with", "enterprise"),
        *ENTERPRISE,
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_touches_a_real_sign_in(
    name, run, notebook, person, metadata, colab_commands, tmp_path, monkeypatch
):
    """Commands open no credentials file, ask no metadata server and upload no credentials."""
    monkeypatch.chdir(tmp_path)
    done = run(*[str(notebook) if word == "NOTEBOOK" else word for word in COMMANDS[name]])
    output = done.stdout + done.stderr
    assert "Traceback" not in output
    touched = [line for line in run.opened.read_text().splitlines() if _is_a_secret(line)]
    assert touched == []
    assert metadata.asked == []
    assert "upload" not in colab_commands.read_text()
    assert PLANTED not in output
    if name == "colab":
        assert "new -s" in colab_commands.read_text()
    if name in ("enterprise", "vertex"):
        assert "DRIVE_EMULATOR_HOST is set" in " ".join(output.split())


def _is_a_secret(line):
    """Whether a line names a credentials file, not this package's state or temporary files."""
    return any(word in line for word in ("key.json", "adc.json", "gcloud", "login.json", ".netrc"))


def test_the_watch_sees_what_is_opened(run, person, metadata, monkeypatch):
    """Without the emulator the same command opens a credentials file: the test above can fail."""
    monkeypatch.delenv("DRIVE_EMULATOR_HOST")
    run("whoami")
    assert "key.json" in run.opened.read_text()


def test_a_real_colab_runtime_is_refused(run, notebook, monkeypatch):
    """`rerun --on colab` exits 2, because a Colab runtime cannot reach the emulator."""
    done = run("rerun", str(notebook), *WHERE, "--on", "colab")
    assert done.returncode == 2
    assert "cannot reach an emulator" in " ".join(done.stderr.split())


def test_no_source_is_used_with_an_emulator(person, metadata, monkeypatch):
    """With an emulator the lookup raises UsageError, and no file is given to other machines."""
    metadata.be_this_machine(monkeypatch)
    monkeypatch.setenv("DRIVE_EMULATOR_HOST", "127.0.0.1:1")
    for given in (None, str(person / "adc.json")):
        with pytest.raises(UsageError, match="knows nobody's sign-in"):
            find_credentials(given, allow_prompt=True)
    with pytest.raises(UsageError, match="knows nobody's sign-in"):
        cloud_credentials()
    assert portable_file() is None
    assert metadata.asked == []


class TestThePortableFile:
    """The credentials file by which another machine acts as the same account."""

    @pytest.fixture(autouse=True)
    def user_key(self, person, monkeypatch):
        """Credentials files that can be loaded; their keys are made up."""
        (person / "key.json").write_bytes((person / "adc.json").read_bytes())
        monkeypatch.delenv("COLAB_RELEASE_TAG")

    def test_it_is_that_of_the_first_source(self, person):
        """The file is that of the first source with one, so that both act as the same account."""
        order = ["key.json", "login.json", "adc.json"]
        for name in order:
            path = portable_file()
            assert path is not None
            assert path.name == name
            path.unlink()
            for variable in ("COLAB_DRIVE_TUNER_CREDENTIALS", "GOOGLE_APPLICATION_CREDENTIALS"):
                if os.environ.get(variable) == str(path):
                    del os.environ[variable]
        path = portable_file()
        assert path is not None
        assert path.name == "application_default_credentials.json"

    def test_what_works_only_here_is_refused(self, tmp_path, monkeypatch):
        """Federated, incomplete and missing files are refused, and their content is not shown."""
        file = tmp_path / "key.json"
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        monkeypatch.setenv("COLAB_DRIVE_TUNER_CREDENTIALS", str(file))
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
        federated = {
            "type": "external_account", "audience": "planted", "token_url": "https://planted",
            "subject_token_type": "jwt", "credential_source": {"file": "planted"},
        }  # fmt: skip
        for content, words in (
            (json.dumps(federated), "another machine"),
            ('{"type": "external_account", "x": "planted"}', "incomplete"),
            ("planted", "holds no credentials"),
        ):
            file.write_text(content)
            with pytest.raises(CredentialsError, match=words) as refused:
                portable_file()
            assert "planted" not in str(refused.value)
        monkeypatch.delenv("COLAB_DRIVE_TUNER_CREDENTIALS")
        with pytest.raises(CredentialsError, match=r"(?s)there is none here.*login: nobody has"):
            portable_file()

    @pytest.mark.parametrize("chosen", [True, False])
    def test_a_source_without_a_file_is_named(self, person, monkeypatch, chosen):
        """A first source without a file is named; a later file may be of another account."""
        token = CredentialSource("a token", lambda _: Credentials(PLANTED), chosen=chosen)
        monkeypatch.setattr(lookup_module, "SOURCES", (token, *SOURCES))
        with pytest.raises(CredentialsError, match="has none: a token") as refused:
            portable_file()
        assert PLANTED not in str(refused.value)

    def test_the_account_of_a_machine_at_google_has_no_file(self, metadata, monkeypatch, tmp_path):
        """The account of a metadata server has no file, and its source is named."""
        for name in ("COLAB_DRIVE_TUNER_CREDENTIALS", "GOOGLE_APPLICATION_CREDENTIALS"):
            monkeypatch.delenv(name)
        for name in ("XDG_CONFIG_HOME", "CLOUDSDK_CONFIG"):
            monkeypatch.setenv(name, str(tmp_path / "empty"))
        metadata.be_this_machine(monkeypatch)
        with pytest.raises(CredentialsError, match="has none: application default credentials"):
            portable_file()

    def test_its_variables_are_passed_on_and_watched(self, monkeypatch):
        """Schedules contain all variables but secret ones; `setup()` reads every one of them."""
        from colab_drive_tuner.rerun.schedulers.plan import Plan
        from colab_drive_tuner.session.session import read_environment

        secrets = tuple(variable for variable in Variable if variable.is_secret)
        made_up = CredentialSource("a token", lambda _: None, variables=secrets, chosen=True)
        monkeypatch.setattr(lookup_module, "SOURCES", (*SOURCES, made_up))
        variables = account_variables()
        assert set(secrets) < set(account_variables(chosen=True)) < set(variables)
        for variable in variables:
            monkeypatch.setenv(variable, f"value of {variable}")
        read = read_environment()
        assert all(read[variable] == f"value of {variable}" for variable in variables)
        passed = Plan("search", "nb.ipynb", "* * * * *").environment()
        assert set(variables) - set(passed) == set(secrets)
