"""Arbitrary requests get one of Google's documented responses, never an internal error."""

import base64
import gzip
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from colab_drive_tuner.emulator.api.discovery import discovery_document
from colab_drive_tuner.emulator.handlers import HANDLERS

DEEP: Any = "end"
for _ in range(400):
    DEEP = [DEEP]
VALUES: list[Any] = [
    None, "", 0, -1, 1.5, 1e300, 10**30, True, [], {}, [1], [None], [[1]], [{}], [{"id": [1]}],
    {"a": 1}, {"a": None}, {"a": ["b"]}, "root", ["root"], ["root", "root"], [{"id": "root"}],
    {"key": "a"}, [{"key": [1]}], [{"key": "a", "value": {}}], {"targetId": ["x"]},
    {"targetId": "root"}, "user", "owner", "anyone", "reader", "a@example.com", "é\0\n", "🦆",
    "a\r\nX-Injected: 1", "text/plain; x=é", " text/plain", "2020-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "x" * 3000, DEEP, {"deep": DEEP},
    "application/vnd.google-apps.document", "application/vnd.google-apps.folder",
    "application/vnd.google-apps.shortcut", {str(number): "x" for number in range(200)},
]  # fmt: skip


def page_token(value: Any) -> str:
    return "~!!" + base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


TEXTS = [
    "true", "false", "1", "x", "", "2020-01-01", "root", "name='a'", "title='a'", "name desc",
    "name asc", "media", "é\r\n", "9" * 5000, "-" + "9" * 5000, "²", "१",
    "not " * 3000 + "name='a'",
    "(" * 3000, "name='" + "\\" * 3001, "memberCount > " + "9" * 5000, "1" * 100_000,
    page_token([1, 2, 3]), page_token(["a", "b", "c"]), page_token(["a", -1, "c"]),
    page_token(DEEP), "~!!" + base64.urlsafe_b64encode(b"[" * 100_000).decode(), "~!!é",
    "drive", "appDataFolder", "sharedWithMe", "properties has {key='a' and value='b'}",
]  # fmt: skip
FIELDS = [
    "*", "id", "kind,id", "files(id)", "items/id", "x", "a(b", "a(" * 2000, "a/" * 2000 + "a",
    "files(" * 300 + "id" + ")" * 300, ",".join(["id"] * 5000), "*/*/*", "é",
]  # fmt: skip
HEADERS: dict[str, list[str]] = {
    "Content-Range": ["bytes 0-9/10", "bytes */*", "bytes 0-" + "9" * 5000 + "/*", "bytes ²-³/4",
                      "bytes 5-1/2", "x"],
    "Range": ["bytes=0-1", "bytes=-5", "bytes=" + "9" * 5000 + "-", "bytes=--5", "bytes=a-b"],
    "If-Match": ["*", '"x"', "", "W/" * 100],
    "If-None-Match": ["*", '"x"', ""],
    "Content-Type": ["application/json", "text/plain", "multipart/related", "multipart/mixed",
                     "multipart/related; boundary=", "multipart/related; boundary=xyz", "é",
                     "a" * 9000, "application/x-www-form-urlencoded",
                     "multipart/related; boundary*=utf-8''x"],
    "Content-Encoding": ["gzip", "deflate"],
    "X-Upload-Content-Type": ["image/png", "é", "a" * 9000, "application/vnd.google-apps.document"],
    "X-Upload-Content-Length": ["10", "²", "9" * 5000, "-1", ""],
    "X-HTTP-Method-Override": ["GET", "PATCH", "X", ""],
    "Authorization": ["Bearer", "Basic eDp5", "Bearer é", ""],
}  # fmt: skip
PART = b"\r\nContent-Type: application/json\r\n\r\n"
BODIES = [
    b"", b"x", b"{}", b"[" * 5000, b'{"a":' * 5000, b"\xff\xfe", b"--xyz" + PART + b"{}\r\n--xyz--",
    b"--xyz" + PART + b'{"name": "a"}\r\n--xyz\r\nContent-Type: a\x0bb\r\n\r\nx\r\n--xyz--',
    b"--xyz" + PART + b'{"name": "a"}\r\n--xyz\r\nContent-Type: \xf0\x9f\r\n\r\nx\r\n--xyz--',
    b"--xyz\r\n" + b"a: b\r\n" * 20_000, b"-" * 200_000, gzip.compress(b"{}"),
    gzip.compress(b"{}")[:-4], b'{"name": "\\ud800"}', b'{"name": "\xed\xa0\x80"}',
    '{"name": "\\ud800"}'.encode("utf-16"), b'{"name": 1' + b"0" * 5000 + b"}",
]  # fmt: skip


def methods(resource: Any, version: str) -> Iterator[Any]:
    """Yield the methods that the emulator has, as the discovery document describes them."""
    for method in resource.get("methods", {}).values():
        if f"{version} {method['id']}" in HANDLERS:
            yield method
    for child in resource.get("resources", {}).values():
        yield from methods(child, version)


def member(source: random.Random, document: Any, described: Any) -> Any:
    """Return a value for a member of a body: often of the right shape, otherwise of any."""
    described = document["schemas"].get(described.get("$ref"), described)
    if source.random() < 0.4:
        return source.choice(VALUES)
    if "items" in described:
        count = source.randrange(3)
        return [member(source, document, described["items"]) for _ in range(count)]
    if "properties" in described:
        return body_of(source, document, described, 0.5)
    if described.get("type") == "boolean":
        return source.random() < 0.5
    return source.choice([one for one in VALUES if isinstance(one, str)])


def body_of(source: random.Random, document: Any, schema: Any, share: float) -> Any:
    members = schema["properties"].items()
    return {
        name: member(source, document, described)
        for name, described in members
        if source.random() < share
    }


def request(source: random.Random, document: Any, method: Any, ids: list[str]) -> dict[str, Any]:
    """Return a request of this method with values of all kinds."""
    path, params = method["path"], {}
    odd = 0.15 if source.random() < 0.4 else 0.01
    for name, described in method.get("parameters", {}).items():
        if described["location"] == "path":
            known = [*ids * 3, "root", "nowhere", "head", "anyoneWithLink", "k", "a@example.com"]
            value = source.choice([*known, "%0D%0A", "9" * 5000, "%ED%A0"])
            path = path.replace(f"{{{name}}}", value)
        elif source.random() < (0.9 if described.get("required") else odd):
            params[name] = source.choice(described.get("enum", []) + TEXTS)
    if source.random() < odd * 2:
        params["fields"] = source.choice(FIELDS)
    if "supportsAllDrives" in method.get("parameters", {}):
        params["supportsAllDrives"] = "true"
    body: Any = None
    if "request" in method:
        schema = document["schemas"][method["request"]["$ref"]]
        body = body_of(source, document, schema, source.choice([0.02, 0.1]))
        body = body if source.random() < 0.97 else source.choice(VALUES)
    prefix = "/upload" if "mediaUpload" in method and source.random() < 0.4 else ""
    if prefix:
        params["uploadType"] = source.choice(["media", "multipart", "resumable", "x"])
    asked: dict[str, Any] = {
        "method": method["httpMethod"],
        "url": f"{prefix}/drive/{document['version']}/{path}",
        "params": params,
        "json": body,
    }
    if source.random() < 0.2:
        asked |= {"json": None, "data": source.choice(BODIES)}
    return asked | {"headers": some_headers(source)}


def some_headers(source: random.Random) -> dict[str, bytes]:
    chosen = [name for name in HEADERS if source.random() < 0.03]
    return {name: source.choice(HEADERS[name]).encode("latin-1") for name in chosen}


def check(answer: Any, asked: Any) -> None:
    """Assert that the status is not 5xx, except 501 for a method that is not emulated."""
    if answer.status_code == 501:
        assert answer.json()["error"]["errors"][0]["reason"] == "notImplemented", asked
    else:
        assert answer.status_code < 500, (str(asked)[:2000], answer.text)


def some_files(me) -> list[str]:
    """Create files of all kinds and return their ids."""
    folder = me.folder("folder")
    google = {"mimeType": "application/vnd.google-apps.document"}
    cut = {
        "mimeType": "application/vnd.google-apps.shortcut",
        "shortcutDetails": {"targetId": folder},
    }
    made = [me.create("a", parents=[folder]), me.upload(b"x", name="b"), me.create("doc", **google)]
    made += [me.create("cut", **cut)]
    return [folder, me.shared_drive(), *(one["id"] for one in made)]


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_no_request_is_an_internal_error(me, version):
    """Every method, with arbitrary parameters, headers and bodies, never answers 500."""
    document = discovery_document(version)
    source = random.Random(f"any {version}")
    for method in methods(document, version):
        ids = some_files(me)
        for _ in range(40 if "request" in method else 15):
            asked = request(source, document, method, ids)
            check(
                me(
                    asked["method"],
                    asked["url"],
                    **{key: value for key, value in asked.items() if key not in {"method", "url"}},
                ),
                asked,
            )


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ("application/x-www-form-urlencoded", "parseError"),
        ("text/plain; charset=utf-8", "badContent"),
        ("application/json; charset=UTF-8", ""),
        ("", ""),
    ],
)
def test_a_body_that_is_not_said_to_be_json_is_refused(me, sent, reason):
    """A wrong Content-Type is a 400, as curl -d and data= of requests meet it on the service."""
    headers = {"Content-Type": sent} if sent else {}
    made = {"data": b'{"name": "typed"}', "headers": headers}
    parts = b"--b\r\nContent-Type: %s\r\n\r\n{}\r\n--b\r\n\r\nx\r\n--b--" % sent.encode()
    where = "/upload/drive/v3/files?uploadType=multipart"
    upload = {"data": parts, "headers": {"Content-Type": "multipart/related; boundary=b"}}
    for path, given in (("/drive/v3/files", made), (where, upload)):
        if reason:
            assert me.refusal("POST", path, **given) == (400, reason)
        else:
            assert me("POST", path, **given).status_code == 200


def test_no_batch_is_an_internal_error(me):
    """Each part of a batch is answered, even a broken one, or the whole batch is a 400."""
    source = random.Random("any batch")
    document = discovery_document("v3")
    known, ids = list(methods(document, "v3")), some_files(me)
    for _ in range(150):
        parts = []
        for _ in range(source.randrange(4)):
            asked = request(source, document, source.choice(known), ids)
            target = source.choice(
                [asked["url"], "//[", "http://x:y/", "/batch", "/_emulator/log", "é", ""]
            )
            alt = source.choice(["", "?alt=media", "?fields=" + "a(" * 500])
            line = source.choice([f"{asked['method']} {target}{alt} HTTP/1.1", "x", ""])
            body = source.choice([json.dumps(asked["json"]), "{", ""])
            identity = source.choice(["Content-ID: <a>\r\n", "Content-ID: é\x00\r\n b\r\n", ""])
            parts.append(
                f"--b\r\n{identity}\r\n{line}\r\nContent-Type: application/json\r\n\r\n{body}"
            )
        text = "\r\n".join([*parts, source.choice(["--b--", "--b", ""])])
        kind = source.choice(["multipart/mixed; boundary=b", "multipart/mixed", "text/plain"])
        headers = {"Content-Type": kind}
        check(me("POST", "/batch/drive/v3", data=text.encode(), headers=headers), text)


@pytest.mark.parametrize("path", ["token", "revoke", "tokeninfo", "oauth2/v2/userinfo",
                                  "_emulator/tokens", "_emulator/faults", "_emulator/clock",
                                  "_emulator/accounts", "_emulator/log",
                                  "_emulator/faults/x"])  # fmt: skip
def test_no_other_endpoint_has_an_internal_error(person, path):
    """The sign-in and admin endpoints refuse arbitrary requests."""
    wire = person()
    source = random.Random(path)
    names = ["token", "account", "scopes", "expires_in", "refresh_token", "do", "status", "nth",
             "seconds", "path", "advance", "offset", "email", "limit", "seed", "grant_type",
             "assertion", "client"]  # fmt: skip
    values = [one for one in VALUES if one != 1e300] + ["x." + "W1tb" * 5000 + ".y", float("1e18")]
    values += [10**400]
    for _ in range(60):
        body = {name: source.choice(values) for name in names if source.random() < 0.3}
        shape = {"json": body} if source.random() < 0.5 else {"data": source.choice(BODIES)}
        more = {"headers": some_headers(source), "params": {"since": source.choice(TEXTS)}}
        answer = wire(source.choice(["GET", "POST", "DELETE"]), f"/{path}", **shape, **more)
        check(answer, (path, shape, more))
