"""Access tokens: renewed on expiry or refusal, once for all threads, and never shown."""

import json
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from google.auth.exceptions import TransportError
from google.oauth2.credentials import Credentials

from colab_drive_tuner.credentials import Identity
from colab_drive_tuner.drive.requests.endpoint import Authorizer, emulator_authorizer
from colab_drive_tuner.errors import CredentialsError, UnavailableError

SECRET = "1//a-refresh-token-that-nobody-may-see"


class TokenServer:
    """A token endpoint that gives `answers` in turn, the last one for ever, and counts calls."""

    def __init__(self):
        self.answers = [(200, {"access_token": "fresh", "expires_in": 3600})]
        self.calls = 0
        rig = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                status, body = rig.answers[min(rig.calls, len(rig.answers) - 1)]
                rig.calls += 1
                raw = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/token"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def token_server():
    server = TokenServer()
    yield server
    server.close()


def authorizer(url):
    credentials = Credentials(
        None, refresh_token=SECRET, token_uri=url, client_id="i", client_secret=SECRET
    )
    return Authorizer(Identity(credentials, "a test"))


def test_fetches_a_token_when_first_needed(token_server):
    """The first request fetches a token, which the second one uses."""
    signer = authorizer(token_server.url)
    assert token_server.calls == 0
    assert signer.headers() == {"authorization": "Bearer fresh"}
    signer.headers()
    assert token_server.calls == 1


def test_many_threads_renew_once(token_server):
    """Sixteen requests that got the same 401 cause one refresh."""
    token_server.answers = [
        (200, {"access_token": f"t{number}", "expires_in": 3600}) for number in range(9)
    ]
    signer = authorizer(token_server.url)
    refused = signer.headers()
    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(signer.renew, [refused] * 16)) == 1
    assert token_server.calls == 2
    assert signer.headers() == {"authorization": "Bearer t1"}


class Queue:
    """A lock that counts the threads that wait for it."""

    def __init__(self):
        self.lock, self.came = threading.Lock(), threading.Semaphore(0)

    def __enter__(self):
        self.came.release()
        self.lock.acquire()

    def __exit__(self, *_):
        self.lock.release()


def test_threads_share_the_failure_of_one_renewal(monkeypatch):
    """Threads that waited for a renewal share its failure, so that their waits do not add up."""
    gave_up = threading.Event()

    class Silent:
        valid = False
        tries = 0

        def refresh(self, request):
            self.tries += 1
            gave_up.wait()
            raise TransportError("it kept silent")

    credentials, queue = Silent(), Queue()
    signer = Authorizer(Identity(credentials, "a test"))
    monkeypatch.setattr(signer, "_lock", queue)
    with ThreadPoolExecutor(16) as pool:
        ends = [pool.submit(signer.headers) for _ in range(16)]
        for _ in ends:
            queue.came.acquire()
        gave_up.set()
        assert all(isinstance(end.exception(), UnavailableError) for end in ends)
    assert credentials.tries == 1
    with pytest.raises(UnavailableError):
        signer.headers()
    assert credentials.tries == 2


def test_a_revoked_sign_in_is_an_error(token_server):
    """A revoked sign-in is an error with its source and the remedy, and without a secret."""
    token_server.answers = [(400, {"error": "invalid_grant", "error_description": SECRET})]
    with pytest.raises(CredentialsError, match=r"a test; invalid_grant.*Sign in") as caught:
        authorizer(token_server.url).headers()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "answer",
    [
        (500, {"error": "internal_failure"}),
        (503, b"<html>busy</html>"),
        (502, b""),
        (429, b""),
        (200, b"<html>sign in to this network first</html>"),
        (200, b"\xff"),
        (200, []),
    ],
)
def test_a_busy_sign_in_server_is_no_revocation(token_server, answer):
    """A busy token endpoint, or a proxy's page in its place, raises UnavailableError.

    Each attempt sends one request, because the retry policy repeats it.
    """
    token_server.answers = [answer, (200, {"access_token": "fresh", "expires_in": 3600})]
    signer = authorizer(token_server.url)
    with pytest.raises(UnavailableError, match="try again later"):
        signer.headers()
    assert token_server.calls == 1
    assert signer.headers() == {"authorization": "Bearer fresh"}


def test_a_silent_sign_in_server_is_no_revocation():
    """A token endpoint at which nobody listens raises UnavailableError."""
    with pytest.raises(UnavailableError, match="silent"):
        authorizer("http://127.0.0.1:1/token").headers()


def test_the_quota_project_is_sent():
    """The sign-in of gcloud needs a quota project in each request."""
    given = Credentials("token", quota_project_id="my-project")
    headers = Authorizer(Identity(given, "x")).headers()
    assert headers["x-goog-user-project"] == "my-project"


def test_nothing_secret_in_reprs():
    """Reprs show no secret in a cell's output or in a traceback with local variables."""
    identity = Identity(Credentials(SECRET), "a test")
    for signer in (Authorizer(identity), emulator_authorizer(SECRET, "http://127.0.0.1:1")):
        assert SECRET in next(iter(signer.headers().values()))
        for thing in (identity, signer, signer.credentials, signer.headers()):
            assert SECRET not in repr(thing)
