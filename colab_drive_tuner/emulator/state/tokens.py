"""Bearer tokens with their account, client, scopes and expiry."""

import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..errors import invalid_token, no_credentials, not_signed_in
from .database import Database
from .model import Caller

LIFETIME = 3599


@dataclass(frozen=True)
class Grant:
    """The account, client and scopes of a token."""

    account: str
    client: str = "emulator-client"
    scopes: tuple[str, ...] = ("drive",)
    expires: float | None = None
    """Expiry in seconds since 1970; None: never."""
    refresh: str = ""
    """The refresh token that it was issued for; revoking one revokes both."""


def parse_grant(text: str) -> tuple[str, Grant]:
    """Parse `TOKEN=ACCOUNT[,client=ID][,scopes=SCOPE+SCOPE]`."""
    token, _, rest = text.partition("=")
    account, *options = rest.split(",")
    if not token or "@" not in account:
        raise ValueError(f"{text!r} is not TOKEN=ACCOUNT, with the account an email address")
    named = dict(option.partition("=")[::2] for option in options)
    if set(named) - {"client", "scopes"}:
        raise ValueError(f"{text!r}: after the account only client= and scopes= are known")
    client = named.get("client", "emulator-client")
    return token, Grant(account, client, short_scopes(named.get("scopes", "drive").split("+")))


def short_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes without https://www.googleapis.com/auth/."""
    return tuple(scope.rsplit("/auth/", 1)[-1] for scope in scopes if scope)


class Tokens:
    """The tokens that the emulator accepts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._grants: dict[str, Grant] = {}
        self._refresh: dict[str, Grant] = {}
        for key, value in database.documents("token"):
            self._grants[key] = _grant(value)
        for key, value in database.documents("refresh"):
            self._refresh[key] = _grant(value)

    def allow(self, token: str, grant: Grant) -> None:
        """Accept a token."""
        self._grants[token] = grant
        self._database.account(grant.account)
        self._database.store("token", token, asdict(grant))

    def allow_refresh(self, token: str, grant: Grant) -> None:
        """Accept a refresh token."""
        self._refresh[token] = grant
        self._database.store("refresh", token, asdict(grant))

    def expire(self, token: str | None = None) -> None:
        """Expire a token, or every token, now."""
        now = self._database.clock.now()
        for key, grant in list(self._grants.items()):
            if token in {None, key}:
                self.allow(key, replace(grant, expires=now - 1))

    def revoke(self, token: str) -> bool:
        """Revoke a token and the tokens issued with it; return whether it was known."""
        if not token:  # not those that were issued without a refresh token
            return False
        known = self._grants.get(token)
        refresh = (known.refresh if known is not None else "") or token
        gone = {token, refresh, *(k for k, v in self._grants.items() if v.refresh == refresh)}
        gone = {one for one in gone if one in self._grants or one in self._refresh}
        for one in gone:
            self._grants.pop(one, None)
            self._refresh.pop(one, None)
            self._database.store("token", one, None)
            self._database.store("refresh", one, None)
        return bool(gone)

    def caller(self, token: str | None) -> Caller:
        """Return the caller of a token; refuse one that is missing, empty, unknown or expired."""
        if token is None:
            raise no_credentials()
        if not token:
            raise not_signed_in()
        grant = self.grant(token)
        if grant is None:
            raise invalid_token()
        account = self._database.account(grant.account)
        return Caller(account, grant.client, frozenset(grant.scopes))

    def issue(self, grant: Grant, scopes: tuple[str, ...], refresh: str = "") -> str:
        """Issue a new access token, valid for LIFETIME seconds."""
        token = "ya29." + secrets.token_urlsafe(40)
        expires = self._database.clock.now() + LIFETIME
        self.allow(token, Grant(grant.account, grant.client, scopes, expires, refresh))
        return token

    def grant(self, token: str) -> Grant | None:
        """Return the grant of a valid access token."""
        found = self._grants.get(token)
        if found is None or found.expires is None:
            return found
        return found if found.expires > self._database.clock.now() else None

    def refresh_grant(self, token: str) -> Grant | None:
        """Return the grant of a refresh token."""
        return self._refresh.get(token)


def _grant(values: dict[str, Any]) -> Grant:
    return Grant(**{**values, "scopes": tuple(values["scopes"])})
