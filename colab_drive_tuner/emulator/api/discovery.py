"""Methods of the Drive API, read from Google's discovery documents.

Methods, paths, parameters, scopes and response schemas come from the documents that ship with
google-api-python-client, so that the emulator accepts exactly what Google documents.
"""

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..errors import ApiError, invalid_parameter

# Parameters of the upload protocol, of v2's downloadUrl, and quotaUser's older name.
PROTOCOL_PARAMETERS = frozenset({"uploadType", "upload_id", "upload_protocol", "source", "userIp"})
LONGEST_PAGE = 1000
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


@cache
def discovery_document(version: str) -> Mapping[str, Any]:
    """Return the discovery document of Drive `version` ("v2" or "v3")."""
    # Located without importing the client library, which takes a second to load.
    spec = importlib.util.find_spec("googleapiclient")
    if spec is None or spec.origin is None:
        raise ImportError("the emulator needs google-api-python-client for its discovery documents")
    documents = Path(spec.origin).parent / "discovery_cache" / "documents"
    document: dict[str, Any] = json.loads((documents / f"drive.{version}.json").read_bytes())
    return document


@dataclass(frozen=True)
class Method:
    """One API method, such as `drive.files.create`."""

    id: str
    version: str
    verb: str
    segments: tuple[str, ...]
    parameters: Mapping[str, Mapping[str, Any]]
    scopes: frozenset[str]
    request: str | None
    """The schema of the request body; `response` is the schema of the answer."""
    response: str | None
    uploads: bool
    needs_fields: bool
    """Whether `fields` is required."""


@dataclass(frozen=True)
class Match:
    """The API method of a request, the values in its path, and whether it uploads media."""

    method: Method
    path_values: Mapping[str, str]
    upload: bool


def _methods(document: Mapping[str, Any], resource: Mapping[str, Any]) -> Iterator[Method]:
    for found in resource.get("methods", {}).values():
        scopes = frozenset(s.rsplit("/auth/", 1)[1] for s in found.get("scopes", ()))
        if found["id"].startswith("drive.drives.create"):
            scopes |= {"drive"}
        yield Method(
            id=found["id"],
            version=document["version"],
            verb=found["httpMethod"],
            segments=tuple(found["path"].split("/")),
            parameters=found.get("parameters", {}),
            scopes=scopes,
            request=found.get("request", {}).get("$ref"),
            response=found.get("response", {}).get("$ref"),
            uploads="mediaUpload" in found,
            needs_fields=_needs_fields(document, found),
        )
    for child in resource.get("resources", {}).values():
        yield from _methods(document, child)


def _needs_fields(document: Mapping[str, Any], method: Mapping[str, Any]) -> bool:
    if "Required: The `fields` parameter" in method.get("description", ""):
        return True
    # As users found, the live service requires it for replies as for comments.
    is_reply = document["version"] == "v3" and method["id"].startswith("drive.replies.")
    return is_reply and "response" in method


@cache
def _by_length(version: str) -> dict[int, list[Method]]:
    found: dict[int, list[Method]] = {}
    for method in _methods(discovery_document(version), discovery_document(version)):
        found.setdefault(len(method.segments), []).append(method)
    for methods in found.values():
        # Literal segments take precedence over placeholders: generateIds is not a file's id. So do
        # placeholders followed by a verb, as in {approvalId}:cancel.
        methods.sort(key=lambda m: [(s.startswith("{"), s.endswith("}")) for s in m.segments])
    return found


@cache
def method_ids() -> frozenset[str]:
    """Return the ids of all methods of both versions."""
    found = (_by_length(version).values() for version in ("v2", "v3"))
    return frozenset(method.id for groups in found for methods in groups for method in methods)


def _path_values(method: Method, segments: list[str]) -> dict[str, str] | None:
    """Return the values of the placeholders in a path of the method; None for another path."""
    values: dict[str, str] = {}
    for template, segment in zip(method.segments, segments, strict=True):
        before, brace, rest = template.partition("{")
        name, _, after = rest.partition("}")
        if not brace and template != segment:
            return None
        if brace:
            if before or not segment.endswith(after):
                return None
            values[name] = segment.removesuffix(after)
    return values


def match(verb: str, path: str) -> Match:
    """Return the method for an HTTP verb and path; raise Google's 404 or 405 without one."""
    parts = [unquote(part) for part in path.split("/") if part]
    upload = False
    if parts[:2] == ["resumable", "upload"]:
        parts, upload = parts[2:], True
    elif parts[:1] == ["upload"]:
        parts, upload = parts[1:], True
    elif parts[:1] == ["download"] and verb in {"GET", "HEAD"}:
        parts = parts[1:]  # Google's clients download contents from here
    if len(parts) < 3 or parts[0] != "drive" or parts[1] not in {"v2", "v3"}:
        raise ApiError(404, "notFound", "Not Found")
    segments = parts[2:]
    known = False
    for method in _by_length(parts[1]).get(len(segments), ()):
        values = _path_values(method, segments)
        if values is not None:
            if upload and not method.uploads:
                continue
            if method.verb == verb or (method.verb == "GET" and verb == "HEAD"):
                return Match(method, values, upload)
            known = True
    # As observed live, an upload with a verb without uploads gets a 404.
    if known and not upload:
        raise ApiError(405, "httpMethodNotAllowed", "Method Not Allowed")
    raise ApiError(404, "notFound", "Not Found")


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str, "boolean": bool, "object": dict, "array": list, "integer": int,
    "number": (int, float),
}  # fmt: skip


def check_body(version: str, schema: str, body: Mapping[str, Any]) -> None:
    """Raise a 400 if a member of a body, at any depth, has another type than in the schema.

    Members missing in the schema are accepted, and so is null, which clears a field.
    """
    _check_members(version, discovery_document(version)["schemas"][schema], body, schema.lower())


def _check_members(
    version: str, described: Mapping[str, Any], body: Mapping[str, Any], where: str
) -> None:
    known, others = described.get("properties", {}), described.get("additionalProperties")
    for name, value in body.items():
        inner = known.get(name, others)
        if inner is not None and value is not None:
            _check_value(version, inner, value, f"{where}.{name}")


def _check_value(version: str, described: Mapping[str, Any], value: Any, where: str) -> None:
    if "$ref" in described:
        described = discovery_document(version)["schemas"][described["$ref"]]
    kind = described.get("type", "any")
    # A 64-bit number is a string in JSON, but a number is accepted too.
    number = kind == "string" and "int64" in described.get("format", "")
    expected = (int, str) if number else _TYPES.get(kind, object)
    if not isinstance(value, expected) or (
        isinstance(value, bool) and kind not in ("boolean", "any")
    ):
        raise ApiError(
            400,
            "invalid",
            f"Invalid JSON payload received. Invalid value at '{where}' (TYPE_{kind}).",
            rpc=True,
        )
    if isinstance(value, dict):
        _check_members(version, described, value, where)
    elif isinstance(value, list):
        for index, one in enumerate(value):
            _check_value(version, described["items"], one, f"{where}[{index}]")


class Parameters:
    """Query parameters of one call, validated against the method's description."""

    def __init__(self, method: Method, query: list[tuple[str, str]]) -> None:
        self._method = method
        known = discovery_document(method.version)["parameters"]
        self._values: dict[str, str] = {}
        for name, value in query:
            described = method.parameters.get(name) or known.get(name, {})
            if described.get("location") != "query" and name not in PROTOCOL_PARAMETERS:
                raise ApiError(
                    400,
                    "invalid",
                    f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query '
                    f"parameter. Field '{name}' could not be found in request message.",
                    rpc=True,
                )
            _check(name, value, described)
            self._values[name] = value
        for name, described in method.parameters.items():
            if described.get("required") and described["location"] == "query":
                if not self._values.get(name):
                    raise ApiError(400, "required", f"Required parameter: {name}", location=name)
        if method.needs_fields and not self._values.get("fields"):
            message = "The 'fields' parameter is required for this method."
            raise ApiError(400, "required", message, location="fields")

    def text(self, name: str) -> str | None:
        """Return the value as text, or None."""
        return self._values.get(name)

    def flag(self, *names: str) -> bool:
        """Whether any of these boolean parameters is true, as given or by default."""
        return any(self._boolean(name) == "true" for name in names)

    def denied(self, *names: str) -> bool:
        """Whether any of these boolean parameters is false, as given or by default."""
        return any(self._boolean(name) == "false" for name in names)

    def _boolean(self, name: str) -> str:
        default = str(self._method.parameters.get(name, {}).get("default", ""))
        return self._values.get(name, default).lower()

    def number(self, name: str) -> int:
        """Return an integer parameter, else its default, else 0."""
        described = self._method.parameters.get(name, {})
        raw = self._values.get(name)
        value = int(described.get("default", 0) if raw is None else raw)
        if value < 1 and raw is not None:
            raise invalid_parameter(name, f"Invalid value '{value}'. It must be at least 1.")
        return value


def _check(name: str, value: str, described: Mapping[str, Any]) -> None:
    kind = described.get("type")
    if kind == "boolean" and value.lower() not in {"true", "false"}:
        raise invalid_parameter(name, f"Invalid boolean value: '{value}'.")
    if kind == "integer":
        if not _INTEGER.fullmatch(value):
            raise invalid_parameter(name, f"Invalid integer value: '{value}'.")
        low = int(described.get("minimum", -(2**31)))
        # Newer descriptions say that larger values are reduced to the maximum, but the live
        # service refuses them. Those of v2 no longer mention the maximum of 1,000.
        high = int(described.get("maximum", LONGEST_PAGE))
        if not low <= int(value) <= high:
            span = f"[{low}, {high}]"
            raise invalid_parameter(
                name, f"Invalid value '{value}'. Values must be within the range: {span}"
            )
    if "enum" in described and value not in described["enum"]:
        raise invalid_parameter(name, f"Invalid string value: '{value}'.")
