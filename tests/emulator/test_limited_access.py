"""Folders with limited access, and the offer and acceptance of ownership."""

import pytest

from tests.emulator.raw_client import ALL_FILES, RawClient


def limit(wire: RawClient, folder: str, *, limited: bool) -> int:
    path, body = f"/drive/v3/files/{folder}", {"inheritedPermissionsDisabled": limited}
    return wire("PATCH", path, json=body, params=ALL_FILES).status_code


def seen(wire: RawClient, file: str) -> bool:
    return wire("GET", f"/drive/v3/files/{file}", params=ALL_FILES).status_code == 200


@pytest.fixture
def friend(person) -> RawClient:
    return person()


def test_a_folder_with_limited_access_is_seen_but_not_opened(me, friend, person):
    """Inherited access shows its metadata; only permissions of its own open it."""
    above = me.folder("above")
    folder = me.folder("limited", parents=[above])
    below = me.folder("below", parents=[folder])
    file = me.upload(b"x", name="inside", parents=[below])["id"]
    me.share(above, friend, "writer")
    assert seen(friend, file)
    assert limit(me, folder, limited=True) == 200
    assert (seen(friend, folder), seen(friend, below), seen(friend, file)) == (True, False, False)
    assert friend.names(f"'{folder}' in parents") == []
    assert friend.names(f"'{above}' in parents") == ["limited"]
    wanted = "capabilities(canListChildren,canEdit,canEnableInheritedPermissions)"
    can = friend.get(f"files/{folder}", fields=wanted)["capabilities"]
    assert can == dict.fromkeys(can, False)
    refused = friend.refusal("POST", "/drive/v3/files", json={"parents": [folder]})
    assert refused == (403, "insufficientFilePermissions")
    fields = "permissions(emailAddress,role,view,inheritedPermissionsDisabled)"
    shown = {one.pop("emailAddress"): one for one in
             me.get(f"files/{folder}", fields=fields)["permissions"]}  # fmt: skip
    limited = {"inheritedPermissionsDisabled": True}
    assert shown[friend.account] == {"role": "reader", "view": "metadata", **limited}
    assert shown[me.account] == {"role": "owner", **limited}
    assert len(me.get(f"files/{file}", fields="permissionIds")["permissionIds"]) == 1
    other = person()
    me.share(folder, other)
    assert (seen(other, folder), seen(other, file), seen(other, above)) == (True, True, False)
    me.share(folder, friend, "writer")
    assert seen(friend, file)
    assert friend.get(f"files/{folder}", fields=wanted)["capabilities"] == dict.fromkeys(can, True)


def test_who_may_limit_the_access(me, friend, person):
    """The owner, and writers who may share; not for files."""
    folder, reader = me.folder("f"), person()
    me.share(folder, friend, "writer")
    me.share(folder, reader)
    assert limit(reader, folder, limited=True) == 403
    assert limit(friend, folder, limited=True) == 200
    assert limit(friend, folder, limited=False) == 200
    me("PATCH", f"/drive/v3/files/{folder}", json={"writersCanShare": False})
    assert limit(friend, folder, limited=True) == 403
    assert limit(me, folder, limited=True) == 200
    assert limit(me, me.create()["id"], limited=True) == 400


def test_organizers_always_open_a_folder_of_their_drive(me, friend):
    """In a shared drive, other members lose what they inherit."""
    drive = me.shared_drive()
    folder = me.create("f", mimeType="application/vnd.google-apps.folder", parents=[drive],
                       params=ALL_FILES)["id"]  # fmt: skip
    file = me.create("file", parents=[folder], params=ALL_FILES)["id"]
    given = me.share(drive, friend, "writer")["id"]
    assert limit(friend, folder, limited=True) == 403
    assert limit(me, folder, limited=True) == 200
    assert (seen(me, file), seen(friend, folder), seen(friend, file)) == (True, True, False)
    promoted = me("PATCH", f"/drive/v3/files/{drive}/permissions/{given}",
                  json={"role": "organizer"}, params=ALL_FILES)  # fmt: skip
    assert promoted.status_code == 200
    assert seen(friend, file)


@pytest.mark.parametrize("later", [False, True])
def test_a_pending_owner_accepts_the_ownership(me, friend, later):
    """The owner offers it to a writer, who then takes it; nobody else can."""
    file = me.create(writersCanShare=False)["id"]
    path = f"/drive/v3/files/{file}/permissions"
    given = me.share(file, friend, "writer", pendingOwner=not later)["id"]
    accept = {"json": {"role": "owner"}, "params": {"transferOwnership": "true"}}
    if later:
        assert friend.refusal("PATCH", f"{path}/{given}", **accept)[0] == 403
        offer = {"role": "writer", "pendingOwner": True}
        assert friend.refusal("PATCH", f"{path}/{given}", json=offer)[0] == 403
        assert me("PATCH", f"{path}/{given}", json=offer).status_code == 200
    assert me.get(f"files/{file}/permissions/{given}", fields="pendingOwner")["pendingOwner"]
    wanted = "ownedByMe,capabilities/canAcceptOwnership"
    before = friend.get(f"files/{file}", fields=wanted)
    assert before == {"ownedByMe": False, "capabilities": {"canAcceptOwnership": True}}
    assert friend("PATCH", f"{path}/{given}", **accept).status_code == 200
    after = friend.get(f"files/{file}", fields=wanted)
    assert after == {"ownedByMe": True, "capabilities": {"canAcceptOwnership": False}}
    assert me.get(f"files/{file}", fields="ownedByMe") == {"ownedByMe": False}


def test_v2_names_an_expiration_as_it_is_given(me, friend):
    """v2's expirationDate is v3's expirationTime."""
    file = me.create()["id"]
    moment = me.get(f"files/{file}", fields="createdTime")["createdTime"]
    year = int(moment[:4]) + 1
    until = f"{year}{moment[4:8]}01T00:00:00.000Z"
    body = {"type": "user", "role": "reader", "value": friend.account, "expirationDate": until}
    given = me("POST", f"/drive/v2/files/{file}/permissions", json=body).json()
    assert given["expirationDate"] == until
    assert "expirationTime" not in given
