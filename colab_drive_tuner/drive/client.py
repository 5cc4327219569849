"""Google Drive client: files and folders, with retries that never create a file twice.

Each creation carries an id that was reserved before. If the answer is lost and the request is
repeated, the server refuses the repetition (409).
"""

from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from colab_drive_tuner.credentials import find_credentials
from colab_drive_tuner.drive.file import (
    DriveFile,
    checked_mime_type,
    checked_properties,
    checked_text,
)
from colab_drive_tuner.drive.folders import FolderClient, new_body
from colab_drive_tuner.drive.requests.calls import ALL_DRIVES, WITH_FIELDS, Calls, checked_id
from colab_drive_tuner.drive.requests.endpoint import (
    Authorizer,
    Endpoint,
    emulator_authorizer,
    find_endpoint,
)
from colab_drive_tuner.drive.requests.retry_and_refusal import RetryPolicy
from colab_drive_tuner.drive.requests.transport import Transport
from colab_drive_tuner.drive.source import Source
from colab_drive_tuner.drive.transfer import create_content, download, replace_content, verified
from colab_drive_tuner.errors import IdTakenError
from colab_drive_tuner.local_files import replace_file
from colab_drive_tuner.progress_bars import Progress

BINARY = "application/octet-stream"


class DriveClient(FolderClient):
    """Client for one Google Drive account; thread-safe.

    Every call is retried during outages for at most `patience` seconds (an upload or download:
    since its last progress), then raises `UnavailableError`. Other errors are not retried.

    Args:
        signer: Signs requests; `connect` creates one from the credentials that it finds.
        endpoint: The address of Drive; None: Google's.
        patience: Seconds for which a call is retried.
        policy: A retry policy to use instead of `patience`.

    Example:
        >>> client = DriveClient.connect()
        >>> folder = client.folder("Experiments/2026")
        >>> notes = client.create_file("notes.txt", b"lr=0.1", parent=folder.id)
        >>> client.download(notes.id)
        b'lr=0.1'
    """

    def __init__(
        self,
        signer: Authorizer,
        *,
        endpoint: Endpoint | None = None,
        patience: float = 60.0,
        policy: RetryPolicy | None = None,
    ) -> None:
        self.signer, self.endpoint = signer, endpoint or Endpoint()
        policy = policy or RetryPolicy(patience)
        transport = Transport(signer, local=self.is_emulated, patience=policy.patience)
        super().__init__(Calls(self.endpoint, transport, policy))

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
        """Create a client for the account that is signed in, without a request to Drive.

        If DRIVE_EMULATOR_HOST is set, the client uses that emulator with DRIVE_EMULATOR_TOKEN; no
        credentials are looked up, and `credentials` is ignored.

        Args:
            credentials: The credentials to use; None tries each source in `credentials.SOURCES`.
            scopes: Scopes to request if the credentials allow a choice.
            allow_prompt: Whether the user of Colab's page may be prompted.
            browser_attached: Whether Colab's page answers; None tests it.
            patience: Seconds for which a call is retried, including the request for the first
                token.

        Raises:
            CredentialsError: Nobody is signed in, or the sign-in was refused.
            UnavailableError: The sign-in server did not answer in time.
        """
        endpoint, policy = find_endpoint(), RetryPolicy(patience)
        if endpoint.emulator_token is not None:
            signer = emulator_authorizer(endpoint.emulator_token, endpoint.origin)
            return cls(signer, endpoint=endpoint, policy=policy)
        found = find_credentials(
            credentials,
            allow_prompt=allow_prompt,
            scopes=scopes,
            browser_attached=browser_attached,
            retry=lambda ask: policy.run(ask, "a request for a token"),
        )
        return cls(Authorizer(found), policy=policy)

    def __repr__(self) -> str:
        return f"<DriveClient at {self.endpoint.origin}>"

    @property
    def is_emulated(self) -> bool:
        """Whether the client uses a local emulator."""
        return self.endpoint.emulator_token is not None

    def close(self) -> None:
        """Close idle connections; the client remains usable."""
        self._calls.transport.close()

    # Creating

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
        """Create a file with this content, verified by its SHA-256.

        Args:
            name: The file's name; need not be unique in the folder.
            content: Bytes, a file's path, or a stream, which is read from its current position.
            parent: The id of the folder.
            file_id: A reserved id; None uses a new one. With a given id, `IdTakenError` means that
                something was created under it before, perhaps this content by an attempt whose
                answer was lost. Without one such an attempt is recognized, and its file returned.
            mime_type: The content's MIME type.
            properties: Properties of the file, visible to all apps.
            progress: Called with the bytes sent and the total bytes, or None if unknown.

        Raises:
            IdTakenError: See `file_id`.
            QuotaError: No storage is left; says whose storage it is, and how much is used.
            ChecksumError: Drive stored something else than was sent.
        """
        reserved = file_id or self._next_id()
        body = new_body(reserved, name, mime_type, parent, properties)
        with self._explain_quota_errors(), Source.opened(content) as source:
            try:
                created = create_content(self._calls, body, source, progress)
            except IdTakenError:
                if file_id is not None:
                    raise
                created = self.get(reserved)
            return verified(self._calls, created, source)

    # Content

    def download(self, file_id: str) -> bytes:
        """Return a file's content, verified by its checksum.

        Args:
            file_id: The file's id.

        Raises:
            ChecksumError: The received bytes did not match Drive's checksum in several attempts.
        """
        sink = BytesIO()
        download(self._calls, file_id, sink)
        return sink.getvalue()

    def peek(self, file_id: str) -> bytes:
        """Return a small file's content, in one request and without verification.

        Args:
            file_id: The file's id.
        """
        request = self._calls.files.get_media(fileId=checked_id(file_id), **ALL_DRIVES)
        what = f"a download of the file {file_id}"
        return self._calls.policy.run(lambda: self._calls.transport.send(request, what).body, what)

    def download_file(
        self, file_id: str, path: str | Path, progress: Progress | None = None
    ) -> None:
        """Download a file to `path`, verified, atomically and in constant memory.

        Args:
            file_id: The file's id.
            path: The local file, which is replaced.
            progress: As in `create_file`.
        """
        replace_file(Path(path), lambda sink: download(self._calls, file_id, sink, progress))

    def update_content(
        self, file_id: str, content: bytes | Path | BinaryIO, *, mime_type: str = BINARY
    ) -> DriveFile:
        """Replace a file's content; of two concurrent calls the last one wins.

        Args:
            file_id: The file's id.
            content: As in `create_file`.
            mime_type: The content's MIME type.
        """
        with self._explain_quota_errors(), Source.opened(content) as source:
            file = replace_content(self._calls, file_id, source, checked_mime_type(mime_type))
            return verified(self._calls, file, source)

    # Changing

    def update_properties(self, file_id: str, properties: Mapping[str, str | None]) -> DriveFile:
        """Set some of a file's properties.

        Args:
            file_id: The file's id.
            properties: The new values; None removes a property. Key and value have at most 124
                bytes.
        """
        return self._update(
            file_id, {"properties": checked_properties(properties)}, "a change of properties of"
        )

    def rename(
        self, file_id: str, name: str, properties: Mapping[str, str | None] | None = None
    ) -> DriveFile:
        """Rename a file or folder, and set some of its properties in the same request.

        Args:
            file_id: Its id.
            name: The new name; need not be unique in the folder.
            properties: As in `update_properties`.
        """
        body = {"name": checked_text(name), "properties": checked_properties(properties or {})}
        return self._update(file_id, body, "the renaming of")

    def trash(self, file_id: str) -> None:
        """Move a file or a folder and its content to the trash, where it is kept for 30 days.

        Args:
            file_id: Its id.
        """
        self._update(file_id, {"trashed": True}, "the trashing of")

    def restore(self, file_id: str) -> None:
        """Move a file or a folder and its content out of the trash again.

        Args:
            file_id: Its id.
        """
        self._update(file_id, {"trashed": False}, "the restoration of")

    def _update(self, file_id: str, body: Mapping[str, Any], what: str) -> DriveFile:
        request = self._calls.files.update(fileId=checked_id(file_id), body=body, **WITH_FIELDS)
        return self._calls.file(request, f"{what} the file {file_id}")
