"""Search language of files.list and drives.list: parser and evaluation.

It follows "Search query terms and operators" of the Drive documentation. A query that does not
parse, names an unknown term, or uses an unsupported operator of a term is a 400, never an empty or
a full list.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..api.writable_fields import parse_time
from ..errors import ApiError, invalid

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*") |
    (?P<op><=|>=|!=|=|<|>|\(|\)|\{|\}) |
    (?P<word>[A-Za-z_][A-Za-z0-9_.]*) |
    (?P<number>-?[0-9]{1,18})
    )\s*""",
    re.VERBOSE | re.DOTALL,
)

EQUALITY = frozenset({"=", "!="})
ORDER = EQUALITY | {"<", "<=", ">", ">="}
COLLECTION = frozenset({"in", "="})

TERMS: Mapping[str, Mapping[str, tuple[str, frozenset[str]]]] = {
    "v3": {
        "name": ("text", EQUALITY | {"contains"}),
        "fullText": ("text", frozenset({"contains"})),
        "mimeType": ("text", EQUALITY | {"contains"}),
        "modifiedTime": ("date", ORDER),
        "viewedByMeTime": ("date", ORDER),
        "createdTime": ("date", ORDER),
        "trashed": ("boolean", EQUALITY),
        "starred": ("boolean", EQUALITY),
        "sharedWithMe": ("boolean", EQUALITY),
        "parents": ("collection", COLLECTION),
        "owners": ("collection", COLLECTION),
        "labels": ("collection", COLLECTION),
        "writers": ("collection", COLLECTION),
        "readers": ("collection", COLLECTION),
        "properties": ("pairs", frozenset({"has"})),
        "appProperties": ("pairs", frozenset({"has"})),
        "visibility": ("visibility", EQUALITY),
        "shortcutDetails.targetId": ("text", EQUALITY),
    },
    "drives": {
        "name": ("text", EQUALITY | {"contains"}),
        "createdTime": ("date", ORDER),
        "hidden": ("boolean", EQUALITY),
        "memberCount": ("number", ORDER),
        "organizerCount": ("number", ORDER),
        "orgUnitId": ("text", EQUALITY),
    },
}
# v2 has the same language with older names ("Drive API v2 and v3 comparison").
V2_NAMES = {
    "title": "name",
    "modifiedDate": "modifiedTime",
    "lastViewedByMeDate": "viewedByMeTime",
    "createdDate": "createdTime",
}
DEEPEST = 100
"""Maximum nesting of parentheses and `not`."""
VISIBILITIES = {
    "anyoneCanFind", "anyoneWithLink", "domainCanFind", "domainWithLink", "limited"
}  # fmt: skip


@dataclass(frozen=True)
class Term:
    """One comparison: `name = 'x'`, `'id' in parents`, `properties has {...}`."""

    field: str
    operator: str
    value: Any


@dataclass(frozen=True)
class Chain:
    """Conditions joined by `and` and `or`, evaluated from left to right without precedence.

    `a or b and c` is `(a or b) and c` ("Search for files and folders").
    """

    first: "Condition"
    rest: tuple[tuple[bool, "Condition"], ...]
    """The conditions, each with whether `and` joins it to the previous ones."""


@dataclass(frozen=True)
class Not:
    """A negated condition."""

    inner: "Condition"


Condition = Term | Chain | Not


class _MalformedError(Exception):
    pass


class _Parser:
    def __init__(self, text: str, grammar: str) -> None:
        self.grammar = grammar
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise _MalformedError
            self.tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
            at = found.end()
        self.at = 0
        self.depth = 0

    def deeper(self, inner: "Callable[[], Condition]") -> "Condition":
        self.depth += 1
        if self.depth > DEEPEST:
            raise _MalformedError
        found = inner()
        self.depth -= 1
        return found

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self, kind: str, value: str | None = None) -> str:
        found, text = self.peek()
        if found != kind or (value is not None and text.lower() != value):
            raise _MalformedError
        self.at += 1
        return text

    def word(self, *expected: str) -> str | None:
        kind, text = self.peek()
        if kind == "word" and text.lower() in expected:
            self.at += 1
            return text.lower()
        return None

    def whole(self) -> Condition:
        found = self.chain()
        if self.peek()[0] != "end":
            raise _MalformedError
        return found

    def chain(self) -> Condition:
        first = self.single()
        rest: list[tuple[bool, Condition]] = []
        while joint := self.word("and", "or"):
            rest.append((joint == "and", self.single()))
        return Chain(first, tuple(rest)) if rest else first

    def single(self) -> Condition:
        if self.word("not"):
            inner = self.deeper(self.single)
            if isinstance(inner, Term) and inner.field == "sharedWithMe":
                raise _MalformedError  # see `comparison`
            return Not(inner)
        kind, text = self.peek()
        if (kind, text) == ("op", "("):
            self.take("op", "(")
            inner = self.deeper(self.chain)
            self.take("op", ")")
            return inner
        if kind == "text":
            value = self.text()
            self.take("word", "in")
            field, sort, _ = self.term(self.take("word"), "in")
            if sort != "collection":
                raise _MalformedError
            return Term(field, "in", value)
        return self.comparison()

    def term(self, name: str, operator: str) -> tuple[str, str, frozenset[str]]:
        known = TERMS["drives" if self.grammar == "drives" else "v3"]
        if self.grammar == "v2":
            if name in V2_NAMES.values() or name == "appProperties":
                raise _MalformedError
            name = V2_NAMES.get(name, name)
        if name not in known:
            raise _MalformedError
        sort, operators = known[name]
        if operator not in operators:
            raise _MalformedError
        return name, sort, operators

    def comparison(self) -> Condition:
        name = self.take("word")
        kind, text = self.peek()
        operator = text.lower() if kind == "word" else text
        if operator in {"and", "or", ")", ""} and kind != "text":
            # The documentation has `sharedWithMe and name contains 'hello'`.
            field, sort, _ = self.term(name, "=")
            if sort != "boolean":
                raise _MalformedError
            return Term(field, "=", value=True)
        self.at += 1
        field, sort, _ = self.term(name, operator)
        if sort == "collection":
            # Documented is only `'x' in parents`, but the live service also takes `parents in 'x'`
            # and `parents = 'x'`, which many programs send.
            return Term(field, "in", self.text())
        value = self.value(sort)
        if field == "sharedWithMe" and value != (operator == "="):
            # The documented table allows false, but the live service refuses it, as users found.
            raise _MalformedError
        return Term(field, operator, value)

    def value(self, sort: str) -> Any:
        if sort == "boolean":
            text = self.take("word").lower()
            if text not in {"true", "false"}:
                raise _MalformedError
            return text == "true"
        if sort == "number":
            return int(self.take("number"))
        if sort == "pairs":
            return self.pairs()
        text = self.text()
        if sort == "date":
            try:
                return parse_time(text, "q")
            except ApiError:
                raise _MalformedError from None
        if sort == "visibility" and text not in VISIBILITIES:
            raise _MalformedError
        return text

    def text(self) -> str:
        raw = self.take("text")
        return re.sub(r"\\(.)", r"\1", raw[1:-1], flags=re.DOTALL)

    def pairs(self) -> dict[str, str]:
        self.take("op", "{")
        found: dict[str, str] = {}
        while True:
            name = self.take("word")
            if name not in {"key", "value", "visibility"} or name in found:
                raise _MalformedError
            self.take("op", "=")
            found[name] = self.text()
            if not self.word("and"):
                break
        self.take("op", "}")
        if "key" not in found or "value" not in found:
            raise _MalformedError
        if "visibility" in found and self.grammar != "v2":
            raise _MalformedError
        return found


@lru_cache(maxsize=1024)
def parse(text: str, grammar: str = "v3") -> Condition | None:
    """Parse a query (grammar "v2", "v3" or "drives"); return None for an empty one.

    Raises a 400 `invalid` at `q` if the query is invalid.
    """
    if not text.strip():
        return None
    try:
        return _Parser(text, grammar).whole()
    except _MalformedError:
        message = "Invalid Value" if grammar != "v2" else "Invalid query"
        raise invalid("q", message) from None


def required(condition: Condition | None, field: str) -> list[Any]:
    """Return values that every match must have in the field: from terms with no `or` after them."""
    if isinstance(condition, Chain):
        found: list[Any] = []
        for every, part in reversed(condition.rest):
            if not every:
                return found
            found = required(part, field) + found
        return required(condition.first, field) + found
    if isinstance(condition, Term) and condition.field == field:
        return [condition.value] if condition.operator in {"=", "in"} else []
    return []


def compared_values(condition: Condition | None, field: str) -> list[Any]:
    """Return all values that terms compare the field with."""
    if isinstance(condition, Chain):
        parts = [condition.first, *(part for _, part in condition.rest)]
        return [one for part in parts for one in compared_values(part, field)]
    if isinstance(condition, Not):
        return compared_values(condition.inner, field)
    return [condition.value] if condition is not None and condition.field == field else []


def matcher(
    condition: Condition | None, terms: Callable[[Any, Term], bool]
) -> Callable[[Any], bool]:
    """Return a function that tests the condition; `terms` tests a single term."""
    if condition is None:
        return lambda thing: True
    if isinstance(condition, Not):
        inner = matcher(condition.inner, terms)
        return lambda thing: not inner(thing)
    if isinstance(condition, Chain):
        first = matcher(condition.first, terms)
        rest = [(every, matcher(part, terms)) for every, part in condition.rest]

        def holds(thing: Any) -> bool:
            held = first(thing)
            for every, part in rest:
                if held == every:  # otherwise the result does not depend on this part
                    held = part(thing)
            return held

        return holds
    term = condition
    return lambda thing: terms(thing, term)


_WORDS = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, as they are indexed."""
    return _WORDS.findall(text.replace("_", " ").lower())


def has_prefixes(text: str, wanted: str) -> bool:
    """Whether each wanted word is a prefix of a word of the text, as in `name contains`.

    Text without a word, such as an emoji, is found as it is.
    """
    known = words(text)
    if not words(wanted):
        return wanted.strip() in text
    return all(any(word.startswith(one) for word in known) for one in words(wanted))


_COMPARISONS = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def compare(sign: str, actual: Any, wanted: Any) -> bool:
    """Evaluate `=`, `!=`, `<`, `<=`, `>` or `>=`."""
    return bool(_COMPARISONS[sign](actual, wanted))
