"""Admin endpoints of the emulator itself, at /_emulator/: log, faults, clock, tokens, accounts."""

import time
from dataclasses import asdict, replace
from math import isfinite
from typing import Any, TypeVar

from ..api.calls import FORM_LIMIT, Answer, Request, parse_json, read_whole
from ..dispatch import Service
from ..errors import ApiError, bad_request
from ..faults import KINDS
from ..methods import revisions
from ..methods.removal import delete_expired_trash
from ..state.tokens import Grant, short_scopes

T = TypeVar("T", int, float)
LATEST = 221_845_392_000
"""The year 9000; later times must still be representable as dates."""


async def answer(service: Service, request: Request) -> Answer:
    """Answer a request to an admin endpoint; errors have Google's format."""
    try:
        raw = await read_whole(request.body, FORM_LIMIT)
        _check_type(request, raw)
        return Answer.json(_act(service, request, parse_json(raw)))
    except ApiError as error:
        return Answer.refusal(error)
    except KeyError as error:
        return Answer.refusal(bad_request(f"{error} is missing."))
    except (TypeError, ValueError, OverflowError) as error:
        return Answer.refusal(bad_request(str(error)))


def _check_type(request: Request, raw: bytes) -> None:
    """Raise a 415 for non-JSON bodies, which a web page's form could send."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if raw and kind != "application/json":
        message = "The body must be JSON, with the header Content-Type: application/json."
        raise ApiError(415, "unsupportedMediaType", message)


def _act(service: Service, request: Request, body: dict[str, Any]) -> Any:
    parts = request.path.strip("/").split("/")[1:]
    what = parts[0] if parts else ""
    verb = request.verb
    if what == "log":
        return _log(service, verb, dict(request.query))
    if what == "faults":
        return _faults(service, verb, parts[1:], body)
    if what == "clock":
        return _clock(service, verb, body)
    if what == "tokens":
        return _tokens(service, verb, parts[1:], body)
    if what == "accounts":
        return _accounts(service, verb, body)
    if what == "":
        return {"emulator": "drive", "accounts": sorted(service.database.accounts)}
    raise ApiError(404, "notFound", "Known are log, faults, clock, tokens and accounts.")


def _number(kind: type[T], name: str, given: Any) -> T:
    try:
        return kind(given)
    except (TypeError, ValueError, OverflowError):
        raise bad_request(f"{name} must be a number, not {given!r}.") from None


def _log(service: Service, verb: str, query: dict[str, str]) -> Any:
    if verb == "DELETE":
        service.log.clear()
    start = _number(int, "since", query.get("since", 0))
    return {"count": service.log.count, "entries": service.log.since(start)}


def _faults(service: Service, verb: str, parts: list[str], body: dict[str, Any]) -> Any:
    faults = service.faults
    if verb == "DELETE":
        faults.remove(_number(int, "N", parts[0]) if parts else None)
    elif verb == "POST":
        seeded = "seed" in body
        if seeded:
            faults.reseed(_number(int, "seed", body.pop("seed")))
        if body or not seeded:
            rule = faults.add(service.database.clock.now(), **body)
            return {"id": rule.id}
    return {"seed": faults.seed, "rules": faults.describe(), "kinds": KINDS}


def _clock(service: Service, verb: str, body: dict[str, Any]) -> Any:
    clock = service.database.clock
    if verb == "POST":
        offset = _number(float, "offset", body.get("offset", clock.offset))
        offset += _number(float, "advance", body.get("advance", 0))
        if not 0 <= time.time() + offset <= LATEST:
            raise ValueError("The clock can only be set to the years 1970 to 9000.")
        service.database.set_clock(offset)
        delete_expired_trash(service.database)
        revisions.delete_expired(service.database)
    return {"now": clock.now(), "offset": clock.offset}


def _tokens(service: Service, verb: str, parts: list[str], body: dict[str, Any]) -> Any:
    tokens = service.tokens
    token = str(body.get("token", ""))
    if verb == "POST" and parts == ["expire"]:
        tokens.expire(token or None)
    elif verb == "POST":
        grant = Grant(_email(body["account"]))
        scopes = body.get("scopes", grant.scopes)
        grant = replace(
            grant,
            client=str(body.get("client", grant.client)),
            scopes=short_scopes(scopes.split() if isinstance(scopes, str) else map(str, scopes)),
        )
        if body.get("expires_in") is not None:
            lifetime = _number(float, "expires_in", body["expires_in"])
            if not isfinite(lifetime):
                raise ValueError("expires_in must be a number of seconds.")
            grant = replace(grant, expires=service.database.clock.now() + lifetime)
        if body.get("refresh_token"):
            tokens.allow_refresh(str(body["refresh_token"]), grant)
        if token:
            tokens.allow(token, grant)
    elif verb == "DELETE":
        tokens.revoke(token)
    return {}


def _email(given: Any) -> str:
    if "@" not in str(given):
        raise ValueError(f"{str(given)!r} is not an email address")
    return str(given)


def _accounts(service: Service, verb: str, body: dict[str, Any]) -> Any:
    database = service.database
    if verb == "POST":
        limit = body.get("limit")
        limit = None if limit is None else _number(int, "limit", limit)
        if limit is not None and limit < 0:
            raise ValueError("limit must be 0 or more bytes; null: unlimited.")
        account = database.account(_email(body["email"]))
        if "limit" in body:
            database.set_account(replace(account, limit=limit))
    return {
        "accounts": [
            {**asdict(account), "usage": database.usage.get(account.email, 0)}
            for account in database.accounts.values()
        ]
    }
