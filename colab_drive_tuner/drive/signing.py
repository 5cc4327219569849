"""What signs a request to Drive: the token of an identity, renewed in time and never shown."""

import threading
from collections.abc import Callable
from typing import Any

import requests

from colab_drive_tuner.credentials import Identity, user_credentials
from colab_drive_tuner.errors import CredentialsError, UnavailableError

TOKEN_TIMEOUT = 20.0
"""Seconds of silence after which the sign-in server is given up; google-auth would take 120."""


class Signature(dict[str, str]):
    """Headers that carry a token: not shown, not even where a traceback prints local variables."""

    def __repr__(self) -> str:
        return "<Signature>"


def at_emulator(token: str, origin: str) -> "Authorizer":
    """What signs for an emulator: with the token it was started with, which also renews itself."""
    client = {"client_id": "emulator", "client_secret": "emulator", "token_uri": f"{origin}/token"}
    identity = Identity(user_credentials(client, token, token=token), "DRIVE_EMULATOR_TOKEN")
    return Authorizer(identity, local=True)


class Authorizer:
    """The current token of an identity, renewed once for all threads that need it."""

    def __init__(self, identity: Identity, *, local: bool = False) -> None:
        self._credentials, self._how = identity.credentials, identity.how
        self._local = local
        self._lock = threading.Lock()
        self._renewals = 0
        self._problem: CredentialsError | UnavailableError | None = None
        """Of the last renewal; None: it worked."""

    def __repr__(self) -> str:
        return f"<Authorizer by {self._how}>"

    @property
    def credentials(self) -> Any:
        """The identity's own, of google-auth."""
        return self._credentials

    def headers(self) -> Signature:
        """The headers that sign a request: the token, and who pays where that is not the caller.

        Raises `CredentialsError` where Google refuses, `UnavailableError` where it is silent.
        """
        known, signature = self._renewals, Signature()
        with self._lock:
            if not self._credentials.valid:
                self._renew(known)
            self._credentials.apply(signature)
        return signature

    def renew(self, refused: dict[str, str]) -> bool:
        """Get another token after Drive refused this one; False where another thread had already.

        A caller whose own new token is refused, too, need not come again.
        """
        known, current = self._renewals, Signature()
        with self._lock:
            self._credentials.apply(current)
            if current != refused:
                return False
            self._renew(known)
        return True

    def _renew(self, known: int) -> None:
        """Get a token, unless a renewal ended while this thread waited: that one's end is its own.

        So a silent sign-in server holds sixteen threads up as long as one, and not one by one.
        """
        if self._renewals == known:
            self._problem = self._ask()
            self._renewals += 1
        if self._problem is not None:
            raise type(self._problem)(*self._problem.args)

    def _ask(self) -> CredentialsError | UnavailableError | None:
        """Ask for a token; what went wrong, without its cause, which may quote an answer."""
        from google.auth.exceptions import GoogleAuthError, TransportError

        try:
            self._credentials.refresh(_sign_in_server(self._local))
        except TransportError:
            return UnavailableError("Google's sign-in server is silent or busy; try again later.")
        except GoogleAuthError as error:
            if getattr(error, "retryable", False):
                return UnavailableError("Google's sign-in server is busy; try again later.")
            code = _oauth_code(error)
            why = ": it has expired or was revoked" if code == "invalid_grant" else ""
            return CredentialsError(
                f"Google no longer accepts this sign-in ({self._how}; {code}){why}. Sign in again; "
                "nothing is lost."
            )
        except (ValueError, TypeError, LookupError, AttributeError):
            # As google-auth meets a proxy's page in place of an answer.
            return UnavailableError("Google's sign-in server made no sense; try again later.")
        return None


def _sign_in_server(local: bool) -> Callable[..., Any]:
    """How google-auth asks; a busy server's answer counts as none, whatever credentials ask.

    Left to itself, google-auth takes some of those answers for a definite no, and repeats others.
    """
    from google.auth.exceptions import TransportError
    from google.auth.transport.requests import Request

    session = requests.Session()
    session.trust_env = not local  # an emulator is asked without this machine's proxies, passwords
    send: Any = Request(session)
    busy: Any = TransportError

    def ask(*where: Any, timeout: float = TOKEN_TIMEOUT, **what: Any) -> Any:
        answer = send(*where, timeout=timeout, **what)
        if answer.status == 429 or answer.status >= 500:
            raise busy(f"It answered {answer.status}.")
        return answer

    return ask


def _oauth_code(error: Exception) -> str:
    """The word by which OAuth names the problem, such as invalid_grant."""
    for word in ("invalid_grant", "invalid_scope", "invalid_client", "unauthorized_client"):
        if word in str(error):
            return word
    return type(error).__name__
