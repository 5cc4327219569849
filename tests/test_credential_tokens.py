"""Verification of credentials: a source is accepted only after it has issued a token."""

import json
import os
import traceback
from datetime import UTC, datetime, timedelta

import pytest
from google.oauth2.credentials import Credentials

from colab_drive_tuner import credentials as ours
from colab_drive_tuner.credentials import (
    cloud_credentials,
    colab,
    find_credentials,
    lookup,
)
from colab_drive_tuner.credentials.files import from_info
from colab_drive_tuner.credentials.source_interface import CredentialRequest, CredentialSource
from colab_drive_tuner.credentials.token import TokenRefusedError, get_token
from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.emulator import DriveEmulator
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import CredentialsError, UnavailableError
from colab_drive_tuner.runtime import Kind, Runtime
from colab_drive_tuner.session.session import SetupArguments, connect
from tests.fakes import google_colab
from tests.fakes.sign_in import SECRET, USER, SignInServer
from tests.processes import run_python

REVOKED = (400, {"error": "invalid_grant", "error_description": f"no longer: {SECRET}"})


@pytest.fixture(autouse=True)
def google(monkeypatch):
    """Google's token endpoint and a metadata server, which this machine does not use yet."""
    colab.secret.cache_clear()
    with SignInServer() as server:
        endpoint = "google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT"
        monkeypatch.setattr(endpoint, server.token_uri)
        yield server


@pytest.fixture
def robot(google):
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
    )
    return {
        "type": "service_account",
        "client_email": "robot@project.iam.gserviceaccount.com",
        "private_key": key.decode(),
        "token_uri": google.token_uri,
    }


@pytest.fixture
def federated(google, tmp_path):
    subject = tmp_path / "subject"
    subject.write_text("a-subject-token")
    return {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": google.token_uri,
        "credential_source": {"file": str(subject)},
    }


@pytest.fixture(params=["user", "robot", "federated"])
def info(request):
    """The content of each kind of credentials file."""
    return USER if request.param == "user" else request.getfixturevalue(request.param)


def write(folder, info, name="credentials.json"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(info))
    return path


def find(explicit=None, **options):
    options.setdefault("allow_prompt", False)
    options.setdefault("browser_attached", lambda: False)
    return find_credentials(explicit, **options)


def keep_login(google):
    names = ("client_id", "client_secret", "refresh_token")
    login = {"type": "authorized_user", **{name: USER[name] for name in names}}
    write(ours.login_file().parent, {**login, "token_uri": google.token_uri}, "login.json")


def set_variable(google, monkeypatch, folder):
    monkeypatch.setenv(Variable.CREDENTIALS, str(write(folder, USER)))


def store_login(google, monkeypatch, folder):
    keep_login(google)


def store_secret(google, monkeypatch, folder):
    google_colab.install(monkeypatch, google_colab.Page())
    google_colab.install_userdata(monkeypatch, json.dumps(USER))
    return {"browser_attached": lambda: True}


SET_UP = {
    "credentials=": lambda google, monkeypatch, folder: {"explicit": write(folder, USER)},
    Variable.CREDENTIALS: set_variable,
    "colab-drive-tuner login": store_login,
    "Colab's secrets": store_secret,
}
"""Functions that set up each chosen source with `USER` and return options of `find`, if needed.

None for a source whose credentials hold a token from the start, so that none is requested.
"""


@pytest.fixture(params=["object", *(source.name for source in ours.SOURCES if source.chosen)])
def chosen(request, monkeypatch, tmp_path, google):
    """Each chosen source of the list: what is passed, and what the error must name."""
    if request.param == "object":
        return {"explicit": user_at(google)}, "credentials="
    assert request.param in SET_UP, f"add a function that sets up {request.param} to SET_UP"
    if SET_UP[request.param] is None:
        pytest.skip("its credentials hold a token, so none is requested")
    return SET_UP[request.param](google, monkeypatch, tmp_path) or {}, request.param


def test_a_chosen_source_is_verified_by_one_token(google, chosen):
    """A chosen source is verified by one token request; Drive's first request uses that token."""
    options, how = chosen
    found = find(**options)
    assert found.source == how
    assert found.credentials.token == "a-fresh-token-of-the-stand-in"
    assert google.tokens_asked() == 1
    assert DriveClient.connect(found).signer.headers()["authorization"].endswith("stand-in")
    assert google.tokens_asked() == 1


def test_a_refused_chosen_source_ends_the_lookup(google, chosen, monkeypatch, tmp_path, caplog):
    """A refused chosen source is an error that names it, and no other source is tried.

    Neither the error nor the log shows a secret.
    """
    google.answer = REVOKED
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(write(tmp_path, USER, "adc.json")))
    options, how = chosen
    with caplog.at_level(0), pytest.raises(CredentialsError, match="expired or was revoked") as no:
        find(**options)
    assert how in str(no.value)
    assert ("credentials=" in str(no.value)) == (how == "credentials=")
    assert google.tokens_asked() == 1
    assert SECRET not in caplog.text + "".join(traceback.format_exception(no.value))


@pytest.mark.parametrize("answer", [(503, {}), (429, {}), (200, b"<html>pay first</html>"), None])
def test_an_outage_of_the_token_endpoint_is_no_refusal(google, chosen, answer):
    """A busy or failing token endpoint raises UnavailableError, and a later attempt works.

    A web page in place of the answer, such as a hotel's, counts as an outage.
    """
    options, _ = chosen
    google.answer = answer or (500, b"")
    with pytest.raises(UnavailableError, match="try again later"):
        find(**options)
    google.answer = (200, {"access_token": "later", "expires_in": 3600})
    assert find(**options).credentials.token == "later"


def test_a_wrong_clock_is_named(monkeypatch, robot):
    """A service account on a machine whose clock is hours off is not called revoked."""
    now = datetime.now(UTC).replace(tzinfo=None)
    with DriveEmulator() as emulator:
        robot["token_uri"] = f"{emulator.url}/token"
        for hours in (-3, 3):
            moment = now + timedelta(hours=hours)
            monkeypatch.setattr("google.auth._helpers.utcnow", lambda moment=moment: moment)
            with pytest.raises(CredentialsError, match="this machine's clock is wrong"):
                find(from_info(robot, "The file", CredentialRequest()))


def test_every_kind_of_file_is_verified(google, info, tmp_path, monkeypatch):
    """Each kind of file is verified by a token, whichever variable names it."""
    path = str(write(tmp_path, info))
    for variable in (Variable.CREDENTIALS, "GOOGLE_APPLICATION_CREDENTIALS"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, path)
            before = google.tokens_asked()
            assert find().credentials.valid
            assert google.tokens_asked() == before + 1
            google.answer = REVOKED
            with pytest.raises(CredentialsError, match="invalid_grant") as no:
                find()
            assert variable in str(no.value) or "application default" in str(no.value)
            google.answer = (503, b"")
            with pytest.raises(UnavailableError):
                find()
        google.answer = (200, {"access_token": "t", "expires_in": 3600})
        google.answer[1]["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token"


def test_a_federated_identity_without_its_subject_token(google, federated, tmp_path):
    """A missing subject token file is a CredentialsError, not an outage; no request is sent."""
    federated["credential_source"]["file"] = str(tmp_path / "nowhere")
    with pytest.raises(CredentialsError, match="gave no token"):
        find(write(tmp_path, federated))
    assert google.asked == []


def test_a_valid_token_needs_no_request(google):
    """A valid token is used without a request; an expired one that cannot be renewed is refused."""
    import datetime

    assert find(Credentials("good")).credentials.token == "good"
    old = Credentials("old", expiry=datetime.datetime(2020, 1, 1))
    with pytest.raises(CredentialsError, match="sign-in of credentials="):
        find(old)
    assert google.asked == []


def test_a_chosen_variable_decides_the_scopes_on_colab(robot, monkeypatch):
    """A service account of a chosen variable gets its own scopes, not those of Colab's sign-in."""
    source = CredentialSource(
        "made up",
        lambda request: from_info(robot, "It", request),
        variables=(Variable.COLAB_TOKEN,),
        chosen=True,
    )
    monkeypatch.setattr(lookup, "SOURCES", (source,))
    monkeypatch.setenv(Variable.COLAB_TOKEN, "set")
    here = Runtime(Kind("colab"), browser_attached=False, can_prompt=False, gpu=None)
    client = connect(SetupArguments(None, None, None, {}, os.getpid()), here)
    assert client.signer.credentials.scopes == [ours.SCOPE_ALL]


def test_a_redirect_does_not_get_the_refresh_token(google):
    """A redirect of the token endpoint is not followed, so no other host gets the refresh token."""
    with SignInServer() as elsewhere:
        google.headers = {"Location": elsewhere.token_uri}
        for status in (301, 302, 303, 307, 308):
            google.answer = (status, {})
            with pytest.raises(UnavailableError, match="sent an invalid answer"):
                find(user_at(google))
        assert elsewhere.asked == []


def user_at(google):
    client = {name: USER[name] for name in ("client_id", "client_secret", "refresh_token")}
    return Credentials(None, token_uri=google.token_uri, **client)


class TestAMachineAtGoogle:
    """The metadata server names an account, whether or not anybody has signed in."""

    @pytest.fixture(autouse=True)
    def here(self, google, monkeypatch):
        google.be_this_machine(monkeypatch)

    def test_nobody_has_signed_in(self, google):
        """Without a sign-in, the error lists what was tried and speaks of no refusal."""
        with pytest.raises(CredentialsError, match=r"^Nobody is signed in") as no:
            find()
        text = str(no.value)
        assert "credentials=: none were given" in text
        assert "application default credentials: nobody has signed in" in text
        assert "no longer accepts" not in text

    def test_its_server_refuses_the_token(self, google):
        """If the metadata server refuses a token, the error names it and its status code."""
        google.busy = 403
        with pytest.raises(CredentialsError, match=r"^Nobody is signed in") as no:
            find()
        assert "this machine's metadata server has no token (403)" in str(no.value)

    def test_its_server_was_not_asked(self, google, monkeypatch):
        """Without the certificate that strict mTLS needs, the metadata server is not asked."""
        from google.auth import compute_engine  # it reads the environment when it is imported

        monkeypatch.setenv("GCE_METADATA_MTLS_MODE", "strict")
        with pytest.raises(TokenRefusedError, match="this machine's metadata server was not asked"):
            get_token(compute_engine.Credentials())
        assert google.asked == []

    def test_the_person_refuses(self, google, monkeypatch):
        """After a closed dialog the error gives both reasons, and shows no secret."""
        google_colab.install(monkeypatch, google_colab.Page())
        google_colab.install_userdata(monkeypatch, google_colab.secret_not_found())

        def refuse():
            from google.colab import errors

            raise errors.AuthorizationError(SECRET)

        monkeypatch.setattr("google.colab.auth.authenticate_user", refuse)
        with pytest.raises(CredentialsError, match=r"^Nobody is signed in") as no:
            find(allow_prompt=True, browser_attached=lambda: True)
        assert "not completed (AuthorizationError)" in str(no.value)
        assert "nobody has signed in: this machine's metadata server" in str(no.value)
        assert SECRET not in str(no.value)

    def test_the_person_signs_in(self, google, monkeypatch):
        """After Colab's sign-in one token is requested, with the requested scopes."""
        google_colab.install(monkeypatch, google_colab.Page())
        google_colab.install_userdata(monkeypatch, google_colab.secret_not_found())

        def allow():
            google.signed_in = True

        monkeypatch.setattr("google.colab.auth.authenticate_user", allow)
        found = find(
            allow_prompt=True,
            browser_attached=lambda: True,
            scopes=[ours.SCOPE_FILE, ours.SCOPE_READ],
        )
        assert found.source == "Colab's sign-in"
        assert google.tokens_asked() == 1
        (asked,) = [one for one in google.asked if "/token" in one]
        assert "drive.file" in asked
        assert "drive.readonly" in asked

    def test_a_sign_in_without_a_token(self, google, monkeypatch):
        """A sign-in that succeeds without giving a token is reported as not signed in."""
        google_colab.install(monkeypatch, google_colab.Page())
        google_colab.install_userdata(monkeypatch, google_colab.secret_not_found())
        with pytest.raises(CredentialsError, match="Colab's sign-in: nobody has signed in"):
            find(allow_prompt=True, browser_attached=lambda: True)

    def test_somebody_has_signed_in_before(self, google):
        """An earlier sign-in is used without a page, as in a `!command`."""
        google.signed_in = True
        assert find().source == "application default credentials"
        assert google.tokens_asked() == 1

    def test_a_busy_metadata_server_is_no_refusal(self, google, monkeypatch):
        """A busy metadata server raises UnavailableError.

        The pauses of google-auth are skipped here.
        """
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        google.busy = 503
        with pytest.raises(UnavailableError, match="try again later"):
            find()

    def test_cloud_credentials_are_verified_too(self, google):
        """`cloud_credentials()` needs a token as well, for Google Cloud's own scope."""
        with pytest.raises(CredentialsError, match=r"application default credentials.*metadata"):
            cloud_credentials()
        google.signed_in = True
        assert cloud_credentials().credentials.valid
        assert "cloud-platform" in google.asked[-1]

    def test_a_revoked_gcloud_sign_in(self, google, monkeypatch, tmp_path):
        """The error for a revoked gcloud sign-in names its file and Google's reason."""
        monkeypatch.setenv(Variable.GCLOUD_FOLDER, str(tmp_path))
        write(tmp_path, USER, "application_default_credentials.json")
        google.answer = REVOKED
        with pytest.raises(CredentialsError, match=r"^Nobody is signed in") as no:
            find()
        file = tmp_path / "application_default_credentials.json"
        assert f"application default credentials ({file}): invalid_grant" in str(no.value)
        with pytest.raises(CredentialsError, match="invalid_grant"):
            cloud_credentials()

    @pytest.mark.parametrize(
        "program", ["import colab_drive_tuner as cdt; cdt.setup()", "whoami"], ids=["setup", "cli"]
    )
    def test_a_new_process(self, google, program):
        """In a new process `setup()` and `whoami` exit 1 and ask the metadata server once."""
        command = ["-c", program] if " " in program else ["-m", "colab_drive_tuner", program]
        done = run_python(*command, environment=google.environment, status=1)
        output = " ".join(done.stderr.split())
        assert "Nobody is signed in to Google Drive" in output
        assert "nobody has signed in: this machine's metadata server has no token" in output
        assert "no longer accepts" not in output
        assert google.tokens_asked() == 1
