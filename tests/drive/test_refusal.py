"""Drive's error responses: the exception for each documented reason."""

import json

import pytest

from colab_drive_tuner.drive.requests.retry_and_refusal import Refusal, TryAgainError, retry_after
from colab_drive_tuner.errors import (
    CredentialsError,
    IdTakenError,
    NotFoundError,
    QuotaError,
    RefusedError,
    StoreError,
)


def refusal(status, reason, message="Google's own words"):
    body = {"error": {"code": status, "message": message, "errors": [{"reason": reason}]}}
    return Refusal.read(status, json.dumps(body).encode())


def error(status, reason, uploading=False):
    return refusal(status, reason).error("the call", after=3.0, uploading=uploading)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (429, "rateLimitExceeded"),
        (403, "rateLimitExceeded"),
        (403, "userRateLimitExceeded"),
        (408, ""),
        (500, "internalError"),
        (500, "backendError"),
        (502, ""),
        (503, "backendError"),
        (504, ""),
    ],
)
def test_transient(status, reason):
    """These errors are retried, with the server's Retry-After."""
    raised = error(status, reason)
    assert isinstance(raised, TryAgainError)
    assert raised.after == 3.0


@pytest.mark.parametrize(
    ("status", "reason", "kind", "advice"),
    [
        (401, "authError", CredentialsError, "sign in again"),
        (403, "storageQuotaExceeded", QuotaError, "Free some space"),
        (403, "dailyLimitExceeded", QuotaError, "another project"),
        (403, "activeItemCreationLimitExceeded", QuotaError, "delete some"),
        (403, "downloadQuotaExceeded", QuotaError, "wait a day"),
        (403, "accessNotConfigured", RefusedError, "Enable the Google Drive API"),
        (403, "insufficientPermissions", CredentialsError, "drive.readonly"),
        (403, "insufficientFilePermissions", RefusedError, "edit rights"),
        (403, "appNotAuthorizedToFile", RefusedError, "drive.file"),
        (403, "numChildrenInNonRootLimitExceeded", QuotaError, "another one"),
        (403, "cannotDownloadAbusiveFile", RefusedError, "malware"),
        (403, "fileNotDownloadable", RefusedError, "export"),
        (403, "somethingNew", RefusedError, "may use"),
        (404, "notFound", NotFoundError, "may not see it"),
        (409, "fileIdInUse", IdTakenError, "created under this id"),
        (409, "duplicate", IdTakenError, "created under this id"),
        (400, "invalid", StoreError, "report"),
    ],
)
def test_fatal(status, reason, kind, advice):
    """These errors are raised at once, with Google's message and the remedy."""
    raised = error(status, reason)
    assert type(raised) is kind
    assert "Google's own words" in str(raised)
    assert advice in str(raised)


@pytest.mark.parametrize(
    ("status", "reason"), [(429, ""), (403, "rateLimitExceeded"), (403, "userRateLimitExceeded")]
)
def test_a_limit_is_not_tried_again_at_once(status, reason):
    """A rate limit is retried after a second at least, because a request counts towards it.

    Other failures may be retried at once.
    """
    assert refusal(status, reason).error("the call", after=0.0).after == 1.0
    assert refusal(status, reason).error("the call", after=9.0).after == 9.0
    assert refusal(503, "backendError").error("the call", after=0.0).after == 0.0


def test_the_upload_cap_is_named():
    """The hint of a rate limit on uploads names the daily cap of 750 GB."""
    assert "750 GB" in error(403, "userRateLimitExceeded", uploading=True).hint
    assert error(403, "userRateLimitExceeded").hint == ""


def test_newer_bodies_tell_the_reason_in_details():
    """A missing scope is recognised in both forms of Google's error bodies."""
    body = {
        "error": {
            "message": "scopes",
            "errors": [{"reason": "forbidden"}],
            "details": [{"reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT"}],
        }
    }
    read = Refusal.read(403, json.dumps(body).encode())
    assert isinstance(read.error("x"), CredentialsError)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b"[]", b"3", b'{"error": "invalid_grant"}', b'{"error": null}', b"\xff"),
        *(b"[" * 100_000, b'{"error": {"errors": 5, "details": true}}'),
    ],
    ids=range(9),
)
def test_foreign_bodies_do_no_harm(body):
    """An error body that is not Google's, such as a proxy's page, is judged by its status alone."""
    assert Refusal.read(502, body).is_transient
    assert isinstance(Refusal.read(403, body).error("x"), RefusedError)


def test_retry_after_in_both_forms():
    """Retry-After is read as seconds or a date; nonsense and past dates count as zero."""
    now = {"Date": "Mon, 23 Nov 2026 12:00:00 GMT"}
    assert retry_after({"Retry-After": "7"}) == 7
    assert retry_after({"Retry-After": "Mon, 23 Nov 2026 12:00:30 GMT"} | now) == 30
    assert retry_after({"Retry-After": "Mon, 23 Nov 2026 11:00:00 GMT"} | now) == 0
    assert retry_after({"Retry-After": "soon"} | now) == 0
    assert retry_after({"Retry-After": "Mon, 23 Nov 99999999999999999999 12:00 GMT"} | now) == 0
    assert retry_after({}) == 0
