"""Shared drives: created, listed and deleted, and visible only to clients that support them."""

import pytest

from tests.emulator.raw_client import FOLDER

ALL = {"supportsAllDrives": "true", "includeItemsFromAllDrives": "true"}
ALL_FILES = {"supportsAllDrives": "true"}


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
    drive = me("POST", "/drive/v3/drives?requestId=x", json={"name": "Team"}).json()["id"]
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


def test_a_folder_in_a_shared_drive_belongs_to_it(me):
    """A folder's driveId is inherited, and nothing in a shared drive counts against a quota."""
    drive = me("POST", "/drive/v3/drives?requestId=q", json={"name": "Team"}).json()["id"]
    folder = me.create("f", mimeType=FOLDER, parents=[drive], params=ALL_FILES)["id"]
    file = me.upload(b"x" * 500, parents=[folder], params=ALL_FILES)
    assert file["driveId"] == drive
    assert me.get("about", fields="storageQuota/usage")["storageQuota"]["usage"] == "0"


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
