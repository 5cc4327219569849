"""`login`, `logout`, `whoami`: Google's flow against a fake server on this machine."""

import http.client
import json
import re
import stat
import threading
import urllib.request
import webbrowser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from colab_drive_tuner.credentials import find_credentials, login_file

pytest.importorskip("google_auth_oauthlib", reason="not installed (extra: login)")
SECRET = "1//a-refresh-token-that-nobody-may-see"


class Google:
    """A fake of Google's sign-in; `asked` holds the requests to /token and /revoke."""

    def __init__(self):
        self.asked = []
        self.consent = {"code": "a-code"}
        self.elsewhere = None
        self.granted = None
        google = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                google.asked.append((self.path, dict(parse_qsl_flat(body))))
                answer = {"access_token": "a", "refresh_token": SECRET, "expires_in": 3600}
                answer |= {"token_type": "Bearer", "scope": google.granted or google.scope}
                raw = json.dumps(answer).encode()
                self.send_response(308 if google.elsewhere else 200)
                self.send_header("Location", google.elsewhere or "/")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def visit(self, url, **options):
        """Consent as the person in the browser does, and call the local server back."""
        query = parse_qs(urlsplit(url).query)
        self.scope = query["scope"][0]
        back = query["redirect_uri"][0]
        answer = urlencode({**self.consent, "state": query["state"][0], "scope": self.scope})

        def come_back():
            urllib.request.urlopen(f"{back}?{answer}").close()

        threading.Thread(target=come_back).start()
        return True

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def parse_qsl_flat(body):
    return ((name, values[0]) for name, values in parse_qs(body).items())


@pytest.fixture
def google(monkeypatch):
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")  # this fake has no certificate
    google = Google()

    class Browser:
        open = staticmethod(google.visit)

    monkeypatch.setattr(webbrowser, "get", lambda using=None: Browser())
    yield google
    google.close()


@pytest.fixture
def client_file(google, tmp_path):
    path = tmp_path / "client.json"
    client = {
        "client_id": "an-id",
        "client_secret": "a-client-secret",
        "auth_uri": f"{google.url}/auth",
        "token_uri": f"{google.url}/token",
    }
    path.write_text(json.dumps({"installed": client}))
    return path


def test_a_login_is_private_and_found(run_command, google, client_file, caplog):
    """`login` writes a file of mode 0600 without the access token; no secret is shown or logged."""
    with caplog.at_level(0):
        code, out, err = run_command("login", "--client-secrets", client_file)
    assert (code, err) == (0, "")
    assert google.scope == "https://www.googleapis.com/auth/drive.file"
    path = login_file()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "access" not in path.read_text()
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    found = find_credentials(allow_prompt=False)
    assert found.source == "colab-drive-tuner login"
    assert found.credentials.refresh_token == SECRET
    assert SECRET not in out + repr(found)
    assert SECRET not in caplog.text


def test_scopes_are_asked_for_as_chosen(run_command, google, client_file):
    """Each `--scope` adds one scope to the request."""
    run_command(
        "login", "--client-secrets", client_file, "--scope", "drive.file", "--scope", "drive"
    )
    assert re.findall(r"auth/([a-z.]+)", google.scope) == ["drive.file", "drive"]


def test_a_refusal_in_the_browser_is_an_error(run_command, google, client_file):
    """A refusal in the browser exits 1 and writes no file."""
    google.consent = {"error": "access_denied"}
    code, _, err = run_command("login", "--client-secrets", client_file)
    assert code == 1
    assert "not completed (access_denied)" in err
    assert not login_file().exists()


def test_missing_permissions_are_an_error(run_command, google, client_file):
    """Fewer permissions than requested exit 1 and write no file.

    Otherwise the missing permission would show only much later.
    """
    google.granted = "openid"
    code, _, err = run_command("login", "--client-secrets", client_file)
    assert code == 1
    assert "not all requested permissions" in err
    assert not login_file().exists()


@pytest.mark.parametrize(
    "content",
    [None, "{", "{}", '{"type": "service_account"}', "5", "[" * 100_000, '{"installed": null}'],
)
def test_a_file_that_is_no_client_is_refused(run_command, tmp_path, content):
    """The error for a missing or wrong client file says what to create."""
    path = tmp_path / "no-client.json"
    if content is not None:
        path.write_text(content)
    code, _, err = run_command("login", "--client-secrets", path)
    assert code == 2
    assert "type 'Desktop app'" in " ".join(err.split())


def test_logout_revokes_and_deletes(run_command, google, client_file):
    """`logout` revokes the token at Google and deletes the file; a second one finds no sign-in."""
    run_command("login", "--client-secrets", client_file)
    code, out, _ = run_command("logout")
    assert code == 0
    assert google.asked[-1] == ("/revoke", {"token": SECRET})
    assert "Google could not" not in out
    assert not login_file().exists()
    assert "There is no sign-in" in run_command("logout")[1]


def test_a_sign_in_that_cannot_be_changed_is_named(run_command, google, client_file):
    """A folder in place of the file is an error that names it, for `login` and `logout`."""
    login_file().mkdir(parents=True)
    for command in (("logout",), ("login", "--client-secrets", str(client_file))):
        code, _, err = run_command(*command)
        assert code == 1
        assert f"The sign-in's file {login_file()} cannot be changed (Is a directory)" in err


def test_logout_works_offline_and_with_a_damaged_file(run_command):
    """The file is deleted in any case, and the user reads how to revoke the token by hand."""
    path = login_file()
    path.parent.mkdir(parents=True)
    for content in ("{", json.dumps({"token_uri": "http://127.0.0.1:1/t", "refresh_token": "x"})):
        path.write_text(content)
        code, out, _ = run_command("logout")
        assert code == 0
        assert "myaccount.google.com" in out
        assert not path.exists()


def test_a_redirect_is_not_followed_with_a_secret(
    run_command, google, client_file, monkeypatch, capsys
):
    """`login` and `logout` follow no redirect, which would get the code, secret or token."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    run_command("login", "--client-secrets", client_file)
    google.elsewhere = f"{google.url}/elsewhere"
    code, out, err = run_command("login", "--client-secrets", client_file)
    assert code == 1
    assert "not completed" in err
    shown = out + err
    code, out, _ = run_command("logout")
    assert code == 0
    assert "It could not be revoked" in out
    assert [path for path, _ in google.asked] == ["/token", "/token", "/revoke"]
    assert not login_file().exists()
    for secret in (SECRET, "a-client-secret", "a-code"):
        assert secret not in shown + out


def test_whoami(run_command, drive_emulator):
    """`whoami` prints the account, how it was found and its storage, also as JSON."""
    code, out, _ = run_command("whoami")
    assert code == 0
    assert out.startswith(f"owner@example.com (the emulator at {drive_emulator.url}), 0.00 of")
    code, out, _ = run_command("whoami", "--json")
    facts = json.loads(out)
    assert (code, facts["account"]) == (0, "owner@example.com")
    assert facts["bytes_used"] < facts["bytes_limit"]


def test_whoami_without_a_sign_in(run_command):
    """`whoami` without a sign-in exits 1 and lists what was tried, the login included."""
    code, _, err = run_command("whoami")
    assert code == 1
    assert "colab-drive-tuner login: nobody has signed in" in err


def test_with_an_emulator_nobody_signs_in(run_command, drive_emulator, client_file, google):
    """With an emulator, `login` and `logout` exit 2, keep a stored sign-in, send Google nothing."""
    kept = json.dumps({"token_uri": f"{google.url}/token", "refresh_token": SECRET})
    login_file().parent.mkdir(parents=True)
    login_file().write_text(kept)
    for command in (("login", "--client-secrets", client_file), ("logout",)):
        code, _, err = run_command(*command)
        assert code == 2
        assert "DRIVE_EMULATOR_HOST is set" in err
    assert login_file().read_text() == kept
    assert google.asked == []
