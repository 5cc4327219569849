"""Google's error responses: one exception type, and a constructor for each error of Drive.

Statuses, reasons and bodies follow "Resolve errors" of the Drive documentation
(developers.google.com/workspace/drive/api/guides/handle-errors); messages missing in the guide are
those reported by users of the live service.
"""

from dataclasses import KW_ONLY, dataclass, field
from typing import Any

STATUS_NAMES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}


@dataclass(eq=False)
class ApiError(Exception):
    """An error response: HTTP status, Google's reason and a message."""

    status: int
    reason: str
    message: str
    _: KW_ONLY
    location: str | None = None
    location_type: str = "parameter"
    domain: str = "global"
    headers: dict[str, str] = field(default_factory=dict)
    rpc: bool = False
    """Whether it comes from Google's front end, which checks credentials, scopes and parameters."""

    def body(self) -> dict[str, Any]:
        """Return the JSON body: `error.code`, `error.message` and `error.errors[].reason`."""
        entry = {"message": self.message, "domain": self.domain, "reason": self.reason}
        if self.location is not None:
            entry |= {"location": self.location, "locationType": self.location_type}
        error: dict[str, Any] = {"code": self.status, "message": self.message, "errors": [entry]}
        if self.rpc:
            error["status"] = STATUS_NAMES.get(self.status, "UNKNOWN")
        return {"error": error}


def file_not_found(file_id: str) -> ApiError:
    """404: the file does not exist, or the caller may not see it."""
    return ApiError(404, "notFound", f"File not found: {file_id}.", location="fileId")


def drive_not_found(drive_id: str) -> ApiError:
    """404: the shared drive does not exist, or the caller is not a member."""
    return ApiError(404, "notFound", f"Shared drive not found: {drive_id}", location="driveId")


def invalid(location: str, message: str = "Invalid Value") -> ApiError:
    """400 `invalid`: a parameter has an unusable value."""
    return ApiError(400, "invalid", message, location=location)


def invalid_parameter(location: str, message: str) -> ApiError:
    """400 `invalidParameter`: a parameter is out of range, of another type, or malformed."""
    return ApiError(400, "invalidParameter", message, location=location)


def bad_request(message: str = "Bad Request") -> ApiError:
    """400 `badRequest`: the request as a whole is invalid."""
    return ApiError(400, "badRequest", message)


def not_json(content_type: str) -> ApiError:
    """400: the body should be JSON, and its type says that it is something else."""
    if content_type == "application/x-www-form-urlencoded":
        message = "This API does not support parsing form-encoded input."
        return ApiError(400, "parseError", message)
    return ApiError(400, "badContent", f"Unsupported content with type: {content_type}")


def too_large() -> ApiError:
    """413: the body is longer than this call can need."""
    return ApiError(413, "requestTooLarge", "Request Entity Too Large")


def forbidden(reason: str, message: str) -> ApiError:
    """403 with one of Drive's reasons."""
    return ApiError(403, reason, message)


def no_permission(file_id: str) -> ApiError:
    """403: the caller may see the file but not do this with it."""
    return forbidden(
        "insufficientFilePermissions",
        f"The user does not have sufficient permissions for file {file_id}.",
    )


def parent_not_a_folder() -> ApiError:
    """403: the parent of a new or moved file is not a folder."""
    return forbidden("parentNotAFolder", "The specified parent is not a folder.")


def not_for_app_data(
    message: str = "Method not supported for files within the Application Data folder.",
) -> ApiError:
    """403: app data is neither trashed, shared nor moved ("Store application-specific data")."""
    return forbidden("notSupportedForAppDataFolderFiles", message)


def not_writable() -> ApiError:
    """403: the body sets a read-only field."""
    return forbidden(
        "fieldNotWritable",
        "The resource body includes fields which are not directly writable.",
    )


def id_in_use() -> ApiError:
    """409: a file was created with this id before ("Create and manage files")."""
    return ApiError(
        409,
        "fileIdInUse",
        "A file already exists with the provided ID.",
        location="file.id",
        location_type="other",
    )


def id_not_usable() -> ApiError:
    """400: the id was not generated for this user, or not for this kind of file."""
    return ApiError(
        400,
        "invalid",
        "The provided file ID is not usable.",
        location="file.id",
        location_type="other",
    )


def too_many_parents() -> ApiError:
    """403: a file has one parent, to which another cannot be added; as observed by many."""
    return forbidden("cannotAddParent", "Increasing the number of parents is not allowed")


def not_emulated(method: str) -> ApiError:
    """501: the emulator does not implement this method."""
    return ApiError(501, "notImplemented", f"The emulator does not know {method}.")


def no_conversion(method: str) -> ApiError:
    """501: a call that would convert to or from a Docs Editors format."""
    message = f"The emulator does not convert documents, as this call of {method} asks for."
    return ApiError(501, "notImplemented", message)


def condition_not_met(header: str) -> ApiError:
    """412: If-Match names another version, or If-None-Match the current one."""
    return ApiError(
        412, "conditionNotMet", "Precondition Failed", location=header, location_type="header"
    )


CHALLENGE = 'Bearer realm="https://accounts.google.com/"'


def no_credentials() -> ApiError:
    """403: neither a token nor an API key; a client that waits for a 401 fails."""
    return ApiError(
        403,
        "forbidden",
        "Method doesn't allow unregistered callers (callers without established identity). Please "
        "use API Key or other form of API consumer identity to call this API.",
        rpc=True,
    )


def not_signed_in() -> ApiError:
    """401: no token, but an API key or so; the challenge then has no error code (RFC 6750)."""
    return _unauthenticated("required", "Login Required.", CHALLENGE)


def invalid_token(message: str = "Invalid Credentials") -> ApiError:
    """401: the token is unknown, revoked or expired.

    Google's Java client renews a token only if the challenge says `invalid_token`.
    """
    return _unauthenticated("authError", message, f'{CHALLENGE}, error="invalid_token"')


def _unauthenticated(reason: str, message: str, challenge: str) -> ApiError:
    return ApiError(
        401,
        reason,
        message,
        location="Authorization",
        location_type="header",
        headers={"WWW-Authenticate": challenge},
        rpc=True,
    )


def insufficient_scopes() -> ApiError:
    """403: the token was not granted a scope that this method needs."""
    return ApiError(
        403,
        "insufficientPermissions",
        "Request had insufficient authentication scopes.",
        headers={"WWW-Authenticate": f'{CHALLENGE}, error="insufficient_scope"'},
        rpc=True,
    )


def insufficient_spaces() -> ApiError:
    """403: the token was not granted the scope of a requested space."""
    return forbidden(
        "insufficientScopes",
        "The granted scopes do not give access to all of the requested spaces.",
    )


def quota_exceeded() -> ApiError:
    """403: the storage quota is used up."""
    return forbidden("storageQuotaExceeded", "The user's Drive storage quota has been exceeded.")


def no_storage() -> ApiError:
    """403: service accounts own no storage; the message is the live service's since 2025."""
    return forbidden(
        "storageQuotaExceeded",
        "Service Accounts do not have storage quota. Leverage shared drives "
        "(https://developers.google.com/workspace/drive/api/guides/about-shareddrives), "
        "or use OAuth delegation (http://support.google.com/a/answer/7281227) instead.",
    )
