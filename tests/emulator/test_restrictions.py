"""Restrictions of downloads and of contents, as "Protect file content" documents them."""

import pytest

from tests.emulator.raw_client import ALL_FILES, RawClient

CANNOT_DOWNLOAD = (403, "cannotDownloadFile")
READ_ONLY = (403, "fileContentRestricted")


def may_download(wire: RawClient, file: str) -> bool:
    """Download, copy, and read the capabilities in both versions: all must agree."""
    path = f"/drive/v3/files/{file}"
    answer = wire("GET", f"{path}?alt=media", params=ALL_FILES)
    copied = wire("POST", f"{path}/copy", json={"parents": ["root"]}, params=ALL_FILES)
    shown = wire("GET", f"/drive/v2/files/{file}", params=ALL_FILES).json()
    can = shown["capabilities"]
    allowed = answer.status_code == 200
    found = (copied.status_code == 200, can["canDownload"], can["canCopy"], shown["copyable"])
    assert set(found) == {allowed}
    if not allowed:
        assert answer.json()["error"]["errors"][0]["reason"] == CANNOT_DOWNLOAD[1]
        assert copied.json()["error"]["errors"][0]["reason"] == "cannotCopyFile"
    return allowed


def item(readers: bool, writers: bool) -> dict:
    given = {"restrictedForReaders": readers, "restrictedForWriters": writers}
    return {"downloadRestrictions": {"itemDownloadRestriction": given}}


@pytest.mark.parametrize(
    ("body", "reader", "writer"),
    [
        ({"copyRequiresWriterPermission": True}, False, True),
        ({"viewersCanCopyContent": False}, False, True),
        (item(readers=True, writers=False), False, True),
        (item(readers=False, writers=True), False, False),
        (item(readers=False, writers=False), True, True),
    ],
)
def test_a_restricted_download_is_refused(me, person, body, reader, writer):
    """Readers and commenters, or writers too, can neither download nor copy; the owner can."""
    file, commenter, editor = me.upload(b"secret")["id"], person(), person()
    me.share(file, commenter, "commenter")
    me.share(file, editor, "writer")
    path = f"/drive/v3/files/{file}"
    fields = "copyRequiresWriterPermission,viewersCanCopyContent,downloadRestrictions"
    shown = me("PATCH", path, json=body, params={"fields": fields}).json()
    assert shown["copyRequiresWriterPermission"] is not reader
    assert shown["viewersCanCopyContent"] is reader
    effective = {"restrictedForReaders": not reader, "restrictedForWriters": not writer}
    assert shown["downloadRestrictions"] == {
        "itemDownloadRestriction": effective,
        "effectiveDownloadRestrictionWithContext": effective,
    }
    assert (may_download(commenter, file), may_download(editor, file)) == (reader, writer)
    assert may_download(me, file)
    assert editor.refusal("PATCH", path, json=item(False, False))[0] == 403
    older = {"copyRequiresWriterPermission": not reader}
    assert editor("PATCH", path, json=older).status_code == 200
    assert editor.refusal("PATCH", path, json={"viewersCanCopyContent": not reader})[0] == 403
    assert may_download(editor, file) is writer
    me("PATCH", path, json={"copyRequiresWriterPermission": False})
    assert may_download(commenter, file)
    assert may_download(editor, file)


def test_a_shared_drive_restricts_downloads_of_all_its_files(me, person):
    """The drive's restriction adds to each file's; the older field clears it."""
    drive = me.shared_drive()
    file, reader = me.upload(b"x", parents=[drive], params=ALL_FILES)["id"], person()
    me.share(drive, reader)
    assert may_download(reader, file)
    path = f"/drive/v3/drives/{drive}"
    wanted = {"fields": "restrictions(copyRequiresWriterPermission,downloadRestriction)"}
    both = {"restrictedForReaders": True, "restrictedForWriters": True}
    body = {"restrictions": {"downloadRestriction": {"restrictedForWriters": True}}}
    shown = me("PATCH", path, json=body, params=wanted).json()["restrictions"]
    assert shown == {"copyRequiresWriterPermission": True, "downloadRestriction": both}
    assert not may_download(reader, file)
    can = reader.get(f"drives/{drive}", fields="capabilities(canCopy,canDownload)")
    assert can == {"capabilities": {"canCopy": False, "canDownload": False}}
    restrictions = me("GET", f"/drive/v2/drives/{drive}").json()["restrictions"]
    assert restrictions["copyRequiresWriterPermission"] is True
    assert "downloadRestriction" not in restrictions
    shown = me.get(f"files/{file}", fields="downloadRestrictions", **ALL_FILES)
    none = {"restrictedForReaders": False, "restrictedForWriters": False}
    assert shown["downloadRestrictions"] == {
        "itemDownloadRestriction": none,
        "effectiveDownloadRestrictionWithContext": both,
    }
    me("PATCH", path, json={"restrictions": {"copyRequiresWriterPermission": False}})
    assert may_download(reader, file)


def lock(wire: RawClient, file: str, **restriction) -> dict:
    """Set a content restriction; return it as shown."""
    body = {"contentRestrictions": [restriction]}
    wanted = {"fields": "contentRestrictions"}
    answer = wire("PATCH", f"/drive/v3/files/{file}", json=body, params=wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_locked_file_keeps_title_content_and_comments(me, person):
    """All else may change, by whoever may change it; unlocking ends the restriction."""
    file, editor = me.upload(b"x", name="n")["id"], person()
    me.share(file, editor, "writer")
    path = f"/drive/v3/files/{file}"
    comment = me("POST", f"{path}/comments?fields=id", json={"content": "before"}).json()["id"]
    (shown,) = lock(editor, file, readOnly=True, reason="done")["contentRestrictions"]
    assert shown.pop("restrictionTime")
    assert shown.pop("restrictingUser")["emailAddress"] == editor.account
    assert shown == {
        "readOnly": True,
        "reason": "done",
        "type": "globalContentRestriction",
        "ownerRestricted": False,
        "systemRestricted": False,
    }
    (older,) = me("GET", f"/drive/v2/files/{file}").json()["contentRestrictions"]
    assert older["restrictionDate"]
    assert older["restrictingUser"]["isAuthenticatedUser"] is False
    media = f"/upload{path}?uploadType=media"
    comments = f"{path}/comments"
    for verb, where, body in (
        ("PATCH", path, {"name": "other"}),
        ("PATCH", f"/drive/v2/files/{file}", {"title": "other"}),
        ("PATCH", media, {}),
        ("POST", f"{comments}?fields=id", {"content": "after"}),
        ("PATCH", f"{comments}/{comment}?fields=id", {"content": "changed"}),
        ("POST", f"{comments}/{comment}/replies?fields=id", {"content": "reply"}),
    ):
        assert me.refusal(verb, where, json=body) == READ_ONLY, where
    same = me("PATCH", path, json={"name": "n", "description": "d", "starred": True})
    assert same.status_code == 200
    wanted = "canRename,canModifyContent,canComment,canRemoveContentRestriction,canEdit"
    fields = {"fields": f"capabilities({wanted})"}
    can = me.get(f"files/{file}", **fields)["capabilities"]
    assert {name for name in can if can[name]} == {"canRemoveContentRestriction", "canEdit"}
    assert lock(editor, file, readOnly=False) == {}
    assert me("PATCH", path, json={"name": "other"}).status_code == 200


def test_only_the_owner_changes_an_owner_s_restriction(me, person):
    """A writer can neither set nor remove one; without `ownerRestricted` it is a writer's again."""
    file, editor = me.upload(b"x")["id"], person()
    me.share(file, editor, "writer")
    path = f"/drive/v3/files/{file}"
    own = {"contentRestrictions": [{"readOnly": True, "ownerRestricted": True}]}
    refused = (403, "insufficientFilePermissions")
    assert editor.refusal("PATCH", path, json=own) == refused
    assert me("PATCH", path, json=own).status_code == 200
    unlock = {"contentRestrictions": [{"readOnly": False}]}
    assert editor.refusal("PATCH", path, json=unlock) == refused
    (shown,) = lock(me, file, ownerRestricted=False)["contentRestrictions"]
    assert (shown["readOnly"], shown["ownerRestricted"]) == (True, False)
    assert editor("PATCH", path, json=unlock).status_code == 200
