"""Credential sources: their order, one error that lists them all, and no secrets in output."""

import errno
import json
import os
import threading
import traceback
from pathlib import Path
from unittest import mock

import google.auth
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials

from colab_drive_tuner import credentials as ours
from colab_drive_tuner.credentials import colab, files, find_credentials
from colab_drive_tuner.credentials.files import from_info
from colab_drive_tuner.credentials.source_interface import CredentialRequest, CredentialSource
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import CredentialsError
from tests.fakes import google_colab
from tests.fakes.sign_in import SECRET, USER, SignInServer

DEFAULT_FILE = CredentialSource("", lambda _: None).file


@pytest.fixture(scope="module")
def pem():
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.fixture(autouse=True)
def google_accounts(monkeypatch):
    """Google's token endpoint, which gives everybody a token."""
    with SignInServer() as server:
        endpoint = "google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT"
        monkeypatch.setattr(endpoint, server.token_uri)
        yield server


@pytest.fixture
def robot(pem, google_accounts):
    return {
        "type": "service_account",
        "client_email": "robot@project.iam.gserviceaccount.com",
        "private_key": pem,
        "private_key_id": "k",
        "token_uri": google_accounts.token_uri,
    }


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """A machine on which nobody is signed in, also if the tests' user is."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "COLAB_RELEASE_TAG", Variable.CREDENTIALS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "no-gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    colab.secret.cache_clear()


def write(tmp_path, info):
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps(info))
    return path


def find(explicit=None, environ=None, **options):
    """Look up credentials with additional environment variables."""
    options.setdefault("allow_prompt", True)
    options.setdefault("browser_attached", lambda: False)
    with mock.patch.dict(os.environ, environ or {}):
        return find_credentials(explicit, **options)


def test_explicit_credentials_come_first(tmp_path):
    """Credentials passed as an argument are used instead of those in the environment."""
    given = Credentials("token")
    path = write(tmp_path, USER)
    assert find(given, environ={Variable.CREDENTIALS: str(path)}).credentials is given


def test_explicit_path_and_identity(tmp_path):
    """The path of a credentials file, or an identity found before, may be passed."""
    identity = find(write(tmp_path, USER))
    assert identity.credentials.refresh_token == SECRET
    assert find(identity).credentials is identity.credentials


def test_explicit_nonsense_is_refused():
    """An object that is no credentials is refused by its type, without showing its content."""
    with pytest.raises(CredentialsError, match="not dict") as caught:
        find({"refresh_token": SECRET})
    assert SECRET not in str(caught.value)


def test_authorized_user_file(tmp_path):
    """A user's file gets no scopes, so that a refresh requests those the user consented to."""
    path = write(tmp_path, {**USER, "scopes": ["https://www.googleapis.com/auth/drive"]})
    found = find(environ={Variable.CREDENTIALS: str(path)})
    assert found.source == Variable.CREDENTIALS
    assert found.credentials.scopes is None


def test_service_account_file(tmp_path, robot):
    """A service account gets the full scope, or the app's own files if it acts for a user.

    Explicit scopes replace them.
    """
    environ = {Variable.CREDENTIALS: str(write(tmp_path, robot))}
    assert find(environ=environ).credentials.scopes == [ours.SCOPE_ALL]
    chosen = find(environ=environ, scopes=[ours.SCOPE_READ]).credentials
    assert chosen.scopes == [ours.SCOPE_READ]
    acting = find(environ={**environ, Variable.ACT_AS: "ann@example.com"}).credentials
    assert acting.scopes == [ours.SCOPE_FILE]
    assert acting._subject == "ann@example.com"


def test_a_service_account_without_scopes(tmp_path, robot, monkeypatch):
    """A service account passed as an object, or found as the default, gets the scopes of a file."""
    make = service_account.Credentials.from_service_account_info
    assert find(make(robot)).credentials.scopes == [ours.SCOPE_ALL]
    assert find(make(robot, subject="ann@example.com")).credentials.scopes == [ours.SCOPE_FILE]
    assert find(make(robot, scopes=["its own"])).credentials.scopes == ["its own"]
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(write(tmp_path, robot)))
    assert find().credentials.scopes == [ours.SCOPE_ALL]


@pytest.mark.parametrize(
    ("source", "subject", "module"),
    [
        ({"file": "/token"}, "urn:ietf:params:oauth:token-type:jwt", "identity_pool"),
        ({"executable": {"command": "x"}}, "urn:ietf:params:oauth:token-type:jwt", "pluggable"),
        (
            {"environment_id": "aws1", "regional_cred_verification_url": "https://sts.{region}.x"},
            "urn:ietf:params:aws:token-type:aws4_request",
            "aws",
        ),
    ],
)
def test_workload_identity_file(source, subject, module):
    """Federated identities of each kind that google-auth supports are loaded."""
    info = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p",
        "subject_token_type": subject,
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": source,
    }
    found = from_info(info, "The file", CredentialRequest())
    assert type(found).__module__ == f"google.auth.{module}"


def test_a_home_folder_that_this_user_may_not_enter_has_no_credentials(monkeypatch):
    """A container may run as a user without access to the home folder in its environment."""

    def refuse(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    assert files.existing_login_file() is None
    assert files.application_default_file() is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "holds no credentials"),
        ("[]", "holds no credentials"),
        ("[" * 100_000, "holds no credentials"),
        (json.dumps({"installed": {"client_secret": SECRET}}), "login --client-secrets"),
        ('{"type": "cheese"}', "holds no credentials"),
        (json.dumps({"type": "authorized_user", "client_secret": SECRET}), "incomplete"),
        (json.dumps({"type": "external_account", "secret": SECRET}), "incomplete"),
        (json.dumps({**USER, "expiry": 1760000000}), "incomplete or damaged"),
        *(
            (json.dumps({**USER, "token_uri": url}), "incomplete or damaged")
            for url in (5, "", "ftp://x", "https://", "https://exa mple/token", "https://[x")
        ),
        (
            json.dumps(
                {
                    "type": "service_account",
                    "client_email": "a",
                    "token_uri": "b",
                    "private_key": SECRET,
                }
            ),
            "incomplete or damaged",
        ),
    ],
)
def test_a_broken_file_ends_the_lookup(tmp_path, content, words):
    """A broken credentials file is an error that names it without quoting its content.

    No other source is tried, because acting as another account would surprise.
    """
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(CredentialsError, match=words) as caught:
        find(environ={Variable.CREDENTIALS: str(path)})
    assert str(path) in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("path", ["nowhere.json", "~nobody-of-this-name/nowhere.json"])
def test_a_missing_file_asks_for_a_correct_path(path):
    """The error for a missing file asks the user to correct the path."""
    with pytest.raises(CredentialsError, match="correct the path"):
        find(environ={Variable.CREDENTIALS: path})


def test_only_a_service_account_acts_for_somebody(tmp_path):
    """Credentials of another kind are refused: they would act as another account, silently."""
    environ = {
        Variable.CREDENTIALS: str(write(tmp_path, USER)),
        Variable.ACT_AS: "ann@example.com",
    }
    with pytest.raises(CredentialsError, match="which only a service account can"):
        find(environ=environ)


def test_a_device_in_place_of_a_file_is_not_read_for_ever():
    """The path of an endless device is refused like that of a file without credentials."""
    with pytest.raises(CredentialsError, match="/dev/zero holds no credentials"):
        find(environ={Variable.CREDENTIALS: "/dev/zero"})


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_may_have_the_encodings_of_windows(tmp_path, encoding):
    """Files that Windows writes with a byte order mark, or as UTF-16, are read."""
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps(USER), encoding=encoding)
    assert find(str(path)).credentials.refresh_token == SECRET


def test_a_tilde_in_a_path_is_the_home_folder(tmp_path, monkeypatch):
    """A leading `~` is expanded in an argument and in the environment variable."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, USER)
    for found in (
        find("~/credentials.json"),
        find(environ={Variable.CREDENTIALS: "~/credentials.json"}),
    ):
        assert found.credentials.refresh_token == SECRET


def test_content_in_place_of_a_path_is_not_quoted(robot):
    """A key passed in place of a path, such as a secret's content, is not shown in the error."""
    content = json.dumps(robot)
    for options in ({"explicit": content}, {"environ": {Variable.CREDENTIALS: content}}):
        with pytest.raises(CredentialsError, match="give the path") as caught:
            find(**options)
        assert "PRIVATE" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("begin", ["ya29.", "1//0", "GOCSPX-", "eyJ", "-----BEGIN PRIVATE KEY"])
def test_a_token_in_place_of_a_path_is_not_quoted(begin):
    """The error quotes no access or refresh token, client secret, JWT or key."""
    with pytest.raises(CredentialsError, match="give the path") as caught:
        find(begin + SECRET)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


UNEXPECTED = [
    "{", "[]", "[" * 100_000, '{"type": "cheese"}', '{"type": "impersonated_service_account"}',
    '{"type": "external_account", "credential_source": 5}',
]  # fmt: skip
"""Contents with which google-auth fails, each in another way."""


@pytest.mark.parametrize("content", UNEXPECTED)
def test_an_unusable_sign_in_of_gcloud_is_named(tmp_path, monkeypatch, content):
    """The error names the broken file, and does not call the sign-in missing."""
    path = tmp_path / "application_default_credentials.json"
    path.write_text(content)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    with pytest.raises(CredentialsError, match=rf"{path} cannot be used"):
        find()


@pytest.mark.parametrize("content", [*UNEXPECTED, None])
def test_unusable_application_default_credentials_are_named(tmp_path, monkeypatch, content):
    """If GOOGLE_APPLICATION_CREDENTIALS names a broken file, the error names the variable."""
    path = tmp_path
    if content is not None:
        path = tmp_path / "broken.json"
        path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(CredentialsError, match="file that GOOGLE_APPLICATION_CREDENTIALS names"):
        find()


def test_the_error_lists_every_source():
    """One error lists each source in order, why it failed, and what to do."""
    with pytest.raises(CredentialsError) as caught:
        find()
    text = str(caught.value)
    tried = text.partition("What was tried:\n")[2].splitlines()
    names = [f"{number}. {source.name}: " for number, source in enumerate(ours.SOURCES, 1)]
    assert all(map(str.startswith, map(str.strip, tried), names))
    assert len(tried) == len(names)
    assert f"{Variable.CREDENTIALS}: not set" in text
    assert "gcloud auth application-default login" in text


def test_application_default_credentials_are_used_last(tmp_path, monkeypatch):
    """Application default credentials are used if no other source has any."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(write(tmp_path, USER)))
    found = find()
    assert found.source == "application default credentials"
    assert found.credentials.refresh_token == SECRET


def test_the_docs_have_a_row_for_each_source():
    """docs/permissions.md lists the sources in order with variables, choice and file."""
    page = (Path(__file__).parents[1] / "docs" / "permissions.md").read_text(encoding="utf-8")
    rows = [line for line in page.partition("| source |")[2].splitlines() if line.startswith("| ")]
    assert len(rows) == len(ours.SOURCES)
    for row, source in zip(rows, ours.SOURCES, strict=True):
        name, reads, chosen, file = (cell.strip() for cell in row.strip("|").split("|"))
        assert source.name in name
        assert all(variable in name + reads for variable in source.variables)
        assert chosen == ("yes" if source.chosen else "no")
        assert file.startswith("yes") == (source.file is not DEFAULT_FILE)


class TestColab:
    """Colab's own sign-in, which needs a person."""

    def test_asks_after_one_sentence(self, monkeypatch, capsys):
        """The user reads one sentence about the permissions before Google's dialog opens."""
        page = google_colab.install(monkeypatch, google_colab.Page())
        given = Credentials("colab")
        monkeypatch.setattr(google.auth, "default", lambda: (given, None))
        authenticate, before = google.colab.auth.authenticate_user, []

        def noted():
            before.append(capsys.readouterr().out)
            authenticate()

        monkeypatch.setattr("google.colab.auth.authenticate_user", noted)
        found = find(browser_attached=lambda: True)
        assert found.credentials is given
        assert before == [f"{colab.COLAB_SENTENCE}\n"]
        assert "kept in a folder of your Drive" in before[0], "what it is for"
        assert "notebook's own file is read" in before[0], "why more than drive.file"
        assert page.calls == ["authenticate_user"]

    def test_a_secret_comes_before_the_sign_in(self, monkeypatch):
        """A credentials file kept as a Colab secret is used without a dialog, and read once."""
        page = google_colab.install(monkeypatch, google_colab.Page())
        asked = google_colab.install_userdata(monkeypatch, json.dumps(USER))
        for _ in range(2):
            found = find(browser_attached=lambda: True)
            assert found.source == "Colab's secrets"
            assert found.credentials.refresh_token == SECRET
        assert asked == [Variable.CREDENTIALS]
        assert page.calls == []

    def test_a_corrected_secret_is_read_again(self, monkeypatch):
        """After an error the secret is read again, without a restart of the runtime."""
        google_colab.install(monkeypatch, google_colab.Page())
        texts = iter(["{", json.dumps(USER)])
        google_colab.install_userdata(monkeypatch, lambda: next(texts))
        with pytest.raises(CredentialsError, match="holds no credentials"):
            find(browser_attached=lambda: True)
        assert find(browser_attached=lambda: True).credentials.refresh_token == SECRET

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            ("SecretNotFoundError", "there is no secret named"),
            ("NotebookAccessError", "under the key symbol"),
            ("TimeoutException", "did not answer in time"),
            ("SomethingElse", r"Colab failed \(SomethingElse\)"),
        ],
    )
    def test_why_a_secret_is_unavailable(self, monkeypatch, error, words):
        """Each error of Colab's secrets becomes a reason in the one error."""
        google_colab.install(monkeypatch, google_colab.Page())
        google_colab.install_userdata(monkeypatch, type(error, (Exception,), {})(SECRET))
        with pytest.raises(CredentialsError, match=words) as caught:
            find(allow_prompt=False, browser_attached=lambda: True)
        assert SECRET not in "".join(traceback.format_exception(caught.value))

    def test_a_secret_that_never_comes_is_given_up(self, monkeypatch):
        """A `userdata.get` that never returns is given up, so that an unattended run ends."""
        google_colab.install(monkeypatch, google_colab.Page())
        google_colab.install_userdata(monkeypatch, lambda: threading.Event().wait())
        monkeypatch.setattr(colab, "SECRET_SECONDS", 0.1)
        with pytest.raises(CredentialsError, match="did not answer in time"):
            find(allow_prompt=False, browser_attached=lambda: True)

    def test_never_asks_without_a_browser(self, monkeypatch):
        """Without a browser, the sign-in would never return: it is skipped, as the error says."""
        page = google_colab.install(monkeypatch, google_colab.Page(attached=False))
        with pytest.raises(CredentialsError, match="no browser is attached"):
            find(browser_attached=lambda: False)
        assert "authenticate_user" not in page.calls

    def test_never_asks_with_allow_prompt_false(self, monkeypatch):
        """With `allow_prompt=False` no dialog opens, as in a scheduled run."""
        page = google_colab.install(monkeypatch, google_colab.Page())
        with pytest.raises(CredentialsError, match="asking was not allowed"):
            find(allow_prompt=False, browser_attached=lambda: True)
        assert page.calls == []

    def test_a_refused_sign_in_is_a_reason(self, monkeypatch):
        """A dialog that the user closed is a reason in the error, not a crash."""
        page = google_colab.install(monkeypatch, google_colab.Page())

        def refuse():
            raise sys_modules_error(monkeypatch)

        monkeypatch.setattr("google.colab.auth.authenticate_user", refuse)
        with pytest.raises(CredentialsError, match=r"not completed \(AuthorizationError\)"):
            find(browser_attached=lambda: True)
        assert page.calls == []


def sys_modules_error(monkeypatch):
    from google.colab import errors

    return errors.AuthorizationError(SECRET)
