"""Signatures of requests to Drive: the token of an identity, renewed in time and never shown."""

import threading
from typing import Any

from colab_drive_tuner.credentials import Identity, user_credentials
from colab_drive_tuner.credentials.token import TokenRefusedError, get_token
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import CredentialsError, UnavailableError


class Signature(dict[str, str]):
    """Headers that carry a token: not shown, not even where a traceback prints local variables."""

    def __repr__(self) -> str:
        return "<Signature>"


def at_emulator(token: str, origin: str) -> "Authorizer":
    """Signs for an emulator, with the token that it was started with; it also renews itself."""
    client = {"client_id": "emulator", "client_secret": "emulator", "token_uri": f"{origin}/token"}
    identity = Identity(user_credentials(client, token, token=token), Variable.EMULATOR_TOKEN)
    return Authorizer(identity, local=True)


class Authorizer:
    """The current token of an identity, renewed once for all threads that need it."""

    def __init__(self, identity: Identity, *, local: bool = False) -> None:
        self.credentials: Any = identity.credentials
        """The identity's own, of google-auth."""
        self._how = identity.source
        self._local = local
        self._lock = threading.Lock()
        self._renewals = 0
        self._problem: CredentialsError | UnavailableError | None = None
        """Of the last renewal; None: it worked."""

    def __repr__(self) -> str:
        return f"<Authorizer by {self._how}>"

    def headers(self) -> Signature:
        """The headers that sign a request: the token, and who pays where that is not the caller.

        Raises `CredentialsError` where Google refuses, `UnavailableError` where it is silent.
        """
        known, signature = self._renewals, Signature()
        with self._lock:
            if not self.credentials.valid:
                self._renew(known)
            self.credentials.apply(signature)
        return signature

    def renew(self, refused: dict[str, str]) -> bool:
        """Get another token after Drive refused this one; False where another thread had already.

        A caller whose own new token is refused, too, need not come again.
        """
        known, current = self._renewals, Signature()
        with self._lock:
            self.credentials.apply(current)
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
        """Ask for a token; what went wrong."""
        try:
            get_token(self.credentials, local=self._local)
        except UnavailableError as silent:
            return silent
        except TokenRefusedError as refused:
            why = f": {refused.why}" if refused.why else ""
            return CredentialsError(
                f"Google no longer accepts this sign-in ({self._how}; {refused.code}){why}. "
                "Sign in again; nothing is lost."
            )
        return None
