"""Drive's address: DRIVE_EMULATOR_HOST may name an emulator on this machine only."""

import pytest

from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.drive.requests.endpoint import find_endpoint
from colab_drive_tuner.errors import UsageError


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8085", "http://127.0.0.1:8085"),
        ("http://127.0.0.1:8085", "http://127.0.0.1:8085"),
        ("http://127.0.0.1:8085/", "http://127.0.0.1:8085"),
        ("localhost:8085", "http://localhost:8085"),
        ("http://[::1]:8085", "http://[::1]:8085"),
        ("127.8.9.1:1", "http://127.8.9.1:1"),
    ],
)
def test_loopback_hosts(host, origin, monkeypatch):
    """Loopback hosts work with and without http://, with the token `emulator` or a chosen one."""
    monkeypatch.setenv("DRIVE_EMULATOR_HOST", host)
    endpoint = find_endpoint()
    assert (endpoint.origin, endpoint.emulator_token) == (origin, "emulator")
    monkeypatch.setenv("DRIVE_EMULATOR_TOKEN", "t2")
    assert find_endpoint().emulator_token == "t2"


@pytest.mark.parametrize(
    "host",
    [
        "example.com:8085",
        "192.168.1.4:8085",
        "0.0.0.0:8085",
        "127.0.0.1.evil.com",
        "http://127.0.0.1@evil.com",
        "http://evil.com\\@127.0.0.1",
        "https://127.0.0.1:8085",
        "127.0.0.1:port",
        "http://127.0.0.1:8085/elsewhere",
        "localhost.evil.com:80",
    ],
)
def test_other_hosts_are_refused(host, monkeypatch):
    """A host that is not this machine is refused, so that nothing is sent to it."""
    monkeypatch.setenv("DRIVE_EMULATOR_HOST", host)
    with pytest.raises(UsageError, match="not an address on this machine"):
        find_endpoint()


def test_without_a_host_calls_go_to_google(monkeypatch):
    """With the variable unset or empty, calls go to Google by https, without a made-up token."""
    monkeypatch.delenv("DRIVE_EMULATOR_HOST", raising=False)
    for host in (None, "", " "):
        if host is not None:
            monkeypatch.setenv("DRIVE_EMULATOR_HOST", host)
        endpoint = find_endpoint()
        assert endpoint.origin == "https://www.googleapis.com"
        assert endpoint.emulator_token is None


def test_a_wrong_host_is_refused_before_credentials_are_touched(monkeypatch):
    """`connect` refuses a wrong host before it looks at the given credentials."""
    monkeypatch.setenv("DRIVE_EMULATOR_HOST", "example.com")
    with pytest.raises(UsageError):
        DriveClient.connect(object())
