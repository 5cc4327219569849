"""PyDrive2 as in its tutorials: list by title, download, upload and trash."""

import datetime
import os

import pytest

pytest.importorskip("pydrive2", reason="PyDrive2 is not installed (extra: pydrive2)")


@pytest.fixture
def drive(emulator, me, monkeypatch):
    """A GoogleDrive with oauth2client credentials, whose service is built for the emulator."""
    from googleapiclient.discovery import build
    from oauth2client.client import OAuth2Credentials
    from pydrive2.auth import GoogleAuth
    from pydrive2.drive import GoogleDrive

    # PyDrive2 makes a connection for each thread and file and closes none of them.
    opened = []
    build_http = GoogleAuth._build_http

    def remembered(self):
        opened.append(build_http(self))
        return opened[-1]

    # Like PyDrive2's own Authorize, but with the emulator's discovery document.
    def authorize(self):
        self.http = self._build_http()
        self.http = self.credentials.authorize(self.http)
        url = emulator.url + "/discovery/v1/apis/{api}/{apiVersion}/rest"
        self.service = build(
            "drive", "v2", http=self.http, discoveryServiceUrl=url, static_discovery=False
        )

    monkeypatch.setattr(GoogleAuth, "_build_http", remembered)
    monkeypatch.setattr(GoogleAuth, "Authorize", authorize)
    auth = GoogleAuth(settings={"client_config_backend": "file", "save_credentials": False})
    later = datetime.datetime(2099, 1, 1)
    auth.credentials = OAuth2Credentials(
        me.token, "c", "s", None, later, f"{emulator.url}/token", "tests"
    )
    auth.Authorize()
    yield GoogleDrive(auth)
    for http in opened:
        http.close()


def test_the_recipe_of_2019_finds_and_downloads_a_notebook(drive, me, tmp_path):
    """ListFile by title, CreateFile by id and GetContentFile give the notebook's bytes."""
    content = b'{"cells": []}'
    me.upload(content, name="X.ipynb", type="application/json")
    file_id = drive.ListFile({"q": "title='X.ipynb'"}).GetList()[0]["id"]
    target = tmp_path / "X.ipynb"
    drive.CreateFile({"id": file_id}).GetContentFile(str(target))
    assert target.read_bytes() == content


def test_files_are_uploaded_changed_and_read(drive, tmp_path):
    """SetContentFile, SetContentString and new metadata can be read back."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(300_000))
    file = drive.CreateFile({"title": "data.bin"})
    file.SetContentFile(str(source))
    file.Upload()
    assert file["fileSize"] == "300000"
    file.content.close()
    again = drive.CreateFile({"id": file["id"]})
    again["title"] = "renamed"
    again.Upload()
    again.SetContentString("text now")
    again.Upload()
    fresh = drive.CreateFile({"id": file["id"]})
    assert fresh.GetContentString() == "text now"
    assert fresh["title"] == "renamed"


def test_folders_lists_and_pages(drive):
    """A file is created in a folder as in v2, and ListFile reads all pages by itself."""
    kind = "application/vnd.google-apps.folder"
    folder = drive.CreateFile({"title": "folder", "mimeType": kind})
    folder.Upload()
    for number in range(5):
        file = drive.CreateFile({"title": f"f{number}", "parents": [{"id": folder["id"]}]})
        file.Upload()
    query = {"q": f"'{folder['id']}' in parents and trashed=false", "maxResults": 2}
    found = [one["title"] for page in drive.ListFile(query) for one in page]
    assert sorted(found) == ["f0", "f1", "f2", "f3", "f4"]


def test_revisions_are_listed_and_deleted(drive):
    """GetRevisions lists each content that a file had, and a revision can be deleted."""
    file = drive.CreateFile({"title": "r.txt"})
    for content in ("one", "two"):
        file.SetContentString(content)
        file.Upload()
    first, second = file.GetRevisions()
    assert (first["fileSize"], second["md5Checksum"]) == ("3", file["md5Checksum"])
    drive.auth.service.revisions().delete(fileId=file["id"], revisionId=first["id"]).execute()
    assert [one["id"] for one in file.GetRevisions()] == [second["id"]]


def test_trash_untrash_delete_and_permissions(drive):
    """The other methods of GoogleDriveFile work: trash, permissions and delete."""
    file = drive.CreateFile({"title": "f"})
    file.SetContentString("x")
    file.Upload()
    file.Trash()
    assert file["labels"]["trashed"]
    file.UnTrash()
    assert not file["labels"]["trashed"]
    given = file.InsertPermission({"type": "anyone", "value": "anyone", "role": "reader"})
    assert len(file.GetPermissions()) == 2
    file.DeletePermission(given["id"])
    assert drive.GetAbout()["user"]["emailAddress"]
    file.Delete()
    assert drive.ListFile({"q": "title='f'"}).GetList() == []


def test_a_missing_file_is_an_api_error(drive):
    """A missing file raises ApiRequestError with the service's message."""
    from pydrive2.files import ApiRequestError

    with pytest.raises(ApiRequestError, match="File not found"):
        drive.CreateFile({"id": "nowhere"}).FetchMetadata()
