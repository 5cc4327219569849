"""Shared drives: created, listed and deleted, and visible only to clients that support them."""

import pytest

from tests.emulator.raw_client import ALL, ALL_FILES, FOLDER


def test_shared_drives_are_made_once_listed_and_deleted(me):
    """A requestId creates one shared drive: using it again is a 409."""
    made = me("POST", "/drive/v3/drives?requestId=once", json={"name": "Team"}).json()
    assert set(made) == {"kind", "id", "name"}
    again = me("POST", "/drive/v3/drives?requestId=once", json={"name": "Team"})
    assert again.status_code == 409
    assert [one["id"] for one in me.get("drives")["drives"]] == [made["id"]]
    assert me.get("drives", q="name contains 'te'")["drives"] != []
    assert me.get("drives", q="hidden = true")["drives"] == []
    file = me.create(parents=[made["id"]], params=ALL_FILES)["id"]
    assert me("DELETE", f"/drive/v3/drives/{made['id']}").status_code == 403
    me("DELETE", f"/drive/v3/files/{file}", params=ALL_FILES)
    assert me("DELETE", f"/drive/v3/drives/{made['id']}").status_code == 204
    assert me.refusal("GET", f"/drive/v3/drives/{made['id']}") == (404, "notFound")


def test_files_in_shared_drives_need_a_client_that_knows_them(me):
    """Files in shared drives need supportsAllDrives, and to be listed the include parameter."""
    drive = me.shared_drive()
    file = me.create("within", parents=[drive], params=ALL_FILES)["id"]
    assert me.refusal("GET", f"/drive/v3/files/{file}") == (404, "notFound")
    assert me("GET", f"/drive/v3/files/{file}", params=ALL_FILES).status_code == 200
    assert me.names("name = 'within'") == []
    assert me.names("name = 'within'", **ALL) == ["within"]
    within = {"corpora": "drive", "driveId": drive, **ALL}
    assert me.names("", **within) == ["within"]
    assert me.names("", corpora="allDrives", **ALL) == ["within"]
    for wrong in ({"corpora": "drive"}, {"driveId": drive}, {"corpora": "allDrives"},
                  {"includeItemsFromAllDrives": "true"}):  # fmt: skip
        assert me("GET", "/drive/v3/files", params=wrong).status_code in {400, 403}


def test_what_reaches_a_shared_drive_without_saying_so(me):
    """Methods that have no supportsAllDrives find its files, and so do downloads, as rclone's."""
    drive = me.shared_drive()
    file = me.upload(b"content", parents=[drive], params=ALL_FILES)["id"]
    for version in ("v3", "v2"):
        path = f"/drive/{version}/files/{file}"
        assert me("GET", f"{path}?alt=media").content == b"content"
        for below in ("revisions", "revisions/head", "comments?fields=*"):
            assert me("GET", f"{path}/{below}").status_code == 200
        assert me.refusal("GET", path) == (404, "notFound")
        assert me.refusal("GET", f"{path}/permissions") == (404, "notFound")


def test_a_folder_in_a_shared_drive_belongs_to_it(me):
    """A folder's driveId is inherited, and nothing in a shared drive counts against a quota."""
    drive = me.shared_drive()
    folder = me.create("f", mimeType=FOLDER, parents=[drive], params=ALL_FILES)["id"]
    file = me.upload(b"x" * 500, parents=[folder], params=ALL_FILES)
    assert file["driveId"] == drive
    assert me.get("about", fields="storageQuota/usage")["storageQuota"]["usage"] == "0"


def test_what_moves_into_a_shared_drive(me, person):
    """A file moves in, but not a folder, nor a writer's file whose owner is no member."""
    drive = me.shared_drive()
    into = {"addParents": drive, **ALL_FILES}
    folder = f"/drive/v3/files/{me.folder('f')}"
    refused = me.refusal("PATCH", folder, params=into)
    assert refused == (403, "teamDrivesFolderMoveInNotSupported")
    file = f"/drive/v3/files/{me.create()['id']}"
    moved = me("PATCH", file, params={**into, "fields": "driveId"}).json()
    assert moved == {"driveId": drive}
    other = person()
    theirs = other.create("theirs")["id"]
    other.share(theirs, me, "writer")
    theirs = f"/drive/v3/files/{theirs}"
    refused = me.refusal("PATCH", theirs, params=into)
    assert refused == (403, "fileOwnerNotMemberOfTeamDrive")
    given = me.share(drive, other)["id"]
    assert me("PATCH", theirs, params=into).status_code == 200
    inherited = f"{theirs}/permissions/{given}"
    refused = me.refusal("DELETE", inherited, params=ALL_FILES)
    assert refused == (403, "cannotModifyInheritedTeamDrivePermission")


@pytest.mark.parametrize(
    ("role", "within", "out"),
    [("writer", False, False), ("fileOrganizer", True, False), ("organizer", True, True)],
)
def test_who_moves_items_of_a_shared_drive(me, person, drive, role, within, out):
    """Content managers move items within the drive, and only managers move them out of it."""
    friend = person()
    me.share(drive, friend, role)
    folder = me.create("f", mimeType=FOLDER, parents=[drive], params=ALL_FILES)["id"]
    file = f"/drive/v3/files/{me.create(parents=[drive], params=ALL_FILES)['id']}"
    shown = friend("GET", file, params={"fields": "capabilities", **ALL_FILES}).json()
    assert shown["capabilities"]["canMoveItemWithinDrive"] is within
    assert shown["capabilities"]["canMoveItemOutOfDrive"] is out
    now = folder if within else drive
    for old, new, allowed in ((drive, folder, within), (now, "root", out)):
        move = {"addParents": new, "removeParents": old, **ALL_FILES}
        answer = friend("PATCH", file, params=move)
        assert answer.status_code == (200 if allowed else 403), answer.text


@pytest.mark.parametrize(("version", "verb", "items"), [("v3", "PATCH", "teamDrives"),
                                                        ("v2", "PUT", "items")])  # fmt: skip
def test_shared_drives_have_an_older_name(me, version, verb, items):
    """The deprecated teamdrives methods work on the same drives."""
    path = f"/drive/{version}/teamdrives"
    made = me("POST", f"{path}?requestId=team", json={"name": "Team"}).json()
    assert (made["kind"], made["name"]) == ("drive#teamDrive", "Team")
    assert me("POST", f"{path}?requestId=team", json={"name": "Team"}).status_code == 409
    listed = me("GET", path).json()
    assert listed["kind"] == "drive#teamDriveList"
    assert [one["id"] for one in listed[items]] == [made["id"]]
    assert [one["id"] for one in me.get("drives")["drives"]] == [made["id"]]
    where = f"{path}/{made['id']}"
    shown = me(
        "GET", where, params={"fields": "capabilities(canDeleteTeamDrive),restrictions"}
    ).json()
    assert shown["capabilities"] == {"canDeleteTeamDrive": True}
    assert shown["restrictions"]["teamMembersOnly"] is False
    assert me(verb, where, json={"name": "New"}).json()["name"] == "New"
    assert me.get(f"drives/{made['id']}")["name"] == "New"
    assert me("DELETE", where).status_code == 204
    assert me.refusal("GET", where) == (404, "notFound")


@pytest.fixture
def drive(me):
    """The id of a new shared drive."""
    return me.shared_drive()


def test_a_shared_drive_that_is_none_is_refused_by_name(me, person, drive):
    """`driveId` of a folder, of nothing, or of a drive of others is a 404 in each method."""
    friend = person()
    calls = {
        "files": {"corpora": "drive", **ALL},
        "changes": {"pageToken": "1", **ALL},
        "changes/startPageToken": ALL_FILES,
    }
    for wire, wrong in ((me, me.folder("no drive")), (me, "nothing"), (friend, drive)):
        for path, given in calls.items():
            answer = wire("GET", f"/drive/v3/{path}", params={**given, "driveId": wrong})
            error = answer.json()["error"]
            assert (error["code"], error["message"]) == (404, f"Shared drive not found: {wrong}")
            assert error["errors"][0]["location"] == "driveId"


def test_restrictions_change_one_by_one(me, drive):
    """A patch of one restriction leaves the others, also by the older name of it."""
    where = f"/drive/v3/drives/{drive}"
    color = me("PATCH", where, json={"colorRgb": None}, params={"fields": "colorRgb"}).json()
    assert color["colorRgb"].startswith("#")
    me("PATCH", where, json={"restrictions": {"domainUsersOnly": True}})
    team = {"restrictions": {"teamMembersOnly": True}}
    me("PATCH", f"/drive/v3/teamdrives/{drive}", json=team)
    shown = me.get(f"drives/{drive}", fields="*")
    assert {name for name, on in shown["restrictions"].items() if on is True} == {
        "domainUsersOnly",
        "driveMembersOnly",
    }
    assert len(shown["restrictions"]) == 6
    assert "createdTime" in shown
    assert "createdDate" not in shown
    assert "createdDate" in me("GET", f"/drive/v2/drives/{drive}").json()


@pytest.mark.parametrize(
    ("role", "file", "folder", "drive_itself"),
    [
        ("commenter", False, False, False),
        ("writer", True, False, False),
        ("fileOrganizer", True, True, False),
        ("organizer", True, True, True),
    ],
)
def test_who_may_share_depends_on_the_item(me, person, drive, role, file, folder, drive_itself):
    """Writers share files, content managers also folders, organizers also the drive."""
    friend = person()
    me.share(drive, friend, role)
    items = {
        me.create("file", parents=[drive], params=ALL_FILES)["id"]: file,
        me.folder("folder", parents=[drive], params=ALL_FILES): folder,
        drive: drive_itself,
    }
    for item, allowed in items.items():
        shown = friend.get(f"files/{item}", fields="capabilities/canShare", **ALL_FILES)
        assert shown == {"capabilities": {"canShare": allowed}}
        give = {"type": "user", "role": "reader", "emailAddress": "guest@example.com"}
        where = f"/drive/v3/files/{item}/permissions"
        status = friend("POST", where, json=give, params=ALL_FILES).status_code
        assert status == (200 if allowed else 403)
    rule = {"restrictions": {"sharingFoldersRequiresOrganizerPermission": True}}
    me("PATCH", f"/drive/v3/drives/{drive}", json=rule)
    shown = friend.get(f"files/{list(items)[1]}", fields="capabilities/canShare", **ALL_FILES)
    assert shown["capabilities"]["canShare"] is (role == "organizer")


def test_roles_belong_to_kinds_of_items_and_grantees(me, drive):
    """Each role on an item or grantee that cannot have it is a 403 with Drive's reason."""
    file = me.create("file", parents=[drive], params=ALL_FILES)["id"]
    folder = me.folder("folder", parents=[drive], params=ALL_FILES)
    mine = me.folder("mine")
    top = "cannotShareTeamDriveTopFolderWithAnyoneOrDomains"
    for item, kind, role, reason in (
        (drive, "anyone", "reader", top),
        (drive, "domain", "reader", top),
        (file, "user", "owner", "ownerOnTeamDriveItemNotSupported"),
        (file, "user", "organizer", "organizerOnNonTeamDriveNotSupported"),
        (mine, "user", "organizer", "organizerOnNonTeamDriveItemNotSupported"),
        (file, "user", "fileOrganizer", "fileOrganizerOnFoldersInSharedDriveOnly"),
        (mine, "user", "fileOrganizer", "fileOrganizerOnNonTeamDriveNotSupported"),
        (folder, "user", "fileOrganizer", ""),
        (drive, "group", "organizer", ""),
    ):
        who = {"domain": "example.com", "emailAddress": "guest@example.com"}
        where = f"/drive/v3/files/{item}/permissions"
        sent = {"json": {"type": kind, "role": role, **who}, "params": ALL_FILES}
        if reason:
            assert me.refusal("POST", where, **sent) == (403, reason)
        else:
            assert me("POST", where, **sent).status_code == 200


def test_a_drive_for_members_only_is_shared_with_nobody_else(me, person, drive):
    """With driveMembersOnly, permissions on items are for members."""
    friend = person()
    me.share(drive, friend)
    rule = {"restrictions": {"driveMembersOnly": True}}
    me("PATCH", f"/drive/v3/drives/{drive}", json=rule)
    file = me.create("file", parents=[drive], params=ALL_FILES)["id"]
    where = f"/drive/v3/files/{file}/permissions"
    give = {"type": "user", "role": "writer", "emailAddress": "stranger@example.com"}
    refused = (403, "teamDriveTeamMembersOnlyRestriction")
    assert me.refusal("POST", where, json=give, params=ALL_FILES) == refused
    link = {"type": "anyone", "role": "reader"}
    assert me.refusal("POST", where, json=link, params=ALL_FILES) == refused
    me.share(file, friend, "writer")


def test_an_administrator_deletes_a_drive_with_its_files(me, drive):
    """`allowItemDeletion` deletes the files too, with `useDomainAdminAccess`."""
    file = me.create("file", parents=[drive], params=ALL_FILES)["id"]
    where = f"/drive/v3/drives/{drive}?allowItemDeletion=true"
    assert me("DELETE", where).status_code == 403
    assert me("DELETE", f"{where}&useDomainAdminAccess=true").status_code == 204
    assert me("GET", f"/drive/v3/files/{file}", params=ALL_FILES).status_code == 404


def test_an_organizer_may_do_everything_in_the_drive(me, drive):
    """A drive's capabilities are those on its items; members with less have fewer."""
    shown = me.get(f"drives/{drive}", fields="capabilities")["capabilities"]
    assert len(shown) == 21
    assert all(shown.values())
