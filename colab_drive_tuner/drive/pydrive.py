"""PyDrive2 with this package's credentials, so that code of old tutorials keeps working.

PyDrive2 uses v2 of Drive's API and expects credentials of oauth2client; `_Credentials` provides
their interface for credentials of google-auth.
"""

from typing import TYPE_CHECKING, Any

from colab_drive_tuner.drive.requests.calls import discovery_document
from colab_drive_tuner.errors import optional_import

if TYPE_CHECKING:
    from colab_drive_tuner.drive.client import DriveClient


HTTP_TIMEOUT = 60.0
"""Read timeout of PyDrive2's own calls in seconds; by default there is none."""


def google_drive(client: "DriveClient") -> Any:
    """Return a `pydrive2.drive.GoogleDrive` with the account and endpoint of `client`."""
    with optional_import("PyDrive2 is not installed: pip install 'colab-drive-tuner[pydrive2]'."):
        from pydrive2.auth import GoogleAuth
        from pydrive2.drive import GoogleDrive
    from googleapiclient.discovery import build_from_document

    # None: otherwise it would read a settings.yaml in the working directory.
    auth = GoogleAuth(settings_file=None, http_timeout=HTTP_TIMEOUT)
    auth.credentials = _Credentials(client.signer.credentials, local=client.is_emulated)
    auth.http = auth.Get_Http_Object()
    # Created here, because its own `Authorize` supports Google's address only.
    auth.service = build_from_document(
        discovery_document(client.endpoint.origin, "v2"), http=auth.http
    )
    return GoogleDrive(auth)


class _Credentials:
    """Credentials of google-auth with the interface that PyDrive2 expects."""

    access_token_expired = False
    """Each request renews the token if necessary."""

    def __init__(self, credentials: Any, *, local: bool) -> None:
        self.of_google_auth, self._local = credentials, local

    def authorize(self, http: Any) -> Any:
        """Return an HTTP object that signs requests; one for each thread."""
        from google_auth_httplib2 import AuthorizedHttp

        if self._local:
            http.proxy_info = None  # the emulator is reached without a proxy
        return AuthorizedHttp(self.of_google_auth, http=http)

    def refresh(self, http: Any) -> None:
        """Get a new token."""
        from google_auth_httplib2 import Request

        self.of_google_auth.refresh(Request(http))

    def set_store(self, store: Any) -> None:
        """Do nothing: PyDrive2 must not store the credentials."""
