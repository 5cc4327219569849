"""One API call and its answer, independent of sockets, so that batches can use them."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ApiError, bad_request, not_json, too_large
from ..state import access
from ..state.database import Database
from ..state.model import Caller, Node
from . import resources, resources_v2
from .discovery import Match, Method, Parameters, check_body
from .fields import Selection, prune, select
from .resources import View

JSON_LIMIT = 16 * 2**20
FORM_LIMIT = 2**20
"""Maximum size of a form and of an admin request's body, in bytes."""
DEEPEST_JSON = 100
"""Maximum nesting of a JSON body, as in Google's parser."""


@dataclass(frozen=True)
class Slice:
    """A range of a file on disk, as a body to send."""

    path: Path
    start: int
    length: int


@dataclass
class Answer:
    """An HTTP response: status, headers and body."""

    status: int = 200
    body: bytes | Slice = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200, **headers: str) -> "Answer":
        """Return a response with a JSON body."""
        # Drive indents its JSON; without indentation this is ten times as fast.
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        found = {"Content-Type": "application/json; charset=UTF-8", **headers}
        return cls(status, text.encode(), found)

    @classmethod
    def refusal(cls, error: ApiError) -> "Answer":
        """Return the response for an error."""
        return cls.json(error.body(), error.status, **error.headers)


async def read_whole(chunks: AsyncIterator[bytes], limit: int = JSON_LIMIT) -> bytes:
    """Read a whole request body; raise a 413 above the limit."""
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise too_large()
        parts.append(chunk)
    return b"".join(parts)


async def stream_of(body: bytes) -> AsyncIterator[bytes]:
    """Yield a request body that is already in memory."""
    yield body


@dataclass
class Request:
    """An HTTP request, and what was determined about it for the log."""

    verb: str
    path: str
    """The path as sent, with percent-encoding."""
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    """Headers by lower-case name."""
    body: AsyncIterator[bytes]
    base: str
    """The base URL that the client used, as `http://host:port`."""
    calls: int = 1
    """Number of API calls in the request; a batch has several."""
    account: str = ""
    api: str = ""

    def token(self) -> str | None:
        """Return the bearer token of header or query; "" for other credentials, None for none."""
        kind, _, value = self.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return value.strip()
        named = dict(self.query)
        found = named.get("access_token") or named.get("oauth_token")
        other = kind or "key" in named or "x-goog-api-key" in self.headers
        return found or ("" if other else None)

    def is_upload(self) -> bool:
        """Whether the request uploads content or creates a file."""
        return self.verb in {"POST", "PUT", "PATCH"} and (
            "/upload/" in self.path or self.path.endswith(("/files", "/copy"))
        )


@dataclass(kw_only=True)
class Call(Request):
    """A request with its caller and API method."""

    database: Database
    caller: Caller
    match: Match
    parameters: Parameters
    new_parents: list[str] | None = None
    """The new parent given in a v2 body."""
    apply_list_lag: Callable[[Iterable[Node]], list[Node]] = list
    """Returns the files as listings show them now: with list lag, some in an earlier state."""

    @property
    def method(self) -> Method:
        """The API method."""
        return self.match.method

    @property
    def is_v2(self) -> bool:
        """Whether the call is of API version 2; otherwise it is of version 3."""
        return self.method.version == "v2"

    @property
    def resources(self) -> Any:
        """The module with the resources of the call's API version."""
        return resources_v2 if self.is_v2 else resources

    @property
    def view(self) -> View:
        """The view that answers depend on."""
        return View(self.database, self.caller, self.base)

    @property
    def all_drives(self) -> bool:
        """Whether the call reaches files of shared drives: the client declares that it knows them.

        Methods without that parameter reach them too, and so do downloads: rclone sends none.
        """
        if self.parameters.text("alt") == "media":
            return True
        known = "supportsAllDrives" in self.method.parameters
        return not known or self.parameters.flag("supportsAllDrives", "supportsTeamDrives")

    def requested_file(self) -> Node:
        """Return the file named in the path; raise a 404 if the caller cannot see it."""
        return self.find(self.path_value("fileId"))

    def find(self, file_id: str) -> Node:
        """Return a file by its id; raise a 404 if the caller cannot see it."""
        return access.find(self.database, self.caller, file_id, all_drives=self.all_drives)

    def rank(self, node: Node) -> int:
        """Return the rank of the caller's highest role on the file; 0 for none."""
        return access.rank(self.database, self.caller.email, node)

    def require_role(self, node: Node, needed: int) -> None:
        """Raise a 403 unless the caller has this role, and the client may write to the file."""
        access.require_role(self.database, self.caller, node, needed)

    def path_value(self, name: str) -> str:
        """Return a value from the path, such as the file's id."""
        return self.match.path_values[name]

    def selection(self, default: Selection) -> Selection:
        """Return the requested `fields` of the answer; raise a 400 for unknown fields."""
        wanted = self.parameters.text("fields")
        if not wanted:
            return default
        if self.method.response is None:
            return {}
        return select(self.method.version, self.method.response, wanted)

    def answer(self, value: dict[str, Any], v3_default: Selection | None = None) -> "Answer":
        """Return a JSON answer with only the selected fields.

        Without a selection it has all fields, in v3 those of `v3_default` if given.
        """
        default = {} if self.is_v2 or v3_default is None else v3_default
        return Answer.json(prune(value, self.selection(default)))

    async def read(self, limit: int = JSON_LIMIT) -> bytes:
        """Read the whole body; raise a 413 above the limit."""
        return await read_whole(self.body, limit)

    async def json(self) -> dict[str, Any]:
        """Read the body as JSON; an empty body is an empty object."""
        return self.parse(await self.read(), self.headers.get("content-type", ""))

    def parse(self, raw: bytes, content_type: str) -> dict[str, Any]:
        """Parse a JSON body; raise a 400 if it does not fit its type or the method's schema."""
        kind = content_type.partition(";")[0].strip().lower()
        if raw.strip() and kind and not kind.endswith(("/json", "+json")):
            raise not_json(kind)
        found = parse_json(raw)
        if self.method.request is not None:
            check_body(self.method.version, self.method.request, found)
        return found


def parse_json(raw: bytes) -> dict[str, Any]:
    """Parse a JSON object, `{}` from an empty text; raise a 400 for anything else."""
    if not raw.strip():
        return {}
    try:
        # Not by `json`, which accepts surrogates in UTF-8, and UTF-16.
        found = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_constant)
        if b"\\ud" in raw.lower():
            # A lone surrogate cannot be sent as UTF-8; it becomes a question mark.
            found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise ApiError(400, "parseError", "Parse Error") from None
    if not isinstance(found, dict):
        raise bad_request("Invalid JSON payload received. The request body must be an object.")
    if raw.count(b"{") + raw.count(b"[") > DEEPEST_JSON and _is_deep(found):
        raise ApiError(400, "parseError", "Parse Error")
    return found


def _is_deep(value: Any) -> bool:
    """Whether containers are nested more than `DEEPEST_JSON` deep, without recursion."""
    level = [value]
    for _ in range(DEEPEST_JSON):
        children = [item.values() if isinstance(item, dict) else item for item in level]
        level = [child for group in children for child in group if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are not valid JSON
