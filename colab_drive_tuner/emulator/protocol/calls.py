"""One call and its answer as the methods see them: no sockets, so that batches work too."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ApiError, bad_request, too_large
from ..queries.fields import Selection, prune, select
from ..state.database import Database
from ..state.model import Caller, Node
from .resources import View
from .surface import Match, Method, Parameters, check_body

JSON_LIMIT = 16 * 2**20
FORM_LIMIT = 2**20
"""Bytes of a form, and of a body of the emulator's own endpoints."""
DEEPEST_JSON = 100
"""Nesting of a JSON body, as in Google's own parser."""


@dataclass(frozen=True)
class Slice:
    """Part of a file on disk, to be sent."""

    path: Path
    start: int
    length: int


@dataclass
class Answer:
    """Status, headers and body of an HTTP answer."""

    status: int = 200
    body: bytes | Slice = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200, **headers: str) -> "Answer":
        """An answer with a JSON body."""
        # Drive prints its JSON indented; clients parse it, and this is ten times as fast.
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        found = {"Content-Type": "application/json; charset=UTF-8", **headers}
        return cls(status, text.encode(), found)

    @classmethod
    def refusal(cls, error: ApiError) -> "Answer":
        """The answer for an error."""
        return cls.json(error.body(), error.status, **error.headers)


async def read_whole(chunks: AsyncIterator[bytes], limit: int = JSON_LIMIT) -> bytes:
    """A request body in one piece; 413 above the limit."""
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise too_large()
        parts.append(chunk)
    return b"".join(parts)


async def whole(body: bytes) -> AsyncIterator[bytes]:
    """A request body that has arrived already."""
    yield body


@dataclass
class Call:
    """One request, with who asks and which method of the API it means."""

    verb: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    """By lower-case name."""
    body: AsyncIterator[bytes]
    base: str
    """Address under which the client reached the server, as `http://host:port`."""
    database: Database
    caller: Caller
    match: Match
    parameters: Parameters
    new_parents: list[str] | None = None
    """Where a v2 body moves the file to."""
    lagging: Callable[[Iterable[Node]], list[Node]] = list
    """What a list shows of these files now: with list lag, some are as they were before."""

    @property
    def method(self) -> Method:
        """The method of the API."""
        return self.match.method

    @property
    def view(self) -> View:
        """What answers to this call depend on."""
        return View(self.database, self.caller, self.base)

    @property
    def all_drives(self) -> bool:
        """Whether the client says that it knows shared drives."""
        return self.parameters.flag("supportsAllDrives", "supportsTeamDrives")

    def path_value(self, name: str) -> str:
        """A value from the path, such as the file's id."""
        return self.match.path_values[name]

    def selection(self, default: Selection) -> Selection:
        """What the client wants to see of the answer; 400 where `fields` names nothing known."""
        wanted = self.parameters.text("fields")
        if not wanted:
            return default
        if self.method.response is None:
            return {}
        return select(self.method.version, self.method.response, wanted)

    def answer(self, value: dict[str, Any]) -> "Answer":
        """A JSON answer with nothing but what `fields` selects."""
        return Answer.json(prune(value, self.selection({})))

    async def read(self, limit: int = JSON_LIMIT) -> bytes:
        """The whole body; 413 above the limit."""
        return await read_whole(self.body, limit)

    async def json(self) -> dict[str, Any]:
        """The body as JSON, an empty one as an empty object."""
        return self.parse(await self.read())

    def parse(self, raw: bytes) -> dict[str, Any]:
        """The JSON body that this text is; 400 where it is not of the method's schema."""
        found = parse_json(raw)
        if self.method.request is not None:
            check_body(self.method.version, self.method.request, found)
        return found


def parse_json(raw: bytes) -> dict[str, Any]:
    """The object of a JSON text, `{}` for an empty one; 400 where it is anything else."""
    if not raw.strip():
        return {}
    try:
        found = json.loads(raw, parse_constant=_no_constant)
        if b"\\ud" in raw.lower():
            # Half of a surrogate pair cannot be answered as UTF-8; it becomes a question mark.
            found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise ApiError(400, "parseError", "Parse Error") from None
    if not isinstance(found, dict):
        raise bad_request("Invalid JSON payload received. The request body must be an object.")
    if raw.count(b"{") + raw.count(b"[") > DEEPEST_JSON and _is_deep(found):
        raise ApiError(400, "parseError", "Parse Error")
    return found


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST_JSON):
        within = [list(one.values()) if isinstance(one, dict) else one for one in level]
        level = [one for many in within for one in many if isinstance(one, dict | list)]
        if not level:
            return False
    return True


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are not JSON
