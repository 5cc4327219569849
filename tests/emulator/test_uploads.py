"""Simple, multipart and resumable uploads ("Upload file data"), and downloads with ranges."""

import base64
import hashlib
import http.client
import json
import os

import pytest
import requests

from tests.emulator.raw_client import RELATED, related
from tests.processes import wait_until

UPLOAD = "/upload/drive/v3/files"
PIECE = 256 * 1024


def start(wire, body=None, path=UPLOAD, verb="POST", **headers):
    answer = wire(verb, path, params={"uploadType": "resumable"}, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["Location"]


def put(wire, uri, content, content_range=None):
    headers = {"Content-Range": content_range} if content_range else {}
    return wire("PUT", uri, data=content, headers=headers)


def content_of(wire, file):
    return wire("GET", f"/drive/v3/files/{file['id']}?alt=media").content


def test_a_simple_upload_has_all_three_checksums(me):
    """uploadType=media stores the body with its Content-Type and three checksums."""
    content = os.urandom(100_000)
    kind = {"Content-Type": "image/png"}
    answer = me("POST", f"{UPLOAD}?uploadType=media&fields=*", data=content, headers=kind).json()
    assert answer["mimeType"] == "image/png"
    assert answer["size"] == "100000"
    for name in ("md5", "sha1", "sha256"):
        assert answer[f"{name}Checksum"] == hashlib.new(name, content).hexdigest()
    assert content_of(me, answer) == content


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"], ids=["crlf", "lf"])
@pytest.mark.parametrize(
    "content",
    [b"", b"plain", b"ends in cr\r", b"ends in crlf\r\n", b"\n\n", b"--xyz inside", b"\n--xy",
     bytes(range(256)) * 2000],
    ids=["empty", "plain", "cr", "crlf", "newlines", "dashes", "almost", "binary"],
)  # fmt: skip
def test_multipart_takes_both_line_ends(me, newline, content):
    """A multipart body may have CRLF, or LF as Python's email package writes it."""
    where = f"{UPLOAD}?uploadType=multipart&fields=id,name,md5Checksum"
    whole = related({"name": "both"}, content, newline=newline)
    answer = me("POST", where, **whole).json()
    assert answer["name"] == "both"
    assert answer["md5Checksum"] == hashlib.md5(content).hexdigest()


def test_multipart_decodes_base64(me):
    """A part with Content-Transfer-Encoding: base64 is stored decoded."""
    content = os.urandom(10_000)
    text = base64.encodebytes(content)
    kind = "application/x\r\nContent-Transfer-Encoding: base64"
    whole = related({}, text, kind)
    whole["headers"] = {"Content-Type": 'multipart/related; boundary="xyz"'}
    answer = me("POST", f"{UPLOAD}?uploadType=multipart&fields=*", **whole).json()
    assert answer["md5Checksum"] == hashlib.md5(content).hexdigest()


@pytest.mark.parametrize("body", [b"", b"nonsense", b"--xyz\r\n\r\n{}\r\n--xyz--", b"--xyz\r\n"])
def test_a_broken_multipart_body_is_a_400(me, body):
    """A multipart body without two parts is a 400."""
    answer = me("POST", f"{UPLOAD}?uploadType=multipart", data=body, headers=RELATED)
    assert answer.status_code == 400


def test_metadata_that_is_not_json_is_a_parse_error(me):
    """Metadata that are not JSON are a 400 parseError."""
    assert me.refusal("POST", "/drive/v3/files", data=b"{broken") == (400, "parseError")
    assert me("POST", "/drive/v3/files", data=b"[1]").status_code == 400


def test_an_update_with_media_replaces_the_content(me):
    """PATCH on the upload path changes content and metadata together."""
    file = me.upload(b"old", name="f")
    where = f"{UPLOAD}/{file['id']}?uploadType=multipart&fields=*"
    answer = me("PATCH", where, **related({"name": "g"}, b"new")).json()
    assert (answer["name"], answer["size"], answer["mimeType"]) == ("g", "3", "text/plain")
    assert answer["headRevisionId"] != file["headRevisionId"]
    assert content_of(me, file) == b"new"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", "text/csv"),
        ("a.png", "image/png"),
        ("a.csv.gz", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_the_type_of_content_without_one_is_detected(me, name, kind):
    """Drive detects a type that no header names, as in the usual `requests.post(files=...)`."""
    whole = {"data": (None, json.dumps({"name": name}), "application/json"), "file": b"a,b"}
    form = me("POST", UPLOAD, params={"uploadType": "multipart"}, files=whole)
    assert form.json()["mimeType"] == kind
    assert put(me, start(me, {"name": name}), b"a,b").json()["mimeType"] == kind


@pytest.mark.parametrize("prefix", ["", "/resumable"])
def test_a_resumable_upload_goes_chunk_by_chunk(me, prefix):
    """A chunk gets a 308 with the Range so far, the last one a 200, on both documented paths."""
    content = os.urandom(2 * PIECE + 10)
    uri = start(me, {"name": "big"}, prefix + UPLOAD, **{"X-Upload-Content-Type": "image/png"})
    first = put(me, uri, content[:PIECE], f"bytes 0-{PIECE - 1}/{len(content)}")
    assert (first.status_code, first.headers["Range"]) == (308, f"bytes=0-{PIECE - 1}")
    last = put(me, uri, content[PIECE:], f"bytes {PIECE}-{len(content) - 1}/{len(content)}")
    assert last.status_code == 200
    assert (last.json()["name"], last.json()["mimeType"]) == ("big", "image/png")
    assert content_of(me, last.json()) == content


def test_a_status_query_tells_how_far_it_is(me):
    """`bytes */N` gets a 308 with the Range received, if any, and after the end always a 200."""
    content = os.urandom(PIECE + 1)
    uri = start(me, {"name": "asked"})
    size = len(content)
    nothing = put(me, uri, b"", f"bytes */{size}")
    assert nothing.status_code == 308
    assert "Range" not in nothing.headers
    put(me, uri, content[:PIECE], f"bytes 0-{PIECE - 1}/*")
    assert put(me, uri, b"", "bytes */*").headers["Range"] == f"bytes=0-{PIECE - 1}"
    done = put(me, uri, content[PIECE:], f"bytes {PIECE}-{size - 1}/{size}")
    again = put(me, uri, b"", f"bytes */{size}")
    assert again.status_code == 200
    assert again.json()["id"] == done.json()["id"]
    assert me.names("name = 'asked'") == ["asked"]


def test_a_complete_session_repeats_its_answer(me):
    """A client that lost the last answer gets it again, also after the file was deleted."""
    uri = start(me, {"name": "uploaded"})
    done = put(me, uri, b"content", "bytes 0-6/7").json()
    me("PATCH", f"/drive/v3/files/{done['id']}", json={"name": "renamed"})
    assert put(me, uri, b"", "bytes */7").json() == done
    assert me("DELETE", f"/drive/v3/files/{done['id']}").status_code == 204
    assert put(me, uri, b"", "bytes */7").json() == done


def test_a_308_has_the_md5_of_what_arrived(me):
    """X-Range-MD5 covers the received bytes, as drivelib and WhatsApp's backup compare it."""
    content = os.urandom(3 * PIECE)
    uri = start(me)
    assert "X-Range-MD5" not in put(me, uri, b"", "bytes */*").headers
    for count in (1, 2):
        sent = content[(count - 1) * PIECE : count * PIECE]
        answer = put(me, uri, sent, f"bytes {(count - 1) * PIECE}-{count * PIECE - 1}/{3 * PIECE}")
        arrived = hashlib.md5(content[: count * PIECE]).hexdigest()
        assert answer.headers["X-Range-MD5"] == arrived
        assert put(me, uri, b"", "bytes */*").headers["X-Range-MD5"] == arrived


@pytest.mark.parametrize("extra", [-1, 1, 1000, PIECE - 1])
@pytest.mark.parametrize("total", ["*", str(8 * PIECE)])
def test_a_chunk_that_is_no_multiple_of_256_kib_is_refused(me, extra, total):
    """A chunk that is no multiple of 256 KiB is a 400 with Drive's message.

    Its whole multiples are kept, and the session continues.
    """
    content = os.urandom(3 * PIECE)
    uri = start(me, {"name": "odd"})
    size = PIECE + extra
    answer = put(me, uri, content[:size], f"bytes 0-{size - 1}/{total}")
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert "equal or greater than 262144" in message
    assert f"contained {size} bytes" in message
    kept = PIECE if extra > 0 else 0
    asked = put(me, uri, b"", f"bytes */{total}")
    assert asked.status_code == 308
    assert asked.headers.get("Range") == (f"bytes=0-{kept - 1}" if kept else None)
    end = int(total) if total != "*" else len(content)
    rest = (content + bytes(5 * PIECE))[kept:end]
    done = put(me, uri, rest, f"bytes {kept}-{end - 1}/{end}")
    assert done.status_code == 200
    assert content_of(me, done.json())[: len(content)] == content


def test_a_session_that_receives_a_chunk_is_not_cancelled(me):
    """Cancelling it meanwhile is a 503, and the chunk is received; afterwards it is cancelled."""
    uri = me("POST", "/upload/drive/v3/files?uploadType=resumable", json={}).headers["Location"]
    cancelled = []

    def chunk():
        yield b"x" * 300_000
        cancelled.append(requests.delete(uri, timeout=30).status_code)
        yield b"y" * 2_000_000

    assert requests.put(uri, data=chunk(), timeout=30).status_code == 200
    assert cancelled == [503]
    assert me("DELETE", uri).status_code == 499
    assert me("PUT", uri).status_code == 404


def test_bytes_sent_twice_count_once_and_gaps_are_refused(me):
    """A chunk may overlap received bytes; one that leaves a gap is a 503 in plain text."""
    content = os.urandom(3 * PIECE)
    uri = start(me)
    put(me, uri, content[: 2 * PIECE], f"bytes 0-{2 * PIECE - 1}/{len(content)}")
    gap = put(me, uri, b"x", f"bytes {len(content) - 1}-{len(content) - 1}/{len(content)}")
    assert (gap.status_code, gap.headers["Content-Type"]) == (503, "text/plain; charset=utf-8")
    assert gap.text == (
        "Invalid request.  According to the Content-Range header, the upload offset is 786431 "
        "byte(s), which exceeds already uploaded size of 524288 byte(s)."
    )
    done = put(me, uri, content[PIECE:], f"bytes {PIECE}-{len(content) - 1}/{len(content)}")
    assert content_of(me, done.json()) == content


def test_a_client_may_ask_for_progress_without_a_308(me):
    """Google's Go client sends X-GUploader-No-308 and looks for the status in a header."""
    content = os.urandom(PIECE + 1)
    uri = start(me)
    asked = {"X-GUploader-No-308": "yes"}
    first = {**asked, "Content-Range": f"bytes 0-{PIECE - 1}/{PIECE + 1}"}
    answer = me("PUT", uri, data=content[:PIECE], headers=first)
    assert (answer.status_code, answer.headers["Range"]) == (200, f"bytes=0-{PIECE - 1}")
    assert answer.headers["X-HTTP-Status-Code-Override"] == "308"
    last = {**asked, "Content-Range": f"bytes {PIECE}-{PIECE}/{PIECE + 1}"}
    done = me("PUT", uri, data=content[PIECE:], headers=last)
    assert "X-HTTP-Status-Code-Override" not in done.headers
    assert content_of(me, done.json()) == content


def test_the_whole_content_may_come_in_one_request(me):
    """Without Content-Range the body is the whole content, empty or not."""
    for content in (b"", b"all at once"):
        done = put(me, start(me, {"name": "one"}), content)
        assert done.status_code == 200
        assert content_of(me, done.json()) == content


def test_an_invalid_content_range_is_a_400(me):
    """A Content-Range that is unreadable, reversed or of another length is a 400."""
    uri = start(me, **{"X-Upload-Content-Length": "10"})
    for wrong in ("nonsense", "bytes 5-1/10", "bytes 0-9/5", "bytes 0-9/11"):
        assert put(me, uri, b"0123456789", wrong).status_code == 400
    assert put(me, uri, b"01234", "bytes 0-9/10").status_code == 400


def test_a_session_keeps_its_announced_length(me):
    """Another total, or a body of another size, than announced is a 400."""
    announced = start(me, **{"X-Upload-Content-Length": "10"})
    assert put(me, announced, b"x" * 11).status_code == 400
    uri = start(me)
    size = 3 * PIECE
    put(me, uri, b"x" * 2 * PIECE, f"bytes 0-{2 * PIECE - 1}/{size}")
    for total in (PIECE, 2 * PIECE, size + 1):
        assert put(me, uri, b"", f"bytes */{total}").status_code == 400
    rest = f"bytes {2 * PIECE}-{size - 1}/"
    assert put(me, uri, b"x" * PIECE, f"{rest}{size + 1}").status_code == 400
    done = put(me, uri, b"x" * PIECE, f"{rest}{size}")
    assert content_of(me, done.json()) == b"x" * size


def test_a_get_of_a_session_does_not_end_it(me):
    """Only PUT and POST send to a session; another verb is a 405."""
    uri = start(me)
    assert me("GET", uri).status_code == 405
    assert content_of(me, put(me, uri, b"all").json()) == b"all"


def test_an_expired_or_unknown_session_is_a_404(me, emulator):
    """A session lives a week, and its URI cannot be guessed."""
    uri = start(me)
    assert put(me, uri[:-3] + "xyz", b"x").status_code == 404
    emulator.advance_clock(8 * 24 * 3600)
    assert put(me, uri, b"x").status_code == 404


def test_a_used_id_conflicts_before_the_bytes_and_at_the_end(me):
    """A used id is a 409 at the session's start, or at its end if it was used in between."""
    first, second = me.get("files/generateIds", count=2)["ids"]
    me.create(id=first)
    answer = me("POST", UPLOAD, params={"uploadType": "resumable"}, json={"id": first})
    assert answer.status_code == 409
    uri = start(me, {"id": second, "name": "late"})
    me.create("early", id=second)
    assert put(me, uri, b"x").status_code == 409
    assert me.names("name = 'late'") == []


def test_a_broken_connection_keeps_received_bytes(me, emulator):
    """The next status query tells how much has arrived, and the upload continues from there."""
    content = os.urandom(3 * PIECE)
    uri = start(me, {"name": "broken"})
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port)
    connection.putrequest("PUT", uri[len(emulator.url) :])
    connection.putheader("Content-Length", str(len(content)))
    connection.putheader("Content-Range", f"bytes 0-{len(content) - 1}/{len(content)}")
    connection.endheaders()
    connection.send(content[: 2 * PIECE + 100])
    connection.close()
    wait_until(lambda: any(one["method"] == "PUT" and one["status"] == 0 for one in emulator.log))
    answer = put(me, uri, b"", f"bytes */{len(content)}")
    arrived = int(answer.headers["Range"].rpartition("-")[2]) + 1
    assert arrived == 2 * PIECE
    rest = put(me, uri, content[arrived:], f"bytes {arrived}-{len(content) - 1}/{len(content)}")
    assert content_of(me, rest.json()) == content


def test_a_refused_upload_leaves_nothing_behind(me, emulator):
    """The bytes of a refused upload are not kept."""
    me("PATCH", f"{UPLOAD}/nowhere?uploadType=media", data=b"x" * 1000)
    assert list((emulator.data_dir / "incoming").glob("[!s]*")) == []


@pytest.mark.parametrize(
    ("asked", "status", "body", "described"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=5-100", 206, b"56789", "bytes 5-9/10"),
        ("Bytes=5-" + "9" * 20, 206, b"56789", "bytes 5-9/10"),
        ("bytes=--5", 200, b"0123456789", None),
        ("bytes=1_0-", 200, b"0123456789", None),
        ("bytes=20-15", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("items=0-1", 200, b"0123456789", None),
    ],
)
def test_downloads_take_ranges(me, asked, status, body, described):
    """One range is a 206, as in RFC 9110; a range that is not understood is ignored."""
    file = me.upload(b"0123456789", type="text/plain")
    answer = me("GET", f"/drive/v3/files/{file['id']}?alt=media", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (status, body)
    assert answer.headers.get("Content-Range") == described
    assert answer.headers["Content-Type"] == "text/plain"


def test_a_range_past_the_end_is_a_416(me):
    """A range past the end is a 416 with the size, also for an empty file."""
    for content in (b"0123456789", b""):
        file = me.upload(content)
        path, wanted = f"/drive/v3/files/{file['id']}?alt=media", {"Range": "bytes=10-"}
        answer = me("GET", path, headers=wanted)
        assert answer.status_code == 416
        assert answer.headers["Content-Range"] == f"bytes */{len(content)}"


def test_only_blobs_can_be_downloaded(me):
    """Downloading a folder is a 403 fileNotDownloadable."""
    refused = me.refusal("GET", f"/drive/v3/files/{me.folder('f')}?alt=media")
    assert refused == (403, "fileNotDownloadable")


def test_content_beyond_the_quota_is_refused_before_and_after(me, emulator):
    """Content beyond the quota is a 403 when it is announced, or when its body ends."""
    emulator.set_quota(me.account, 1000)
    large = me.upload(b"x" * 900)["id"]
    announced = {"X-Upload-Content-Length": "200"}
    refused = me.refusal("POST", f"{UPLOAD}?uploadType=resumable", json={}, headers=announced)
    assert refused == (403, "storageQuotaExceeded")
    refused = me.refusal("POST", f"{UPLOAD}?uploadType=media", data=b"x" * 200)
    assert refused == (403, "storageQuotaExceeded")
    me.upload(b"x" * 100)
    again = {"X-Upload-Content-Length": "900"}  # in place of the old content
    assert me("PATCH", f"{UPLOAD}/{large}?uploadType=resumable", headers=again).status_code == 200
