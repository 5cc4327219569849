"""about.get: the caller and the storage quota."""

from ..api import resources, resources_v2
from ..api.calls import Answer, Call
from ..state import access
from ..state.database import Database
from .changes import change_number


def _in_trash(database: Database, email: str) -> int:
    """Return the bytes of the account's files that are trashed, also through their folder."""
    nodes = [node for node in database.nodes.values() if node.owner == email and node.size]
    return sum(node.size for node in nodes if access.is_trashed(database, node))


async def get(call: Call) -> Answer:
    """about.get: caller and storage use."""
    database, account = call.database, call.caller.account
    used = database.usage.get(account.email, 0)
    quota = {
        "usage": str(used),
        "usageInDrive": str(used),
        "usageInDriveTrash": str(_in_trash(database, account.email)),
    }
    if account.limit is not None:
        quota["limit"] = str(account.limit)
    return call.answer(
        {
            "kind": "drive#about",
            "user": resources.user(call.view, account.email),
            "storageQuota": quota,
            "appInstalled": True,
            "canCreateDrives": not account.is_service,
            "canCreateTeamDrives": not account.is_service,
            "maxUploadSize": "5497558138880",
            "importFormats": {},
            "exportFormats": {},
            "maxImportSizes": {},
            "folderColorPalette": ["#ac725e", "#d06b64", "#f83a22", "#8f8f8f", "#4986e7"],
            "driveThemes": [],
            "teamDriveThemes": [],
        },
    )


async def get_v2(call: Call) -> Answer:
    """v2's about.get."""
    database, account = call.database, call.caller.account
    used = str(database.usage.get(account.email, 0))
    first, most = (call.parameters.text(one) for one in ("startChangeId", "maxChangeIdCount"))
    remaining = max(0, database.change + 1 - change_number(first or "1"))
    return call.answer(
        {
            "kind": "drive#about",
            "selfLink": f"{call.base}{call.path}",
            "name": account.name,
            "user": resources_v2.user(call.view, account.email),
            "permissionId": resources.user(call.view, account.email)["permissionId"],
            "rootFolderId": account.root,
            "largestChangeId": str(database.change),
            "remainingChangeIds": str(min(remaining, change_number(most or "2500"))),
            "quotaBytesTotal": str(account.limit or 0),
            "quotaBytesUsed": used,
            "quotaBytesUsedAggregate": used,
            "quotaBytesUsedInTrash": str(_in_trash(database, account.email)),
            "quotaType": "UNLIMITED" if account.limit is None else "LIMITED",
            "isCurrentAppInstalled": True,
            "languageCode": "en",
            "domainSharingPolicy": "allowed",
        }
    )
