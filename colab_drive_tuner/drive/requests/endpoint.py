"""Endpoint of Drive or a local emulator, and signing of requests to it with an access token."""

import threading
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from colab_drive_tuner.credentials import Identity, emulator_host, user_credentials
from colab_drive_tuner.credentials.token import TokenRefusedError, get_token
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import CredentialsError, UnavailableError, UsageError


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


class SignedHeaders(dict[str, str]):
    """Headers with a token; not shown by repr, as in tracebacks with local variables."""

    def __repr__(self) -> str:
        return "<SignedHeaders>"


def emulator_authorizer(token: str, origin: str) -> "Authorizer":
    """Return an authorizer for an emulator with this token."""
    client = {"client_id": "emulator", "client_secret": "emulator", "token_uri": f"{origin}/token"}
    identity = Identity(user_credentials(client, token, token=token), Variable.EMULATOR_TOKEN)
    return Authorizer(identity, local=True)


class Authorizer:
    """Signs requests with an identity's token, which is renewed once for all threads."""

    def __init__(self, identity: Identity, *, local: bool = False) -> None:
        self.credentials: Any = identity.credentials
        """The identity's credentials, of google-auth."""
        self._source = identity.source
        self._local = local
        self._lock = threading.Lock()
        self._renewals = 0
        self._problem: CredentialsError | UnavailableError | None = None
        """Error of the last renewal; None if it succeeded."""

    def __repr__(self) -> str:
        return f"<Authorizer by {self._source}>"

    def headers(self) -> SignedHeaders:
        """Return headers that sign a request: the token, and a quota project if there is one.

        Raises `CredentialsError` if Google refuses, and `UnavailableError` if it does not answer.
        """
        known, signature = self._renewals, SignedHeaders()
        with self._lock:
            if not self.credentials.valid:
                self._renew(known)
            self.credentials.apply(signature)
        return signature

    def renew(self, refused: dict[str, str]) -> bool:
        """Renew a token that Drive refused; return False if another thread had renewed it before.

        If the new token is refused as well, the caller must not retry.
        """
        known, current = self._renewals, SignedHeaders()
        with self._lock:
            self.credentials.apply(current)
            if current != refused:
                return False
            self._renew(known)
        return True

    def _renew(self, known: int) -> None:
        """Renew the token, or use the outcome of a renewal that ended while this thread waited.

        So if the sign-in server does not answer, all threads wait together, not one after the
        other.
        """
        if self._renewals == known:
            self._problem = self._request_token()
            self._renewals += 1
        if self._problem is not None:
            raise type(self._problem)(*self._problem.args)

    def _request_token(self) -> CredentialsError | UnavailableError | None:
        """Request a token; return the error, if any."""
        try:
            get_token(self.credentials, local=self._local)
        except UnavailableError as silent:
            return silent
        except TokenRefusedError as refused:
            why = f": {refused.why}" if refused.why else ""
            return CredentialsError(
                f"Google no longer accepts this sign-in ({self._source}; {refused.code}){why}. "
                "Sign in again; nothing is lost."
            )
        return None
