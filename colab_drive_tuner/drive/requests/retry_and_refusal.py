"""Retries of calls to Drive, and its refusals as a retry or an error with advice.

Every call can be repeated: reads and updates are idempotent, and creations carry a reserved id. So
the policy does not depend on the call.
"""

import itertools
import json
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from colab_drive_tuner.credentials import SCOPE_ALL, SCOPE_FILE, SCOPE_READ
from colab_drive_tuner.credentials.http_session import redact
from colab_drive_tuner.errors import (
    ColabDriveTunerError,
    CredentialsError,
    IdTakenError,
    NotFoundError,
    QuotaError,
    RefusedError,
    StoreError,
    UnavailableError,
    UsageError,
)
from colab_drive_tuner.text import visible

T = TypeVar("T")

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

_LONGEST_PAUSE = 16.0
_uniform = random.Random().uniform  # noqa: S311  # no secret
"""A separate generator: retries must not affect training that uses the global `random`."""
REFUSED_PATIENCE = 5.0
"""Time limit in seconds if the connection is refused, because the server rarely comes back soon."""

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


@dataclass(eq=False)
class TryAgainError(Exception):
    """An attempt failed and can be repeated; never raised outside of `drive/`."""

    reason: str
    after: float = 0.0
    """Seconds from the server's Retry-After header."""
    patience: float = float("inf")
    """Upper limit for the policy's patience."""
    hint: str = ""
    """A sentence for the user if all attempts fail."""


@dataclass(frozen=True)
class RetryPolicy:
    """Truncated exponential backoff with jitter, for at most `patience` seconds in total."""

    patience: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    """Tests pass a clock that `sleep` advances."""

    def __post_init__(self) -> None:
        if not (isinstance(self.patience, int | float) and self.patience > 0):
            raise UsageError(f"patience must be a number of seconds above 0, got {self.patience!r}")

    def run(self, attempt: Callable[[], T], what: str) -> T:
        """Call `attempt` until it no longer raises `TryAgainError`, and return its result.

        Silence of the sign-in server (`UnavailableError`) is tried again, too.
        Raises `UnavailableError` if the next pause would exceed the time limit; `what` completes
        the message "Google Drive did not answer ...".
        """
        start = self.clock()
        for number in itertools.count():
            try:
                return attempt()
            except TryAgainError as error:
                failure = error
            except UnavailableError:  # raised for the request for a token
                failure = TryAgainError("Google's sign-in server was silent or busy")
            waited, pause = self.clock() - start, max(self._pause(number), failure.after)
            if waited + pause >= min(self.patience, failure.patience):
                break
            self.sleep(pause)
        # Without a cause, whose text may contain an upload's secret URL.
        raise UnavailableError(
            f"Google Drive did not answer {what} ({failure.reason}; tried for {waited:.0f} s). "
            + (failure.hint or "Try again when the connection is back.")
        )

    def _pause(self, number: int) -> float:
        """Return the seconds before another attempt after the one with this number."""
        if number == 0:  # usually a pooled connection had been closed
            return _uniform(0.0, 0.2)
        doublings = min(number, 60)  # a day's attempts exceed any float
        return min(0.5 * 2.0**doublings, _LONGEST_PAUSE) * _uniform(0.5, 1.0)


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
            for listed in (error.get("errors"), error.get("details"))
            for detail in (listed if isinstance(listed, list) else ())
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

    def error(self, what: str, *, after: float = 0.0, uploading: bool = False) -> Exception:
        """Return the error for the call `what`, which may be repeated `after` these seconds."""
        status = f"{self.status} {self.reason}".strip()
        if self.is_transient:
            capped = uploading and self.reason == "userRateLimitExceeded"
            if self.status == 429 or self.reason in _LIMIT_REASONS:
                after = max(after, _LIMIT_PAUSE)
            return TryAgainError(f"it answered {status}", after, hint=_UPLOAD_CAP if capped else "")
        answer = f"{status}: {self.message}" if self.message else status
        kind, advice = _FATAL.get(self.reason) or _BY_STATUS.get(self.status) or _OTHER
        return kind(f"Google Drive refused {what} ({answer}). {advice}")


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds of a Retry-After header, a number or a date; 0 if it has neither."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        moment, now = (parsedate_to_datetime(one) for one in (value, headers["Date"]))
    except (ValueError, KeyError, OverflowError):
        return 0.0
    return max(0.0, (moment.replace(tzinfo=UTC) - now.replace(tzinfo=UTC)).total_seconds())
