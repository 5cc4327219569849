"""google-api-python-client over httplib2: v3, media classes and batch requests."""

import io
import json
import os

import pytest

pytest.importorskip("googleapiclient", reason="google-api-python-client is not installed")


@pytest.fixture
def build(emulator, me):
    """A function that builds a client of v2 or v3, redirected by the document's rootUrl."""
    import google_auth_httplib2
    from google.oauth2.credentials import Credentials
    from googleapiclient.discovery import build_from_document
    from googleapiclient.discovery_cache import get_static_doc
    from googleapiclient.http import build_http

    opened = []

    def make(version="v3", credentials=None):
        document = json.loads(get_static_doc("drive", version))
        document["rootUrl"] = emulator.url + "/"
        signed = google_auth_httplib2.AuthorizedHttp(
            credentials or Credentials(me.token), http=build_http()
        )
        opened.append(signed)
        return build_from_document(document, http=signed)

    yield make
    for signed in opened:
        signed.http.close()


@pytest.fixture
def service(build):
    return build()


def media(content, **more):
    from googleapiclient.http import MediaIoBaseUpload

    return MediaIoBaseUpload(io.BytesIO(content), "application/octet-stream", **more)


def download(request, chunksize=100_000):
    from googleapiclient.http import MediaIoBaseDownload

    target = io.BytesIO()
    loader = MediaIoBaseDownload(target, request, chunksize=chunksize)
    done = False
    while not done:
        _, done = loader.next_chunk()
    return target.getvalue()


@pytest.mark.parametrize("resumable", [False, True])
@pytest.mark.parametrize("size", [0, 10, 700_001])
def test_media_are_uploaded_and_downloaded(service, resumable, size):
    """Multipart and resumable uploads and chunked downloads give the same bytes."""
    content = os.urandom(size)
    upload = media(content, resumable=resumable, chunksize=256 * 1024)
    file = service.files().create(body={"name": "m"}, media_body=upload, fields="id,size").execute()
    assert file["size"] == str(size)
    assert download(service.files().get_media(fileId=file["id"])) == content
    changed = media(content + b"!", resumable=resumable)
    service.files().update(fileId=file["id"], media_body=changed).execute()
    assert download(service.files().get_media(fileId=file["id"])) == content + b"!"


def test_pages_follow_each_other(service):
    """`list_next` leads through all pages."""
    for number in range(7):
        service.files().create(body={"name": f"f{number}"}).execute()
    names, request = [], service.files().list(pageSize=3, orderBy="name")
    while request is not None:
        answer = request.execute()
        names += [one["name"] for one in answer["files"]]
        request = service.files().list_next(request, answer)
    assert names == [f"f{number}" for number in range(7)]


def test_an_http_error_has_google_s_reason(service):
    """HttpError has the message and the reason of the body."""
    from googleapiclient.errors import HttpError

    with pytest.raises(HttpError, match="File not found: nowhere") as caught:
        service.files().get(fileId="nowhere").execute()
    assert caught.value.error_details[0]["reason"] == "notFound"


def test_a_batch_answers_each_call(service, emulator):
    """Each part of a batch at /batch/drive/v3 has its own status."""
    answers = {}

    def keep(request_id, answer, error):
        answers[request_id] = error.status_code if error else answer["name"]

    batch = service.new_batch_http_request(callback=keep)
    for number in range(3):
        batch.add(service.files().create(body={"name": f"naïve {number}"}), request_id=str(number))
    batch.add(service.files().get(fileId="nowhere"), request_id="missing")
    batch.execute()
    assert answers == {"0": "naïve 0", "1": "naïve 1", "2": "naïve 2", "missing": 404}
    assert emulator.log[-1]["calls"] == 4


def test_a_batch_has_at_most_a_hundred_calls(me):
    """More than 100 calls, or a body that is not multipart/mixed, is a 400."""
    assert me.batch(*["GET /drive/v3/files HTTP/1.1"] * 101).status_code == 400
    assert me("POST", "/batch/drive/v3", data=b"x").status_code == 400


def test_a_batch_returns_content_ids(me):
    """A part's Content-ID is returned with the prefix `response-`, or not at all."""
    about = "GET /drive/v3/about?fields=user\r\n"
    answer = me.batch(("Content-ID: <one+1>\r\n", about), ("Content-ID: two\r\n", about), about)
    ids = [line for line in answer.text.splitlines() if line.lower().startswith("content-id")]
    assert ids == ["Content-ID: <response-one+1>", "Content-ID: response-two"]
    assert answer.text.count("HTTP/1.1 200 OK") == 3


def test_a_call_of_a_batch_may_override_its_method(me):
    """Google's Java client sends a PATCH as a POST with X-HTTP-Method-Override, also in batches."""
    file = me.create("before")["id"]
    override = "X-HTTP-Method-Override: PATCH\r\nContent-Type: application/json\r\n"
    request = f'POST /drive/v3/files/{file}\r\n{override}\r\n{{"name": "after"}}'
    assert "HTTP/1.1 200 OK" in me.batch(request).text
    assert me.get(f"files/{file}")["name"] == "after"


def test_a_refused_batch_changes_nothing(me):
    """A part that is no request makes the whole batch a 400, and no other part is executed."""
    made = 'POST /drive/v3/files\r\nContent-Type: application/json\r\n\r\n{"name": "a"}'
    assert me.batch(made, "GET //[ HTTP/1.1").status_code == 400
    assert me.names("") == []


def test_media_in_a_batch_are_refused_part_by_part(me):
    """A download is a 302 to the content, an upload a 400; the other parts are answered."""
    file = me.upload(b"content")["id"]
    made = 'POST /drive/v3/files\r\nContent-Type: application/json\r\n\r\n{"name": "a"}'
    down = f"GET /drive/v3/files/{file}?alt=media&supportsAllDrives=true HTTP/1.1"
    up = "POST /upload/drive/v3/files?uploadType=media\r\n\r\nx"
    nowhere = "GET /drive/v3/files/nowhere?alt=media"
    answer = me.batch(made, down, up, nowhere, made)
    statuses = [line.split()[1] for line in answer.text.splitlines() if line.startswith("HTTP/")]
    assert statuses == ["200", "302", "400", "404", "200"]
    assert "content" not in answer.text.replace("content-", "").replace("Content-", "")
    (location,) = [
        line.removeprefix("Location: ")
        for line in answer.text.splitlines()
        if line.startswith("Location: ")
    ]
    assert me("GET", location).content == b"content"
    assert me.names("name = 'a'") == ["a", "a"]


def test_the_client_s_batch_tells_which_part_has_media(service):
    """`get_media` in a batch is an error of that part only."""
    file = service.files().create(body={"name": "m"}, media_body=media(b"x")).execute()
    answers = {}
    batched = service.new_batch_http_request(
        callback=lambda name, answer, error: answers.update(
            {name: error.status_code if error else 200}
        )
    )
    batched.add(service.files().get(fileId=file["id"]), request_id="metadata")
    batched.add(service.files().get_media(fileId=file["id"]), request_id="media")
    batched.execute()
    assert answers == {"metadata": 200, "media": 302}


def test_an_odd_chunk_size_is_an_error_of_the_client(service):
    """google-api-python-client raises Drive's error for an odd chunk size, and does not loop."""
    from googleapiclient.errors import HttpError

    upload = media(os.urandom(700_000), resumable=True, chunksize=100_000)
    with pytest.raises(HttpError, match="equal or greater than 262144"):
        service.files().create(body={"name": "m"}, media_body=upload).execute()


def test_an_expired_token_is_refreshed(build, emulator, me):
    """google-auth refreshes an expired token at the emulator's token endpoint."""
    from google.oauth2.credentials import Credentials

    emulator.allow("", me.account, refresh_token="renew")
    expired = Credentials(
        "stale", refresh_token="renew", token_uri=f"{emulator.url}/token",
        client_id="c", client_secret="s",
    )  # fmt: skip
    service = build(credentials=expired)
    about = service.about().get(fields="user").execute()
    assert about["user"]["emailAddress"] == me.account
    assert expired.token.startswith("ya29.")


def test_a_service_account_signs_in(build, emulator, me):
    """A key file with the emulator's token_uri signs in, also on behalf of a user."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from google.oauth2.service_account import Credentials

    class Offline(Credentials):
        def _is_regional_access_boundary_lookup_required(self):
            return False  # google-auth would ask iamcredentials.googleapis.com in a thread

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    email = "robot@project.iam.gserviceaccount.com"
    info = {
        "client_email": email,
        "token_uri": f"{emulator.url}/token",
        "private_key": pem.decode(),
    }
    scope = "https://www.googleapis.com/auth/drive"
    robot = build(credentials=Offline.from_service_account_info(info, scopes=[scope]))
    assert robot.about().get(fields="user").execute()["user"]["emailAddress"] == email
    human = Offline.from_service_account_info(info, scopes=[scope], subject=me.account)
    about = build(credentials=human).about().get(fields="user").execute()
    assert about["user"]["emailAddress"] == me.account


def test_the_discovery_document_leads_to_the_emulator(emulator):
    """A client that fetches the discovery document here needs no other redirection."""
    import httplib2
    from googleapiclient.discovery import build
    from googleapiclient.errors import UnknownApiNameOrVersion

    http = httplib2.Http(timeout=30)
    url = emulator.url + "/discovery/v1/apis/{api}/{apiVersion}/rest"
    service = build("drive", "v3", http=http, discoveryServiceUrl=url, static_discovery=False)
    assert service._baseUrl == f"{emulator.url}/drive/v3/"
    for api, version in [("sheets", "v4"), ("drive", "v9")]:
        with pytest.raises(UnknownApiNameOrVersion):
            build(api, version, http=http, discoveryServiceUrl=url, static_discovery=False)
    http.close()


def test_the_discontinued_global_batch_is_a_404(me):
    """The address without an API, the default of old clients, was switched off in 2020."""
    assert me("POST", "/batch", data=b"x").status_code == 404


def test_v2_of_the_client_works_too(build):
    """insert, list, patch, get_media and trash work through the v2 document."""
    service = build("v2")
    upload = media(b"content", resumable=True)
    file = service.files().insert(body={"title": "t"}, media_body=upload).execute()
    assert file["title"] == "t"
    service.files().patch(fileId=file["id"], body={"title": "u"}).execute()
    assert download(service.files().get_media(fileId=file["id"])) == b"content"
    service.files().trash(fileId=file["id"]).execute()
    assert service.files().list(q="title = 'u' and trashed = false").execute()["items"] == []
    assert len(service.files().generateIds(maxResults=2).execute()["ids"]) == 2
