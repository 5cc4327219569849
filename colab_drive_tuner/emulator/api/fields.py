"""Partial responses: parse the `fields` parameter, check it against the schema, and apply it.

The grammar follows "Return specific fields" in the Drive documentation: comma-separated paths with
`/`, sub-selectors in parentheses, and `*`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..errors import ApiError, invalid_parameter
from .discovery import discovery_document

Selection = Mapping[str, Any]
"""Maps names to sub-selections; an empty one selects everything below, "*" matches every name."""

DEEPEST = 50
"""Maximum depth of paths and parentheses; the deepest field of the API is at depth 5."""
_TOKEN = re.compile(r"\s*(?:([A-Za-z0-9_.$-]+|\*)|([(),/]))\s*")


def _bad(name: str) -> ApiError:
    return invalid_parameter("fields", f"Invalid field selection {name}")


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = []
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise _bad(text)
            self.tokens.append(found[1] or found[2])
            at = found.end()
        self.at = 0
        self.depth = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        expected = token == wanted if wanted else token not in {"", *"(),/"}
        if not expected:
            raise _bad(self.text)
        self.at += 1
        return token

    def items(self, close: str, into: dict[str, Any]) -> None:
        while True:
            self.path(into)
            if self.peek() != ",":
                break
            self.take(",")
        if self.peek() != close:
            raise _bad(self.text)

    def path(self, into: dict[str, Any]) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise _bad(self.text[:100])
        name = self.take()
        whole = name in into and not into[name]
        below: dict[str, Any] = into.setdefault(name, {})
        if self.peek() == "/":
            self.take("/")
            self.path(below)
        elif self.peek() == "(":
            self.take("(")
            self.items(")", below)
            self.take(")")
        else:
            whole = True
        if whole:
            below.clear()
        self.depth -= 1


def _check(version: str, schema: Mapping[str, Any], selection: Selection) -> None:
    if "$ref" in schema:
        schema = discovery_document(version)["schemas"][schema["$ref"]]
    if "items" in schema:
        _check(version, schema["items"], selection)
        return
    properties = schema.get("properties", {})
    for name, below in selection.items():
        if name == "*":
            continue  # fields below a star need not exist in every member
        if name in properties:
            _check(version, properties[name], below)
        elif "additionalProperties" not in schema:
            raise _bad(name)


@lru_cache(maxsize=4096)
def select(version: str, schema: str, fields: str) -> Selection:
    """Parse `fields` for a response of `schema`; raise a 400 for an unknown field."""
    parser = _Parser(fields)
    selection: dict[str, Any] = {}
    parser.items("", selection)
    _check(version, {"$ref": schema}, selection)
    return selection


def within(selection: Selection, name: str) -> Selection | None:
    """Return the selection below a member; None if the member is not selected."""
    if not selection:
        return selection
    found: Selection | None = selection.get(name, selection.get("*"))
    return found


def prune(value: Any, selection: Selection) -> Any:
    """Reduce `value` to the selection; arrays are pruned element by element."""
    if not selection:
        return value
    if isinstance(value, list):
        return [prune(item, selection) for item in value]
    if not isinstance(value, dict):
        return value
    star = selection.get("*")
    return {
        name: prune(inner, selection.get(name, star or {}))
        for name, inner in value.items()
        if star is not None or name in selection
    }
