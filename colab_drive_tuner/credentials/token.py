"""Access tokens for credentials, with refusals distinguished from outages."""

from typing import Any

import requests

from colab_drive_tuner.credentials.http_session import new_session
from colab_drive_tuner.errors import UnavailableError

TOKEN_TIMEOUT = 20.0
"""Read timeout for the sign-in server in seconds; google-auth's default is 120."""

_OAUTH_CODES = ("invalid_grant", "invalid_scope", "invalid_client", "unauthorized_client")


class TokenRefusedError(Exception):
    """The credentials produce no token; the message is the reason, as a phrase without secrets.

    `code` is OAuth's error code or the name of an exception; `why` explains it, if known.
    """

    def __init__(self, code: str, why: str = "") -> None:
        super().__init__(f"{code}: {why}" if why else code)
        self.code, self.why = code, why


def get_token(credentials: Any, *, local: bool = False) -> None:
    """Have the credentials of google-auth fetch a new token; `local`: from an emulator.

    Raises `TokenRefusedError` for a permanent refusal, and `UnavailableError` if there was no valid
    answer.
    """
    from google.auth.exceptions import GoogleAuthError

    server = _SignInServer(local)
    # Without the cause, which may quote an answer that contains a secret.
    try:
        credentials.refresh(server)
    except (GoogleAuthError, ValueError, TypeError, LookupError, AttributeError, OSError) as error:
        if outage := server.outage(error):
            raise UnavailableError(f"Google's sign-in server {outage}; try again later.") from None
        raise _refusal(credentials, error, server.status) from None
    finally:
        server.session.close()


class _SignInServer:
    """Transport for google-auth that records the status of the last answer.

    google-auth's own transport treats a busy server's answer as a refusal, retries some requests,
    and sends the refresh token to the target of a redirect.
    """

    def __init__(self, local: bool) -> None:
        from google.auth.transport.requests import Request

        self.session: requests.Session = new_session(local=local)
        self._send: Any = Request(self.session)
        self._asked = False
        self.status: int | None = None
        """Status of the last answer; None if there was none."""

    def __call__(self, *where: Any, timeout: float = TOKEN_TIMEOUT, **what: Any) -> Any:
        from google.auth.exceptions import TransportError

        self._asked, self.status = True, None
        answer = self._send(*where, timeout=timeout, allow_redirects=False, **what)
        self.status = int(answer.status)
        if self.status == 429 or self.status >= 500:
            raise TransportError(f"It answered {self.status}.")
        return answer

    def outage(self, error: Exception) -> str:
        """Return why the error says nothing about the credentials; empty if it is a refusal."""
        from google.auth.exceptions import GoogleAuthError, TransportError

        status = self.status
        silent = status is None and (self._asked or isinstance(error, TransportError))
        busy = status is not None and (status == 429 or status >= 500)
        if silent or busy or getattr(error, "retryable", False):
            return "is silent or busy"
        if status is not None and 300 <= status < 400:
            return "sent an invalid answer (a redirect)"
        # An answer that google-auth cannot parse is, for example, the page of a proxy.
        unparsed = status == 200 and not isinstance(error, GoogleAuthError)
        return "sent an invalid answer" if unparsed else ""


def _refusal(credentials: Any, error: Exception, status: int | None) -> TokenRefusedError:
    code = next((word for word in _OAUTH_CODES if word in str(error)), "")
    if code == "invalid_grant":
        # Google's words for an assertion that was signed in the past or future.
        skewed = "short-lived token" in str(error)
        why = "this machine's clock is wrong" if skewed else "it has expired or was revoked"
        return TokenRefusedError(code, why)
    if code:
        return TokenRefusedError(code)
    kind = type(error).__name__
    if type(credentials).__module__.startswith("google.auth.compute_engine"):
        answer = "was not asked" if status is None else f"has no token ({status})"
        return TokenRefusedError(
            "nobody has signed in" if status == 404 else kind,
            f"this machine's metadata server {answer}",
        )
    return TokenRefusedError(kind if status in (None, 200) else f"{kind}, status {status}")
