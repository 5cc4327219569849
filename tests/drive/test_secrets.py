"""Secrets on the wire: the hosts that get a token, and no secret in logs, errors or reprs."""

import base64
import html
import http.client
import json
import logging
import traceback
import urllib.parse

import pytest
import requests
from google.oauth2.credentials import Credentials

from colab_drive_tuner.credentials import Identity
from colab_drive_tuner.credentials.http_session import _Guarded, new_session, redact
from colab_drive_tuner.drive.requests.endpoint import Authorizer
from colab_drive_tuner.drive.requests.transport import Request, same_origin
from colab_drive_tuner.errors import ColabDriveTunerError, StoreError, UnavailableError
from tests.drive.responses import respond, respond_in_turn

TOKEN = "ya29.a0AcM612xR-planted_token_that/nobody+may=see-0123456789"
LINK = "/upload/session?uploadType=resumable&upload_id=planted-upload-id-0123456789"
GOOGLE = "https://www.googleapis.com/upload/drive/v3/files"
LARGE = bytes(6_000_000)


@pytest.fixture
def signer():
    return Authorizer(Identity(Credentials(TOKEN), "a test"))


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example\\.googleapis.com/",
        "https://evil.example\\@www.googleapis.com/",
        "https://www.googleapis.com\\@evil.example/",
        "https://www.googleapis.com@evil.example/x",
        "https://user:password@www.googleapis.com/x",
        "https://@www.googleapis.com/x",
        "https://:@www.googleapis.com/x",
        "https://www.googleapis.com:8443/x",
        "https://www.googleapis.com:80/x",
        "https://www.googleapis.com./x",
        "https://www.googleapis.com.evil.example/x",
        "https://drive.googleapis.com/x",
        "https://evil.googleapis.com/x",
        "https://googleapis.com/x",
        "http://www.googleapis.com/x",
        "ftp://www.googleapis.com/x",
        "//www.googleapis.com/x",
        "/upload/x",
        "",
        "https:www.googleapis.com/x",
        "https:///www.googleapis.com/x",
        "https://www.googleapis.com%2eevil.example/x",
        "https://www.googleapis.com%00.evil.example/x",
        "https://www.google\tapis.com/x",
        " https://www.googleapis.com/x",
        "https://www.googleapis.com/x y",
        "https://www.googleapis.com/x\r\nHost: evil.example",
        "https://www.googleapis.com\u3002evil.example/x",
        "https://\uff57\uff57\uff57.googleapis.com/x",
        "https://www.g\u043eogleapis.com/x",
        "https://www.googleapis.com\u2044x@evil.example/",
        "https://[::1]/x",
        "https://www.googleapis.com:99999/x",
        "https://www.googleapis.com:port/x",
        "https://evil.example?https://www.googleapis.com/x",
        "https://evil.example#@www.googleapis.com/x",
    ],
)
def test_an_address_of_another_origin(link):
    """However a parser may read it, the address is not of exactly the requested origin."""
    assert not same_origin(link, GOOGLE)


@pytest.mark.parametrize(
    "link",
    [
        "https://www.googleapis.com/upload/drive/v3/files?uploadType=resumable&upload_id=A-b_c",
        "https://www.googleapis.com:443/upload?upload_id=a@b",
        "https://WWW.GoogleAPIs.com/upload",
    ],
)
def test_an_address_of_the_same_origin(link):
    """Scheme, host and port are equal, with or without the default port."""
    assert same_origin(link, GOOGLE)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://{other}/x",
        "http://me:pass@{here}/x",
        "http://{here}\\@{other}/x",
        "http://{other}\\@{here}/x",
    ],
)
def test_no_token_is_sent_to_another_address(server, connect, signer, elsewhere):
    """An upload session at another address gets no request, and this one gets no further one."""
    here = f"127.0.0.1:{server.server_port}"
    location = elsewhere.format(here=here, other=f"localhost:{server.server_port}")
    server.answers["POST", "/upload/drive/v3/files"] = respond(200, raw=b"", Location=location)
    with pytest.raises(UnavailableError, match="no upload session"):
        connect(signer).create_file("x", LARGE, parent="root")
    assert {path for _, path, _ in server.seen} == {
        "/drive/v3/files/generateIds",
        "/upload/drive/v3/files",
    }


@pytest.mark.parametrize("status", [301, 302, 303, 307])
@pytest.mark.parametrize("call", ["get", "find", "download", "begin", "piece", "small", "ids"])
def test_no_redirect_is_followed_by_any_call(server, connect, signer, status, call):
    """Reads, lists, downloads and uploads send nothing to the address of a redirect."""
    here = f"http://127.0.0.1:{server.server_port}"
    away = respond(status, raw=b"", Location=f"http://localhost:{server.server_port}/elsewhere")
    described = respond(200, {"id": "x", "name": "x", "size": "3"})
    begun = respond(200, raw=b"", Location=here + LINK)
    for key in [("GET", "/drive/v3/files"), ("PUT", "/upload/session")]:
        server.answers[key] = away
    server.answers["GET", "/drive/v3/files/x"] = (
        respond_in_turn(described, *[away] * 9) if call == "download" else away
    )
    server.answers["POST", "/upload/drive/v3/files"] = begun if call == "piece" else away
    if call == "ids":
        server.answers["GET", "/drive/v3/files/generateIds"] = away
    client = connect(signer)
    calls = {
        "get": lambda: client.get("x"),
        "find": lambda: client.find("x"),
        "download": lambda: client.download("x"),
        "begin": lambda: client.create_file("x", LARGE, parent="root"),
        "piece": lambda: client.create_file("x", LARGE, parent="root"),
        "small": lambda: client.create_file("x", b"x", parent="root"),
        "ids": lambda: client.generate_ids(1),
    }
    with pytest.raises(StoreError, match="redirected"):
        calls[call]()
    assert "/elsewhere" not in {path for _, path, _ in server.seen}


def test_a_page_token_is_no_address(server, connect, signer):
    """A page token that looks like an address is sent as a parameter to the same server."""
    away = f"http://localhost:{server.server_port}/elsewhere?x=1&y=@evil/../.."
    server.answers["GET", "/drive/v3/files"] = respond_in_turn(
        respond(200, {"files": [], "nextPageToken": away}), respond(200, {"files": []})
    )
    assert connect(signer).find("x") == []
    assert [path for _, path, _ in server.seen] == ["/drive/v3/files"] * 2


ECHOES = {
    "raw": lambda text: text,
    "lower": lambda text: text.lower(),
    "without its end": lambda text: text[:-8],
    "percent": lambda text: urllib.parse.quote(text, safe=""),
    "every character": lambda text: "".join(f"%{ord(char):02x}" for char in text),
    "twice": lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
    "plus": urllib.parse.quote_plus,
    "json": lambda text: json.dumps({"headers": {"Authorization": text}}),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64url": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base64 json": lambda text: base64.b64encode(json.dumps({"a": text}).encode()).decode(),
    "base64, after a byte": lambda text: base64.b64encode(b"x" + text.encode()).decode(),
    "base64, glued": lambda text: "id" + base64.b64encode(text.encode()).decode(),
    "base64 in lines": lambda text: base64.encodebytes(text.encode()).decode(),
    "base64 of percent": lambda text: base64.b64encode(ECHOES["percent"](text).encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "unicode escapes": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "references": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "html": html.escape,
    "spaced": " ".join,
}


def shown(error):
    """Return all that a traceback prints, and the arguments of the error."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(error.args)


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_no_error_shows_a_token_that_the_server_repeats(server, connect, echo, status):
    """An error body that repeats the Authorization header, in any encoding, is redacted."""

    class Renewed(Credentials):
        def refresh(self, request):
            pass

    signer = Authorizer(Identity(Renewed(TOKEN), "a test"))
    echoed = []

    def answer(handler):
        word = ECHOES[echo](handler.headers["Authorization"])
        echoed.append(word)
        error = {"code": status, "message": f"Bad header {word}, see the manual"}
        error["errors"] = [{"reason": word, "message": word}]
        respond(status, {"error": error})(handler)

    server.answers["GET", "/drive/v3/files/x"] = answer
    with pytest.raises(ColabDriveTunerError) as caught:
        connect(signer).get("x")
    text = shown(caught.value)
    assert f"Bearer {TOKEN}" in server.authorizations
    end = echoed[0][-60:]  # the beginning may be of something else
    assert not any(end[start : start + 24] in text for start in range(len(end) - 23))
    for start in range(len(TOKEN) - 20):
        assert TOKEN[start : start + 20].lower() not in text.lower()
    if echo != "spaced" and status < 500 and status != 401:
        assert "Bad header" in text
        assert "see the manual" in text


def test_text_without_secrets_is_not_redacted():
    """Ids, links and Google's messages are shown, even if they look like secrets."""
    text = (
        "File not found: 1AbCdEfGhIjKlMnOpQrStUvWxYz0123456. See "
        "https://www.googleapis.com/auth/drive and eyJhIjogMX0= (%20 or &amp;)."
    )
    assert redact(text, [TOKEN, "Bearer", "short"]) == text
    assert redact("the emulator does not", ["emulator"]) == "the emulator does not"
    assert redact("one\x1b[31mtwo\n", [TOKEN]) == "one [31mtwo"


@pytest.fixture
def uploading(server):
    """A server that takes a large upload at LINK in pieces, and refuses with that address."""
    here = f"http://127.0.0.1:{server.server_port}"
    server.answers["POST", "/upload/drive/v3/files"] = respond(200, raw=b"", Location=here + LINK)

    def refuse(handler):
        error = {"code": 403, "message": f"No: {here}{LINK} {handler.headers['Authorization']}"}
        respond(403, {"error": error})(handler)

    server.answers["PUT", "/upload/session"] = respond_in_turn(
        respond(503, {}), respond(308, raw=b""), refuse, refuse
    )
    return server


def test_an_uploads_address_is_shown_nowhere(
    uploading, connect, signer, caplog, capsys, monkeypatch
):
    """The address is in no log, output or error, even with debugging on and quoted by Google."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    with caplog.at_level(logging.DEBUG), pytest.raises(ColabDriveTunerError) as caught:
        connect(signer).create_file("x", LARGE, parent="root")
    printed = capsys.readouterr()
    everything = caplog.text + printed.out + printed.err + shown(caught.value)
    assert [path for method, path, _ in uploading.seen if method == "PUT"] == [
        "/upload/session"
    ] * 3
    for secret in ("planted-upload-id", "upload_id", TOKEN, "planted_token"):
        assert secret not in everything
    assert "/upload/drive/v3/files" in caplog.text, "other addresses are still logged"


def test_no_connection_error_shows_an_uploads_address(server, connect, signer, caplog):
    """Errors and urllib3's warnings about cut or malformed answers do not show the address."""
    here = f"http://127.0.0.1:{server.server_port}"
    server.answers["POST", "/upload/drive/v3/files"] = respond(200, raw=b"", Location=here + LINK)

    def garbage(handler):
        handler.wfile.write(b"HTTP/1.1 503 No\r\nbroken header\r\nContent-Length: 0\r\n\r\n")
        handler.close_connection = True

    def cut(handler):
        handler.close_connection = True

    server.answers["PUT", "/upload/session"] = respond_in_turn(*[garbage, cut] * 9)
    with caplog.at_level(0), pytest.raises(UnavailableError) as caught:
        connect(signer).create_file("x", LARGE, parent="root")
    assert "upload_id" not in caplog.text + shown(caught.value)


def test_a_proxy_is_used_and_prints_nothing(server, monkeypatch, capsys):
    """The environment's proxy is used for each request, and debugging prints no token."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    server.answers["GET", "http://drive.example/x"] = respond(200, {})
    with new_session(local=False) as session:
        for _ in range(3):
            headers = {"Authorization": f"Bearer {TOKEN}"}
            assert session.get("http://drive.example/x", headers=headers).status_code == 200
    assert server.authorizations == [f"Bearer {TOKEN}"] * 3
    assert "planted" not in capsys.readouterr().out


def test_every_kind_of_connection_is_silent_and_keeps_its_class(monkeypatch):
    """A silent connection derives from its pool's own class, so that a SOCKS proxy is used."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    with new_session(local=False) as session:
        for url in ("http://drive.example/x", "https://drive.example/x"):
            request = requests.Request("GET", url).prepare()
            proxies = session.merge_environment_settings(url, {}, None, None, None)["proxies"]
            for _ in range(2):
                adapter = session.get_adapter(url)
                pool = adapter.get_connection_with_tls_context(request, True, proxies)
            kept, silent = type(pool).ConnectionCls, pool.ConnectionCls
            assert issubclass(silent, kept)
            assert silent.debuglevel == 0
            assert silent.__mro__.count(_Guarded) == 1
            assert len(silent.__mro__) == len(kept.__mro__) + 2


def test_reprs_of_requests_and_signatures_show_no_secret(signer):
    """Reprs show no secret in a traceback with local variables or in a cell's output."""
    request = Request("PUT", "https://www.googleapis.com" + LINK, signer.headers(), secret=True)
    assert "planted" not in f"{request!r}{signer!r}{signer.headers()!r}"


def test_logging_is_restored_after_an_upload(uploading, connect, signer, caplog):
    """Calls after an upload are logged as before."""
    with caplog.at_level(logging.DEBUG), pytest.raises(ColabDriveTunerError):
        connect(signer).create_file("x", LARGE, parent="root")
    caplog.clear()
    uploading.answers["GET", "/drive/v3/files/x"] = respond(200, {"id": "x"})
    with caplog.at_level(logging.DEBUG):
        connect(signer).get("x")
    assert "/drive/v3/files/x" in caplog.text
