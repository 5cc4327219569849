"""changes.getStartPageToken and changes.list: the changes that one account sees."""

import pytest

from tests.emulator.test_access import share


def since(wire, token, **params):
    """The changes from a token on, as (file id, removed) pairs, and the next start."""
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
    """Created, changed, trashed: as it is now; what lies before the token is left out."""
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


def test_what_is_deleted_or_no_longer_shared_is_removed(me, person):
    """For the owner and for who had it; `includeRemoved=false` leaves them out."""
    friend, stranger = person(), person()
    file, folder = me.create("shared")["id"], me.folder("folder")
    inside = me.create("inside", parents=[folder])["id"]
    for one in (file, folder):
        share(me, one, friend.account)
    token = start(friend)
    (given,) = [
        one["id"]
        for one in me.get(f"files/{file}/permissions")["permissions"]
        if one["role"] == "reader"
    ]
    me("DELETE", f"/drive/v3/files/{file}/permissions/{given}")
    me("DELETE", f"/drive/v3/files/{inside}")
    assert since(friend, token)[0] == [(file, True), (inside, True)]
    assert since(friend, token, includeRemoved="false")[0] == []
    assert since(me, token)[0] == [(file, False), (inside, True)]
    assert since(stranger, token)[0] == []


@pytest.mark.parametrize("token", ["", "x", "0", "-1", "999999999"])
def test_a_token_is_one_that_was_given(me, token):
    """400 for others, and for none."""
    reason = "invalid" if token else "required"
    refused = me.refusal("GET", "/drive/v3/changes", params={"pageToken": token})
    assert refused == (400, reason)


def test_shared_drives_have_changes_of_their_own(me):
    """Listed for who asks for all drives, or for that one."""
    token = start(me)
    drive = me("POST", "/drive/v3/drives?requestId=changes", json={"name": "team"}).json()["id"]
    all_drives = {"supportsAllDrives": "true", "includeItemsFromAllDrives": "true"}
    file = me.create("in it", params={"supportsAllDrives": "true"}, parents=[drive])["id"]
    assert since(me, token)[0] == []
    for asked in (all_drives, {**all_drives, "driveId": drive}):
        made, inside = me.get("changes", pageToken=token, **asked)["changes"]
        assert (made["changeType"], made["driveId"]) == ("drive", drive)
        assert (inside["changeType"], inside["fileId"]) == ("file", file)
