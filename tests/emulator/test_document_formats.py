"""Docs Editors files: imports by type, exports of what was imported, and Drive's refusals."""

import pytest

from .raw_client import FOLDER, multipart

GOOGLE = "application/vnd.google-apps."
DOCUMENT, SPREADSHEET = GOOGLE + "document", GOOGLE + "spreadsheet"
UPLOAD = "/upload/drive/v3/files"
RELATED = {"Content-Type": "multipart/related; boundary=xyz"}
TABLE = b"a,b\r\n1,2\r\n"


@pytest.fixture
def sheet(me):
    """A spreadsheet that was imported from CSV."""
    return me.upload(TABLE, name="table", type="text/csv", mimeType=SPREADSHEET)


def export(wire, file, kind, version="v3"):
    return wire("GET", f"/drive/{version}/files/{file['id']}/export", params={"mimeType": kind})


def test_an_imported_file_is_a_docs_editors_file(me, sheet):
    """It has no checksum and no download, a link to its editor, and exports that lead somewhere."""
    assert sheet["mimeType"] == SPREADSHEET
    assert not {"md5Checksum", "headRevisionId", "originalFilename", "webContentLink"} & set(sheet)
    link = f"https://docs.google.com/spreadsheets/d/{sheet['id']}/edit?usp=drivesdk"
    assert (sheet["webViewLink"], sheet["capabilities"]["canDownload"]) == (link, True)
    media = me.refusal("GET", f"/drive/v3/files/{sheet['id']}?alt=media")
    assert media == (403, "fileNotDownloadable")
    assert me("GET", sheet["exportLinks"]["text/csv"]).content == TABLE
    assert "application/pdf" in sheet["exportLinks"]
    revision = me.get(f"files/{sheet['id']}/revisions", fields="*")["revisions"][0]
    assert revision["mimeType"] == SPREADSHEET
    assert not {"md5Checksum", "size", "originalFilename"} & set(revision)


@pytest.mark.parametrize("version", ["v3", "v2"])
def test_what_was_imported_is_exported(me, sheet, version):
    """The export in the type of the import has its bytes and its type; a copy's, too."""
    copy = me("POST", f"/drive/v3/files/{sheet['id']}/copy", json={}).json()
    for file in (sheet, copy):
        answer = export(me, file, "text/csv", version)
        assert (answer.content, answer.headers["Content-Type"]) == (TABLE, "text/csv")
    found = me.get("files", q="fullText contains '2'")["files"]
    assert {one["id"] for one in found} == {sheet["id"], copy["id"]}


def test_new_content_replaces_the_imported_one(me, sheet):
    """An upload to a Docs Editors file is imported, and the file keeps its type."""
    path = f"{UPLOAD}/{sheet['id']}?uploadType=media"
    changed = me("PATCH", path, data=b"x\ty", headers={"Content-Type": "text/tab-separated-values"})
    assert changed.json()["mimeType"] == SPREADSHEET
    assert export(me, sheet, "text/tab-separated-values").content == b"x\ty"
    wrong = me.refusal("PATCH", path, data=b"{}", headers={"Content-Type": "application/json"})
    assert wrong == (400, "conversionUnsupportedConversionPath")


def test_a_copy_converts(me):
    """files.copy with a Docs Editors type imports the content; back to a blob it cannot."""
    file = me.upload(b"# Title", name="f", type="text/markdown")
    path = f"/drive/v3/files/{file['id']}/copy"
    document = me("POST", path, json={"mimeType": DOCUMENT}).json()
    assert document["mimeType"] == DOCUMENT
    assert export(me, document, "text/markdown").content == b"# Title"
    assert me.refusal("POST", path, json={"mimeType": SPREADSHEET})[0] == 400
    back = f"/drive/v3/files/{document['id']}/copy"
    assert me.refusal("POST", back, json={"mimeType": "text/markdown"})[0] == 400


def test_v2_converts_if_it_is_asked_to(me):
    """`convert` makes the Docs Editors file that fits the content, and nothing of other content."""
    where = "/upload/drive/v2/files?uploadType=media&convert="
    for wish, kind, expected in (
        ("true", "text/csv", SPREADSHEET),
        ("false", "text/csv", "text/csv"),
        ("true", "application/x-other", "application/x-other"),
    ):
        made = me("POST", where + wish, data=TABLE, headers={"Content-Type": kind}).json()
        assert made["mimeType"] == expected
    listed = me("GET", "/drive/v2/about").json()["importFormats"]
    assert {"source": "text/csv", "targets": [SPREADSHEET]} in listed


def test_an_empty_document_exports_an_empty_text(me):
    """A Docs Editors file that was created without content is empty."""
    document = me.create("doc", mimeType=DOCUMENT)
    answer = export(me, document, "text/plain")
    assert (answer.status_code, answer.content) == (200, b"")


def test_what_drive_does_not_convert_is_refused(me, sheet):
    """Refusals have the live service's statuses and reasons."""
    whole = {"headers": RELATED}
    for kind, source, expected in (
        (DOCUMENT, "application/x-other", (400, "conversionUnsupportedConversionPath")),
        (SPREADSHEET, "text/html", (400, "conversionUnsupportedConversionPath")),
        (FOLDER, "text/plain", (400, "badRequest")),
    ):
        whole["data"] = multipart({"mimeType": kind}, b"x", source)
        assert me.refusal("POST", f"{UPLOAD}?uploadType=multipart", **whole) == expected
    answer = export(me, sheet, "text/html")
    assert answer.status_code == 400
    assert answer.json()["error"]["errors"][0]["location"] == "convertTo"
    file = me.upload(b"text", name="f", type="text/plain")
    for other in (file["id"], me.folder("g")):
        path = f"/drive/v3/files/{other}/export?mimeType=text/plain"
        assert me.refusal("GET", path) == (403, "fileNotExportable")
    large = me.upload(bytes(10 * 2**20 + 1), name="l", type="text/csv", mimeType=SPREADSHEET)
    path = f"/drive/v3/files/{large['id']}/export?mimeType=text/csv"
    assert me.refusal("GET", path) == (403, "exportSizeLimitExceeded")


def test_a_conversion_that_only_drive_makes_is_a_501(me, sheet):
    """The emulator has no converter: it names the method."""
    file = me.upload(b"text", name="f", type="text/plain")["id"]
    for verb, path, more, method in (
        ("GET", f"/drive/v3/files/{sheet['id']}/export?mimeType=application/pdf", {}, "export"),
        ("PATCH", f"/drive/v3/files/{file}", {"json": {"mimeType": DOCUMENT}}, "update"),
        ("PATCH", f"/drive/v3/files/{sheet['id']}", {"json": {"mimeType": "text/csv"}}, "update"),
        ("POST", f"/drive/v3/files/{file}/download", {}, "download"),
        ("POST", f"/drive/v2/files/{file}/copy?ocr=true", {"json": {}}, "copy"),
    ):
        answer = me(verb, path, **more)
        assert answer.status_code == 501, (path, answer.text)
        assert f"drive.files.{method}" in answer.json()["error"]["message"]


def test_about_lists_the_formats(me):
    """A program chooses an export format from about.exportFormats."""
    about = me.get("about", fields="importFormats,exportFormats,maxImportSizes")
    assert "text/csv" in about["exportFormats"][SPREADSHEET]
    assert about["importFormats"]["text/plain"] == [DOCUMENT]
    assert about["maxImportSizes"][DOCUMENT] == "10485760"
