"""changes.getStartPageToken and changes.list: the changes that an account sees."""

import pytest

from tests.emulator.raw_client import ALL, ALL_FILES


def since(wire, token, **params):
    """Return the changes from a token on, as (file id, removed) pairs, and the next token."""
    found: list[tuple[str, bool]] = []
    while True:
        answer = wire.get("changes", pageToken=token, **params)
        found += [(one["fileId"], one["removed"]) for one in answer["changes"]]
        if "newStartPageToken" in answer:
            return found, answer["newStartPageToken"]
        token = answer["nextPageToken"]


def start(wire):
    return wire.get("changes/startPageToken")["startPageToken"]


def test_a_file_is_listed_once_at_its_latest_change(me):
    """A changed file is listed once, in its present state; changes before the token are not."""
    old = me.create("old")["id"]
    token = start(me)
    assert since(me, token) == ([], token)
    new = me.create("new")["id"]
    me("PATCH", f"/drive/v3/files/{old}", json={"trashed": True})
    me("PATCH", f"/drive/v3/files/{new}", json={"name": "newer"})
    changes = me.get("changes", pageToken=token, fields="changes(changeType,file(name,trashed))")
    assert changes["changes"] == [
        {"changeType": "file", "file": {"name": "old", "trashed": True}},
        {"changeType": "file", "file": {"name": "newer", "trashed": False}},
    ]
    found, following = since(me, token, pageSize=1)
    assert found == [(old, False), (new, False)]
    assert since(me, following)[0] == []


def test_deleted_and_unshared_files_are_removed(me, person):
    """A file is removed for each account that lost it; `includeRemoved=false` leaves it out."""
    friend, stranger = person(), person()
    file, folder = me.create("shared")["id"], me.folder("folder")
    inside = me.create("inside", parents=[folder])["id"]
    for one in (file, folder):
        me.share(one, friend)
    token = start(friend)
    (given,) = [
        one["id"]
        for one in me.get(f"files/{file}/permissions")["permissions"]
        if one["role"] == "reader"
    ]
    me("DELETE", f"/drive/v3/files/{file}/permissions/{given}")
    me("DELETE", f"/drive/v3/files/{inside}")
    assert since(friend, token)[0] == [(file, True), (inside, True)]
    for said in ("false", "False"):
        assert since(friend, token, includeRemoved=said)[0] == []
    assert since(me, token)[0] == [(file, False), (inside, True)]
    assert since(stranger, token)[0] == []


def test_what_is_lost_with_a_folder_is_removed(me, person):
    """So is a file that leaves a shared folder, and what one still sees otherwise is not."""
    friend = person()
    folder = me.folder("shared")
    below = me.folder("below", parents=[folder])
    leaves = me.create("leaves", parents=[below])["id"]
    stays, kept = me.create("stays", parents=[below])["id"], me.create("k", parents=[below])["id"]
    for one in (folder, kept):
        me.share(one, friend)
    token = start(friend)
    out = {"addParents": "root", "removeParents": below}
    me("PATCH", f"/drive/v3/files/{leaves}", params=out)
    found, token = since(friend, token)
    assert found == [(leaves, True)]
    limit = f"/drive/v3/files/{below}"
    me("PATCH", limit, json={"inheritedPermissionsDisabled": True})
    found, token = since(friend, token)
    assert found == [(below, False), (stays, True)]
    me("PATCH", limit, json={"inheritedPermissionsDisabled": False})
    _, token = since(friend, token)
    given = friend.get("about", fields="user")["user"]["permissionId"]
    me("DELETE", f"/drive/v3/files/{folder}/permissions/{given}")
    found, _ = since(friend, token)
    assert sorted(found) == sorted([(folder, True), (below, True), (stays, True)])
    assert all(not removed for _, removed in since(me, "1")[0])


@pytest.mark.parametrize("deleted", [True, False])
def test_a_lost_folder_with_limited_access_is_removed(me, person, deleted):
    """Who has access to the folder above sees the folder itself, and is told when it goes."""
    friend = person()
    above = me.folder("shared")
    folder = me.folder("limited", parents=[above])
    me.share(above, friend)
    me("PATCH", f"/drive/v3/files/{folder}", json={"inheritedPermissionsDisabled": True})
    token = start(friend)
    out = {"addParents": "root", "removeParents": above}
    verb, params = ("DELETE", {}) if deleted else ("PATCH", out)
    me(verb, f"/drive/v3/files/{folder}", params=params)
    assert since(friend, token)[0] == [(folder, True)]


def test_a_file_that_leaves_a_shared_drive_is_removed_from_its_changes(me, person):
    """The members who lost it find that in the drive's own list of changes."""
    drive = me.shared_drive()
    file = me.create("f", params=ALL_FILES, parents=[drive])["id"]
    friend = person()
    me.share(drive, friend)
    token = start(friend)
    out = {"addParents": "root", "removeParents": drive, **ALL_FILES}
    assert me("PATCH", f"/drive/v3/files/{file}", params=out).status_code == 200
    found, _ = since(friend, token, driveId=drive, **ALL)
    assert found == [(file, True)]


def test_what_moves_between_drives_is_removed_from_the_list_that_it_left(me):
    """It is removed from the changes of My Drive or of its drive, though the caller sees it."""
    one, two = me.shared_drive(), me.shared_drive()
    file, token = me.create("f")["id"], start(me)

    def move(old: str, new: str) -> None:
        moved = {"addParents": new, "removeParents": old, **ALL_FILES}
        assert me("PATCH", f"/drive/v3/files/{file}", params=moved).status_code == 200

    def listed(**asked: str) -> list[tuple[str, bool]]:
        return since(me, token, **asked)[0]

    move("root", one)
    assert listed() == listed(restrictToMyDrive="true") == [(file, True)]
    assert listed(**ALL) == listed(driveId=one, **ALL) == [(file, False)]
    gone = me.get("changes", pageToken=token, includeCorpusRemovals="true")["changes"][0]
    assert (gone["removed"], gone["file"]["id"]) == (True, file)
    move(one, two)
    assert listed() == listed(driveId=one, **ALL) == [(file, True)]
    assert listed(driveId=two, **ALL) == [(file, False)]
    move(two, "root")
    assert listed() == listed(**ALL) == [(file, False)]
    assert listed(driveId=two, **ALL) == [(file, True)]
    me("DELETE", f"/drive/v3/files/{file}")
    assert listed() == listed(**ALL) == [(file, True)]


@pytest.mark.parametrize("token", ["", "x", "0", "-1", "999999999"])
def test_an_unknown_change_token_is_refused(me, token):
    """A page token that was not given, or none, is a 400."""
    reason = "invalid" if token else "required"
    refused = me.refusal("GET", "/drive/v3/changes", params={"pageToken": token})
    assert refused == (400, reason)


def test_shared_drives_have_changes_of_their_own(me):
    """Changes in a shared drive are listed for all drives or for that drive only."""
    token = start(me)
    drive = me.shared_drive()
    file = me.create("in it", params=ALL_FILES, parents=[drive])["id"]
    assert since(me, token)[0] == []
    for asked in (ALL, {**ALL, "driveId": drive}):
        made, inside = me.get("changes", pageToken=token, **asked)["changes"]
        assert (made["changeType"], made["driveId"]) == ("drive", drive)
        assert (inside["changeType"], inside["fileId"]) == ("file", file)


def test_a_deleted_shared_drive_is_removed_with_all_that_was_in_it(me):
    """Each file, at any depth, and the drive itself, as a change of the drive."""
    drive = me.shared_drive()
    inside = [drive]
    for name in "abc":
        inside.append(me.folder(name, parents=[inside[-1]], params=ALL_FILES))
    token = start(me)
    flags = "allowItemDeletion=true&useDomainAdminAccess=true"
    assert me("DELETE", f"/drive/v3/drives/{drive}?{flags}").status_code == 204
    *files, last = me.get("changes", pageToken=token, **ALL)["changes"]
    assert {one["fileId"] for one in files} == set(inside[1:])
    assert (last["changeType"], last["driveId"], last["removed"]) == ("drive", drive, True)
    assert "drive" not in last
    assert "fileId" not in last
