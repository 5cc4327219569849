"""Revisions: earlier contents, how long they are kept, and which can be downloaded."""

import pytest

from tests.emulator.raw_client import RawClient


@pytest.fixture
def file(me) -> str:
    return me.upload(b"0")["id"]


def put(me: RawClient, file: str, content: bytes, **params: str):
    path = f"/upload/drive/v3/files/{file}?uploadType=media"
    return me("PATCH", path, data=content, headers={"Content-Type": "text/plain"}, params=params)


def revisions(me: RawClient, file: str) -> list:
    wanted = {"fields": "revisions(id,size,keepForever)", "pageSize": 1000}
    return me.get(f"files/{file}/revisions", **wanted)["revisions"]


def test_each_content_is_a_revision_that_can_be_deleted(me, file):
    """Each content is a revision that can be deleted, except the only one."""
    put(me, file, b"two!")
    first, second = revisions(me, file)
    assert [one["size"] for one in (first, second)] == ["1", "4"]
    base = f"/drive/v3/files/{file}/revisions"
    assert me("DELETE", f"{base}/{first['id']}").status_code == 204
    refused = me.refusal("DELETE", f"{base}/{second['id']}")
    assert refused == (403, "cannotDeleteOnlyRevision")


def test_only_a_revision_that_is_kept_forever_can_be_downloaded(me, file):
    """An earlier revision is downloaded once it is kept forever; the head always is."""
    put(me, file, b"1")
    (first, _), base = revisions(me, file), f"/drive/v3/files/{file}/revisions"
    path = f"{base}/{first['id']}"
    refused = (403, "download_restricted_for_revision")
    assert me.refusal("GET", f"{path}?alt=media") == refused
    assert me("GET", f"{base}/head?alt=media").content == b"1"
    assert me("PATCH", path, json={"keepForever": True}).status_code == 200
    assert me("GET", f"{path}?alt=media").content == b"0"
    undone = me.refusal("PATCH", path, json={"keepForever": False})
    assert undone == (400, "illegalKeepForeverModification")


def test_a_revision_that_is_kept_forever_can_be_deleted(me, file):
    """Deleting is the only way to let go of it, and frees its storage."""
    put(me, file, b"1", keepRevisionForever="true")
    put(me, file, b"22")
    usage = {"fields": "storageQuota/usage"}
    assert me.get("about", **usage)["storageQuota"]["usage"] == "3"
    (_, kept, _) = revisions(me, file)
    assert me("DELETE", f"/drive/v3/files/{file}/revisions/{kept['id']}").status_code == 204
    assert me.get("about", **usage)["storageQuota"]["usage"] == "2"


def test_at_most_200_revisions_are_kept_forever(me, file):
    """The 201st is refused in an upload and in revisions.update."""
    for number in range(200):
        put(me, file, b"%d" % number, keepRevisionForever="true")
    assert put(me, file, b"x", keepRevisionForever="true").status_code == 400
    assert len(revisions(me, file)) == 201
    first, second, *_ = revisions(me, file)
    base = f"/drive/v3/files/{file}/revisions"
    pin = {"json": {"keepForever": True}}
    assert me.refusal("PATCH", f"{base}/{first['id']}", **pin) == (400, "badRequest")
    me("DELETE", f"{base}/{second['id']}")
    assert me("PATCH", f"{base}/{first['id']}", **pin).status_code == 200


def test_a_replaced_revision_is_purged_after_30_days(me, emulator, file):
    """Unless it is kept forever; the head is never purged."""
    put(me, file, b"1", keepRevisionForever="true")
    emulator.advance_clock(29 * 86400)
    put(me, file, b"2")
    assert [one["size"] for one in revisions(me, file)] == ["1", "1", "1"]
    emulator.advance_clock(2 * 86400)
    first, second = revisions(me, file)
    assert (first["keepForever"], second["keepForever"]) == (True, False)
    emulator.advance_clock(60 * 86400)
    assert revisions(me, file) == [first, second]
    assert me("GET", f"/drive/v3/files/{file}?alt=media").content == b"2"


def test_a_kept_revision_leaves_no_room_for_its_successor(me, emulator, file):
    """What is kept forever still counts when newer content arrives, also in a session."""
    put(me, file, b"x" * 60, keepRevisionForever="true")
    emulator.set_quota(me.account, 100)
    assert put(me, file, b"y" * 50).status_code == 403
    start = f"/upload/drive/v3/files/{file}?uploadType=resumable"
    headers = {"X-Upload-Content-Length": "50"}
    refused = me.refusal("PATCH", start, json={}, headers=headers)
    assert refused == (403, "storageQuotaExceeded")
    assert put(me, file, b"y" * 40).status_code == 200
