"""files.create, get, update, copy, delete over raw HTTP, as the v3 reference describes them."""

import hashlib

import pytest

from tests.emulator.raw_client import FOLDER, related

EMPTY_MD5 = hashlib.md5(b"").hexdigest()


def test_a_created_file_is_answered_with_the_default_fields(me):
    """files.create answers with kind, id, name and mimeType unless fields are requested."""
    answer = me.create("notes.txt", mimeType="text/plain")
    assert answer == {
        "kind": "drive#file",
        "id": answer["id"],
        "name": "notes.txt",
        "mimeType": "text/plain",
    }
    assert len(answer["id"]) == 33


def test_a_file_without_content_is_an_empty_blob_and_a_folder_has_none(me):
    """A file of metadata only has zero bytes and checksums; a folder has neither."""
    file = me.get(f"files/{me.create()['id']}", fields="size,md5Checksum,mimeType")
    assert file == {"size": "0", "md5Checksum": EMPTY_MD5, "mimeType": "application/octet-stream"}
    folder = me.get(f"files/{me.folder('f')}", fields="size,md5Checksum,mimeType")
    assert folder == {"mimeType": FOLDER}


def test_a_file_is_in_the_root_by_default(me):
    """`root` is an alias of the My Drive folder, which itself has no parent."""
    root = me.get("files/root", fields="id,name,parents")
    assert root == {"id": root["id"], "name": "My Drive"}
    file = me.get(f"files/{me.create()['id']}", fields="parents")
    assert file["parents"] == [root["id"]]
    folder = me.folder("here")
    inside = me.create(parents=[folder])
    assert me.get(f"files/{inside['id']}", fields="parents")["parents"] == [folder]


@pytest.mark.parametrize(
    ("name", "given", "default"),
    [("writersCanShare", False, True), ("folderColorRgb", "#ac725e", "#8f8f8f")],
)
def test_null_restores_the_default_of_a_field(me, name, given, default):
    """A field that null cleared is answered with its default."""
    path = f"/drive/v3/files/{me.folder('f', **{name: given})}"
    assert me("GET", path, params={"fields": name}).json() == {name: given}
    assert me("PATCH", path, json={name: None}, params={"fields": name}).json() == {name: default}


def test_names_need_not_be_unique_and_nameless_is_untitled(me):
    """Two files may have one name, and a file without `name` is "Untitled"."""
    first, second = me.create("same"), me.create("same")
    assert first["id"] != second["id"]
    untitled = me("POST", "/drive/v3/files", json={"title": "v2 style"}).json()
    assert untitled["name"] == "Untitled"


def test_a_generated_id_creates_once_and_then_conflicts(me):
    """A second create under one id is a 409 fileIdInUse and creates nothing."""
    ids = me.get("files/generateIds", count=3)["ids"]
    assert len(set(ids)) == 3
    assert me.create("once", id=ids[0])["id"] == ids[0]
    again = {"json": {"name": "twice", "id": ids[0]}}
    assert me.refusal("POST", "/drive/v3/files", **again) == (409, "fileIdInUse")
    assert me.names("name = 'twice'") == []
    assert me.folder("folders too", id=ids[1]) == ids[1]


def test_an_id_stays_used_in_the_trash_and_after_deletion(me):
    """An id is never used twice, even after its file was trashed or deleted."""
    first, second = me.get("files/generateIds", count=2)["ids"]
    me.create(id=first)
    me("PATCH", f"/drive/v3/files/{first}", json={"trashed": True})
    assert me.refusal("POST", "/drive/v3/files", json={"id": first}) == (409, "fileIdInUse")
    me.create(id=second)
    assert me("DELETE", f"/drive/v3/files/{second}").status_code == 204
    assert me.refusal("POST", "/drive/v3/files", json={"id": second}) == (409, "fileIdInUse")


def test_an_id_that_was_not_generated_for_the_user_is_refused(me, person):
    """A made-up id, or one reserved by another user, is a 400."""
    theirs = person().get("files/generateIds", count=1)["ids"][0]
    for unusable in (theirs, "x" * 33, "short", ""):
        refused = me.refusal("POST", "/drive/v3/files", json={"id": unusable})
        assert refused == (400, "invalid")


def test_generated_ids_are_for_one_type(me):
    """Docs Editors files cannot use reserved ids, and shortcuts need ids of their own type."""
    ids = me.get("files/generateIds", count=2)["ids"]
    doc = {"id": ids[0], "mimeType": "application/vnd.google-apps.document"}
    refused = me.refusal("POST", "/drive/v3/files", json=doc)
    assert refused == (403, "insufficientFilePermissions")
    target = me.create()["id"]
    shortcut = {
        "id": ids[1],
        "mimeType": "application/vnd.google-apps.shortcut",
        "shortcutDetails": {"targetId": target},
    }
    assert me.refusal("POST", "/drive/v3/files", json=shortcut) == (400, "invalid")
    (own,) = me.get("files/generateIds", count=1, type="shortcuts")["ids"]
    assert me.refusal("POST", "/drive/v3/files", json={"id": own}) == (400, "invalid")
    made = me("POST", "/drive/v3/files", json={**shortcut, "id": own})
    assert made.json()["id"] == own
    nested = {**shortcut, "id": None, "shortcutDetails": {"targetId": own}}
    refused = me.refusal("POST", "/drive/v3/files", json=nested)
    assert refused == (403, "shortcutTargetInvalid")
    wrong = {"type": "shortcuts", "space": "appDataFolder"}
    refused = me.refusal("GET", "/drive/v3/files/generateIds", params=wrong)
    assert refused == (400, "invalid")


@pytest.mark.parametrize("count", ["0", "1001", "x"])
def test_generate_ids_gives_one_to_a_thousand(me, count):
    """`count` is 1 to 1000, and 10 by default."""
    assert len(me.get("files/generateIds")["ids"]) == 10
    refused = me.refusal("GET", "/drive/v3/files/generateIds", params={"count": count})
    assert refused == (400, "invalidParameter")


def test_an_update_changes_what_it_names_and_nothing_else(me):
    """files.update changes the given fields, version and modifiedTime only."""
    file = me.upload(b"data", name="old", description="kept")
    path = f"/drive/v3/files/{file['id']}?fields=*"
    changed = me("PATCH", path, json={"name": "new"}).json()
    assert (changed["name"], changed["description"]) == ("new", "kept")
    assert int(changed["version"]) > int(file["version"])
    assert changed["modifiedTime"] >= file["modifiedTime"]
    assert changed["md5Checksum"] == file["md5Checksum"]


@pytest.mark.parametrize(
    "body",
    [
        {"size": "5"},
        {"md5Checksum": "x"},
        {"id": "x"},
        {"parents": ["root"]},
        {"createdTime": "2020-01-01T00:00:00Z"},
    ],
)
def test_fields_that_only_the_server_sets_are_refused(me, body):
    """Writing a field that only the server sets, or `parents`, is a 403 fieldNotWritable."""
    file = me.create()
    refused = me.refusal("PATCH", f"/drive/v3/files/{file['id']}", json=body)
    assert refused == (403, "fieldNotWritable")


def test_if_match_means_nothing_in_v3(me):
    """v3 has no etags: If-Match is ignored, and the last writer wins."""
    file = me.create()
    path, header = f"/drive/v3/files/{file['id']}", {"If-Match": '"something else"'}
    answer = me("PATCH", path, json={"name": "changed"}, headers=header)
    assert answer.status_code == 200
    assert "etag" not in answer.headers


def test_properties_are_merged_cleared_by_null_and_limited(me, person):
    """A property has 124 bytes of UTF-8, and there are at most 30 of each kind."""
    file = me.create(properties={"a": "1", "b": "2"}, appProperties={"mine": "x"})
    path = f"/drive/v3/files/{file['id']}"
    me("PATCH", path, json={"properties": {"a": None, "c": "3"}})
    shown = me.get(f"files/{file['id']}", fields="properties,appProperties")
    assert shown == {"properties": {"b": "2", "c": "3"}, "appProperties": {"mine": "x"}}
    assert me("PATCH", path, json={"properties": {"k": "é" * 61}}).status_code == 200
    for name in ("properties", "appProperties"):
        too_long = me("PATCH", path, json={name: {"k": "é" * 62}})
        assert too_long.status_code == 403
        many = {f"k{n}": "v" for n in range(31)}
        assert me("PATCH", path, json={name: many}).status_code == 403
    other_app = person(me.account, client="another-client")
    seen = other_app.get(f"files/{file['id']}", fields="properties,appProperties")
    assert seen == {"properties": {"b": "2", "c": "3", "k": "é" * 61}}


def test_trash_covers_what_lies_below_and_can_be_undone(me):
    """A file in a trashed folder counts as trashed, but not explicitly."""
    folder = me.folder("bin")
    file = me.create("inside", parents=[folder])["id"]
    me("PATCH", f"/drive/v3/files/{folder}", json={"trashed": True})
    inside = me.get(f"files/{file}", fields="trashed,explicitlyTrashed")
    assert inside == {"trashed": True, "explicitlyTrashed": False}
    assert me.names("name = 'inside' and trashed = true") == ["inside"]
    me("PATCH", f"/drive/v3/files/{folder}", json={"trashed": False})
    assert me.names("name = 'inside' and trashed = false") == ["inside"]


def test_delete_skips_the_trash_and_takes_the_folder_s_content_along(me):
    """files.delete is permanent and includes all descendants."""
    folder = me.folder("gone")
    file = me.create(parents=[folder])["id"]
    assert me("DELETE", f"/drive/v3/files/{folder}").status_code == 204
    for gone in (folder, file):
        assert me.refusal("GET", f"/drive/v3/files/{gone}") == (404, "notFound")
    assert me.refusal("DELETE", f"/drive/v3/files/{folder}") == (404, "notFound")


def test_empty_trash_deletes_what_is_trashed(me):
    """files.emptyTrash deletes trashed files only."""
    keep, gone = me.create()["id"], me.create()["id"]
    me("PATCH", f"/drive/v3/files/{gone}", json={"trashed": True})
    assert me("DELETE", "/drive/v3/files/trash").status_code == 204
    assert me("GET", f"/drive/v3/files/{gone}").status_code == 404
    assert me("GET", f"/drive/v3/files/{keep}").status_code == 200


def test_the_trash_empties_itself_after_thirty_days(me, emulator):
    """Trashed files, and those below them, are gone 30 days later; others stay."""
    folder, kept = me.folder("old"), me.create("kept")["id"]
    below = me.create("below", parents=[folder])["id"]
    me("PATCH", f"/drive/v3/files/{folder}", json={"trashed": True})
    emulator.advance_clock(29 * 86400)
    assert me.get(f"files/{folder}", fields="trashed") == {"trashed": True}
    emulator.advance_clock(86401)
    for one, status in ((folder, 404), (below, 404), (kept, 200)):
        assert me("GET", f"/drive/v3/files/{one}").status_code == status


def test_a_copy_is_a_file_of_its_own(me):
    """A copy has its own id and name and the same content and properties."""
    file = me.upload(b"content", name="original", properties={"p": "1"})
    copied = me("POST", f"/drive/v3/files/{file['id']}/copy?fields=*", json={}).json()
    assert copied["id"] != file["id"]
    assert copied["name"] == "Copy of original"
    assert copied["md5Checksum"] == file["md5Checksum"]
    assert copied["properties"] == {"p": "1"}
    me("DELETE", f"/drive/v3/files/{file['id']}")
    assert me("GET", f"/drive/v3/files/{copied['id']}?alt=media").content == b"content"
    folder = me.folder("f")
    inside = me.create("inside", parents=[folder])["id"]
    unset = {"name": None, "parents": None, "mimeType": None}
    copied = me("POST", f"/drive/v3/files/{inside}/copy", json=unset, params={"fields": "*"}).json()
    assert (copied["name"], copied["parents"]) == ("Copy of inside", [folder])
    refused = me.refusal("POST", f"/drive/v3/files/{folder}/copy", json={})
    assert refused == (403, "cannotCopyFile")


def test_a_move_changes_the_only_parent(me):
    """`addParents` moves a file to its only parent; a cycle is refused."""
    one, two = me.folder("one"), me.folder("two")
    file = me.create(parents=[one])["id"]
    move = {"addParents": two, "removeParents": one, "fields": "parents"}
    moved = me("PATCH", f"/drive/v3/files/{file}", params=move).json()
    assert moved["parents"] == [two]
    assert me.names(f"'{one}' in parents") == []
    below = me.folder("below", parents=[one])
    cycle = me.refusal("PATCH", f"/drive/v3/files/{one}", params={"addParents": below})
    assert cycle == (400, "badRequest")
    elsewhere = {"addParents": one, "removeParents": below}
    wrong = me.refusal("PATCH", f"/drive/v3/files/{file}", params=elsewhere)
    assert wrong == (400, "invalid")


def test_folders_lie_at_most_a_hundred_deep(me):
    """A folder below 100 levels of folders is a 403, created or moved; the lowest takes files."""
    folders = ["root"]
    for number in range(100):
        folders.append(me.folder(f"{number}", parents=folders[-1:]))
    folder = folders[-1]
    refused = (403, "myDriveHierarchyDepthLimitExceeded")
    new = {"parents": [folder], "mimeType": FOLDER}
    assert me.refusal("POST", "/drive/v3/files", json=new) == refused
    me.upload(b"", name="file", parents=[folder])
    file = me.create("moved")["id"]
    move = {"addParents": folder, "removeParents": "root"}
    assert me("PATCH", f"/drive/v3/files/{file}", params=move).status_code == 200
    assert me.names(f"'{folder}' in parents") == ["file", "moved"]
    assert me.refusal("PATCH", f"/drive/v3/files/{me.folder('f')}", params=move) == refused
    above = me.folder("above", parents=[me.folder("top")])
    move["addParents"] = above
    assert me.refusal("PATCH", f"/drive/v3/files/{folders[1]}", params=move) == refused


def test_a_file_has_one_parent_and_it_is_a_folder(me):
    """Several parents, a file as a parent and an unknown parent are refused."""
    folders = [me.folder("a"), me.folder("b")]
    several = me.refusal("POST", "/drive/v3/files", json={"parents": folders})
    assert several == (403, "cannotAddParent")
    file = me.create()["id"]
    assert me("POST", "/drive/v3/files", json={"parents": [file]}).status_code == 403
    missing = me.refusal("POST", "/drive/v3/files", json={"parents": ["nowhere"]})
    assert missing == (404, "notFound")


def test_the_link_opens_the_file_in_a_browser(me):
    """`webViewLink` depends on the type, and folders have no webContentLink."""
    folder = me.get(f"files/{me.folder('f')}", fields="id,webViewLink,webContentLink")
    assert folder["webViewLink"] == f"https://drive.google.com/drive/folders/{folder['id']}"
    assert "webContentLink" not in folder
    notebook = me.upload(b"{}", name="n.ipynb", mimeType="application/vnd.google.colaboratory")
    assert notebook["webViewLink"].startswith("https://colab.research.google.com/drive/")


def test_times_and_users_are_those_of_the_account(me):
    """`createdTime` can be set at creation, modifiedTime by an update; users are the account."""
    file = me.create(createdTime="2020-01-02T03:04:05.678Z")
    moment = "2021-01-01T00:00:00+01:00"
    wanted = "createdTime,modifiedTime,owners,ownedByMe,lastModifyingUser"
    path = f"/drive/v3/files/{file['id']}?fields={wanted}"
    changed = me("PATCH", path, json={"modifiedTime": moment}).json()
    assert changed["createdTime"] == "2020-01-02T03:04:05.678Z"
    assert changed["modifiedTime"] == "2020-12-31T23:00:00.000Z"
    assert changed["owners"][0]["emailAddress"] == me.account
    assert changed["owners"][0]["me"] is True
    assert changed["lastModifyingUser"]["emailAddress"] == me.account


def test_about_names_the_account_and_needs_fields(me):
    """about.get requires `fields`, and gives the user and the quota."""
    assert me.refusal("GET", "/drive/v3/about") == (400, "required")
    before = me.get("about", fields="user(emailAddress),storageQuota")
    assert before["user"] == {"emailAddress": me.account}
    assert before["storageQuota"]["limit"] == str(15 * 2**30)
    file = me.upload(b"x" * 1000)["id"]
    me("PATCH", f"/drive/v3/files/{file}", json={"trashed": True})
    trash = me.get("about", fields="storageQuota/usageInDriveTrash")
    assert trash == {"storageQuota": {"usageInDriveTrash": "1000"}}
    assert me("GET", "/drive/v2/about").json()["quotaBytesUsedInTrash"] == "1000"
    assert me.get("about", fields="storageQuota/usage") == {"storageQuota": {"usage": "1000"}}


DOCUMENT = "application/vnd.google-apps.document"


def test_export_and_conversion_are_a_501_that_names_the_method(me):
    """The emulator cannot convert: it answers 501, unless Drive itself refuses the request."""
    doc = me.create("doc", mimeType=DOCUMENT)["id"]
    file = me.upload(b"text", name="f", type="text/plain")["id"]
    upload = "/upload/drive/v3/files"
    whole = related({"mimeType": DOCUMENT})
    for verb, path, more, method in (
        ("GET", f"/drive/v3/files/{doc}/export?mimeType=text/plain", {}, "files.export"),
        ("GET", f"/drive/v2/files/{doc}/export?mimeType=text/plain", {}, "files.export"),
        ("POST", f"{upload}?uploadType=multipart", whole, "files.create"),
        (
            "POST",
            f"{upload}?uploadType=resumable",
            {"json": {"mimeType": DOCUMENT}},
            "files.create",
        ),
        ("PATCH", f"{upload}/{doc}?uploadType=media", {"data": b"x"}, "files.update"),
        ("PATCH", f"/drive/v3/files/{file}", {"json": {"mimeType": DOCUMENT}}, "files.update"),
        ("POST", f"/drive/v3/files/{file}/copy", {"json": {"mimeType": DOCUMENT}}, "files.copy"),
        ("POST", f"/drive/v3/files/{doc}/download", {}, "files.download"),
    ):
        answer = me(verb, path, **more)
        assert answer.status_code == 501, (path, answer.text)
        assert f"drive.{method}" in answer.json()["error"]["message"]
    exported = me.refusal("GET", f"/drive/v3/files/{file}/export?mimeType=text/plain")
    assert exported == (403, "fileNotExportable")
    into_folder = related({"mimeType": FOLDER})
    refused = me.refusal("POST", f"{upload}?uploadType=multipart", **into_folder)
    assert refused == (400, "badRequest")
    assert sorted(me.names("")) == ["doc", "f"]
