"""Drive's files and folders as plain methods: each either does what it says or raises.

No method ever makes a file twice: every creation carries an id that was reserved before, so the
repetition of one whose answer was lost is refused by the server (409) instead of obeyed.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from colab_drive_tuner.credentials import find_credentials
from colab_drive_tuner.drive.calls import DESCRIBED, EVERYWHERE, Calls, checked
from colab_drive_tuner.drive.download import download, replace_file
from colab_drive_tuner.drive.endpoint import Endpoint, find_endpoint
from colab_drive_tuner.drive.file import FOLDER, DriveFile, Quota
from colab_drive_tuner.drive.folders import open_folders
from colab_drive_tuner.drive.query import query
from colab_drive_tuner.drive.retry import RetryPolicy, TryAgainError
from colab_drive_tuner.drive.signing import Authorizer, at_emulator
from colab_drive_tuner.drive.source import Source
from colab_drive_tuner.drive.transport import Signer, Transport
from colab_drive_tuner.drive.upload import Progress, Target, media, upload
from colab_drive_tuner.errors import (
    ChecksumError,
    IdTakenError,
    QuotaError,
    StoreError,
    UnavailableError,
    UsageError,
)

BINARY = "application/octet-stream"
_POOL = 20
"""Ids reserved at once for files whose id nobody asked about."""


class DriveClient:
    """One account's view of Google Drive; safe to use from many threads at once.

    Every call is repeated through outages for `patience` seconds at most (an upload or download:
    since its last progress), then raises `UnavailableError`. Other errors are definite.
    """

    def __init__(
        self,
        signer: Signer,
        *,
        endpoint: Endpoint | None = None,
        patience: float = 60.0,
        policy: RetryPolicy | None = None,
    ) -> None:
        self.signer, self.endpoint = signer, endpoint or Endpoint()
        policy = policy or RetryPolicy(patience)
        transport = Transport(signer, local=self.is_emulated, patience=policy.patience)
        self._calls = Calls(self.endpoint, transport, policy)
        self._lock = threading.Lock()
        self._user: Mapping[str, Any] | None = None
        self._ids: tuple[int, list[str]] = (os.getpid(), [])

    @classmethod
    def connect(
        cls,
        credentials: Any = None,
        *,
        scopes: Iterable[str] | None = None,
        allow_prompt: bool = True,
        browser_attached: Callable[[], bool] | None = None,
        patience: float = 60.0,
    ) -> "DriveClient":
        """A client for whoever is signed in; asks Drive nothing yet.

        Where DRIVE_EMULATOR_HOST is set it talks to that emulator, with DRIVE_EMULATOR_TOKEN; no
        credentials are looked up then, and given ones are not used.

        Args:
            credentials: Whom to act as; None looks through `credentials.SOURCES`.
            scopes: What is asked for where the credentials can choose.
            allow_prompt: Whether a person at Colab's page may be asked.
            browser_attached: Whether Colab's page answers; None asks the runtime.
            patience: Seconds for which a call is repeated; also the one for the first token.

        Raises:
            CredentialsError: Nobody is signed in, or the sign-in was refused.
            UnavailableError: The sign-in server did not answer in time.
        """
        endpoint = find_endpoint()
        if endpoint.emulator_token is not None:
            signer = at_emulator(endpoint.emulator_token, endpoint.origin)
            return cls(signer, endpoint=endpoint, patience=patience)
        policy = RetryPolicy(patience)
        found = find_credentials(
            credentials,
            allow_prompt=allow_prompt,
            scopes=scopes,
            browser_attached=browser_attached,
            retry=lambda ask: policy.run(lambda: _sign_in(ask), "the question who is signed in"),
        )
        return cls(Authorizer(found), policy=policy)

    def __repr__(self) -> str:
        return f"<DriveClient at {self.endpoint.origin}>"

    @property
    def is_emulated(self) -> bool:
        """Whether this talks to a local emulator."""
        return self.endpoint.emulator_token is not None

    def close(self) -> None:
        """Close idle connections; the client can still be used."""
        self._calls.transport.close()

    # Who and when

    def account(self) -> str:
        """The e-mail address that this client acts as; asked for once."""
        if self._user is None:
            about = self._calls.about("the question who is signed in", "user")
            self._user = about.get("user", {})
        user = self._user
        return str(user.get("emailAddress") or user.get("permissionId") or "unknown")

    def quota(self) -> Quota:
        """How much storage the account uses now."""
        about = self._calls.about("the question how much is stored", "user,storageQuota")
        storage = about.get("storageQuota", {})
        limit = storage.get("limit")
        return Quota(int(storage.get("usage", 0)), None if limit is None else int(limit))

    def now(self) -> float:
        """Seconds since 1970 by Drive's clock, exact to about a second; asks it if it never has."""
        now = self._calls.transport.clock.now()
        if now is None:
            self._calls.about("the question what time it is", "user")
            now = self._calls.transport.clock.now()
        if now is None:
            raise UnavailableError("Google Drive did not say what time it is; try again later.")
        return now

    # Creating

    def generate_ids(self, count: int) -> list[str]:
        """Reserve `count` ids (at least 1) for this account."""
        ids: list[str] = []
        while len(ids) < count:
            block = min(count - len(ids), 1000)
            request = self._calls.files.generateIds(count=block, space="drive", fields="ids")
            data = self._calls.run(request, "a request for new ids", dict)
            if not data.get("ids"):
                raise StoreError("Google Drive reserved no ids for new files; try again later.")
            ids += data["ids"]
        return ids[:count]

    def create_file(
        self,
        name: str,
        content: bytes | Path | BinaryIO,
        *,
        parent: str,
        file_id: str | None = None,
        mime_type: str = BINARY,
        properties: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> DriveFile:
        """Store bytes, a file or the rest of a stream as a new file, verified by its sha256.

        With `file_id`, a reserved id, `IdTakenError` says that something was created under it
        before, perhaps this very content by an attempt whose answer was lost. Without it such an
        attempt is recognised, and its file returned.
        """
        reserved = file_id or self._take_id()
        body = _new(reserved, name, mime_type, parent, properties)
        request = self._calls.files.create(body=body, media_body=media(mime_type), **DESCRIBED)
        target = Target(request, mime_type, f"the upload of {name!r}")
        with self._explaining_quota(), Source.opened(content) as source:
            try:
                created = upload(
                    self._calls.transport, self._calls.policy, target, source, progress
                )
            except IdTakenError:
                if file_id is not None:
                    raise
                created = self.get(reserved)
            return self._verified(created, source)

    def create_folder(
        self,
        name: str,
        *,
        parent: str,
        file_id: str | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> DriveFile:
        """Make a folder; `file_id` as in `create_file`."""
        reserved = file_id or self._take_id()
        body = _new(reserved, name, FOLDER, parent, properties)
        request = self._calls.files.create(body=body, **DESCRIBED)
        try:
            with self._explaining_quota():
                return self._calls.file(request, f"the creation of folder {name!r}")
        except IdTakenError:
            if file_id is not None:
                raise
            return self.get(reserved)

    # Finding

    def get(self, file_id: str) -> DriveFile:
        """Describe a file; one in the trash says so. Raises `NotFoundError`."""
        request = self._calls.files.get(fileId=checked(file_id), **DESCRIBED)
        return self._calls.file(request, f"a question about the file {file_id}")

    def find(
        self,
        name: str | None = None,
        *,
        parent: str | None = None,
        mime_types: Iterable[str] | None = None,
    ) -> list[DriveFile]:
        """Every file with exactly this name, folder and kind that is not in the trash; may lag."""
        files = self._calls.list(query(name=name, parent=parent, mime_types=mime_types))
        # The server's `=` is not documented to mind upper and lower case.
        return [file for file in files if name is None or file.name == name]

    def list_folder(self, parent: str, name: str | None = None) -> list[DriveFile]:
        """What lies directly in a folder, trash excluded; may lag by minutes."""
        return self.find(name, parent=parent)

    def find_marked(self, properties: Mapping[str, str]) -> list[DriveFile]:
        """Every file and folder with all these properties, in the trash or not; may lag."""
        return self._calls.list(query(properties=properties, trashed=None))

    def list_trash(self, parent: str) -> list[DriveFile]:
        """What of a folder lies in the trash; may lag by minutes."""
        return self._calls.list(query(parent=parent, trashed=True))

    def folder(self, place: str, create: bool = True) -> DriveFile:
        """The folder at a path in My Drive, by its id, or by the link that the browser shows.

        A path's missing folders are made, unless `create` is false: then `NotFoundError`.
        Of several at one path it is the oldest. Raises `UsageError` where `place` is, or leads
        through, something that is no folder.
        """
        return self.folders(place, create)[0]

    def folders(self, place: str, create: bool = True) -> list[DriveFile]:
        """As `folder`, and after it the younger ones at the same path.

        Runtimes that made it at the same moment made one each, which lists may show late.
        """
        return open_folders(self, place, create=create)

    # Content

    def download(self, file_id: str) -> bytes:
        """A file's content, verified by its checksum."""
        sink = BytesIO()
        self._download(file_id, sink, None)
        return sink.getvalue()

    def peek(self, file_id: str) -> bytes:
        """A small file's content as it arrives, by one request: perhaps cut off, or altered."""
        request = self._calls.files.get_media(fileId=checked(file_id), **EVERYWHERE)
        what = f"a download of the file {file_id}"
        return self._calls.policy.run(lambda: self._calls.transport.send(request, what).body, what)

    def download_file(
        self, file_id: str, path: str | Path, progress: Progress | None = None
    ) -> None:
        """Write a file's content to `path`, verified, in one step; memory does not depend on it."""
        replace_file(Path(path), lambda sink: self._download(file_id, sink, progress))

    def update_content(
        self, file_id: str, content: bytes | Path | BinaryIO, *, mime_type: str = BINARY
    ) -> DriveFile:
        """Replace a file's content; of two who do so at once, the last one wins."""
        with self._explaining_quota(), Source.opened(content) as source:
            return self._verified(self._update(file_id, source, mime_type), source)

    # Changing

    def update_properties(self, file_id: str, properties: Mapping[str, str | None]) -> DriveFile:
        """Set properties (None removes one) and leave the others; key and value <= 124 bytes."""
        for key, value in properties.items():
            if len(f"{key}{value or ''}".encode()) > 124:
                raise UsageError(
                    f"The property {key!r} is too long: Drive takes 124 bytes for key and value."
                )
        return self._change(file_id, {"properties": dict(properties)}, "a mark on")

    def trash(self, file_id: str) -> None:
        """Move a file, or a folder with what lies in it, to the trash, where it stays 30 days."""
        self._change(file_id, {"trashed": True}, "a request to trash")

    # The calls themselves

    def _change(self, file_id: str, body: Mapping[str, Any], what: str) -> DriveFile:
        request = self._calls.files.update(fileId=checked(file_id), body=body, **DESCRIBED)
        return self._calls.file(request, f"{what} the file {file_id}")

    def _update(self, file_id: str, source: Source, mime_type: str) -> DriveFile:
        request = self._calls.files.update(
            fileId=checked(file_id), body={}, media_body=media(mime_type), **DESCRIBED
        )
        target = Target(request, mime_type, f"new content for the file {file_id}")
        return upload(self._calls.transport, self._calls.policy, target, source)

    def _verified(self, file: DriveFile, source: Source) -> DriveFile:
        """The file, once Drive names the sum of what was to be sent; sends it again if need be."""
        source.finish()
        if not source.is_held_by(file):
            # Perhaps the description was altered on its way, and not the content.
            file = self.get(file.id)
        if not source.is_held_by(file) and source.can_restart:
            file = self._update(file.id, source, file.mime_type)
        if source.is_held_by(file):
            return file
        raise ChecksumError(
            f"What Drive stored as {file.name!r} ({file.id}) is not what was sent: its sum is "
            f"{file.sha256} instead of {source.sha256}. Upload it again."
        )

    def _download(self, file_id: str, sink: BinaryIO, progress: Progress | None) -> None:
        calls, describe = self._calls, partial(self.get, file_id)
        request = calls.files.get_media(fileId=checked(file_id), **EVERYWHERE)
        download(calls.transport, calls.policy, request, describe, sink, progress=progress)

    def _take_id(self) -> str:
        with self._lock:
            pid, ids = self._ids
            # A forked child must not use what its parent has reserved.
            if pid == os.getpid() and ids:
                return ids.pop()
        # Outside of the lock: in an outage each thread is to lose its own patience only.
        ids = self.generate_ids(_POOL)
        with self._lock:
            self._ids = (os.getpid(), ids)
            return ids.pop()

    @contextmanager
    def _explaining_quota(self) -> Iterator[None]:
        try:
            yield
        except QuotaError as error:
            if "storageQuotaExceeded" not in str(error):
                raise
            raise QuotaError(f"{error} {self._whose_storage()}") from None

    def _whose_storage(self) -> str:
        account = self.account()
        if account.endswith(".gserviceaccount.com"):
            return (
                f"The service account {account} owns no storage: choose a folder in a shared drive "
                "that it is a member of, let it act for a user (delegation), or sign in as a user."
            )
        quota = self.quota()
        limit = "no limit" if quota.limit is None else f"{quota.limit / 1e9:.2f} GB"
        return f"{account} uses {quota.used / 1e9:.2f} GB of {limit}."


def _sign_in(ask: Callable[[], None]) -> None:
    try:
        ask()
    except UnavailableError:
        raise TryAgainError("Google's sign-in server was silent or busy") from None


def _new(
    file_id: str, name: str, mime_type: str, parent: str, properties: Mapping[str, str] | None
) -> dict[str, Any]:
    return {
        "id": file_id,
        "name": name,
        "mimeType": mime_type,
        "parents": [parent],
        "properties": dict(properties or {}),
    }
