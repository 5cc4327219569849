"""Drive clients on one shared emulator: a new account per test, and a clock without real pauses."""

import itertools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from google.oauth2.credentials import Credentials

from colab_drive_tuner.credentials import Identity
from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.drive.requests.endpoint import (
    Authorizer,
    Endpoint,
    emulator_authorizer,
    find_endpoint,
)
from colab_drive_tuner.drive.requests.retry_and_refusal import RetryPolicy
from colab_drive_tuner.emulator import DriveEmulator
from tests.drive.responses import respond

_numbers = itertools.count(1)


class Clock(threading.local):
    """A monotonic clock advanced only by pauses; one per thread, as threads pause in parallel."""

    def __init__(self):
        self.time = 0.0
        self.pauses = []

    def __call__(self):
        return self.time

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.time += seconds


@pytest.fixture(scope="session")
def running_emulator():
    with DriveEmulator() as emulator:
        yield emulator


@pytest.fixture
def account():
    """A new account for this test, with an empty Drive."""
    return f"user{next(_numbers)}@example.com"


@pytest.fixture
def drive_emulator(running_emulator, account, monkeypatch):
    token = f"token-of-{account}"
    running_emulator.faults.clear()
    running_emulator.allow(token, account, refresh_token=token)
    running_emulator.clear_log()
    monkeypatch.setenv("DRIVE_EMULATOR_HOST", running_emulator.url)
    monkeypatch.setenv("DRIVE_EMULATOR_TOKEN", token)
    yield running_emulator
    running_emulator.faults.clear()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def patience():
    """Seconds, by its clock, for which a client retries a call."""
    return 60.0


@pytest.fixture
def client(drive_emulator, clock, patience):
    endpoint = find_endpoint()
    policy = RetryPolicy(patience, sleep=clock.sleep, clock=clock)
    signer = emulator_authorizer(endpoint.emulator_token, endpoint.origin)
    client = DriveClient(signer, endpoint=endpoint, policy=policy)
    yield client
    client.close()


@pytest.fixture
def root(client):
    return client.create_folder("tests", parent="root").id


@pytest.fixture
def server():
    """`answers` maps (method, path) to a function of the handler, `seen` logs requests."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            rig.seen.append((self.command, path, self.client_address))
            rig.authorizations.append(self.headers.get("Authorization"))
            rig.answers[self.command, path](self)

        do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815  # their names

        def log_message(self, *args):
            pass

    rig = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    rig.daemon_threads = True
    rig.seen, rig.authorizations = [], []
    rig.answers = {("GET", "/drive/v3/files/generateIds"): respond(200, {"ids": ["a-reserved-id"]})}
    thread = threading.Thread(target=rig.serve_forever, args=(0.01,))
    thread.start()
    yield rig
    rig.shutdown()
    thread.join()
    rig.server_close()


@pytest.fixture
def connect(server, clock):
    clients = []

    def make(signer=None):
        signer = signer or Authorizer(Identity(Credentials("secret-token"), "a test"))
        endpoint = Endpoint(f"http://127.0.0.1:{server.server_port}", "")
        policy = RetryPolicy(10.0, sleep=clock.sleep, clock=clock)
        clients.append(DriveClient(signer, endpoint=endpoint, policy=policy))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
