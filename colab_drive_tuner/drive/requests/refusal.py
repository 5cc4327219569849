"""Refusals of Drive: status and reason are translated into a retry or an error with advice."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from colab_drive_tuner.credentials import SCOPE_ALL, SCOPE_FILE, SCOPE_READ
from colab_drive_tuner.credentials.http_session import redact
from colab_drive_tuner.drive.requests.retry_policy import TryAgainError
from colab_drive_tuner.errors import (
    ColabDriveTunerError,
    CredentialsError,
    IdTakenError,
    NotFoundError,
    QuotaError,
    RefusedError,
    StoreError,
)
from colab_drive_tuner.text import visible

_LIMIT_REASONS = {"rateLimitExceeded", "userRateLimitExceeded", "sharingRateLimitExceeded"}
_TRANSIENT_REASONS = {*_LIMIT_REASONS, "backendError", "internalError"}
_LIMIT_PAUSE = 1.0
"""Minimum pause in seconds: all threads share the same rate limit."""
_UPLOAD_CAP = (
    "If uploads keep being refused: Google lets one account upload 750 GB a day; wait a day."
)
_SCOPES_MISSING = (
    f"The sign-in lacks a permission (scope). Checkpoints need {SCOPE_FILE}; reading a "
    f"notebook that Colab made needs {SCOPE_READ}. Sign in again and allow it."
)

# reason -> (error, what to do)
_FATAL: dict[str, tuple[type[ColabDriveTunerError], str]] = {
    "storageQuotaExceeded": (QuotaError, "Free some space in this account, or use another folder."),
    "teamDriveFileLimitExceeded": (QuotaError, "The shared drive is full of items: remove some."),
    "numChildrenInNonRootLimitExceeded": (
        QuotaError,
        "The folder holds as many items as Drive allows: choose another one with folder=.",
    ),
    "activeItemCreationLimitExceeded": (
        QuotaError,
        "The account has made as many items as Drive allows: delete some for good.",
    ),
    "downloadQuotaExceeded": (
        QuotaError,
        "The file was downloaded too often lately: wait a day, or use a copy of it.",
    ),
    "dailyLimitExceeded": (
        QuotaError,
        (
            "The Google Cloud project behind this sign-in has used its calls for today: wait a "
            "day, or sign in with another project."
        ),
    ),
    "accessNotConfigured": (
        RefusedError,
        "Enable the Google Drive API in the Google Cloud project behind this sign-in.",
    ),
    "insufficientPermissions": (CredentialsError, _SCOPES_MISSING),
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": (CredentialsError, _SCOPES_MISSING),
    "insufficientFilePermissions": (
        RefusedError,
        (
            "This account may not change the file: ask its owner for edit rights, or choose "
            "another folder."
        ),
    ),
    "appNotAuthorizedToFile": (
        RefusedError,
        (
            "With the scope drive.file an app sees only files that it made: use the folder that "
            f"this sign-in created, or sign in with {SCOPE_ALL}."
        ),
    ),
    "cannotDownloadAbusiveFile": (
        RefusedError,
        "Google holds the file for malware or spam; only its owner can fetch it, in the browser.",
    ),
    "fileNotDownloadable": (
        RefusedError,
        "It is a Google document without bytes of its own: export it, or choose another file.",
    ),
    "domainPolicy": (RefusedError, "The administrator of this account's domain forbids it."),
}
_BY_STATUS: dict[int, tuple[type[ColabDriveTunerError], str]] = {
    401: (
        CredentialsError,
        "The sign-in has expired or was revoked: sign in again; nothing is lost.",
    ),
    403: (RefusedError, "Check that this account may use the file or folder."),
    404: (
        NotFoundError,
        (
            "It does not exist, or this account may not see it; with the scope drive.file an app "
            "sees only what it made itself."
        ),
    ),
    409: (IdTakenError, "Something was created under this id before."),
}
_OTHER = (StoreError, "This is not expected to pass by itself; please report it.")


@dataclass(frozen=True)
class Refusal:
    """An answer other than 2xx: its status, and Google's reason and message."""

    status: int
    reason: str
    message: str

    @classmethod
    def read(cls, status: int, body: bytes, secrets: Iterable[str] = ()) -> "Refusal":
        """Parse Google's error body; the reason is empty if the body is not Google's.

        The server has seen the request, so its `secrets` are removed from the message.
        """
        try:
            error: Any = json.loads(body).get("error", {})
        except (ValueError, AttributeError, RecursionError):
            error = {}
        if not isinstance(error, Mapping):
            error = {"message": str(error)}
        details = [
            detail
            for key in ("errors", "details")
            for detail in error.get(key) or ()
            if isinstance(detail, Mapping) and detail.get("reason")
        ]
        # Newer bodies have the specific reason in `details`; `errors` then has only "forbidden".
        known = [str(d["reason"]) for d in details if str(d["reason"]) in _FATAL]
        reason = known[0] if known else str(details[0]["reason"]) if details else ""
        secrets = list(secrets)
        if not re.fullmatch(r"\w{1,60}", redact(reason, secrets)):
            reason = ""  # not Google's
        return cls(status, reason, visible(redact(str(error.get("message", "")), secrets)))

    @property
    def is_transient(self) -> bool:
        """Whether the same call may succeed later."""
        if self.status == 403:
            return self.reason in _TRANSIENT_REASONS
        return self.status in {408, 429} or self.status >= 500

    def error(self, what: str, *, after: float, uploading: bool) -> Exception:
        """Return the error for the call `what`; `after` is the value of Retry-After."""
        status = f"{self.status} {self.reason}".strip()
        if self.is_transient:
            capped = uploading and self.reason == "userRateLimitExceeded"
            if self.status == 429 or self.reason in _LIMIT_REASONS:
                after = max(after, _LIMIT_PAUSE)
            return TryAgainError(
                f"it answered {status}", after=after, hint=_UPLOAD_CAP if capped else ""
            )
        answer = f"{status}: {self.message}" if self.message else status
        kind, advice = _FATAL.get(self.reason) or _BY_STATUS.get(self.status) or _OTHER
        return kind(f"Google Drive refused {what} ({answer}). {advice}")


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds of a Retry-After header; 0 if there is none, or a date in place of it."""
    value = headers.get("Retry-After", "").strip()
    return float(value) if value.isdecimal() else 0.0
