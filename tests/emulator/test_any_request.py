"""Whatever a client sends, it gets one of Google's answers: no value makes the emulator fail."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from colab_drive_tuner.emulator.service import HANDLERS
from colab_drive_tuner.emulator.surface import discovery_document

VALUES: list[Any] = [
    None, "", 0, -1, 1.5, 1e300, True, [], {}, [1], [None], [[1]], {"a": 1}, {"a": None}, "root",
    ["root"], [{"id": "root"}], {"key": "a"}, "user", "owner", "a@example.com", "é\0\n", "🦆",
    "2020-01-01T00:00:00Z", "x" * 3000,
]  # fmt: skip
TEXTS = ["true", "false", "1", "x", "", "2020-01-01", "root", "name='a'", "title='a'", "name desc"]
FIELDS = ["*", "id", "kind,id", "files(id)", "items/id", "x", "a(b"]


def methods(resource: Any, version: str) -> Iterator[Any]:
    """The methods that the emulator knows, as the discovery document describes them."""
    for method in resource.get("methods", {}).values():
        if f"{version} {method['id']}" in HANDLERS:
            yield method
    for child in resource.get("resources", {}).values():
        yield from methods(child, version)


def request(source: random.Random, document: Any, method: Any, ids: list[str]) -> dict[str, Any]:
    """A request of this method, with values of all sorts."""
    path, params = method["path"], {}
    for name, described in method.get("parameters", {}).items():
        if described["location"] == "path":
            known = [*ids, "root", "nowhere", "head", "anyoneWithLink", "k", "a@example.com"]
            path = path.replace(f"{{{name}}}", source.choice(known))
        elif source.random() < (0.9 if described.get("required") else 0.15):
            params[name] = source.choice(described.get("enum", []) + TEXTS)
    if source.random() < 0.3:
        params |= {"supportsAllDrives": "true", "fields": source.choice(FIELDS)}
    body: Any = None
    if "request" in method:
        members = document["schemas"][method["request"]["$ref"]]["properties"]
        body = {name: source.choice(VALUES) for name in members if source.random() < 0.12}
        body = body if source.random() < 0.95 else source.choice(VALUES)
    prefix = "/upload" if "mediaUpload" in method and source.random() < 0.4 else ""
    if prefix:
        params["uploadType"] = source.choice(["media", "multipart", "resumable", "x"])
    verb, version = method["httpMethod"], document["version"]
    return {
        "method": verb,
        "url": f"{prefix}/drive/{version}/{path}",
        "params": params,
        "json": body,
    }


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_no_request_makes_it_fail(me, version):
    """Every method, with arbitrary parameters and bodies: never a 500."""
    document = discovery_document(version)
    source = random.Random(f"any {version}")
    folder = me.folder("folder")
    ids = [folder, me.create("a", parents=[folder])["id"], me.upload(b"x", name="b")["id"]]
    team = me("POST", f"/drive/v3/drives?requestId=any-{version}", json={"name": "team"}).json()
    for method in methods(document, version):
        for _ in range(40 if "request" in method else 5):
            asked = request(source, document, method, [*ids, team["id"]])
            answer = me(asked.pop("method"), asked.pop("url"), **asked)
            assert answer.status_code not in {500, 501}, (method["id"], asked, answer.text)
