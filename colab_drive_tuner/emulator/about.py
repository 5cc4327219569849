"""about.get: who asks, and how much room there is."""

from . import access, resources
from .calls import Answer, Call
from .errors import ApiError
from .files import call_json


async def get(call: Call) -> Answer:
    """about.get: who asks, and how much is stored; `fields` is required."""
    if not call.parameters.text("fields"):
        raise ApiError(
            400,
            "required",
            "The 'fields' parameter is required for this method.",
            location="fields",
        )
    database, account = call.database, call.caller.account
    mine = [node for node in database.nodes.values() if node.owner == account.email]
    used = database.usage.get(account.email, 0)
    quota = {
        "usage": str(used),
        "usageInDrive": str(used),
        "usageInDriveTrash": str(
            sum(node.size for node in mine if access.is_trashed(database, node))
        ),
    }
    if account.limit is not None:
        quota["limit"] = str(account.limit)
    return call_json(
        call,
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
