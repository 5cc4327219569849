"""Misbehaving servers: proxies, wrong answers, and a Drive that ignores the case of names."""

import contextlib
import gzip
import json
import os
import threading
import traceback

import pytest
from google.oauth2.credentials import Credentials

from colab_drive_tuner.credentials import Identity
from colab_drive_tuner.drive.requests.endpoint import Authorizer
from colab_drive_tuner.drive.requests.retry_and_refusal import TryAgainError
from colab_drive_tuner.drive.requests.transport import Request, Transport
from colab_drive_tuner.errors import CredentialsError, StoreError, UnavailableError
from tests.drive.responses import respond, respond_in_turn


def test_names_are_compared_exactly_here(server, connect):
    """Names are compared exactly by the client, even if the server's `=` ignores case."""
    files = [{"id": "1", "name": "Search"}, {"id": "2", "name": "search"}]
    server.answers["GET", "/drive/v3/files"] = respond(200, {"files": files})
    assert [file.id for file in connect().find("search")] == ["2"]


def test_short_and_empty_pages_are_followed(server, connect):
    """The page token decides whether there is more; a file on two pages counts once."""
    pages = [
        {"files": [], "nextPageToken": "p2"},
        {"files": [{"id": "1", "name": "x"}], "nextPageToken": "p3"},
        {"files": [{"id": "1", "name": "x"}, {"id": "2", "name": "x"}]},
    ]
    server.answers["GET", "/drive/v3/files"] = respond_in_turn(
        *(respond(200, page) for page in pages)
    )
    assert [file.id for file in connect().find("x")] == ["1", "2"]


def test_an_incomplete_search_is_no_answer(server, connect):
    """An incomplete search is an error, because a file that was not searched may exist."""
    server.answers["GET", "/drive/v3/files"] = respond(200, {"files": [], "incompleteSearch": True})
    with pytest.raises(UnavailableError, match="search was incomplete"):
        connect().find("x")


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b'{"name": "x"}', b'{"id": 3, "size": "x"}', b"[" * 100_000],
    ids=range(7),
)
def test_invalid_answers_are_requested_again(server, connect, raw):
    """An incomplete or invalid description of a file is never accepted."""
    server.answers["GET", "/drive/v3/files/x"] = respond(200, raw=raw)
    with pytest.raises(UnavailableError, match="truncated or invalid"):
        connect().get("x")


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_answers_may_be_compressed_and_chunked(server, connect, size):
    """Compressed and chunked answers, as Google sends them, are read on one connection."""
    body = gzip.compress(json.dumps({"id": "x", "name": os.urandom(size).hex()}).encode())

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(body), 7000):
            piece = body[start : start + 7000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    server.answers["GET", "/drive/v3/files/x"] = answer
    client = connect()
    for _ in range(2):
        assert len(client.get("x").name) == 2 * size
    assert len({peer for *_, peer in server.seen}) == 1, "one connection for both"


def test_a_slow_answer_costs_no_more_than_the_patience(server):
    """An answer that takes longer than the caller's patience is given up."""
    server.answers["GET", "/x"] = respond(200, {"id": "x"})
    ten_seconds_a_look = map(float, range(0, 10_000, 10)).__next__
    signer = Authorizer(Identity(Credentials("x"), "a test"))
    transport = Transport(signer, local=True, patience=5, monotonic=ten_seconds_a_look)
    with pytest.raises(TryAgainError, match="too slowly"):
        transport.send(Request("GET", f"http://127.0.0.1:{server.server_port}/x"), "x")
    transport.close()


def test_headers_that_trickle_cost_no_more_than_the_patience(server):
    """A server that sends its headers byte by byte, each within the timeout, is given up."""

    def trickle(handler):
        with contextlib.suppress(OSError):  # the client has closed the connection
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300 + b"\r\nContent-Length: 2\r\n\r\n{}":
                handler.connection.send(bytes([byte]))
                closed.wait(0.01)

    closed = threading.Event()
    server.answers["GET", "/x"] = trickle
    signer = Authorizer(Identity(Credentials("x"), "a test"))
    transport = Transport(signer, local=True, patience=0.3)
    with pytest.raises(TryAgainError):  # cut off in its first line or in a later one
        transport.send(Request("GET", f"http://127.0.0.1:{server.server_port}/x"), "x")
    closed.set()
    transport.close()


@pytest.mark.parametrize("token", ["planted-token\n", "planted-töken", "planted-token-日"])
def test_a_token_that_no_header_can_hold_is_an_error(server, connect, token):
    """A token with a line end, as read from a file, is named at once and not shown."""
    server.answers["GET", "/drive/v3/files/x"] = respond(401, {})
    signer = Authorizer(Identity(Credentials(token), "a test"))
    with pytest.raises(CredentialsError) as caught:
        connect(signer).get("x")
    assert "planted" not in "".join(traceback.format_exception(caught.value))


def test_requests_work_while_the_interpreter_ends(server, connect, monkeypatch):
    """Requests are answered when no thread can be started any more, as at exit from Python 3.12."""

    def refuse(timer):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    server.answers["GET", "/drive/v3/files/x"] = respond(200, {"id": "x"})
    monkeypatch.setattr(threading.Timer, "start", refuse)
    assert connect().get("x").id == "x"


def test_a_redirect_is_not_followed(server, connect):
    """A redirect is not followed, so that the token goes nowhere else."""
    server.answers["GET", "/drive/v3/files/x"] = respond(
        302, raw=b"", Location=f"http://127.0.0.1:{server.server_port}/elsewhere"
    )
    with pytest.raises(StoreError, match="redirected"):
        connect().get("x")
    assert len(server.seen) == 1


def test_an_upload_session_elsewhere_is_not_trusted(server, connect):
    """An upload session must be on the server that was asked."""
    server.answers["POST", "/upload/drive/v3/files"] = respond(
        200, raw=b"", Location="http://localhost:9/upload?upload_id=1"
    )
    with pytest.raises(UnavailableError, match="no upload session"):
        connect().create_file("x", bytes(6_000_000), parent="root")


def test_a_session_that_never_ends_is_given_up(server, connect):
    """A session that always acknowledges all or none of the bytes is given up."""
    here = f"http://127.0.0.1:{server.server_port}/session?upload_id=secret-session"
    server.answers["POST", "/upload/drive/v3/files"] = respond(200, raw=b"", Location=here)
    for headers in ({}, {"Range": "bytes=0-5999999"}):
        server.answers["PUT", "/session"] = respond(308, raw=b"", **headers)
        with pytest.raises(UnavailableError, match="none of the sent bytes") as caught:
            connect().create_file("x", bytes(6_000_000), parent="root")
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 404, 410, 412, 416, 499])
def test_a_lost_session_is_begun_anew_under_the_same_id(server, connect, status):
    """An upload session that ended is replaced; the file keeps its reserved id."""
    here = f"http://127.0.0.1:{server.server_port}/session"
    server.answers["POST", "/upload/drive/v3/files"] = respond(200, raw=b"", Location=here)
    over, done = respond(status, {}), respond(200, {"id": "a-reserved-id", "size": "6000000"})
    server.answers["PUT", "/session"] = respond_in_turn(over, over, done)
    assert connect().create_file("x", bytes(6_000_000), parent="root").id == "a-reserved-id"
    assert [path for method, path, _ in server.seen if method == "POST"] == [
        "/upload/drive/v3/files"
    ] * 3


class Renewable:
    """Credentials like google-auth's that count how often they were renewed."""

    valid = True
    token = "old"
    renewals = 0

    def apply(self, headers):
        headers["authorization"] = f"Bearer {self.token}"

    def refresh(self, request):
        self.token, self.renewals = "new", self.renewals + 1


def test_a_refused_token_is_renewed_once_and_the_call_repeated(server, connect):
    """An expired token is renewed and the call repeated; a new one that is refused is an error."""

    def judge(handler):
        fresh = handler.headers["Authorization"] == "Bearer new"
        respond(200 if fresh else 401, {"id": "x"} if fresh else {})(handler)

    server.answers["GET", "/drive/v3/files/x"] = judge
    credentials = Renewable()
    client = connect(Authorizer(Identity(credentials, "a test")))
    assert client.get("x").id == "x"
    assert credentials.renewals == 1
    server.answers["GET", "/drive/v3/files/x"] = respond(401, {})
    with pytest.raises(CredentialsError, match="sign in again"):
        client.get("x")
    assert credentials.renewals == 2
