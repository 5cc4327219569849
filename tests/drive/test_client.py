"""Methods of the Drive client, against an emulator without faults."""

import doctest
import errno
import hashlib
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.drive.requests.endpoint import Endpoint, emulator_authorizer
from colab_drive_tuner.errors import (
    CredentialsError,
    IdTakenError,
    NotFoundError,
    QuotaError,
    UnavailableError,
    UsageError,
)

AWKWARD = [
    "it's",
    "a\\'b",
    "back\\slash",
    "🙂",
    'say "hi"',
    "name = 'x' or trashed = true",
    " pad ",
]


class OneWay(io.RawIOBase):
    """A stream without a length that can be read once, in pieces of odd sizes."""

    def __init__(self, content):
        self._rest = io.BytesIO(content)

    def readable(self):
        return True

    def read(self, size=-1):
        return self._rest.read(min(size, 777_777) if size >= 0 else size)


def test_account_quota_and_server_time(client, drive_emulator, account):
    """The client gives the account, its storage limit and the server's time, not this machine's."""
    assert client.account() == account
    assert client.quota().limit == 15 * 2**30
    server = drive_emulator.advance_clock(7200)
    client.get("root")
    now = client.now()
    assert server - 1 <= now <= drive_emulator.advance_clock(0) + 1  # Date has whole seconds
    drive_emulator.advance_clock(-7200)


def test_now_sends_a_request_if_needed(client):
    """A new client gives the time, too."""
    assert client.now() > 1.7e9


def test_ids_are_reserved_in_any_number(client):
    """More ids than Drive gives in one call are reserved, all different."""
    ids = client.generate_ids(1003)
    assert len(set(ids)) == 1003


def test_a_file_comes_back_as_it_was(client, root, account):
    """A created file has its bytes, metadata and properties."""
    before = client.now()
    made = client.create_file(
        "a.bin", b"content", parent=root, mime_type="text/x-thing", properties={"cdt_k": "v"}
    )
    file = client.get(made.id)
    assert file == made
    assert (file.name, file.mime_type, file.parents) == ("a.bin", "text/x-thing", (root,))
    assert (file.size, file.sha256) == (7, hashlib.sha256(b"content").hexdigest())
    assert file.properties == {"cdt_k": "v"}
    assert file.owners == (account,)
    assert before - 1 <= file.created <= client.now() + 1
    assert client.download(made.id) == b"content"


@pytest.mark.parametrize("size", [0, 1, 5_000_000, 5_000_001, 9_000_000, 8 * 2**20, 16 * 2**20])
@pytest.mark.parametrize("kind", ["bytes", "path", "stream", "one-way"])
def test_content_of_any_size_and_kind(client, root, tmp_path, size, kind):
    """Small and large content from memory, a file or a stream is uploaded unchanged."""
    content = os.urandom(size)
    source = content
    if kind == "path":
        source = tmp_path / "source"
        source.write_bytes(content)
    elif kind == "stream":
        source = io.BytesIO(b"skipped" + content)
        source.seek(7)
    elif kind == "one-way":
        source = OneWay(content)
    seen = []
    made = client.create_file(
        "x", source, parent=root, progress=lambda done, total: seen.append((done, total))
    )
    assert made.size == size
    assert made.sha256 == hashlib.sha256(content).hexdigest()
    assert seen[-1] == (size, size)
    client.download_file(made.id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"name": 3}, "A name in Google Drive is a text, not 3"),
        ({"name": "\ud800"}, "half a character"),
        ({"properties": {"k": 3}}, "A property's value in Google Drive is a text, not 3"),
        ({"properties": {"k": 0}}, "A property's value in Google Drive is a text, not 0"),
        ({"properties": {"k": "\ud800"}}, "half a character"),
        ({"properties": {"k": "v" * 124}}, "124 bytes"),
        ({"mime_type": "text/plain\r\nX: y"}, "is not a MIME type"),
        ({"mime_type": "é"}, "is not a MIME type"),
    ],
)
def test_what_drive_cannot_store_is_refused(client, root, change, refusal):
    """Names, properties and types that Drive cannot store are refused before anything is sent."""
    with pytest.raises(UsageError, match=refusal):
        client.create_file(**{"name": "x", "content": b"", "parent": root, **change})
    assert client.list_folder(root) == []


@pytest.mark.parametrize("patience", [0, -1, float("nan"), "60", None])
def test_patience_is_a_number_of_seconds(drive_emulator, patience):
    """A patience that is no positive number is refused when the client is made."""
    with pytest.raises(UsageError, match="patience must be a number of seconds above 0"):
        DriveClient.connect(patience=patience)


@pytest.mark.parametrize("content", ["text", io.StringIO("text"), 3, None, ["a"]])
def test_what_cannot_be_uploaded_is_refused(client, root, content):
    """Content of another type is refused before anything is sent."""
    with pytest.raises(UsageError, match="must be bytes"):
        client.create_file("x", content, parent=root)
    assert client.list_folder(root) == []


@pytest.mark.parametrize("size", [10, 6_000_000])
def test_content_that_cannot_be_read_is_no_outage(client, root, size):
    """An error of the disk while a file is uploaded is raised at once, and not retried."""

    class Damaged(io.BytesIO):
        def read(self, count=-1):
            if self.tell() + count >= size:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(count)

    with pytest.raises(UsageError, match=r"cannot be read: .*Input/output error"):
        client.create_file("x", Damaged(bytes(size)), parent=root)


def test_small_files_take_one_request(client, root, drive_emulator):
    """A small file with a reserved id takes one request."""
    file_id = client.generate_ids(1)[0]
    drive_emulator.clear_log()
    client.create_file("r", b"record", parent=root, file_id=file_id)
    assert [entry["method"] for entry in drive_emulator.log] == ["POST"]


def test_an_id_works_once(client, root):
    """A second create with an id is refused, whatever it contains, and changes nothing."""
    file_id = client.generate_ids(1)[0]
    client.create_file("r", b"first", parent=root, file_id=file_id)
    with pytest.raises(IdTakenError, match="created under this id"):
        client.create_file("r", b"first", parent=root, file_id=file_id)
    with pytest.raises(IdTakenError):
        client.create_file("r", os.urandom(6_000_000), parent=root, file_id=file_id)
    with pytest.raises(IdTakenError):
        client.create_folder("r", parent=root, file_id=file_id)
    assert client.download(file_id) == b"first"


@pytest.mark.parametrize("name", AWKWARD)
def test_finds_by_exact_name(client, root, name):
    """Any name can be searched for, and only equal names outside the trash are found."""
    wanted = client.create_file(name, b"1", parent=root)
    client.create_file(name.upper() + "x", b"2", parent=root)
    client.create_file(name + "x", b"3", parent=root)
    elsewhere = client.create_file(name, b"4", parent="root")
    trashed = client.create_file(name, b"5", parent=root)
    client.trash(trashed.id)
    assert [file.id for file in client.find(name, parent=root)] == [wanted.id]
    assert {file.id for file in client.find(name)} == {wanted.id, elsewhere.id}
    assert [file.id for file in client.list_folder(root, name)] == [wanted.id]
    assert client.find(name, parent=root, mime_types=["text/plain", "a/b"]) == []


def test_lists_all_pages(client, root):
    """A folder with more files than one page is listed completely."""
    ids = client.generate_ids(1005)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: client.create_folder(i, parent=root, file_id=i), ids))
    assert sorted(file.id for file in client.list_folder(root)) == sorted(ids)


def test_properties_are_merged(client, root):
    """Setting a property keeps the others, None removes it, and a long one is refused."""
    made = client.create_file("x", b"", parent=root, properties={"cdt_a": "1", "cdt_b": "2"})
    client.update_properties(made.id, {"cdt_b": None, "cdt_c": "3"})
    assert client.get(made.id).properties == {"cdt_a": "1", "cdt_c": "3"}
    with pytest.raises(UsageError, match="124 bytes"):
        client.update_properties(made.id, {"cdt_d": "ü" * 60})


@pytest.mark.parametrize("size", [10, 6_000_000])
def test_content_can_be_replaced(client, root, size):
    """New content keeps the file's id, name and type."""
    made = client.create_file("x", b"old", parent=root, mime_type="text/x-thing")
    content = os.urandom(size)
    updated = client.update_content(made.id, content, mime_type="text/x-thing")
    assert (updated.id, updated.name, updated.mime_type) == (made.id, "x", "text/x-thing")
    assert client.download(made.id) == content


def test_trash(client, root):
    """A trashed file is no longer listed in its folder and is marked as trashed."""
    made = client.create_file("x", b"", parent=root)
    client.trash(made.id)
    assert client.list_folder(root) == []
    assert client.get(made.id).trashed
    assert [file.id for file in client.list_trash(root)] == [made.id]


def test_missing_files(client, tmp_path):
    """Each call raises NotFoundError for a missing file, and a download leaves no partial file."""
    missing = client.generate_ids(1)[0]
    for call in (client.get, client.download, client.trash):
        with pytest.raises(NotFoundError):
            call(missing)
    (tmp_path / "x").write_text("before")
    with pytest.raises(NotFoundError):
        client.download_file(missing, tmp_path / "x")
    assert (tmp_path / "x").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("odd", ["", "../about", "a/b", "x?alt=media", "..", "é"])
def test_what_cannot_be_an_id_is_never_sent(client, drive_emulator, odd):
    """An invalid id, which an altered record may contain, is refused without a request."""
    drive_emulator.clear_log()
    with pytest.raises(UsageError, match="cannot be the id"):
        client.download(odd)
    assert drive_emulator.log == []


def test_sixteen_threads_share_one_client(client, root):
    """Each thread gets the answers to its own requests."""

    def work(number):
        content = f"{number}".encode() * 100
        made = client.create_file(f"{number}", content, parent=root)
        client.update_properties(made.id, {"cdt_n": str(number)})
        assert client.download(made.id) == content
        return client.get(made.id).properties["cdt_n"] == str(number)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(64)))
    assert len(client.list_folder(root)) == 64


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_threads_reserve_ids_concurrently(client, monkeypatch):
    """No thread waits for another's reservation, so waits for a silent Drive do not add up."""
    both, reserve = threading.Barrier(2), client.generate_ids

    def together(count):
        both.wait(timeout=200)
        return reserve(count)

    monkeypatch.setattr(client, "generate_ids", together)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: client._next_id(), range(2))
    assert one != other


def test_a_forked_child_uses_neither_connections_nor_ids_of_its_parent(client, root):
    """Parent and child both continue: no answer is mixed up, and no id is used twice."""
    client.create_file("before", b"", parent=root)
    connections = client._calls.transport._get_session()
    child = os.fork()
    if child == 0:
        done = 1
        try:
            assert client._calls.transport._get_session() is not connections
            for number in range(5):
                client.create_file(f"child{number}", b"c", parent=root)
            done = 0
        finally:
            os._exit(done)
    for number in range(5):
        client.create_file(f"parent{number}", b"p", parent=root)
    assert os.waitpid(child, 0)[1] == 0
    assert len(client.list_folder(root)) == 11


def test_full_storage_says_how_full(client, root, drive_emulator, account):
    """The error for full storage tells how much of it is used."""
    client.create_file("x", b"x" * 1000, parent=root)
    drive_emulator.set_quota(account, 1000)
    with pytest.raises(QuotaError, match=rf"{account} uses 0.00 GB of 0.00 GB"):
        client.create_file("y", b"y" * 1000, parent=root)


def test_a_full_drive_is_told_also_if_it_then_falls_silent(client, root, drive_emulator):
    """The answer on whose storage it is may fail; the refusal is not taken for an outage."""
    drive_emulator.faults.add(do="quota", path="/upload/")
    drive_emulator.faults.add(do="outage", api="drive.about.get")
    with pytest.raises(QuotaError, match="storageQuotaExceeded"):
        client.create_file("y", b"y", parent=root)


def test_a_service_account_owns_no_storage(drive_emulator):
    """The error for a service account without storage names the alternative."""
    account = "robot@project.iam.gserviceaccount.com"
    drive_emulator.allow("robot", account)
    robot = DriveClient(
        emulator_authorizer("robot", drive_emulator.url),
        endpoint=Endpoint(drive_emulator.url, "robot"),
    )
    with pytest.raises(QuotaError, match="owns no storage: choose a folder in a shared drive"):
        robot.create_file("x", b"x", parent="root")


def test_an_unknown_token_is_refused_at_once(drive_emulator):
    """A request with an unknown token is not repeated with it."""
    drive_emulator.clear_log()
    stranger = DriveClient(
        emulator_authorizer("wrong", drive_emulator.url),
        endpoint=Endpoint(drive_emulator.url, "wrong"),
    )
    with pytest.raises(CredentialsError, match="Sign in again"):
        stranger.account()
    assert [entry["path"] for entry in drive_emulator.log] == ["/drive/v3/about", "/token"]


def test_missing_scope_is_named(drive_emulator):
    """A request without the needed scope is an error that names it."""
    drive_emulator.allow("reader", "owner@example.com", scopes=["drive.readonly"])
    reader = DriveClient(
        emulator_authorizer("reader", drive_emulator.url),
        endpoint=Endpoint(drive_emulator.url, "reader"),
    )
    with pytest.raises(CredentialsError, match=r"auth/drive\.file"):
        reader.create_folder("x", parent="root")


def test_an_address_where_nothing_listens_is_given_up(clock):
    """An address where nothing listens is given up within seconds."""
    from colab_drive_tuner.drive.requests.retry_and_refusal import RetryPolicy

    policy = RetryPolicy(sleep=clock.sleep, clock=clock)
    client = DriveClient(
        emulator_authorizer("x", "http://127.0.0.1:1"),
        endpoint=Endpoint("http://127.0.0.1:1", "x"),
        policy=policy,
    )
    with pytest.raises(UnavailableError, match="nothing listens"):
        client.account()
    assert clock.time <= 5


class TestEmulatorOnly:
    """With DRIVE_EMULATOR_HOST set, no real credentials, proxy or netrc are used."""

    def test_given_credentials_are_never_sent(self, drive_emulator, account):
        """Given credentials are not even asked for a token."""

        class Real:
            valid = True
            token = "a-real-secret"

            def __getattribute__(self, name):
                raise AssertionError(f"somebody touched .{name}")

        client = DriveClient.connect(Real())
        assert client.account() == account
        assert client.is_emulated

    def test_neither_proxies_nor_netrc_interfere(
        self, drive_emulator, monkeypatch, tmp_path, account
    ):
        """Passwords of this machine are not sent, and no proxy is used for the emulator."""
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login me password a-real-secret\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        assert DriveClient.connect().account() == account


def test_no_token_in_logs_or_reprs(drive_emulator, caplog):
    """Neither the package's objects nor the libraries log or show the token."""
    drive_emulator.allow("very-secret-token", "owner@example.com")
    endpoint = Endpoint(drive_emulator.url, "very-secret-token")
    client = DriveClient(
        emulator_authorizer("very-secret-token", drive_emulator.url), endpoint=endpoint
    )
    with caplog.at_level(0):
        made = client.create_file("x", os.urandom(5_100_000), parent="root")
        client.download(made.id)
    assert "very-secret-token" not in caplog.text + repr(client) + repr(endpoint)


def test_the_example_of_its_docstring_runs(drive_emulator):
    """The example in DriveClient's docstring runs on a new account."""
    (example,) = doctest.DocTestFinder(recurse=False).find(
        DriveClient, "DriveClient", globs={"DriveClient": DriveClient}
    )
    assert len(example.examples) == 4
    assert doctest.DocTestRunner().run(example).failed == 0
