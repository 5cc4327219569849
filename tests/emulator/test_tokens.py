"""Access tokens: the account they belong to, expiry, renewal and revocation."""

import base64
import json
import time

import pytest

from colab_drive_tuner.emulator import DriveEmulator
from tests.emulator.raw_client import RawClient


@pytest.mark.parametrize("token", ["unknown", "", "ya29.expired"])
def test_an_unknown_token_is_a_401(emulator, me, token):
    """An unknown token is a 401 with WWW-Authenticate, also for large uploads."""
    headers = {"Authorization": f"Bearer {token}"}
    answer = me("GET", "/drive/v3/files", headers=headers)
    assert answer.status_code == 401
    # Google's Java client renews its token if and only if the header says invalid_token.
    realm = 'Bearer realm="https://accounts.google.com/"'
    assert answer.headers["WWW-Authenticate"] == realm + (', error="invalid_token"' * bool(token))
    reason = answer.json()["error"]["errors"][0]["reason"]
    assert reason == ("authError" if token else "required")
    upload = "/upload/drive/v3/files?uploadType=media"
    assert me("POST", upload, data=b"x" * 3_000_000, headers=headers).status_code == 401


def test_a_call_without_credentials_is_a_403(emulator):
    """Without any credentials a call is a 403: a client that waits for a 401 gets no token."""
    calls = {
        "/drive/v3/files": (403, "forbidden"),
        "/drive/v3/files?key=api-key": (401, "required"),
        "/drive/v3/files?access_token=unknown": (401, "authError"),
    }
    with RawClient(emulator.url, "") as bare:
        del bare.session.headers["Authorization"]
        for path, refused in calls.items():
            assert bare.refusal("GET", path) == refused
        for header in ({"Authorization": "Basic eDp5"}, {"X-Goog-Api-Key": "api-key"}):
            assert bare.refusal("GET", "/drive/v3/files", headers=header) == (401, "required")
        assert bare("GET", "/oauth2/v3/userinfo").status_code == 401


def test_a_token_expires(emulator, person):
    """A token expires after its time, or at once when it is expired by the test."""
    short = person(expires_in=100)
    assert short("GET", "/drive/v3/files").status_code == 200
    emulator.advance_clock(101)
    assert short.refusal("GET", "/drive/v3/files") == (401, "authError")
    emulator.advance_clock(-101)
    assert short("GET", "/drive/v3/files").status_code == 200
    emulator.expire(short.token)
    assert short.refusal("GET", "/drive/v3/files") == (401, "authError")


def test_the_token_of_the_start_is_its_own_refresh_token():
    """A client that knows only one token can renew it after its expiry."""
    with (
        DriveEmulator(tokens=["a=ann@example.com"]) as started,
        RawClient(started.url, "a") as wire,
    ):
        started.faults.add("expire")
        assert wire("GET", "/drive/v3/files").status_code == 401
        form = {"grant_type": "refresh_token", "refresh_token": "a"}
        fresh = wire("POST", "/token", data=form).json()["access_token"]
        started.faults.clear()
        assert wire("GET", "/drive/v3/files").status_code == 401
        wire.session.headers["Authorization"] = f"Bearer {fresh}"
        assert wire("GET", "/drive/v3/files").status_code == 200


def test_a_call_without_a_token_expires_no_token(emulator, me, person):
    """The fault `expire` applies to the caller's own token, so a call without one has no effect."""
    emulator.faults.add("expire")
    del (nobody := person()).session.headers["Authorization"]
    assert nobody("GET", "/drive/v3/files").status_code == 403
    emulator.faults.clear()
    assert me("GET", "/drive/v3/files").status_code == 200


def test_a_refresh_token_becomes_an_access_token(emulator, person):
    """POST /token gives an access token for a refresh token, and refuses a wider scope."""
    wire = person(refresh_token="refresh-me")
    wire.create("mine")
    form = {"grant_type": "refresh_token", "refresh_token": "refresh-me", "client_id": "c"}
    answer = wire("POST", "/token", data=form).json()
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3599)
    wire.session.headers["Authorization"] = f"Bearer {answer['access_token']}"
    assert wire.names("") == ["mine"]
    emulator.advance_clock(3600)
    assert wire("GET", "/drive/v3/files").status_code == 401
    emulator.advance_clock(-3600)
    wider = {**form, "scope": "https://www.googleapis.com/auth/gmail.send"}
    assert wire("POST", "/token", data=wider).json()["error"] == "invalid_scope"


def test_revoking_a_token_revokes_its_refresh_token(person):
    """After a revocation neither token is known, and revoking again is an error."""
    wire = person(refresh_token="refresh-me-not")
    form = {"grant_type": "refresh_token", "refresh_token": "refresh-me-not"}
    wire.token = wire("POST", "/token", data=form).json()["access_token"]
    wire.session.headers["Authorization"] = f"Bearer {wire.token}"
    info = wire("GET", "/tokeninfo", params={"access_token": wire.token}).json()
    assert (info["email"], info["scope"]) == (
        wire.account,
        "https://www.googleapis.com/auth/drive",
    )
    assert wire("GET", "/oauth2/v3/userinfo").json()["email"] == wire.account
    assert wire("POST", "/revoke", data={"token": wire.token}).status_code == 200
    assert wire("GET", "/drive/v3/files").status_code == 401
    again = wire("POST", "/token", data=form)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert wire("POST", "/revoke", data={"token": wire.token}).json()["error"] == "invalid_token"


def test_revoking_a_token_leaves_other_tokens_valid(emulator, me, person):
    """Tokens without a refresh token have nothing in common; each is revoked alone."""
    other, revoked = person(), person()
    assert revoked("POST", "/revoke", data={"token": revoked.token}).status_code == 200
    assert revoked("GET", "/drive/v3/files").status_code == 401
    assert me("POST", "/revoke").json()["error"] == "invalid_token"
    me("DELETE", "/_emulator/tokens")
    assert [wire("GET", "/drive/v3/files").status_code for wire in (me, other)] == [200, 200]


def test_a_service_account_s_assertion_becomes_an_access_token(me):
    """A JWT assertion gives a token of its issuer; one of another time or without scope, none."""
    claims = {
        "iss": "robot@p.iam.gserviceaccount.com",
        "scope": "https://www.googleapis.com/auth/drive",
        "exp": time.time() + 600,
    }

    def ask(claims):
        middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
        kind = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        form = {"grant_type": kind, "assertion": f"e30.{middle}.c2ln"}
        return me("POST", "/token", data=form).json()

    for wrong in (
        {"exp": time.time() - 600},
        {"exp": time.time() + 7200},
        {"iat": time.time() + 7200},
        {"iat": "now"},
    ):
        assert ask({**claims, **wrong})["error"] == "invalid_grant"
    assert ask({**claims, "scope": ""})["error"] == "invalid_scope"
    assert "access_token" in ask({**claims, "iss": "\ud800@example.com"})
    token = ask(claims)["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    answer = me("GET", "/drive/v3/about?fields=user/emailAddress", headers=headers)
    assert answer.json()["user"]["emailAddress"] == claims["iss"]
