"""Tokens: which account, client and scopes a bearer token stands for, and until when.

Also Google's token endpoint: a refresh token or a service account's signed assertion becomes an
access token that expires ("Using OAuth 2.0 for Web Server Applications", "... Server to Server").
"""

import base64
import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from .calls import Answer
from .database import Database
from .errors import unauthenticated
from .model import Caller

LIFETIME = 3599
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True)
class Grant:
    """What a token stands for."""

    account: str
    client: str = "emulator-client"
    scopes: tuple[str, ...] = ("drive",)
    expires: float | None = None
    """Seconds since 1970; None never."""


def parse_grant(text: str) -> tuple[str, Grant]:
    """`TOKEN=ACCOUNT[,client=ID][,scopes=SCOPE+SCOPE]`, as the command line takes it."""
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
    """Scopes without https://www.googleapis.com/auth/."""
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
        """Accept a token from now on."""
        self._grants[token] = grant
        self._database.account(grant.account)
        self._database.store("token", token, asdict(grant))

    def allow_refresh(self, token: str, grant: Grant) -> None:
        """Accept a refresh token at the token endpoint."""
        self._refresh[token] = grant
        self._database.store("refresh", token, asdict(grant))

    def expire(self, token: str | None = None) -> None:
        """Let a token, or every token, expire now."""
        now = self._database.clock.now()
        for key, grant in list(self._grants.items()):
            if token in {None, key}:
                values = {**asdict(grant), "expires": now - 1}
                self._grants[key] = _grant(values)
                self._database.store("token", key, values)

    def revoke(self, token: str) -> None:
        """Forget an access or refresh token."""
        self._grants.pop(token, None)
        self._refresh.pop(token, None)
        self._database.store("token", token, None)
        self._database.store("refresh", token, None)

    def caller(self, token: str | None) -> Caller:
        """Who a token stands for; 401 without one, and for an unknown or expired one."""
        if not token:
            raise unauthenticated("required", "Login Required.")
        grant = self._grants.get(token)
        if grant is None or (
            grant.expires is not None and grant.expires <= self._database.clock.now()
        ):
            raise unauthenticated()
        account = self._database.account(grant.account)
        return Caller(account, grant.client, frozenset(grant.scopes))

    def endpoint(self, form: dict[str, str]) -> Answer:
        """POST /token."""
        kind = form.get("grant_type")
        if kind == "refresh_token":
            grant = self._refresh.get(form.get("refresh_token", ""))
            if grant is None:
                return _oauth_error("invalid_grant", "Token has been expired or revoked.")
            return self._issue(grant, form.get("scope"))
        if kind == JWT_GRANT:
            claims = _claims(form.get("assertion", ""))
            account = str(claims.get("sub") or claims.get("iss") or "")
            if "@" not in account:
                return _oauth_error("invalid_grant", "Invalid JWT Signature.")
            grant = Grant(account, str(claims.get("iss")))
            return self._issue(grant, str(claims.get("scope", "drive")))
        return _oauth_error("unsupported_grant_type", f"Invalid grant_type: {kind}")

    def _issue(self, grant: Grant, scope: str | None) -> Answer:
        scopes = short_scopes(scope.split()) if scope else grant.scopes
        token = "ya29." + secrets.token_urlsafe(40)
        expires = self._database.clock.now() + LIFETIME
        self.allow(token, Grant(grant.account, grant.client, scopes, expires))
        answer = {
            "access_token": token,
            "expires_in": LIFETIME,
            "scope": " ".join(f"https://www.googleapis.com/auth/{one}" for one in scopes),
            "token_type": "Bearer",
        }
        return Answer.json(answer)


def _grant(values: dict[str, Any]) -> Grant:
    return Grant(**{**values, "scopes": tuple(values["scopes"])})


def _claims(assertion: str) -> dict[str, Any]:
    """What a JWT says; who signed it is not checked, since the emulator knows no keys."""
    try:
        middle = assertion.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _oauth_error(error: str, description: str) -> Answer:
    return Answer.json({"error": error, "error_description": description}, 400)
