"""Browser requests: web pages of other origins cannot use the emulator."""

import http.client
import json

import pytest

from colab_drive_tuner.emulator import DriveEmulator
from tests.emulator.raw_client import RawClient

FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://127.0.0.1.evil.example:80"},
    {"Origin": "http://evil.example/127.0.0.1"},
    {"Origin": "http://127.0.0.1@evil.example"},
    {"Origin": "null"},
    {"Origin": "file://"},
    {"Origin": "http://[::1"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "Cross-Site", "Sec-Fetch-Mode": "no-cors"},
]
PATHS = ["/drive/v3/files", "/_emulator/", "/_emulator/log", "/token", "/batch/drive/v3",
         "/discovery/v1/apis/drive/v3/rest", "/nonsense"]  # fmt: skip


def ask(emulator, host, path="/drive/v3/files", verb="GET", token="", **headers):
    """Return status and text of the answer to a request with exactly this Host header."""
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=30)
    connection.putrequest(verb, path, skip_host=True)
    for name, value in {"Host": host, "Authorization": f"Bearer {token}", **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("headers", FOREIGN)
def test_a_page_of_another_site_is_refused(me, path, headers):
    """A foreign Origin, or a cross-site request without one, is a 403 on every path."""
    for verb in ("GET", "POST", "OPTIONS"):
        answer = me(verb, path, headers={**headers, "Access-Control-Request-Method": "GET"})
        assert answer.status_code == 403, (verb, path, headers)
        assert "pages of other sites" in answer.json()["error"]["message"]
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_page_of_another_site_changes_nothing(me, emulator):
    """Requests that a page may send without a preflight create no token and no fault."""
    body = json.dumps({"token": "stolen", "account": me.account})
    headers = {"Content-Type": "text/plain", "Origin": "https://evil.example"}
    assert me("POST", "/_emulator/tokens", data=body, headers=headers).status_code == 403
    assert (
        me("POST", "/_emulator/faults", data='{"do": "outage"}', headers=headers).status_code == 403
    )
    assert RawClient(emulator.url, "stolen").refusal("GET", "/drive/v3/files") == (401, "authError")
    assert emulator.faults.rules == []


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "127.0.0.1",
     "localhost:1", "localhost:{port}.evil.example", "evil.example@127.0.0.1:{port}",
     "169.254.169.254:{port}", "0.0.0.0:{port}", "127.0.0.1:{port}/x", "[::2]:{port}",
     "localhost:99999", "[::1", "a:b:c", ""],
)  # fmt: skip
def test_a_name_of_another_machine_is_refused(emulator, me, host):
    """A foreign Host header, as with DNS rebinding, is a 403."""
    for path in PATHS:
        status, text = ask(emulator, host.format(port=emulator.port), path, token=me.token)
        assert status == 403, (host, path)
        assert "answers to localhost" in text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "app.localhost",
                                  "127.1.2.3"])  # fmt: skip
def test_the_names_of_this_machine_are_answered(emulator, me, host):
    """Loopback addresses and localhost are answered on the emulator's own port."""
    status, text = ask(emulator, f"{host}:{emulator.port}", token=me.token)
    assert (status, json.loads(text)["kind"]) == (200, "drive#fileList")


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "https://localhost", "http://127.0.0.1:8000",
               "http://[::1]:5173", "http://app.localhost:8080"],
)  # fmt: skip
def test_a_page_of_this_machine_may_use_the_api(me, origin):
    """The preflight needs no token, and answers allow the page's origin."""
    asks = {
        "Origin": origin,
        "Sec-Fetch-Site": "cross-site",  # localhost and 127.0.0.1 are two sites
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,content-type",
        "Authorization": "",
    }
    allowed = me("OPTIONS", "/drive/v3/files/x", headers=asks)
    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    assert "PATCH" in allowed.headers["Access-Control-Allow-Methods"]
    for answer in (allowed, me("GET", "/drive/v3/files", headers={"Origin": origin})):
        assert answer.headers["Access-Control-Allow-Origin"] == origin


def test_another_origin_can_be_allowed_for_the_api_alone():
    """An origin in `origins=` may call the API, but not the admin endpoints."""
    with (
        DriveEmulator(origins=["https://App.example:443/"]) as emulator,
        RawClient(emulator.url, emulator.token) as wire,
    ):
        page = {"Origin": "https://app.example"}
        listed = wire("GET", "/drive/v3/files", headers=page)
        assert listed.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert wire("GET", "/_emulator/log", headers=page).status_code == 403
        for other in ("http://app.example", "https://app.example:444", "https://app.example.x"):
            assert wire("GET", "/drive/v3/files", headers={"Origin": other}).status_code == 403
    for wrong in ("app.example", "ftp://x", "https://", "https://x/path", "https://u@x"):
        with pytest.raises(ValueError, match="is not an origin"):
            DriveEmulator(origins=[wrong])


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "x/json"])
def test_an_admin_body_is_json_and_says_so(me, emulator, kind):
    """An admin request with a type that a form can send is a 415, even without an Origin."""
    token = f"minted-{kind}-{me.account}"
    body = json.dumps({"token": token, "account": me.account})
    answer = me("POST", "/_emulator/tokens", data=body, headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["error"]["message"]
    assert RawClient(emulator.url, token).refusal("GET", "/drive/v3/files") == (401, "authError")
    for right in ("application/json", "application/json; charset=UTF-8"):
        answer = me("POST", "/_emulator/tokens", data=body, headers={"Content-Type": right})
        assert answer.status_code == 200
