"""Endpoint of Google Drive, or of the local emulator that DRIVE_EMULATOR_HOST names."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from colab_drive_tuner.credentials import emulator_host
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import UsageError


@dataclass(frozen=True)
class Endpoint:
    """The origin of all requests, and the token of an emulator."""

    origin: str = "https://www.googleapis.com"
    emulator_token: str | None = field(default=None, repr=False)


def find_endpoint() -> Endpoint:
    """Return Google's endpoint, or the emulator's if the environment names one.

    Raises `UsageError` for an emulator on another machine, so that a wrong variable cannot send
    trials to a stranger.
    """
    host = emulator_host()
    if not host:
        return Endpoint()
    problem = UsageError(
        f"{Variable.EMULATOR_HOST}={host!r} is not an address on this machine; set it to something "
        "like 127.0.0.1:8085, or unset it to use Google Drive."
    )
    try:
        address = urlsplit(host if "://" in host else f"http://{host}")
        name, port = address.hostname or "", address.port
    except ValueError:
        raise problem from None
    plain = not (address.path.strip("/") or address.query or address.fragment or address.username)
    if address.scheme != "http" or not plain or not _is_loopback(name):
        raise problem
    # Rebuilt from the checked parts, because URL parsers disagree about unusual addresses.
    literal = f"[{name}]" if ":" in name else name
    origin = f"http://{literal}" + (f":{port}" if port else "")
    return Endpoint(origin, Variable.EMULATOR_TOKEN.get().strip() or "emulator")


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
