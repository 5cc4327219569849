"""PyDrive2 with this package's credentials, and this package with PyDrive2's credentials."""

import datetime
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("pydrive2", reason="PyDrive2 is not installed (extra: pydrive2)")

from oauth2client.client import OAuth2Credentials
from oauth2client.service_account import ServiceAccountCredentials
from pydrive2.auth import GoogleAuth

from colab_drive_tuner import session
from colab_drive_tuner.credentials import Identity, find_credentials
from colab_drive_tuner.drive import DriveClient, pydrive
from colab_drive_tuner.drive.pydrive import google_drive
from colab_drive_tuner.drive.requests.endpoint import Authorizer, Endpoint
from colab_drive_tuner.errors import CredentialsError


@pytest.fixture(autouse=True)
def closed_connections(monkeypatch):
    """Close PyDrive2's connections: it makes one for each thread and closes none."""
    opened = []
    make = GoogleAuth.Get_Http_Object

    def remembered(self):
        opened.append(make(self))
        return opened[-1]

    monkeypatch.setattr(GoogleAuth, "Get_Http_Object", remembered)
    yield
    for http in opened:
        http.close()


@pytest.fixture
def drive(client):
    return google_drive(client)


def test_the_recipe_of_2019_runs_as_printed(client, root, tmp_path, monkeypatch):
    """The recipe of 2019 runs unchanged, apart from its sign-in lines, which one line replaces."""
    monkeypatch.chdir(tmp_path)
    content = b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    client.create_file("X.ipynb", content, parent=root, mime_type="application/json")
    monkeypatch.setattr(session, "_last", None)
    drive = session.setup(notebook="X.ipynb").pydrive()
    (tmp_path / "X.ipynb").unlink(missing_ok=True)

    fid = drive.ListFile({'q': "title='X.ipynb'"}).GetList()[0]['id']  # fmt: skip
    f = drive.CreateFile({'id': fid})  # fmt: skip
    f.GetContentFile('X.ipynb')  # fmt: skip

    assert (tmp_path / "X.ipynb").read_bytes() == content


def test_files_are_uploaded_changed_and_trashed(drive, client, root, tmp_path):
    """PyDrive2 and the client read what the other one wrote."""
    (tmp_path / "source").write_bytes(os.urandom(300_000))
    file = drive.CreateFile({"title": "data.bin", "parents": [{"id": root}]})
    file.SetContentFile(str(tmp_path / "source"))
    file.Upload()
    file.content.close()
    assert client.download(file["id"]) == (tmp_path / "source").read_bytes()
    client.update_content(file["id"], b"new")
    assert drive.CreateFile({"id": file["id"]}).GetContentString() == "new"
    file.Trash()
    assert client.get(file["id"]).trashed


def test_threads_get_connections_of_their_own(drive, client, root):
    """Each thread gets its own connection, because httplib2 is not thread-safe."""
    made = client.create_file("x", b"content", parent=root)

    def read(_):
        return drive.CreateFile({"id": made.id}).GetContentString()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(read, range(16))) == {"content"}


def test_a_silent_server_is_given_up(client, drive_emulator, monkeypatch):
    """A call without an answer fails, where PyDrive2 alone would wait for ever."""
    monkeypatch.setattr(pydrive, "HTTP_TIMEOUT", 0.2)
    drive = google_drive(client)
    drive_emulator.faults.add("hang", seconds=60)
    with pytest.raises(TimeoutError):
        drive.GetAbout()


def test_an_expired_token_is_renewed(drive_emulator, account):
    """An expired token is renewed between two calls."""
    from google.oauth2.credentials import Credentials

    drive_emulator.allow("", account, refresh_token="refresh")
    credentials = Credentials(
        None,
        refresh_token="refresh",
        token_uri=f"{drive_emulator.url}/token",
        client_id="i",
        client_secret="s",
    )
    signer = Authorizer(Identity(credentials, "a test"))
    drive = google_drive(DriveClient(signer, endpoint=Endpoint(drive_emulator.url, "")))
    assert drive.GetAbout()["user"]["emailAddress"] == account
    drive_emulator.expire(credentials.token)
    assert drive.GetAbout()["user"]["emailAddress"] == account


def test_the_emulator_gets_no_real_token_and_no_proxy_is_asked(
    drive_emulator, account, monkeypatch, caplog
):
    """With an emulator, given credentials and a proxy are not used, and no token is logged."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    class Real:
        def __getattribute__(self, name):
            raise AssertionError(f"somebody touched .{name}")

    client = DriveClient.connect(Real())
    with caplog.at_level(0):
        assert google_drive(client).GetAbout()["user"]["emailAddress"] == account
    assert client.signer.credentials.token not in caplog.text


def test_a_settings_file_nearby_is_not_read(client, tmp_path, monkeypatch):
    """A settings.yaml in the working directory, such as a tutorial's, is ignored."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.yaml").write_text("client_config_backend: nonsense\n")
    assert google_drive(client).auth.settings["save_credentials"] is False


class TestGoogleAuthAsCredentials:
    """`credentials=` takes a GoogleAuth that somebody has signed in with."""

    def test_of_a_person(self, drive_emulator, account):
        """The token of a user's GoogleAuth is renewed by google-auth once it expires."""
        drive_emulator.allow("", account, refresh_token="theirs")
        auth = GoogleAuth(settings_file=None)
        long_ago, url = datetime.datetime(2020, 1, 1), f"{drive_emulator.url}/token"
        auth.credentials = OAuth2Credentials("stale", "i", "s", "theirs", long_ago, url, "x")
        found = find_credentials(auth, allow_prompt=False)
        assert "theirs" not in repr(found)
        client = DriveClient(Authorizer(found), endpoint=Endpoint(drive_emulator.url, ""))
        assert client.account() == account
        client.close()

    def test_of_a_service_account(self, drive_emulator, tmp_path):
        """The key of a service account is used, and the user it acts for."""
        from cryptography.hazmat.primitives import serialization as form
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(65537, 2048).private_bytes(
            form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
        )
        info = {
            "type": "service_account",
            "client_email": "robot@p.iam.gserviceaccount.com",
            "client_id": "1",
            "private_key": key.decode(),
            "private_key_id": "k",
            "token_uri": f"{drive_emulator.url}/token",
        }
        settings = {
            "client_config_backend": "service",
            "save_credentials": False,
            "oauth_scope": ["https://www.googleapis.com/auth/drive"],
            "service_config": {"client_json_dict": info, "client_user_email": "boss@example.com"},
        }
        auth = GoogleAuth(settings=settings)
        auth.LoadServiceConfigSettings()
        auth.credentials = ServiceAccountCredentials.from_json_keyfile_dict(info)
        found = find_credentials(auth, allow_prompt=False)
        client = DriveClient(Authorizer(found), endpoint=Endpoint(drive_emulator.url, ""))
        assert client.account() == "boss@example.com"
        client.close()

    def test_of_nobody(self):
        """The error for a GoogleAuth without a sign-in says that nobody is signed in."""
        with pytest.raises(CredentialsError, match="Nobody is signed in"):
            find_credentials(GoogleAuth(settings_file=None), allow_prompt=False)

    def test_a_googleauth_of_this_package(self, client):
        """A GoogleAuth made by this package gives the credentials that it holds."""
        given = google_drive(client).auth
        found = find_credentials(given, allow_prompt=False)
        assert found.credentials is given.credentials.of_google_auth
        assert found.credentials.token == client.signer.credentials.token
