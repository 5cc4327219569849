"""Validation of request bodies against Google's API description of Vertex AI."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_PREFIX = "GoogleCloudAiplatformV1"


def check_body(body: Mapping[str, Any], schema: str) -> None:
    """Raise AssertionError unless a client may set every field, by the discovery document."""
    _check(body, {"$ref": f"{_PREFIX}{schema}"}, schema)


def _check(value: Any, schema: Mapping[str, Any], where: str) -> None:
    if "$ref" in schema:
        schema = _schemas()[schema["$ref"]]
    kinds: dict[str, Any] = {
        "string": str, "integer": int, "boolean": bool, "object": Mapping, "array": list,
    }  # fmt: skip
    kind = schema.get("type", "any")
    if kind in kinds and not isinstance(value, kinds[kind]):
        raise AssertionError(f"{where} must be of type {kind}, not {type(value).__name__}.")
    if "enum" in schema and value not in schema["enum"]:
        raise AssertionError(f"{where} must be one of {', '.join(schema['enum'])}, not {value!r}.")
    if kind == "array":
        for item in value:
            _check(item, schema["items"], where)
    if kind != "object":
        return
    for key, item in value.items():
        field = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
        if field is None:
            raise AssertionError(f"{where} has no field {key!r}.")
        if field.get("readOnly"):
            raise AssertionError(f"{where}.{key} is set by the service only.")
        _check(item, field, f"{where}.{key}")


@lru_cache
def _schemas() -> dict[str, Any]:
    from importlib.resources import files

    documents = files("googleapiclient.discovery_cache") / "documents"
    document = json.loads((documents / "aiplatform.v1.json").read_text(encoding="utf-8"))
    schemas: dict[str, Any] = document["schemas"]
    return schemas
