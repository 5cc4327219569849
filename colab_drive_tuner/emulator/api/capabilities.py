"""Capabilities: what the caller may do with a file or a shared drive."""

from ..state import access, restrictions
from ..state.database import Database
from ..state.model import Caller, Node, person_id

DRIVE_CAPABILITIES = {
    "canAddChildren": access.WRITER,
    "canChangeCopyRequiresWriterPermissionRestriction": access.ORGANIZER,
    "canChangeDomainUsersOnlyRestriction": access.ORGANIZER,
    "canChangeDriveBackground": access.ORGANIZER,
    "canChangeDownloadRestriction": access.ORGANIZER,
    "canChangeDriveMembersOnlyRestriction": access.ORGANIZER,
    "canChangeSharingFoldersRequiresOrganizerPermissionRestriction": access.ORGANIZER,
    "canComment": access.COMMENTER,
    "canDeleteChildren": access.ORGANIZER,
    "canDeleteDrive": access.ORGANIZER,
    "canEdit": access.WRITER,
    "canListChildren": access.READER,
    "canManageMembers": access.ORGANIZER,
    "canReadRevisions": access.WRITER,
    "canRename": access.WRITER,
    "canRenameDrive": access.ORGANIZER,
    "canResetDriveRestrictions": access.ORGANIZER,
    "canShare": access.WRITER,
    "canTrashChildren": access.FILE_ORGANIZER,
}
"""The rank that each one needs."""


def drive_capabilities(database: Database, caller: Caller, node: Node) -> dict[str, bool]:
    """Return the caller's capabilities on a shared drive."""
    email = caller.email
    rank = access.rank(database, email, node)
    found = {name: rank >= needed for name, needed in DRIVE_CAPABILITIES.items()}
    readable = restrictions.may_download(database, email, node)
    return found | {"canCopy": readable, "canDownload": readable}


def file_capabilities(database: Database, caller: Caller, node: Node) -> dict[str, bool]:
    """Return the caller's capabilities on the file."""
    email = caller.email
    rank = access.rank(database, email, node)
    edit = rank >= access.WRITER
    own = rank >= (access.FILE_ORGANIZER if node.drive else access.OWNER)
    move = own if node.drive else edit
    remove = rank >= access.ORGANIZER if node.drive else own
    folder = node.is_folder
    is_root = not node.parent
    within_drive = folder and bool(node.drive)
    readable = restrictions.may_download(database, email, node)
    locked = restrictions.is_locked(node)
    owns = rank >= restrictions.owner_rank(node) and not folder
    owners = restrictions.is_owners(node.extra.get("contentRestrictions"))
    locks = owns or (edit and not folder and not owners)
    limits = access.may_limit(database, email, node)
    limited = node.has_limited_access
    above = access.Inheritance(database, email, listed=False)
    pending = node.permissions.get(person_id(email), {}).get("pendingOwner")
    drive = access.shared_drive(database, node)
    return {
        "canAcceptOwnership": bool(pending),
        "canAddFolderFromAnotherDrive": edit and folder,
        "canAddChildren": edit and folder,
        "canAddMyDriveParent": False,
        "canChangeCopyRequiresWriterPermission": own,
        "canChangeItemDownloadRestriction": owns,
        "canComment": rank >= access.COMMENTER and not locked,
        "canCopy": readable and not folder,
        "canDelete": remove and not is_root,
        "canDeleteChildren": rank >= access.ORGANIZER and within_drive,
        "canDisableInheritedPermissions": limits and not limited,
        "canDownload": readable and node.head is not None,
        "canEdit": edit,
        "canEnableInheritedPermissions": limits and limited,
        "canListChildren": folder and above.opens(node),
        "canModifyContent": edit and not locked,
        "canModifyContentRestriction": locks,
        "canModifyEditorContentRestriction": locks,
        "canModifyOwnerContentRestriction": owns,
        "canMoveChildrenOutOfDrive": remove and folder,
        "canMoveChildrenWithinDrive": move and folder,
        "canMoveItemOutOfDrive": remove and not is_root,
        "canMoveItemWithinDrive": move and not is_root,
        "canReadDrive": bool(node.drive) and access.rank(database, email, drive) > 0,
        "canReadRevisions": edit and not folder,
        "canRemoveChildren": edit and folder,
        "canRemoveContentRestriction": locked and locks,
        "canRename": edit and not is_root and not locked,
        "canShare": rank >= access.sharing_rank(database, node),
        "canTrash": own and not is_root,
        "canTrashChildren": own and within_drive,
        "canUntrash": own and not is_root,
    }
