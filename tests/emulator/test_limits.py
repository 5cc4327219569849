"""Size limits of requests: lengths, nesting, and characters that a header cannot hold."""

import gzip
import http.client
import json

import pytest

from tests.emulator.raw_client import RELATED, RawClient, related
from tests.processes import wait_until

BOMB = gzip.compress(b"\0" * 70_000_000)
PACKED = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
PACKED_PARTS = {**PACKED, **RELATED}
FORM = {**PACKED, "Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/_emulator/tokens", PACKED),
        ("/token", FORM),
        ("/batch/drive/v3", {**PACKED, "Content-Type": "multipart/mixed; boundary=b"}),
        ("/drive/v3/files", PACKED),
        ("/drive/v3/files", {**FORM, "X-HTTP-Method-Override": "GET"}),
        ("/upload/drive/v3/files?uploadType=media", PACKED),
        ("/upload/drive/v3/files?uploadType=multipart", PACKED_PARTS),
        ("/upload/drive/v3/files?uploadType=resumable", PACKED),
    ],
)
def test_a_zip_bomb_is_a_413(me, emulator, path, headers):
    """70 kB that inflate to 70 MB are refused wherever a body is read, and nothing is kept."""
    assert me("POST", path, data=BOMB, headers=headers).status_code == 413
    assert me.names("") == []
    assert list((emulator.data_dir / "incoming").glob("[!s]*")) == []


@pytest.mark.parametrize(
    ("path", "kind", "size"),
    [
        ("/_emulator/tokens", "application/json", 2**20 + 1),
        ("/token", "application/x-www-form-urlencoded", 2**20 + 1),
        ("/batch/drive/v3", "multipart/mixed; boundary=b", 2**24 + 1),
        ("/drive/v3/files", "application/json", 2**24 + 1),
        ("/upload/drive/v3/files?uploadType=multipart", "multipart/related; boundary=b", 2**20),
    ],
)
def test_a_long_body_is_a_413(me, path, kind, size):
    """Each body except content has a maximal length."""
    answer = me("POST", path, data=b"x" * size, headers={"Content-Type": kind})
    assert answer.status_code == 413


def test_long_metadata_before_content_are_a_413(me):
    """The metadata of a multipart upload have the limit of a JSON body."""
    whole = related({"name": "x" * (2**24 + 1)})
    answer = me("POST", "/upload/drive/v3/files?uploadType=multipart", **whole)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "fields",
    ["a(" * 2000, "files(" * 2000 + "id" + ")" * 2000, "files/" * 2000 + "id", "*/" * 60 + "*"],
)
@pytest.mark.parametrize("path", ["files", "changes?pageToken=1", "about", "drives"])
def test_deep_fields_are_refused(me, path, fields):
    """Deeply nested fields are a 400 invalidParameter, like unknown ones."""
    refused = me.refusal("GET", f"/drive/v3/{path}", params={"fields": fields})
    assert refused == (400, "invalidParameter")


def nested(depth, kind):
    return (
        json.loads("[" * depth + "]" * depth)
        if kind == "list"
        else json.loads('{"a":' * depth + "1" + "}" * depth)
    )


@pytest.mark.parametrize("kind", ["list", "object"])
def test_deep_json_is_refused(me, kind):
    """JSON of more than 100 levels is a 400 parseError, as in Google's parser."""
    for depth in (101, 400, 900):
        body = {"name": "deep", "unknown": nested(depth, kind)}
        assert me.refusal("POST", "/drive/v3/files", json=body) == (400, "parseError")
        refused = me.refusal("POST", "/upload/drive/v3/files?uploadType=multipart", **related(body))
        assert refused == (400, "parseError")
    assert me.create("not deep", unknown=nested(90, kind))["name"] == "not deep"


@pytest.mark.parametrize(
    "params",
    [
        {"pageToken": "9" * 5000},
        {"pageToken": "~!!" + "W1tb" * 100_000},
        {"pageToken": "x" * 1_000_000},
        {"pageSize": "9" * 5000},
        {"pageSize": "१"},
        {"q": "(" * 100_000},
        {"q": "not " * 100_000},
    ],
)
def test_huge_parameters_are_refused(me, params):
    """Huge or non-ASCII numbers, and huge tokens and queries, are a 400."""
    for path in ("files", "changes"):
        more = {"pageToken": "1", **params} if path == "changes" else params
        assert me("GET", f"/drive/v3/{path}", params=more).status_code == 400


@pytest.mark.parametrize("length", ["²", "9" * 5000, "-1", "1_0"])
def test_a_length_is_a_number(me, length):
    """A length with other digits than ASCII's, or beyond 64 bits, is a 400."""
    headers = {"X-Upload-Content-Length": length.encode("latin-1")}
    path = "/upload/drive/v3/files?uploadType=resumable"
    assert me.refusal("POST", path, json={}, headers=headers) == (400, "badRequest")
    uri = me("POST", path, json={}).headers["Location"]
    headers = {"Content-Range": f"bytes 0-0/{length}".encode("latin-1")}
    assert me("PUT", uri, data=b"x", headers=headers).status_code == 400
    assert me("PUT", uri, data=b"x").status_code == 200


BAD_TYPES = ["text/plain\r\nX-Injected: 1", "a\nb", "a\0b", "a\x7fb", "é", "🦆", " text/plain",
             "text/plain ", "a" * 256, "\t"]  # fmt: skip


@pytest.mark.parametrize("kind", BAD_TYPES)
def test_a_mime_type_that_no_header_can_hold_is_refused(me, kind):
    """A MIME type that no header can hold is a 400 wherever it is written; nothing changes."""
    file = me.upload(b"content", name="f", type="text/plain")["id"]
    whole = related({"mimeType": kind})
    for verb, path, more in (
        ("POST", "v3/files", {"json": {"mimeType": kind}}),
        ("POST", "v2/files", {"json": {"mimeType": kind}}),
        ("PATCH", f"v3/files/{file}", {"json": {"mimeType": kind}}),
        ("PUT", f"v2/files/{file}", {"json": {"mimeType": kind}}),
        ("POST", f"v3/files/{file}/copy", {"json": {"mimeType": kind}}),
    ):
        assert me.refusal(verb, f"/drive/{path}", **more) == (400, "invalid"), path
    for verb, path, more in (
        ("POST", "files?uploadType=multipart", whole),
        ("PATCH", f"files/{file}?uploadType=multipart", whole),
        ("POST", "files?uploadType=resumable", {"json": {"mimeType": kind}}),
    ):
        assert me.refusal(verb, f"/upload/drive/v3/{path}", **more) == (400, "invalid"), path
    assert me.names("") == ["f"]
    answer = me("GET", f"/drive/v3/files/{file}?alt=media")
    assert (answer.content, answer.headers["Content-Type"]) == (b"content", "text/plain")


def test_the_mime_type_of_uploaded_content_is_checked_too(me):
    """The type is checked in a simple upload, in a part and in a resumable announcement."""
    path = "/upload/drive/v3/files?uploadType="
    for kind in ("é".encode("latin-1"), b"a" * 300):
        simple = me.refusal("POST", f"{path}media", data=b"x", headers={"Content-Type": kind})
        announced = {"X-Upload-Content-Type": kind}
        resumable = me.refusal("POST", f"{path}resumable", json={}, headers=announced)
        assert simple == resumable == (400, "invalid")
    whole = related({}, kind="a\x7fb")
    assert me.refusal("POST", f"{path}multipart", **whole) == (400, "invalid")


def test_an_abandoned_download_is_not_read_to_its_end(me, emulator):
    """Once the client is gone the rest is neither read nor sent, so that others are not delayed."""
    size = 64 * 2**20
    file = me("POST", "/upload/drive/v3/files?uploadType=media", data=bytes(size)).json()["id"]
    emulator.clear_log()
    with me("GET", f"/drive/v3/files/{file}?alt=media", stream=True) as download:
        assert download.raw.read(1000)
    found = wait_until(lambda: [one for one in emulator.log if one["query"] == "alt=media"])
    assert 0 < found[0]["bytes_out"] < size


@pytest.mark.parametrize("header", ["Content-ID: a\r\n b", "Content-ID: é", "Content-ID: a\x00b"])
def test_an_odd_content_id_breaks_no_batch(me, header):
    """A Content-ID with control or other characters is not copied unchecked into the answer."""
    part = f"--b\r\n{header}\r\n\r\nGET /drive/v3/about?fields=user\r\n\r\n--b--"
    headers = {"Content-Type": "multipart/mixed; boundary=b"}
    answer = me("POST", "/batch/drive/v3", data=part.encode("latin-1"), headers=headers)
    assert answer.status_code == 200
    assert "HTTP/1.1 200 OK" in answer.text


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("POST", "v3/drives?requestId=types", {"name": ["x"]}),
        ("POST", "v3/files/root/permissions", {"type": "user", "role": 5}),
        ("POST", "v2/files", {"properties": True}),
        ("POST", "v2/files", {"labels": 5}),
        ("POST", "v2/files/root/parents", {"id": 5}),
        ("POST", "v3/files", {"parents": [["root"]]}),
        ("POST", "v3/files", {"parents": [None]}),
        ("POST", "v3/files", {"properties": {"a": ["b"]}}),
        ("POST", "v3/files", {"contentHints": {"indexableText": 5}}),
        ("POST", "v3/files", {"contentRestrictions": ["readOnly"]}),
        ("POST", "v3/files", {"shortcutDetails": {"targetId": ["x"]}}),
        ("POST", "v2/files", {"parents": [{"id": ["root"]}]}),
        ("POST", "v2/files", {"properties": [{"key": ["a"], "value": "b"}]}),
        ("POST", "v2/files", {"properties": [{"key": None, "value": "b"}]}),
        ("POST", "v2/files/root/permissions", {"type": ["user"], "value": "a@example.com"}),
        ("POST", "v2/files/root/permissions", {"type": "anyone", "additionalRoles": 5}),
        ("POST", "v3/files", {"modifiedTime": "9999-12-31T23:59:59.999-23:59"}),
        ("POST", "v3/files", {"modifiedTime": "0001-01-01T00:00:00+23:59"}),
    ],
)
def test_a_member_of_another_type_is_a_400_at_every_depth(me, emulator, verb, path, body):
    """Bodies are checked against the discovery document at every depth; nothing is kept."""
    assert me.refusal(verb, f"/drive/{path}", json=body) == (400, "invalid")
    assert me.names("") == []
    assert list((emulator.data_dir / "incoming").glob("[!s]*")) == []


def test_many_properties_and_parents_are_refused(me):
    """More than 30 properties of a kind, or several parents, are refused."""
    many = {str(number): "x" for number in range(100_000)}
    assert me.refusal("POST", "/drive/v3/files", json={"properties": many})[0] == 403
    several = me.refusal("POST", "/drive/v3/files", json={"parents": ["root"] * 100_000})
    assert several == (403, "cannotAddParent")
    listed = [{"key": key, "value": "x"} for key in many]
    assert me.refusal("POST", "/drive/v2/files", json={"properties": listed})[0] == 403


def test_huge_headers_are_refused(emulator):
    """A header of several megabytes is a 4xx, and the emulator keeps running."""
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=30)
    try:
        connection.request("GET", "/drive/v3/files", headers={"X-Long": "x" * 5_000_000})
        assert 400 <= connection.getresponse().status < 500
    except (BrokenPipeError, ConnectionResetError):
        pass  # the emulator did not read it to its end
    finally:
        connection.close()
    assert emulator.log is not None


@pytest.mark.parametrize(
    ("verb", "path", "body", "said"),
    [
        ("GET", "log?since=x", None, "since must be a number, not 'x'"),
        ("POST", "faults", {}, "a fault must do one of latency"),
        ("POST", "faults", {"seed": "x"}, "seed must be a number, not 'x'"),
        ("DELETE", "faults/x", None, "N must be a number, not 'x'"),
        ("POST", "clock", {"advance": "an hour"}, "advance must be a number, not 'an hour'"),
        ("POST", "accounts", {"email": "a@b.c", "limit": []}, "limit must be a number, not []"),
    ],
)
def test_an_admin_error_names_the_value(me, verb, path, body, said):
    """An admin request that is wrong is told which value, in terms of the request."""
    answer = me(verb, f"/_emulator/{path}", json=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("clock", {"advance": 10**30}),
        ("clock", {"offset": "nan"}),
        ("clock", {"offset": -(10**12)}),
        ("accounts", {"email": "a@example.com", "limit": 1e999}),
        ("accounts", {"email": "a@example.com", "limit": -1}),
        ("accounts", {"email": "nobody", "limit": 1}),
        ("tokens", {"account": "a@example.com", "expires_in": 1e999}),
    ],
)
def test_invalid_admin_numbers_are_refused(emulator, path, body):
    """A clock beyond all dates, or an infinite quota, is refused; the emulator keeps running."""
    text = json.dumps(body).replace("Infinity", "1e999")
    headers = {"Content-Type": "application/json"}
    with RawClient(emulator.url, "emulator") as wire:
        assert wire("POST", f"/_emulator/{path}", data=text, headers=headers).status_code == 400
        assert wire("GET", "/drive/v3/files").status_code == 200
