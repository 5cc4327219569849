"""Client of Google Drive: files and folders as plain methods that do what they say, or raise.

No method ever makes a file twice: every creation carries an id that was reserved before, so the
repetition of one whose answer was lost is refused by the server (409) instead of obeyed.
"""

from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from colab_drive_tuner.credentials import find_credentials
from colab_drive_tuner.drive.file import DriveFile
from colab_drive_tuner.drive.folders import FolderClient, new_body
from colab_drive_tuner.drive.requests.calls import DESCRIBED, EVERYWHERE, Calls, checked
from colab_drive_tuner.drive.requests.endpoint import Endpoint, find_endpoint
from colab_drive_tuner.drive.requests.retry import RetryPolicy, TryAgainError
from colab_drive_tuner.drive.requests.signing import Authorizer, at_emulator
from colab_drive_tuner.drive.requests.transport import Transport
from colab_drive_tuner.drive.transfers.content import create_content, replace_content, verified
from colab_drive_tuner.drive.transfers.download import download
from colab_drive_tuner.drive.transfers.source import Source
from colab_drive_tuner.drive.transfers.upload import Progress
from colab_drive_tuner.errors import IdTakenError, UnavailableError, UsageError
from colab_drive_tuner.local_files import replace_file

BINARY = "application/octet-stream"


class DriveClient(FolderClient):
    """One account's view of Google Drive; safe to use from many threads at once.

    Every call is repeated through outages for `patience` seconds at most (an upload or download:
    since its last progress), then raises `UnavailableError`. Other errors are definite.

    Args:
        signer: Signs requests; `connect` makes one of the credentials that it finds.
        endpoint: The address of Drive; None: Google's.
        patience: Seconds for which a call is repeated.
        policy: How calls are repeated, in place of `patience`.

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
        """Store content as a new file, verified by its sha256.

        Args:
            name: The file's name; others in the folder may have the same.
            content: Bytes, a file, or a stream, of which the rest is stored.
            parent: The id of the folder.
            file_id: A reserved id; None takes one. With it, `IdTakenError` says that something was
                created under it before, perhaps this very content by an attempt whose answer was
                lost. Without it such an attempt is recognised, and its file returned.
            mime_type: The kind of the content.
            properties: Properties of the file that every app sees.
            progress: Called with the bytes that were sent, and with those there are, where known.

        Raises:
            IdTakenError: See `file_id`.
            QuotaError: No room is left; says whose storage it is, and how much is used.
            ChecksumError: What Drive stored is not what was sent.
        """
        reserved = file_id or self._take_id()
        body = new_body(reserved, name, mime_type, parent, properties)
        with self._explaining_quota(), Source.opened(content) as source:
            try:
                created = create_content(self._calls, body, source, progress)
            except IdTakenError:
                if file_id is not None:
                    raise
                created = self.get(reserved)
            return verified(self._calls, created, source)

    # Content

    def download(self, file_id: str) -> bytes:
        """Fetch a file's content, verified by its checksum.

        Args:
            file_id: The file's id.

        Raises:
            ChecksumError: The bytes that arrived are not those that Drive names, several times.
        """
        sink = BytesIO()
        download(self._calls, file_id, sink)
        return sink.getvalue()

    def peek(self, file_id: str) -> bytes:
        """Fetch a small file's content by one request: perhaps cut off, or altered.

        Args:
            file_id: The file's id.
        """
        request = self._calls.files.get_media(fileId=checked(file_id), **EVERYWHERE)
        what = f"a download of the file {file_id}"
        return self._calls.policy.run(lambda: self._calls.transport.send(request, what).body, what)

    def download_file(
        self, file_id: str, path: str | Path, progress: Progress | None = None
    ) -> None:
        """Write a file's content to this disk, verified, in one step and in constant memory.

        Args:
            file_id: The file's id.
            path: The file here, which is replaced.
            progress: As in `create_file`.
        """
        replace_file(Path(path), lambda sink: download(self._calls, file_id, sink, progress))

    def update_content(
        self, file_id: str, content: bytes | Path | BinaryIO, *, mime_type: str = BINARY
    ) -> DriveFile:
        """Replace a file's content; of two who do so at once, the last one wins.

        Args:
            file_id: The file's id.
            content: As in `create_file`.
            mime_type: The kind of the content.
        """
        with self._explaining_quota(), Source.opened(content) as source:
            file = replace_content(self._calls, file_id, source, mime_type)
            return verified(self._calls, file, source)

    # Changing

    def update_properties(self, file_id: str, properties: Mapping[str, str | None]) -> DriveFile:
        """Set some of a file's properties.

        Args:
            file_id: The file's id.
            properties: Their new values; None removes one. Key and value have 124 bytes at most.
        """
        return self._change(file_id, {"properties": _marks(properties)}, "a mark on")

    def rename(
        self, file_id: str, name: str, properties: Mapping[str, str | None] | None = None
    ) -> DriveFile:
        """Give a file or folder another name, and set some of its properties by the same request.

        Args:
            file_id: Its id.
            name: The new name; others in the folder may have the same.
            properties: As in `update_properties`.
        """
        body = {"name": name, "properties": _marks(properties or {})}
        return self._change(file_id, body, "another name for")

    def trash(self, file_id: str) -> None:
        """Move a file, or a folder with what lies in it, to the trash, where it stays 30 days.

        Args:
            file_id: Its id.
        """
        self._change(file_id, {"trashed": True}, "a request to trash")

    # The calls themselves

    def _change(self, file_id: str, body: Mapping[str, Any], what: str) -> DriveFile:
        request = self._calls.files.update(fileId=checked(file_id), body=body, **DESCRIBED)
        return self._calls.file(request, f"{what} the file {file_id}")


def _sign_in(ask: Callable[[], None]) -> None:
    try:
        ask()
    except UnavailableError:
        raise TryAgainError("Google's sign-in server was silent or busy") from None


def _marks(properties: Mapping[str, str | None]) -> dict[str, str | None]:
    """Properties that Drive can keep; raises `UsageError` for others."""
    for key, value in properties.items():
        if len(f"{key}{value or ''}".encode()) > 124:
            raise UsageError(
                f"The property {key!r} is too long: Drive takes 124 bytes for key and value."
            )
    return dict(properties)
