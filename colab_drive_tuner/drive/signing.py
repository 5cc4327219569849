"""What signs a request to Drive: the tokens of an identity, or the one that an emulator knows."""

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from colab_drive_tuner.credentials import Identity
from colab_drive_tuner.errors import ColabDriveTunerError, CredentialsError, UnavailableError


class Authorizer:
    """The current token of an identity, renewed once for all threads that need it."""

    def __init__(self, identity: Identity, request: Any = None) -> None:
        self._credentials = identity.credentials
        self._how = identity.how
        self._lock = threading.Lock()
        self._request = request

    def __repr__(self) -> str:
        return f"<Authorizer by {self._how}>"

    @property
    def credentials(self) -> Any:
        """The identity's own, of google-auth."""
        return self._credentials

    def headers(self) -> dict[str, str]:
        """The headers that sign a request: the token, and who pays where that is not the caller.

        Raises `CredentialsError` where Google refuses, `UnavailableError` where it is silent.
        """
        signature: dict[str, str] = {}
        with self._lock:
            if not self._credentials.valid:
                self._refresh()
            self._credentials.apply(signature)
        return signature

    def renew(self, refused: dict[str, str]) -> bool:
        """Get another token after Drive refused this one, unless another thread just has."""
        current: dict[str, str] = {}
        with self._lock:
            self._credentials.apply(current)
            if current == refused:
                self._refresh()
        return True

    def _refresh(self) -> None:
        from google.auth.exceptions import GoogleAuthError, TransportError
        from google.auth.transport.requests import Request

        if self._request is None:
            # Its own default is two minutes.
            self._request = partial(Request(), timeout=20)
        problem: ColabDriveTunerError
        try:
            self._credentials.refresh(self._request)
            return
        except TransportError:
            problem = UnavailableError("Google's sign-in server did not answer; try again later.")
        except GoogleAuthError as error:
            if getattr(error, "retryable", False):
                problem = UnavailableError("Google's sign-in server is busy; try again later.")
            else:
                problem = CredentialsError(
                    f"Google no longer accepts this sign-in ({self._how}; {_oauth_code(error)}): "
                    "it has expired or was revoked. Sign in again; nothing is lost."
                )
        # Outside of the handlers, so that the cause, which may quote an answer, is not attached.
        raise problem


def _oauth_code(error: Exception) -> str:
    """The word by which OAuth names the problem, such as invalid_grant."""
    for word in ("invalid_grant", "invalid_scope", "invalid_client", "unauthorized_client"):
        if word in str(error):
            return word
    return type(error).__name__


@dataclass(frozen=True)
class FixedToken:
    """The token of an emulator; it is never renewed."""

    value: str = field(repr=False)

    @property
    def credentials(self) -> Any:
        """The same, as credentials of google-auth."""
        from google.oauth2.credentials import Credentials

        token: Any = Credentials
        return token(self.value)

    def headers(self) -> dict[str, str]:
        """The header that carries the token."""
        return {"Authorization": f"Bearer {self.value}"}

    def renew(self, refused: dict[str, str]) -> bool:  # noqa: ARG002  # as Authorizer has it
        """There is no other one."""
        return False
