"""Accounts, sharing and scopes: who may see and change a file."""

import json
import socket
from datetime import UTC, datetime, timedelta

import pytest

from tests.emulator.raw_client import ALL_FILES


def test_a_shared_file_names_who_shared_it(me, person):
    """`sharingUser` is who gave the caller access, also through a folder; owners have none."""
    folder, editor, friend = me.folder("f"), person(), person()
    file = me.create(parents=[folder])["id"]
    me.share(folder, editor, "writer")
    editor.share(folder, friend)
    shown = friend.get(f"files/{file}", fields="sharingUser(emailAddress,me)")
    assert shown == {"sharingUser": {"emailAddress": editor.account, "me": False}}
    older = editor("GET", f"/drive/v2/files/{folder}").json()["sharingUser"]
    assert (older["emailAddress"], older["isAuthenticatedUser"]) == (me.account, False)
    assert me.get(f"files/{file}", fields="sharingUser") == {}


def test_accounts_do_not_see_each_other_s_files(me, person):
    """A file of another account is a 404 in every method."""
    file = me.create("secret")["id"]
    other = person()
    assert other.names("") == []
    for verb, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/copy")):
        assert other.refusal(verb, f"/drive/v3/files/{file}{path}") == (404, "notFound")


def test_a_reader_reads_and_a_writer_writes(me, person):
    """A reader may read, a writer may also write; only the owner trashes and deletes."""
    file = me.upload(b"content", name="shared")["id"]
    other = person()
    path = f"/drive/v3/files/{file}"
    me.share(file, other)
    assert other("GET", f"{path}?alt=media").content == b"content"
    assert other.names("") == ["shared"]
    refused = (403, "insufficientFilePermissions")
    assert other.refusal("PATCH", path, json={"name": "x"}) == refused
    me.share(file, other, "writer")
    assert other("PATCH", path, json={"name": "x"}).status_code == 200
    assert other.refusal("PATCH", path, json={"trashed": True}) == refused
    assert other.refusal("DELETE", path) == refused


def test_a_shared_folder_shares_what_lies_in_it(me, person):
    """Files inherit a folder's permissions; who creates one there owns it."""
    folder = me.folder("team")
    inside = me.create("inside", parents=[folder])["id"]
    other = person()
    me.share(folder, other, "writer")
    assert other.names(f"'{folder}' in parents") == ["inside"]
    theirs = other.create("theirs", parents=[folder])["id"]
    assert me.get(f"files/{theirs}", fields="ownedByMe,capabilities/canEdit") == {
        "ownedByMe": False,
        "capabilities": {"canEdit": True},
    }
    assert other("GET", f"/drive/v3/files/{inside}").status_code == 200
    alone = me.create("alone")["id"]
    me.share(alone, other)
    assert "parents" not in other.get(f"files/{alone}", fields="parents")


def test_only_the_owner_moves_a_file_without_naming_its_folder(me, person):
    """Without `removeParents`, an editor's `addParents` would be a second parent (a 403)."""
    one, two = me.folder("one"), me.folder("two")
    file = me.create("file", parents=[one])["id"]
    other = person()
    for folder in (one, two):
        me.share(folder, other, "writer")
    where = f"/drive/v3/files/{file}"
    assert other.refusal("PATCH", where, params={"addParents": two}) == (403, "cannotAddParent")
    both = {"addParents": two, "removeParents": one, "fields": "parents"}
    assert other("PATCH", where, params=both).json() == {"parents": [two]}
    back = {"addParents": one, "fields": "parents"}
    assert me("PATCH", where, params=back).json() == {"parents": [one]}


def test_a_link_opens_a_file_without_listing_it(me, person):
    """A file shared with `anyone` is read by its id and not listed."""
    file = me.create("public")["id"]
    assert me.share(file, "", type="anyone")["id"] == "anyoneWithLink"
    assert me.share(file, "", type="anyone", allowFileDiscovery=True)["id"] == "anyone"
    other = person()
    assert other("GET", f"/drive/v3/files/{file}").status_code == 200
    assert other.names("") == []


@pytest.mark.parametrize("role", ["owner", "organizer", "fileOrganizer"])
def test_anyone_gets_no_role_above_writer(me, role):
    """`anyone` cannot be made an owner or organizer, neither at once nor by a change."""
    path = f"/drive/v3/files/{me.create()['id']}/permissions"
    given = me("POST", path, json={"type": "anyone", "role": "reader"}).json()["id"]
    body, params = {"type": "anyone", "role": role}, {"transferOwnership": "true"}
    refused = (403, "invalidSharingRequest")
    assert me.refusal("POST", path, json=body, params=params) == refused
    assert me.refusal("PATCH", f"{path}/{given}", json={"role": role}, params=params) == refused


def test_a_group_owns_no_file(me):
    """Ownership is transferred to a user ("transferOwnership")."""
    path = f"/drive/v3/files/{me.create()['id']}/permissions?transferOwnership=true"
    group = {"type": "group", "role": "owner", "emailAddress": "all@example.com"}
    assert me.refusal("POST", path, json=group) == (403, "invalidSharingRequest")


def test_a_domain_is_compared_without_case(me, person):
    """A permission for Example.Org holds for the accounts of example.org."""
    file = me.create()["id"]
    body = {"type": "domain", "role": "reader", "domain": "Example.Org"}
    made = me("POST", f"/drive/v3/files/{file}/permissions?fields=*", json=body).json()
    assert (made["domain"], made["displayName"]) == ("example.org", "example.org")
    assert person("ann@example.org")("GET", f"/drive/v3/files/{file}").status_code == 200


def test_permissions_are_listed_changed_and_taken_back(me, person):
    """Permissions are listed, changed and removed; the owner's cannot be removed."""
    file = me.create()["id"]
    other = person()
    given = me.share(file, other)
    assert set(given) == {"kind", "id", "type", "role"}
    base = f"/drive/v3/files/{file}/permissions"
    listed = me.get(f"files/{file}/permissions")["permissions"]
    assert {one["role"] for one in listed} == {"owner", "reader"}
    me("PATCH", f"{base}/{given['id']}", json={"role": "writer"})
    assert me.get(f"files/{file}/permissions/{given['id']}")["role"] == "writer"
    assert me("DELETE", f"{base}/{given['id']}").status_code == 204
    assert other("GET", f"/drive/v3/files/{file}").status_code == 404
    owner = next(one["id"] for one in listed if one["role"] == "owner")
    assert me("DELETE", f"{base}/{owner}").status_code == 403


def test_concurrent_permissions_are_both_kept(me):
    """A slow request does not undo a permission that another one gave meanwhile."""
    file = me.create("shared")["id"]
    path = f"/drive/v3/files/{file}/permissions"
    body = json.dumps({"type": "anyone", "role": "reader"}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {me.url[7:]}\r\nAuthorization: Bearer {me.token}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    port = int(me.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
        slow.sendall(head.encode())
        me.share(file, "reader@example.com")
        slow.sendall(body)
        while slow.recv(65536):
            pass
    kinds = sorted(one["type"] for one in me.get(f"files/{file}/permissions")["permissions"])
    assert kinds == ["anyone", "user", "user"]


def test_a_permission_can_expire(me, person, emulator):
    """After `expirationTime` the file is a 404; `removeExpiration` removes the limit."""
    friend = person()
    file = me.create("for a while")["id"]
    later = datetime.now(UTC) + timedelta(days=300)
    me.share(file, friend, expirationTime=later.isoformat())
    (given,) = [
        one
        for one in me.get(f"files/{file}/permissions", fields="*")["permissions"]
        if one["role"] == "reader"
    ]
    assert given["expirationTime"][:10] == str(later.date())
    path = f"/drive/v3/files/{file}/permissions/{given['id']}"
    soon = datetime.now(UTC) + timedelta(hours=1)
    ends = {"role": "reader", "expirationTime": soon.isoformat()}
    assert me("PATCH", path, json=ends).status_code == 200
    assert friend.names("") == ["for a while"]
    emulator.advance_clock(3601)
    assert friend("GET", f"/drive/v3/files/{file}").status_code == 404
    assert friend.names("") == []
    assert me.refusal("PATCH", path, json=ends) == (404, "notFound")
    emulator.advance_clock(-3601)
    lifted = me("PATCH", f"{path}?removeExpiration=true&fields=*", json={"role": "reader"})
    assert "expirationTime" not in lifted.json()
    for wrong in ("2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"):
        ends = {"role": "reader", "expirationTime": wrong}
        assert me.refusal("PATCH", path, json=ends) == (400, "invalid")
    link = {"type": "anyone", "role": "reader", "expirationTime": soon.isoformat()}
    refused = me.refusal("POST", f"/drive/v3/files/{file}/permissions", json=link)
    assert refused == (403, "cannotSetExpirationOnAnyoneOrDomain")


def test_a_change_of_a_permission_takes_nothing_from_an_inherited_one(me, person):
    """A reader of the file who is for a while a writer of its folder stays a reader, for ever."""
    friend = person()
    folder = me.folder("f")
    file = me.create("in it", parents=[folder])["id"]
    soon = datetime.now(UTC) + timedelta(hours=1)
    me.share(folder, friend, "writer", expirationTime=soon.isoformat())
    me.share(file, friend)
    who = friend.get("about", fields="user/permissionId")["user"]["permissionId"]
    path = f"/drive/v3/files/{file}/permissions/{who}"
    changed = me("PATCH", f"{path}?fields=role,expirationTime", json={}).json()
    assert changed == {"role": "reader"}


def test_permissions_come_in_pages_where_asked(me):
    """Permissions come in pages with `pageSize`, and all at once without it."""
    file = me.create("shared")["id"]
    for number in range(3):
        me.share(file, f"reader{number}@example.com")
    assert len(me.get(f"files/{file}/permissions")["permissions"]) == 4
    first = me.get(f"files/{file}/permissions", pageSize=3)
    rest = me.get(f"files/{file}/permissions", pageSize=3, pageToken=first["nextPageToken"])
    ids = {one["id"] for one in first["permissions"] + rest["permissions"]}
    assert (len(ids), "nextPageToken" in rest) == (4, False)


def test_a_page_has_a_hundred_permissions_of_a_shared_drive(me):
    """Without `pageSize`, of an item of a shared drive; of other files all."""
    drive = me.shared_drive()
    path = f"files/{drive}/permissions"
    for number in range(100):
        me.share(drive, f"member{number}@example.com")
    first = me.get(path, **ALL_FILES)
    rest = me.get(path, **ALL_FILES, pageToken=first["nextPageToken"])
    assert (len(first["permissions"]), len(rest["permissions"])) == (100, 1)


@pytest.mark.parametrize(
    "body",
    [{}, {"type": "user"}, {"type": "user", "role": "reader"}, {"type": "x", "role": "reader"},
     {"type": "user", "role": "x", "emailAddress": "a@b.c"}, {"type": [], "role": {}}, [1],
     {"type": "domain", "role": "reader", "domain": 5}],
)  # fmt: skip
def test_a_permission_needs_type_role_and_grantee(me, body):
    """An incomplete permission is a 400."""
    file = me.create()["id"]
    assert me("POST", f"/drive/v3/files/{file}/permissions", json=body).status_code == 400


def test_ownership_is_transferred_on_request_only(me, person):
    """Giving ownership needs transferOwnership; the old owner stays as a writer."""
    file = me.create()["id"]
    other = person()
    path = f"/drive/v3/files/{file}/permissions"
    mine = {"type": "user", "role": "owner", "emailAddress": me.account}
    assert me("POST", f"{path}?transferOwnership=true", json=mine).json()["role"] == "owner"
    assert me.names("sharedWithMe") == []
    give = {"type": "user", "role": "owner", "emailAddress": other.account}
    root = "/drive/v3/files/root/permissions?transferOwnership=true&moveToNewOwnersRoot=true"
    for whole_drive in (mine, give):
        refused = me.refusal("POST", root, json=whole_drive)
        assert refused == (403, "insufficientFilePermissions")
    assert me("POST", path, json=give).status_code == 403
    assert me("POST", path, json=give, params={"transferOwnership": "true"}).status_code == 200
    assert other.get(f"files/{file}", fields="ownedByMe")["ownedByMe"] is True
    assert me("PATCH", f"/drive/v3/files/{file}", json={"name": "x"}).status_code == 200


def test_drive_file_sees_what_its_client_made(me, person):
    """The scope drive.file shows only files that the app created, and not even the root."""
    mine = me.create("by hand")["id"]
    app = person(me.account, client="app", scopes=["https://www.googleapis.com/auth/drive.file"])
    made = app.create("by app")["id"]
    assert app.names("") == ["by app"]
    assert app.names("'root' in parents") == ["by app"]
    assert app.refusal("GET", f"/drive/v3/files/{mine}") == (404, "notFound")
    assert app.refusal("GET", "/drive/v3/files/root") == (404, "notFound")
    assert me("GET", f"/drive/v3/files/{made}").status_code == 200
    other_app = person(me.account, client="other app", scopes=["drive.file"])
    assert other_app.names("") == []


def test_drive_file_with_readonly_reads_all_and_writes_its_own(me, person):
    """Writing a file that the app did not create is a 403 appNotAuthorizedToFile."""
    mine = f"/drive/v3/files/{me.create('by hand')['id']}"
    app = person(me.account, client="app", scopes=["drive.file", "drive.readonly"])
    assert app("GET", mine).status_code == 200
    for below, body in (
        ("", {"name": "x"}),
        ("", {"starred": True}),
        ("/revisions/head", {"keepForever": True}),
    ):
        refused = app.refusal("PATCH", f"{mine}{below}", json=body)
        assert refused == (403, "appNotAuthorizedToFile")
    other = person()
    theirs = other.create("theirs")["id"]
    given = other.share(theirs, me, "writer", pendingOwner=True)["id"]
    offer = f"/drive/v3/files/{theirs}/permissions/{given}?transferOwnership=true"
    assert app.refusal("PATCH", offer, json={"role": "owner"}) == refused
    assert app.refusal("DELETE", offer.partition("?")[0]) == refused


@pytest.mark.parametrize("scope", ["drive.readonly", "drive.metadata.readonly"])
def test_readonly_scopes_do_not_write(me, person, scope):
    """A read-only scope cannot write, and metadata.readonly cannot read contents."""
    file = me.upload(b"x")["id"]
    reader = person(me.account, scopes=[scope])
    assert reader("GET", f"/drive/v3/files/{file}").status_code == 200
    refused = (403, "insufficientPermissions")
    assert reader.refusal("POST", "/drive/v3/files", json={}) == refused
    path = f"/drive/v3/files/{file}"
    for content in (f"{path}?alt=media", f"{path}/revisions/head?alt=media"):
        if scope == "drive.readonly":
            assert reader("GET", content).content == b"x"
        else:
            assert reader.refusal("GET", content) == refused


def test_a_scope_for_metadata_changes_neither_content_nor_folder_nor_trash(me, person):
    """With drive.metadata a file is renamed; its content, folder and trash state stay."""
    file, folder = me.upload(b"x")["id"], me.folder("f")
    app = person(me.account, client="app", scopes=["drive.metadata"])
    path, refused = f"/drive/v3/files/{file}", (403, "insufficientPermissions")
    assert app("PATCH", path, json={"name": "new"}).status_code == 200
    assert app.refusal("PATCH", f"/upload{path}?uploadType=media", data=b"y") == refused
    assert app.refusal("PATCH", f"{path}?addParents={folder}", json={}) == refused
    assert app.refusal("PATCH", path, json={"trashed": True}) == refused
    assert me("GET", f"{path}?alt=media").content == b"x"


def test_the_application_data_folder_is_the_client_s_own(person):
    """Files in appDataFolder are listed in that space only, and for their client only."""
    app = person(client="app", scopes=["drive.appdata", "drive.file"])
    app.create("settings", parents=["appDataFolder"])
    assert app.names("", spaces="appDataFolder") == ["settings"]
    assert app.names("") == []
    other = person(app.account)
    assert other.names("") == []
    assert other("GET", "/drive/v3/files?spaces=appDataFolder").status_code == 403


def test_a_service_account_owns_no_bytes(person):
    """A service account gets a 403 in My Drive, with Google's message; shared drives work."""
    robot = person("robot@project.iam.gserviceaccount.com")
    answer = robot("POST", "/upload/drive/v3/files?uploadType=media", data=b"x")
    assert answer.status_code == 403
    assert "Service Accounts do not have storage quota" in answer.text
    human = person()
    drive = human.shared_drive()
    human.share(drive, robot, "writer")
    file = robot.upload(b"x", name="in the drive", parents=[drive], params=ALL_FILES)
    assert file["driveId"] == drive
    assert "owners" not in file


def test_an_app_with_app_data_alone_creates_files_only_there(person):
    """With no other scope a file in My Drive, which the app could not read, is a 403."""
    app = person(client="app", scopes=["drive.appdata"])
    assert app.refusal("POST", "/drive/v3/files", json={}) == (403, "insufficientScopes")
    assert app.create("settings", parents=["appDataFolder"])["id"]


def test_app_data_is_neither_trashed_nor_shared_nor_moved_elsewhere(person):
    """The documented limits of the application data folder; within it, files move and are read."""
    app = person(client="app", scopes=["drive.appdata", "drive"])
    file = app.create("settings", parents=["appDataFolder"])["id"]
    folder = app.folder("sub", parents=["appDataFolder"])
    where, limit = f"/drive/v3/files/{file}", (403, "notSupportedForAppDataFolderFiles")
    assert app.refusal("PATCH", where, json={"trashed": True}) == limit
    assert app.refusal("POST", f"/drive/v2/files/{file}/trash") == limit
    link = {"type": "anyone", "role": "reader"}
    assert app.refusal("POST", f"{where}/permissions", json=link) == limit
    for move in ({"addParents": "root"}, {"removeParents": "appDataFolder"}):
        assert app.refusal("PATCH", where, params=move, json={}) == limit
    visible = app.create("visible")["id"]
    into = {"addParents": folder, "removeParents": "root"}
    assert app.refusal("PATCH", f"/drive/v3/files/{visible}", params=into, json={}) == limit
    within = {"addParents": folder, "removeParents": "appDataFolder", "fields": "parents"}
    assert app("PATCH", where, params=within, json={}).json() == {"parents": [folder]}
    assert app("DELETE", where).status_code == 204
