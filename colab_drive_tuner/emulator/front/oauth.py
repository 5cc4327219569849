"""Google's sign-in endpoints: token, revoke, tokeninfo and userinfo.

They follow "Using OAuth 2.0 for Web Server Applications" and "... for Server to Server
Applications": a refresh token or a service account's assertion is exchanged for an access token.
"""

import base64
import time
from typing import Any
from urllib.parse import parse_qsl

from ..api.calls import FORM_LIMIT, Answer, Request, parse_json, read_whole
from ..errors import ApiError
from ..state.model import person_id
from ..state.tokens import LIFETIME, Grant, Tokens, short_scopes

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
HOUR = 3600
"""Maximum lifetime of an assertion."""
CLOCK_SKEW = 600
"""Seconds by which the clock of an assertion's signer may be fast."""
SCOPES = "https://www.googleapis.com/auth/"
PATHS = {
    "/token", "/oauth2/v4/token", "/o/oauth2/token", "/revoke", "/o/oauth2/revoke", "/tokeninfo",
    "/oauth2/v1/tokeninfo", "/oauth2/v3/tokeninfo", "/oauth2/v1/userinfo", "/oauth2/v2/userinfo",
    "/oauth2/v3/userinfo",
}  # fmt: skip


async def answer(tokens: Tokens, request: Request, now: float) -> Answer | None:
    """Answer a request to a sign-in endpoint; return None for other paths."""
    if request.path not in PATHS:
        return None
    what = request.path.rpartition("/")[2]
    raw = (await read_whole(request.body, FORM_LIMIT)).decode("utf-8", "replace")
    form = dict(request.query) | dict(parse_qsl(raw))
    if what == "tokeninfo":
        return _tokeninfo(tokens, form.get("access_token", ""), now)
    if what == "userinfo":
        return _userinfo(tokens, request)
    if request.verb != "POST" and what == "token":
        raise ApiError(405, "httpMethodNotAllowed", "Method Not Allowed")
    if what == "revoke":
        if tokens.revoke(form.get("token", "")):
            return Answer.json({})
        return _refusal("invalid_token", "Token expired or revoked")
    return _token(tokens, form)


def _token(tokens: Tokens, form: dict[str, str]) -> Answer:
    kind = form.get("grant_type")
    if kind == "refresh_token":
        return _refreshed(tokens, form)
    if kind == JWT_GRANT:
        return _asserted(tokens, _claims(form.get("assertion", "")))
    return _refusal("unsupported_grant_type", f"Invalid grant_type: {kind or ''}")


def _refreshed(tokens: Tokens, form: dict[str, str]) -> Answer:
    """Exchange a refresh token for an access token."""
    refresh = form.get("refresh_token", "")
    if not refresh:
        return _refusal("invalid_request", "Missing required parameter: refresh_token")
    grant = tokens.refresh_grant(refresh)
    if grant is None:
        return _refusal("invalid_grant", "Token has been expired or revoked.")
    scopes = short_scopes(form.get("scope", "").split()) or grant.scopes
    if set(scopes) - set(grant.scopes):
        return _refusal("invalid_scope", "Some requested scopes were not granted.")
    return _issued(tokens, grant, scopes, refresh)


def _asserted(tokens: Tokens, claims: dict[str, Any]) -> Answer:
    """Exchange the claims of a service account's assertion for an access token."""
    account = str(claims.get("sub") or claims.get("iss") or "")
    if "@" not in account:
        return _refusal("invalid_grant", "Invalid JWT Signature.")
    # The signer uses the real clock, even if a test has moved the service's.
    now = time.time()
    times: list[Any] = [claims.get("iat", 0), claims.get("exp")]
    known = all(isinstance(one, int | float) for one in times)
    if not (known and times[0] - CLOCK_SKEW <= now <= times[1] <= now + HOUR + CLOCK_SKEW):
        return _refusal(
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
            "timeframe. Check your iat and exp values in the JWT claim.",
        )
    scopes = short_scopes(str(claims.get("scope") or "").split())
    if not scopes:
        return _refusal("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
    return _issued(tokens, Grant(account, str(claims.get("iss"))), scopes)


def _issued(tokens: Tokens, grant: Grant, scopes: tuple[str, ...], refresh: str = "") -> Answer:
    return Answer.json(
        {
            "access_token": tokens.issue(grant, scopes, refresh),
            "expires_in": LIFETIME,
            "scope": " ".join(SCOPES + scope for scope in scopes),
            "token_type": "Bearer",
        }
    )


def _tokeninfo(tokens: Tokens, token: str, now: float) -> Answer:
    grant = tokens.grant(token)
    if grant is None:
        return _refusal("invalid_token", "Invalid Value")
    left = LIFETIME if grant.expires is None else int(grant.expires - now)
    return Answer.json(
        {
            "azp": grant.client,
            "aud": grant.client,
            "scope": " ".join(SCOPES + scope for scope in grant.scopes),
            "exp": str(int(now) + left),
            "expires_in": str(left),
            "email": grant.account,
            "email_verified": "true",
            "access_type": "offline" if grant.refresh else "online",
        }
    )


def _userinfo(tokens: Tokens, request: Request) -> Answer:
    account = tokens.caller(request.token() or "").account
    return Answer.json(
        {
            "sub": person_id(account.email),
            "id": person_id(account.email),
            "name": account.name,
            "email": account.email,
            "email_verified": True,
        }
    )


def _claims(assertion: str) -> dict[str, Any]:
    """Return a JWT's claims; its signature is not checked, since the emulator has no keys."""
    try:
        middle = assertion.split(".")[1]
        return parse_json(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    except (IndexError, ValueError, ApiError):
        return {}


def _refusal(error: str, description: str) -> Answer:
    return Answer.json({"error": error, "error_description": description}, 400)
