"""Drive v2 over raw HTTP: its names, etags, links and its own methods."""

import pytest

from tests.emulator.raw_client import FOLDER, related


@pytest.fixture
def file(me):
    """A v2 file with content."""
    whole = related({"title": "f.txt"}, b"content")
    answer = me("POST", "/upload/drive/v2/files?uploadType=multipart", **whole)
    assert answer.status_code == 200, answer.text
    return answer.json()


def titles(wire, q, **params):
    answer = wire("GET", "/drive/v2/files", params={"q": q, "orderBy": "title", **params})
    assert answer.status_code == 200, answer.text
    return [one["title"] for one in answer.json()["items"]]


def test_a_file_is_shown_with_all_fields_of_v2(me, file):
    """v2 answers with the whole resource: title, fileSize, labels, downloadUrl and so on."""
    shown = me("GET", f"/drive/v2/files/{file['id']}").json()
    assert shown["title"] == "f.txt"
    assert shown["fileSize"] == "7"
    assert shown["labels"]["trashed"] is False
    assert shown["parents"][0]["isRoot"] is True
    assert shown["selfLink"].endswith(f"/drive/v2/files/{file['id']}")
    assert shown["ownerNames"] == [shown["owners"][0]["displayName"]]
    assert shown["userPermission"]["role"] == "owner"
    assert shown["md5Checksum"] == "9a0364b9e99bb480dd25e1f0284c8555"
    assert me("GET", shown["downloadUrl"]).content == b"content"


def test_both_versions_share_their_files(me, file):
    """v3 finds files that v2 created, and the reverse."""
    assert me.get(f"files/{file['id']}")["name"] == "f.txt"
    me.create("from v3")
    assert titles(me, "title = 'from v3'") == ["from v3"]


@pytest.mark.parametrize("q", ["name = 'x'", "title = ", "modifiedTime > '2020-01-01'"])
def test_v2_has_its_own_query_names(me, q):
    """v2 queries use `title` and `modifiedDate`; v3's names are a 400."""
    assert me("GET", "/drive/v2/files", params={"q": q}).status_code == 400


def test_v2_queries_find(me, file):
    """v2 queries find files by title, date, parent and property with a visibility."""
    folder = me("POST", "/drive/v2/files", json={"title": "d", "mimeType": FOLDER}).json()["id"]
    prop = {"key": "k", "value": "v", "visibility": "PUBLIC"}
    body = {"title": "inside", "parents": [{"id": folder}], "properties": [prop]}
    inside = me("POST", "/drive/v2/files", json=body).json()
    assert inside["properties"][0]["value"] == "v"
    assert titles(me, "title='f.txt'") == ["f.txt"]
    assert titles(me, f"'{folder}' in parents") == ["inside"]
    assert titles(me, "modifiedDate > '2020-01-01T00:00:00'") == ["d", "f.txt", "inside"]
    has = "properties has { key='k' and value='v' and visibility='PUBLIC' }"
    assert titles(me, has) == ["inside"]
    children = me("GET", f"/drive/v2/files/{folder}/children").json()["items"]
    assert [one["id"] for one in children] == [inside["id"]]
    parents = me("GET", f"/drive/v2/files/{inside['id']}/parents").json()["items"]
    assert [one["id"] for one in parents] == [folder]


def test_pages_have_a_link_to_the_next(me):
    """`nextLink` leads to the next page, and the last page has none."""
    for number in range(3):
        me.create(f"f{number}")
    page = me("GET", "/drive/v2/files?maxResults=2&orderBy=title").json()
    assert len(page["items"]) == 2
    last = me("GET", page["nextLink"]).json()
    assert [one["title"] for one in last["items"]] == ["f2"]
    assert "nextLink" not in last
    assert me("GET", "/drive/v2/files?maxResults=0").status_code == 400
    page = me("GET", "/drive/v2/files/root/children?maxResults=2").json()
    last = me("GET", page["nextLink"]).json()
    assert (len(page["items"]), len(last["items"]), "nextLink" in last) == (2, 1, False)


def test_text_to_index_is_found(me):
    """`indexableText` is v3's contentHints.indexableText."""
    body = {"title": "picture", "indexableText": {"text": "a zebra"}}
    made = me("POST", "/drive/v2/files", json=body).json()["id"]
    found = me.get("files", q="fullText contains 'zebra'")["files"]
    assert [one["id"] for one in found] == [made]


@pytest.mark.parametrize("verb", ["PUT", "PATCH"])
def test_if_match_guards_changes(me, file, verb):
    """Another etag is a 412 and changes nothing; the current one and `*` are accepted."""
    path = f"/drive/v2/files/{file['id']}"
    wrong = {"headers": {"If-Match": '"other"'}, "json": {"title": "x"}}
    assert me.refusal(verb, path, **wrong) == (412, "conditionNotMet")
    right = {"headers": {"If-Match": file["etag"]}, "json": {"title": "y"}}
    changed = me(verb, path, **right)
    assert changed.status_code == 200
    assert changed.json()["etag"] != file["etag"]
    assert changed.headers["ETag"] == changed.json()["etag"]
    assert me.refusal(verb, path, **right) == (412, "conditionNotMet")
    anything = {"headers": {"If-Match": "*"}, "json": {"title": "z"}}
    assert me(verb, path, **anything).status_code == 200


def test_if_none_match_gives_304(me, file):
    """An unchanged etag is a 304 without a body; v3 has no etags."""
    path = f"files/{file['id']}"
    known = {"If-None-Match": file["etag"]}
    answer = me("GET", f"/drive/v2/{path}", headers=known)
    assert (answer.status_code, answer.content) == (304, b"")
    assert me("GET", f"/drive/v3/{path}", headers=known).status_code == 200
    me("POST", f"/drive/v2/{path}/touch")
    assert me("GET", f"/drive/v2/{path}", headers=known).status_code == 200


def test_if_match_guards_uploads_trash_and_delete(me, file):
    """Each method that changes a file obeys If-Match."""
    wrong = {"If-Match": '"other"'}
    path = f"files/{file['id']}"
    for verb, address in (
        ("PUT", f"/upload/drive/v2/{path}?uploadType=media"),
        ("PUT", f"/upload/drive/v2/{path}?uploadType=resumable"),
        ("POST", f"/drive/v2/{path}/trash"),
        ("POST", f"/drive/v2/{path}/touch"),
        ("DELETE", f"/drive/v2/{path}"),
    ):
        assert me(verb, address, headers=wrong, json={}).status_code == 412, address
    assert me("GET", file["downloadUrl"]).content == b"content"


def test_trash_untrash_touch_copy_and_delete(me, file):
    """trash, untrash, touch, copy and delete work as v2 methods."""
    path = f"/drive/v2/files/{file['id']}"
    assert me("POST", f"{path}/trash").json()["labels"]["trashed"] is True
    assert me("POST", f"{path}/untrash").json()["labels"]["trashed"] is False
    touched = me("POST", f"{path}/touch").json()
    assert touched["modifiedDate"] >= file["modifiedDate"]
    copied = me("POST", f"{path}/copy", json={"title": "c"}).json()
    assert (copied["title"], copied["fileSize"]) == ("c", "7")
    assert me("DELETE", path).status_code == 204
    assert me.refusal("GET", path) == (404, "notFound")


def test_parents_in_an_update_move_the_file(me, file):
    """v2 moves a file by `parents` and ignores fields that only the server sets."""
    folder = me.folder("there")
    body = {"parents": [{"id": folder}], "fileSize": "5", "etag": "x", "id": file["id"]}
    moved = me("PUT", f"/drive/v2/files/{file['id']}", json=body).json()
    assert [one["id"] for one in moved["parents"]] == [folder]
    assert moved["fileSize"] == "7"


def test_parents_and_children_say_where_a_file_lies(me, file):
    """Inserting a parent or a child moves a file; removing its only one moves it to the root."""
    folder = me("POST", "/drive/v2/files", json={"title": "f", "mimeType": FOLDER}).json()["id"]
    path = f"/drive/v2/files/{file['id']}/parents"
    (root,) = me("GET", path).json()["items"]
    assert root["isRoot"]
    assert me("GET", f"{path}/root").json() == root
    assert me("POST", path, json={"id": folder}).json()["id"] == folder
    assert me.refusal("GET", f"{path}/root") == (404, "notFound")
    children = f"/drive/v2/files/{folder}/children"
    assert [one["id"] for one in me("GET", children).json()["items"]] == [file["id"]]
    assert me("GET", f"{children}/{file['id']}").json()["id"] == file["id"]
    elsewhere = {"q": "trashed = true) or (trashed = false"}
    assert me.refusal("GET", children, params=elsewhere) == (400, "invalid")
    for gone in (f"{path}/{folder}", f"{children}/{file['id']}"):
        assert me("DELETE", gone).status_code == 204
        assert me.refusal("DELETE", gone) == (404, "notFound")
        assert me("GET", f"{path}/root").json() == root
        assert me("POST", children, json={"id": file["id"]}).status_code == 200
    for version in ("v2", "v3"):
        where = f"/drive/{version}/files/{file['id']}?removeParents={folder}"
        assert me("PATCH", where, json={}).status_code == 200
        assert me("GET", f"{path}/root").json() == root
        assert me("POST", children, json={"id": file["id"]}).status_code == 200
    assert me("POST", "/drive/v2/files/root/children", json={"id": file["id"]}).status_code == 200
    assert me.refusal("GET", f"{children}/{file['id']}") == (404, "notFound")
    assert me.refusal("POST", path, json={}) == (400, "invalid")


def test_properties_are_set_and_deleted_one_by_one(me, file):
    """A property is private unless `visibility` is PUBLIC; v3 shows both kinds."""
    path = f"/drive/v2/files/{file['id']}/properties"
    for visibility in ("PUBLIC", "PRIVATE"):
        made = me("POST", path, json={"key": "k", "value": visibility, "visibility": visibility})
        assert (made.json()["key"], made.json()["visibility"]) == ("k", visibility)
    assert len(me("GET", path).json()["items"]) == 2
    assert me("GET", f"{path}/k").json()["value"] == "PRIVATE"
    assert me("PUT", f"{path}/k?visibility=PUBLIC", json={"value": "new"}).json()["value"] == "new"
    shown = me.get(f"files/{file['id']}", fields="properties,appProperties")
    assert shown == {"properties": {"k": "new"}, "appProperties": {"k": "PRIVATE"}}
    assert me("DELETE", f"{path}/k").status_code == 204
    assert me.refusal("GET", f"{path}/k") == (404, "notFound")
    assert me.refusal("PATCH", f"{path}/k", json={"value": "x"}) == (404, "notFound")
    assert me.refusal("POST", path, json={"value": "no key"}) == (400, "invalid")


def test_revisions_in_v2(me, file):
    """A revision has a downloadUrl and can be pinned."""
    (only,) = me("GET", f"/drive/v2/files/{file['id']}/revisions").json()["items"]
    assert me("GET", only["downloadUrl"]).content == me("GET", file["downloadUrl"]).content
    path = f"/drive/v2/files/{file['id']}/revisions/{only['id']}"
    assert me("PATCH", path, json={"pinned": True}).json()["pinned"] is True
    assert me.refusal("PATCH", path, json={"pinned": "yes"}) == (400, "invalid")


def put(me, file, content, **params):
    path = f"/upload/drive/v2/files/{file['id']}?uploadType=media"
    answer = me("PUT", path, data=content, headers={"Content-Type": "text/plain"}, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_upload_can_replace_the_head_revision(me, file):
    """`newRevision=false` replaces the content of the head, which keeps its id and its pin."""
    listed = f"/drive/v2/files/{file['id']}/revisions"
    replaced = put(me, file, b"replaced", newRevision="false", pinned="true")
    (only,) = me("GET", listed).json()["items"]
    assert (only["id"], only["fileSize"], only["pinned"]) == (file["headRevisionId"], "8", True)
    assert replaced["headRevisionId"] == file["headRevisionId"]
    assert me("GET", replaced["downloadUrl"]).content == b"replaced"
    put(me, file, b"again", newRevision="false")
    assert [one["pinned"] for one in me("GET", listed).json()["items"]] == [True]
    put(me, file, b"new")
    assert len(me("GET", listed).json()["items"]) == 2


def test_a_revision_is_downloaded_by_its_id(me, file):
    """`revisionId` selects a revision that is pinned; it is ignored without `alt=media`."""
    path, old = f"/drive/v2/files/{file['id']}", file["headRevisionId"]
    before = me("GET", file["downloadUrl"]).content
    put(me, file, b"new")
    media = {"alt": "media", "revisionId": old}
    refused = me.refusal("GET", path, params=media)
    assert refused == (403, "download_restricted_for_revision")
    me("PUT", f"{path}/revisions/{old}", json={"pinned": True})
    assert me("GET", path, params=media).content == before
    unknown = {"revisionId": "unknown"}
    assert me.refusal("GET", path, params=media | unknown) == (404, "notFound")
    assert me("GET", path, params=unknown).json()["id"] == file["id"]


def test_the_viewing_date_is_updated_where_asked(me, emulator, file):
    """An update sets it unless told otherwise, and a get if told to."""
    path, wanted = f"/drive/v2/files/{file['id']}", "fields=lastViewedByMeDate"
    seen = [file["lastViewedByMeDate"]]
    for verb, where, fresh in (
        ("GET", f"{path}?{wanted}", False),
        ("GET", f"{path}?{wanted}&updateViewedDate=true", True),
        ("PATCH", f"{path}?{wanted}&updateViewedDate=false", False),
        ("PATCH", f"{path}?{wanted}", True),
        ("PUT", f"{path}?{wanted}&modifiedDateBehavior=noChange&updateViewedDate=true", True),
    ):
        emulator.advance_clock(60)
        seen.append(
            me(verb, where, json=None if verb == "GET" else {}).json()["lastViewedByMeDate"]
        )
        assert (seen[-1] > seen[-2]) is fresh, (verb, where)
    emulator.advance_clock(60)
    assert put(me, file, b"x")["lastViewedByMeDate"] > seen[-1]


def _links(value):
    """Yield the addresses of this emulator in a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _links(one)
    elif str(value).startswith("http://127.0.0.1"):
        yield value


def test_each_link_leads_to_its_resource(me, file):
    """Whatever address an answer contains can be requested."""
    path = f"/drive/v2/files/{file['id']}"
    for visibility in ("PUBLIC", "PRIVATE"):
        me("POST", f"{path}/properties", json={"key": "a b/c", "value": visibility,
                                               "visibility": visibility})  # fmt: skip
    me("POST", f"{path}/comments", json={"content": "c"})
    put(me, file, b"second")
    me("POST", f"{path}/permissions", json={"type": "anyone", "role": "reader"})
    found = {f"{path}/{one}" for one in ("properties", "comments", "revisions", "permissions",
                                         "parents")}  # fmt: skip
    found |= {path, "/drive/v2/files/root/children", "/drive/v2/changes", "/drive/v2/about"}
    followed: set[str] = set()
    while left := found - followed:
        for address in left:
            answer = me("GET", address)
            assert answer.status_code == 200, (address, answer.text)
            if answer.headers["Content-Type"].startswith("application/json"):
                found |= set(_links(answer.json()))
        followed |= left
    public = next(one for one in followed if one.endswith("visibility=PUBLIC"))
    assert me("GET", public).json()["value"] == "PUBLIC"
    assert any(one.endswith("/permissions/me") for one in followed)


@pytest.mark.parametrize(
    ("behavior", "body", "year"),
    [
        ("fromBody", {"modifiedDate": "2020-01-02T03:04:05Z"}, "2020"),
        ("fromBodyOrNow", {"modifiedDate": "2020-01-02T03:04:05Z"}, "2020"),
        ("noChange", {"title": "t"}, "2001"),
        ("fromBody", {"title": "t"}, "2001"),
        ("now", {"modifiedDate": "2020-01-02T03:04:05Z"}, ""),
    ],
)
def test_an_update_says_where_its_time_comes_from(me, file, behavior, body, year):
    """`modifiedDateBehavior` takes the time from the body, the present or the old value."""
    path = f"/drive/v2/files/{file['id']}?modifiedDateBehavior="
    me("PATCH", path + "fromBody", json={"modifiedDate": "2001-01-01T00:00:00Z"})
    shown = me("PATCH", path + behavior, json=body).json()["modifiedDate"]
    assert shown.startswith(year)
    assert year or shown > "2021"


def test_permissions_in_v2(me, file, person):
    """`value` names the grantee, withLink and additionalRoles the rest."""
    other = person()
    path = f"/drive/v2/files/{file['id']}/permissions"
    body = {"type": "user", "value": other.account, "role": "reader",
            "additionalRoles": ["commenter"]}  # fmt: skip
    given = me("POST", path, json=body).json()
    assert (given["role"], given["additionalRoles"]) == ("reader", ["commenter"])
    assert titles(other, "sharedWithMe") == ["f.txt"]
    link = {"type": "anyone", "role": "reader", "withLink": True}
    assert me("POST", path, json=link).json()["id"] == "anyoneWithLink"
    assert len(me("GET", path).json()["items"]) == 3
    public = me("POST", path, json={"type": "anyone", "role": "reader"}).json()
    assert (public["id"], public["withLink"]) == ("anyone", False)
    assert me("DELETE", f"{path}/{given['id']}").status_code == 204


def test_about_tells_quota_and_root(me):
    """v2's about.get needs no fields."""
    about = me("GET", "/drive/v2/about").json()
    assert about["rootFolderId"] == me.get("files/root", fields="id")["id"]
    assert about["user"]["emailAddress"] == me.account
    assert about["quotaBytesTotal"] == str(15 * 2**30)


def test_a_resumable_upload_in_v2(me):
    """A resumable upload works on v2's upload path."""
    uri = me("POST", "/upload/drive/v2/files?uploadType=resumable", json={"title": "r"}).headers[
        "Location"
    ]
    assert "/upload/drive/v2/files" in uri
    assert me("PUT", uri, data=b"bytes").json()["fileSize"] == "5"


def test_a_file_of_a_shared_drive_keeps_its_parent(me):
    """Removing the parent is a 403, because a shared drive's file has no owner's root folder."""
    drive = me("POST", "/drive/v2/drives?requestId=parents", json={"name": "team"}).json()["id"]
    all_drives = {"supportsAllDrives": "true"}
    body = {"title": "in it", "parents": [{"id": drive}]}
    file = me("POST", "/drive/v2/files", json=body, params=all_drives).json()["id"]
    where = f"/drive/v3/files/{file}"
    refused = me.refusal("PATCH", where, json={}, params={"removeParents": drive, **all_drives})
    assert refused == (403, "teamDrivesParentLimit")


def test_an_insert_with_if_none_match_is_refused(me):
    """An insert with `If-None-Match: *` is a 412 in v2, as on the live service; v3 ignores it."""
    condition = {"If-None-Match": "*"}
    used, free = me.get("files/generateIds", count=2)["ids"]
    me.create("there", id=used)
    for body in ({"id": used}, {"id": free}, {}):
        refused = me.refusal("POST", "/drive/v2/files", json=body, headers=condition)
        assert refused == (412, "conditionNotMet")
        for kind in ("multipart", "resumable", "media"):
            sent = related(body) if kind != "resumable" else {"json": {}, "headers": {}}
            sent["headers"] |= condition
            where = f"/upload/drive/v2/files?uploadType={kind}"
            assert me.refusal("POST", where, **sent)[0] == 412
    assert me.names("") == ["there"]
    made = me("POST", "/drive/v3/files", json={"id": free}, headers=condition)
    assert made.status_code == 200


@pytest.mark.parametrize("condition", ["*", "{etag}", '"x", {etag}', "W/{etag}"])
def test_if_none_match_guards_changes_too(me, file, condition):
    """If-None-Match with the present etag is a 412 for changes and a 304 for reads."""
    headers = {"If-None-Match": condition.format(etag=file["etag"])}
    path = f"/drive/v2/files/{file['id']}"
    refused = me.refusal("PUT", path, json={"title": "x"}, headers=headers)
    assert refused == (412, "conditionNotMet")
    assert me("GET", path, headers=headers).status_code == 304
    other = {"If-None-Match": '"other"'}
    assert me("PUT", path, json={"title": "x"}, headers=other).status_code == 200


@pytest.mark.parametrize("wish", ["convert", "ocr"])
def test_conversion_is_a_501(me, file, wish):
    """`convert` and `ocr` are a 501; `convert=false` is accepted."""
    where = f"/upload/drive/v2/files?uploadType=media&{wish}="
    for verb, path, more in (
        ("POST", f"{where}true", {"data": b"a,b"}),
        ("POST", f"/drive/v2/files?{wish}=true", {"json": {}}),
        ("POST", f"/drive/v2/files/{file['id']}/copy?{wish}=true", {"json": {}}),
    ):
        answer = me(verb, path, **more)
        assert answer.status_code == 501
        assert answer.json()["error"]["message"].find("drive.files.") > 0
    assert me("POST", f"{where}false", data=b"a,b").status_code == 200
    assert len(titles(me, "")) == 2


def test_changes_are_listed_by_number(me, file):
    """Changes are listed from the beginning, from a page token or from a change's number."""
    first = me("GET", "/drive/v2/changes").json()
    assert (first["kind"], first["items"][-1]["fileId"]) == ("drive#changeList", file["id"])
    largest = int(first["largestChangeId"])
    about = me("GET", f"/drive/v2/about?startChangeId={largest}").json()
    assert (about["largestChangeId"], about["remainingChangeIds"]) == (str(largest), "1")
    start = me("GET", "/drive/v2/changes/startPageToken").json()
    assert start == {"kind": "drive#startPageToken", "startPageToken": str(largest + 1)}
    me("PUT", f"/drive/v2/files/{file['id']}", json={"title": "changed"})
    gone = me.create("gone")["id"]
    me("DELETE", f"/drive/v2/files/{gone}")
    for asked in ({"pageToken": start["startPageToken"]}, {"startChangeId": str(largest + 1)}):
        listed = me("GET", "/drive/v2/changes", params=asked).json()
        changed, removed = listed["items"]
        assert changed["file"]["title"] == "changed"
        assert (changed["deleted"], changed["changeType"]) == (False, "file")
        assert changed["modificationDate"].endswith("Z")
        assert (removed["fileId"], removed["deleted"], "file" in removed) == (gone, True, False)
        assert int(listed["newStartPageToken"]) == int(listed["largestChangeId"]) + 1
    some = me("GET", "/drive/v2/changes", params={**asked, "includeDeleted": "false"}).json()
    assert [one["fileId"] for one in some["items"]] == [file["id"]]


def test_a_change_is_found_by_its_id(me, file):
    """changes.get and selfLink give a change; an unknown number is a 404."""
    listed = me("GET", "/drive/v2/changes").json()["items"]
    change = listed[-1]
    assert me("GET", f"/drive/v2/changes/{change['id']}").json() == change
    assert me("GET", change["selfLink"]).json() == change
    shown = me("GET", f"/drive/v2/changes/{change['id']}?fields=file/title").json()
    assert shown == {"file": {"title": "f.txt"}}
    for wrong in ("0", "x", "999999999", "9" * 5000):
        assert me.refusal("GET", f"/drive/v2/changes/{wrong}") == (404, "notFound")


def test_pages_of_changes_follow_each_other(me):
    """`nextLink` leads through the pages, and the last one has newStartPageToken."""
    start = me("GET", "/drive/v2/changes/startPageToken").json()["startPageToken"]
    made = [me.create(f"f{number}")["id"] for number in range(3)]
    params = {"startChangeId": start, "maxResults": "2"}
    page = me("GET", "/drive/v2/changes", params=params).json()
    assert "newStartPageToken" not in page
    rest = me("GET", page["nextLink"]).json()
    assert [one["fileId"] for one in page["items"] + rest["items"]] == made
    assert rest["newStartPageToken"]


@pytest.mark.parametrize("name", ["pageToken", "startChangeId"])
@pytest.mark.parametrize("token", ["x", "0", "-1", "999999999", "9" * 5000, "१"])
def test_an_unknown_token_of_changes_is_refused(me, name, token):
    """A page token or change number that was not given is a 400."""
    refused = me.refusal("GET", "/drive/v2/changes", params={name: token})
    assert refused == (400, "invalid")


def test_permissions_are_shown_on_request(me):
    """A file shows its permissions only if asked for them; the newest is first, the owner last."""
    file = me("POST", "/drive/v2/files", json={"title": "shared"}).json()
    where = f"/drive/v2/files/{file['id']}"
    granted = {"type": "anyone", "role": "reader"}
    assert me("POST", f"{where}/permissions", json=granted).status_code == 200
    assert "permissions" not in file
    assert "permissions" not in me("GET", where).json()
    assert "permissions" not in me("GET", "/drive/v2/files").json()["items"][0]
    assert "permissions" in me("GET", "/drive/v2/files?fields=items").json()["items"][0]
    for listed in (
        me("GET", f"{where}?fields=*").json()["permissions"],
        me("GET", f"{where}/permissions").json()["items"],
        me.get(f"files/{file['id']}/permissions")["permissions"],
    ):
        assert [one["type"] for one in listed] == ["anyone", "user"]
