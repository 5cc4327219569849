"""Fault injection by rules, repeatable by a seed.

A rule selects calls (`verb`, `path`, `api`, `account`), decides which of those trigger it (`nth`,
`every`, `probability`, `after`, `times`, `until`), and names the fault (`do`). Each rule has a
random stream of its own, derived from the seed and the rule's number.
"""

import random
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from math import inf
from typing import Any

from .api.calls import Request
from .api.discovery import method_ids
from .errors import ApiError, invalid_token, no_storage, quota_exceeded
from .state.log import public_query

KINDS = {
    "latency": "wait `seconds` (and up to `jitter` more) before processing",
    "error": "answer `status` and `reason`, and do nothing",
    "reset": "reset the connection `when` the call is unread (before), half read (during), "
    "processed (after), or half answered (answer)",
    "late": "reset the connection once the request has arrived; process it `seconds` later",
    "hang": "take the request and give no answer for `seconds`, then reset",
    "truncate": "send the whole length in the headers but only `fraction` of the body, then close",
    "corrupt": "change a byte of the body in every 64 kB; the length stays",
    "rate_limit": "answer 403 userRateLimitExceeded (or `status`) above `per_second` a user",
    "quota": "answer 403 storageQuotaExceeded to every upload and create",
    "expire": "let the caller's token expire with this call: 401 until it is refreshed",
    "outage": "reset every connection, or answer `status`, while the rule is active",
    "list_lag": "show changes in lists up to `seconds` late, each by its own delay",
}

REASONS = {
    400: "badRequest", 401: "authError", 403: "rateLimitExceeded", 404: "notFound",
    408: "requestTimeout", 409: "fileIdInUse", 410: "gone", 429: "rateLimitExceeded",
    500: "internalError", 502: "badGateway", 503: "backendError", 504: "gatewayTimeout",
}  # fmt: skip
MESSAGES = {
    "rateLimitExceeded": "Rate Limit Exceeded",
    "userRateLimitExceeded": "User Rate Limit Exceeded",
    "dailyLimitExceeded": "Daily Limit Exceeded",
    "internalError": "Internal Error",
    "backendError": "Backend Error",
    "authError": "Invalid Credentials",
}
REFUSING = frozenset({"error", "rate_limit", "quota", "expire"})
TEXTS = ("verb", "path", "api", "account", "query", "reason", "message", "when")
NUMBERS: dict[str, tuple[type, float, float]] = {
    "nth": (int, 1, inf), "every": (int, 1, inf), "after": (int, -inf, inf), "times": (int, 0, inf),
    "status": (int, 400, 599), "probability": (float, 0, 1), "fraction": (float, 0, 1),
    "until": (float, 0, 1e9), "retry_after": (float, 0, 1e9), "seconds": (float, 0, 1e9),
    "jitter": (float, 0, 1e9), "per_second": (float, 0.001, 1e9),
}  # fmt: skip
"""Type and range of each numeric value of a rule."""
VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
USAGE_REASONS = {
    "rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded", "accessNotConfigured",
}  # fmt: skip


@dataclass
class Rule:
    """One fault; the module docstring and KINDS explain the values."""

    do: str = ""
    verb: str | None = None
    """HTTP method or methods, separated by `|`."""
    path: str | None = None
    """A regular expression searched for in the path."""
    api: str | None = None
    """A pattern for the method's id, such as `drive.files.create` or `drive.files.*`."""
    account: str | None = None
    query: str | None = None
    """A regular expression searched for in the query string."""
    nth: list[int] | int | None = None
    """Numbers of the matching calls that trigger the fault, from 1."""
    every: int | None = None
    probability: float | None = None
    after: int = 0
    """Number of matching calls to skip first; a negative number counts as calls already seen."""
    times: int | None = None
    """Maximum number of times that the fault is triggered."""
    until: float | None = None
    """Seconds after which the rule ends."""
    status: int | None = None
    reason: str | None = None
    message: str | None = None
    retry_after: float | None = None
    when: str = "after"
    seconds: float = 0.0
    jitter: float = 0.0
    fraction: float = 0.5
    per_second: float = 10.0
    id: int = field(default=0, init=False)
    seen: int = field(default=0, init=False)
    struck: int = field(default=0, init=False)
    started: float = field(default=0.0, init=False)
    stream: random.Random = field(default_factory=random.Random, init=False, repr=False)
    buckets: dict[str, tuple[float, float]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.do not in KINDS:
            raise ValueError(f"a fault must do one of {', '.join(KINDS)}, not {self.do!r}")
        if isinstance(self.nth, int):
            self.nth = [self.nth]
        for name in TEXTS:
            if not isinstance(getattr(self, name), str | None):
                raise ValueError(f"`{name}` must be a text")
        for name, (kind, low, high) in NUMBERS.items():
            self._check_number(name, kind, low, high)
        if self.do in {"latency", "list_lag"} and not self.seconds + self.jitter:
            raise ValueError(f"`seconds` must be given for {self.do}")
        self._check_selection()
        if self.when not in {"before", "during", "after", "answer"}:
            raise ValueError("`when` must be before, during, after or answer")
        if self.do == "rate_limit":
            self.status = self.status or 403
            usual = "rateLimitExceeded" if self.status == 429 else "userRateLimitExceeded"
            self.reason = self.reason or usual

    def _check_selection(self) -> None:
        """Refuse what no call can match."""
        for verb in (self.verb or "GET").upper().split("|"):
            if verb not in VERBS:
                raise ValueError(f"`verb` must be one or more of {'|'.join(VERBS)}, not {verb!r}")
        if self.api is not None and not any(fnmatchcase(one, self.api) for one in method_ids()):
            raise ValueError(f"`api` must be a method, as drive.files.get, not {self.api!r}")
        for pattern in (self.path, self.query):
            try:
                re.compile(pattern or "")
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None

    def _check_number(self, name: str, kind: type, low: float, high: float) -> None:
        value = getattr(self, name)
        if value is None:
            return
        known = int if kind is int else int | float
        for item in value if name == "nth" and isinstance(value, list) else [value]:
            if not isinstance(item, known) or isinstance(item, bool) or not low <= item <= high:
                what = "a whole number" if kind is int else "a number"
                span = f"from {low:g}" + (f" to {high:g}" if high < inf else "")
                raise ValueError(f"`{name}` must be {what} {span}, not {item!r}")

    def matches(self, request: Request) -> bool:
        """Whether the rule selects this call."""
        query = public_query(request.query)
        return (
            (self.verb is None or request.verb in self.verb.upper().split("|"))
            and (self.path is None or re.search(self.path, request.path) is not None)
            and (self.query is None or re.search(self.query, query) is not None)
            and (self.api is None or fnmatchcase(request.api, self.api))
            and (self.account is None or request.account == self.account.lower())
        )

    def is_over(self, now: float) -> bool:
        """Whether the rule has ended."""
        return self.until is not None and now > self.started + self.until

    def injected_error(self) -> ApiError:
        """Return the error that the rule answers with."""
        status = self.status or 503
        reason = self.reason or REASONS.get(status, "backendError")
        message = self.message or MESSAGES.get(reason, reason)
        headers = {} if self.retry_after is None else {"Retry-After": f"{self.retry_after:g}"}
        if status == 401 and reason == "authError":
            error = invalid_token(message)
            error.headers |= headers
            return error
        domain = "usageLimits" if reason in USAGE_REASONS else "global"
        return ApiError(status, reason, message, domain=domain, headers=headers)


def parse_rule(text: str) -> dict[str, Any]:
    """Parse a rule of the command line, such as `do=error,status=503,probability=0.1`."""
    found: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or name not in {"do", *TEXTS, *NUMBERS}:
            raise ValueError(f"{part!r} in the fault {text!r} is not a known NAME=VALUE")
        try:
            if name == "nth":
                found[name] = [int(number) for number in value.split("+")]
            else:
                found[name] = NUMBERS[name][0](value) if name in NUMBERS else value
        except ValueError:
            raise ValueError(f"{part!r} in the fault {text!r} is not a number") from None
    Rule(**found)
    return found


class Faults:
    """The active rules, and the choice of faults for each call."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.rules: list[Rule] = []
        self._count = 0

    def add(self, now: float, **values: Any) -> Rule:
        """Activate a rule; raise ValueError or TypeError if its values are invalid."""
        for name in values.keys() - {"do", *TEXTS, *NUMBERS}:
            raise ValueError(f"a fault has no `{name}`; it must be {', '.join([*TEXTS, *NUMBERS])}")
        # null means the default
        rule = Rule(**{name: value for name, value in values.items() if value is not None})
        self._count += 1
        rule.id = self._count
        rule.started = now
        rule.stream.seed(f"{self.seed}/{rule.id}")
        self.rules.append(rule)
        return rule

    def remove(self, rule_id: int | None = None) -> None:
        """Remove one rule, or all."""
        self.rules = [rule for rule in self.rules if rule_id is not None and rule.id != rule_id]

    def reseed(self, seed: int) -> None:
        """Restart the random streams from another seed."""
        self.seed = seed
        for rule in self.rules:
            rule.stream.seed(f"{seed}/{rule.id}")

    def triggered(
        self,
        now: float,
        request: Request,
        *,
        batched: bool = False,
    ) -> list[Rule]:
        """Return the rules that this call triggers, in the order in which they were added.

        A call within a batch triggers only rate limits, and rules that name methods (`api`) and
        answer with an error; other rules apply to the whole batch. For a rate limit "a set of n
        requests batched together counts as n requests".
        """
        found: list[Rule] = []
        for rule in self.rules:
            if rule.do == "list_lag" or not rule.matches(request):
                continue
            if rule.do == "rate_limit":
                if request.path.startswith("/batch"):
                    continue
            elif batched and (rule.api is None or rule.do not in REFUSING):
                continue
            if rule.do == "expire" and not request.account:
                continue  # no valid token to expire, such as in a request for one
            if self._triggers(rule, now, request.account):
                rule.struck += 1
                found.append(rule)
        return found

    def _triggers(self, rule: Rule, now: float, account: str) -> bool:
        if rule.is_over(now):
            return False
        rule.seen += 1
        number = rule.seen - rule.after
        if number <= 0 or (rule.times is not None and rule.struck >= rule.times):
            return False
        if isinstance(rule.nth, list) and number not in rule.nth:
            return False
        if rule.every is not None and number % rule.every:
            return False
        if rule.probability is not None and rule.stream.random() >= rule.probability:
            return False
        return rule.do != "rate_limit" or self._above_limit(rule, now, account)

    @staticmethod
    def _above_limit(rule: Rule, now: float, account: str) -> bool:
        # Token bucket with the capacity of one second.
        full = max(1.0, rule.per_second)
        level, last = rule.buckets.get(account, (full, now))
        level = min(full, level + (now - last) * rule.per_second)
        if level < 1:
            rule.buckets[account] = (level, now)
            return True
        rule.buckets[account] = (level - 1, now)
        return False

    def lag(self, now: float) -> float | None:
        """Return a delay for one change, drawn by the active list lag rule; None without one."""
        for rule in self.rules:
            if rule.do == "list_lag" and not rule.is_over(now):
                return rule.stream.uniform(0, rule.seconds + rule.jitter)
        return None

    def describe(self) -> list[dict[str, Any]]:
        """Return the rules with their counts, for JSON."""
        rules = map(asdict, self.rules)
        return [
            {k: v for k, v in rule.items() if k not in {"buckets", "stream"} and v is not None}
            for rule in rules
        ]


def injected_error(rules: Iterable[Rule], *, service: bool) -> ApiError | None:
    """Return the error with which these rules answer a call, if any."""
    for rule in rules:
        if rule.do in {"error", "rate_limit"} or (rule.do == "outage" and rule.status is not None):
            return rule.injected_error()
        if rule.do == "quota":
            return no_storage() if service else quota_exceeded()
    return None
