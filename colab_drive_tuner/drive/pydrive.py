"""PyDrive2 on our sign-in, so that the code of old tutorials goes on working below one new line.

PyDrive2 speaks v2 of Drive's API and asks its credentials what only those of oauth2client can
answer; the class here answers in their place, from those of google-auth.
"""

from typing import TYPE_CHECKING, Any

from colab_drive_tuner.drive.requests.calls import document
from colab_drive_tuner.errors import MissingExtraError

if TYPE_CHECKING:
    from colab_drive_tuner.drive.client import DriveClient


HTTP_TIMEOUT = 60.0
"""Seconds of silence after which PyDrive2's own calls fail; left alone it would wait for ever."""


def google_drive(client: "DriveClient") -> Any:
    """A `pydrive2.drive.GoogleDrive` that acts as `client` does, at Google or at its emulator."""
    try:
        from pydrive2.auth import GoogleAuth
        from pydrive2.drive import GoogleDrive
    except ImportError:
        raise MissingExtraError(
            "PyDrive2 is not installed: pip install 'colab-drive-tuner[pydrive2]'."
        ) from None
    from googleapiclient.discovery import build_from_document

    # Without a file it does not read a settings.yaml that happens to lie in the working directory.
    auth = GoogleAuth(settings_file=None, http_timeout=HTTP_TIMEOUT)
    auth.credentials = _Credentials(client.signer.credentials, local=client.is_emulated)
    auth.http = auth.Get_Http_Object()
    # Made here: its own `Authorize` knows no other address than Google's.
    auth.service = build_from_document(document(client.endpoint.origin, "v2"), http=auth.http)
    return GoogleDrive(auth)


class _Credentials:
    """Credentials of google-auth, with the names that PyDrive2 uses."""

    access_token_expired = False
    """Each request renews the token when it has to."""

    def __init__(self, credentials: Any, *, local: bool) -> None:
        self.of_google_auth, self._local = credentials, local

    def authorize(self, http: Any) -> Any:
        """A way to send that signs; one for each thread."""
        from google_auth_httplib2 import AuthorizedHttp

        if self._local:
            http.proxy_info = None  # no proxy of this machine is asked about an emulator
        return AuthorizedHttp(self.of_google_auth, http=http)

    def refresh(self, http: Any) -> None:
        """Get another token."""
        from google_auth_httplib2 import Request

        self.of_google_auth.refresh(Request(http))

    def set_store(self, store: Any) -> None:
        """Nothing is kept on disk by PyDrive2."""
