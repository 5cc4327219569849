"""The emulator as a separate process: killed, restarted, used with curl."""

import contextlib
import math
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
import requests

from colab_drive_tuner.emulator import DriveEmulator, serve, server
from tests.emulator.raw_client import RawClient
from tests.processes import run_python, running_python, wait_until


@pytest.fixture
def process(tmp_path):
    with DriveEmulator(tmp_path / "drive", process=True) as emulator:
        yield emulator


@pytest.fixture
def wire(process):
    with RawClient(process.url, "emulator") as wire:
        yield wire


def test_everything_answered_survives_sigkill(process, wire):
    """Files, contents, permissions, tokens and used ids survive a kill, on the same port."""
    content = os.urandom(300_000)
    file = wire.upload(content, name="kept", properties={"k": "v"})
    wire.share(file["id"], "other@example.com")
    unused, used = wire.get("files/generateIds", count=2)["ids"]
    wire.create(id=used)
    wire("DELETE", f"/drive/v3/files/{used}")
    process.allow("theirs", "other@example.com")
    url = process.url
    process.kill()
    process.start()
    assert process.url == url
    assert wire.get(f"files/{file['id']}", fields="*") == file | {
        "shared": True,
        "version": "2",
        "permissions": [wire_permissions(wire, file)[0], *file["permissions"]],
        "permissionIds": [one["id"] for one in wire_permissions(wire, file)],
    }
    assert wire("GET", f"/drive/v3/files/{file['id']}?alt=media").content == content
    with RawClient(process.url, "theirs") as theirs:
        assert theirs.names("") == ["kept"]
    assert wire.refusal("POST", "/drive/v3/files", json={"id": used})[0] == 409
    assert wire.create(id=unused)["id"] == unused


def wire_permissions(wire, file):
    return wire.get(f"files/{file['id']}/permissions", fields="*")["permissions"]


def test_a_running_emulator_is_not_started_again(process):
    """A second start is refused and leaves the first one running; a second kill does nothing."""
    with pytest.raises(RuntimeError, match="already running on http"):
        process.start()
    assert process.call("GET", "")["emulator"] == "drive"
    process.kill()
    process.kill()
    process.start()
    assert process.call("GET", "")["emulator"] == "drive"
    process.process.kill()  # ended by something else
    process.process.wait()
    process.start()
    assert process.call("GET", "")["emulator"] == "drive"


@pytest.mark.parametrize("in_process", [False, True])
def test_an_emulator_that_does_not_run_says_so(in_process):
    """Faults, log and clock of an emulator before its start and after its end are an error."""
    emulator = DriveEmulator(process=in_process)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not running: use it in a `with` block"):
            emulator.faults.add("error", status=503)
        with emulator:
            assert emulator.faults.add("error", status=503) == 1


def test_an_emulator_ends_with_the_program_that_started_it():
    """A test run that is killed leaves no emulator behind."""
    program = (
        "import sys, time\n"
        "from colab_drive_tuner.emulator import DriveEmulator\n"
        "print(DriveEmulator(process=True).__enter__().port, flush=True)\n"
        "time.sleep(600)"
    )
    with running_python("-c", program) as (_, line):
        port = int(line)
        assert _is_open(port)
    wait_until(lambda: not _is_open(port))


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("in_process", [False, True])
@pytest.mark.parametrize("kind", ["hang", "latency"])
def test_a_call_that_waits_does_not_delay_the_stop(capfd, caplog, kind, in_process, monkeypatch):
    """The fault's wait ends with a reset, also if the client has given up; nothing is printed."""
    monkeypatch.setattr(server, "STOP_SECONDS", 120)  # of a thread; requests get half of it
    with DriveEmulator(process=in_process) as emulator:
        emulator.faults.add(kind, seconds=60)
        wire = RawClient(emulator.url, "emulator")
        with pytest.raises(requests.Timeout):
            requests.get(f"{emulator.url}/drive/v3/files", timeout=0.3)
        outcomes: list[object] = []

        def wait() -> None:
            try:
                outcomes.append(wire("GET", "/drive/v3/files").status_code)
            except requests.RequestException as error:
                outcomes.append(type(error))

        waiting = threading.Thread(target=wait)
        waiting.start()
        while sum(one["seen"] for one in emulator.faults.rules) < 2:
            time.sleep(0.01)
        begun = time.monotonic()
    took = time.monotonic() - begun
    waiting.join()
    wire.session.close()
    assert outcomes == [requests.ConnectionError]
    assert (capfd.readouterr(), caplog.messages) == (("", ""), [])
    assert took < 50


@pytest.mark.parametrize("in_process", [False, True])
def test_an_upload_that_stops_halfway_does_not_disturb_the_stop(capfd, caplog, in_process):
    """A client that sends no more is disconnected; nothing is printed."""
    with DriveEmulator(process=in_process) as emulator:
        head = (
            "POST /upload/drive/v3/files?uploadType=media HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{emulator.port}\r\nAuthorization: Bearer emulator\r\n"
            "Content-Length: 1000\r\n\r\nhalf"
        )
        client = socket.create_connection(("127.0.0.1", emulator.port))
        client.sendall(head.encode())
        while not any((emulator.data_dir / "incoming").iterdir()):
            time.sleep(0.01)
    with client, pytest.raises(ConnectionResetError):
        client.recv(1)
    assert (capfd.readouterr(), caplog.messages) == (("", ""), [])


def test_the_clock_stays_set_after_sigkill(process, wire):
    """A token that had expired does not come back to life, and no time passes backwards."""
    process.allow("short", "owner@example.com", expires_in=60)
    process.advance_clock(3600)
    before = wire.create()["id"]
    process.kill()
    process.start()
    with RawClient(process.url, "short") as short:
        assert short("GET", "/drive/v3/files").status_code == 401
    after = wire.create()["id"]
    listed = wire.get("files", orderBy="createdTime", fields="files/id")["files"]
    assert [one["id"] for one in listed] == [before, after]


def test_a_resumable_upload_continues_after_sigkill(process, wire):
    """An upload session and the bytes that it had received survive a kill."""
    content = os.urandom(1024 * 1024)
    started = wire("POST", "/upload/drive/v3/files?uploadType=resumable", json={"name": "big"})
    uri = started.headers["Location"]
    half = len(content) // 2
    put = {"Content-Range": f"bytes 0-{half - 1}/{len(content)}"}
    assert wire("PUT", uri, data=content[:half], headers=put).status_code == 308
    process.kill()
    process.start()
    asked = wire("PUT", uri, headers={"Content-Range": f"bytes */{len(content)}"})
    assert asked.headers["Range"] == f"bytes=0-{half - 1}"
    put = {"Content-Range": f"bytes {half}-{len(content) - 1}/{len(content)}"}
    file = wire("PUT", uri, data=content[half:], headers=put).json()
    assert wire("GET", f"/drive/v3/files/{file['id']}?alt=media").content == content


def test_a_session_from_before_a_restart_is_cancelled_with_its_bytes(process, wire):
    """Nothing of it is left in the data folder."""
    start = wire("POST", "/upload/drive/v3/files?uploadType=resumable", json={})
    uri = start.headers["Location"].removeprefix(process.url)
    begun = wire("PUT", uri, data=bytes(262144), headers={"Content-Range": "bytes 0-262143/*"})
    assert begun.status_code == 308
    process.kill()
    process.start()
    assert wire("DELETE", uri).status_code == 499
    assert list((process.data_dir / "incoming").iterdir()) == []


def test_a_kill_during_writes_loses_no_answered_file(process, wire):
    """After a kill while four clients write, every acknowledged file exists exactly once."""
    answered: list[str] = []

    def write() -> None:
        with (
            RawClient(process.url, "emulator") as wire,
            contextlib.suppress(requests.RequestException),
        ):
            while True:
                answered.append(wire.upload(b"content", fields="id")["id"])

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(answered) >= 60)
    process.kill()
    for thread in threads:
        thread.join()
    process.start()
    for file_id in answered:
        assert wire("GET", f"/drive/v3/files/{file_id}?alt=media").content == b"content"
    listed = [one["id"] for one in wire.get("files", pageSize=1000)["files"]]
    assert len(set(listed)) == len(listed) >= len(answered)


def test_partial_files_of_a_kill_are_removed(process):
    """Bytes that belong to no file and no session are removed at the next start."""
    left = [process.data_dir / folder / "0123" for folder in ("incoming", "content")]
    for one in left:
        one.write_bytes(b"half of something")
    process.kill()
    process.start()
    assert not any(one.exists() for one in left)


def test_change_tokens_are_valid_after_a_restart(process, wire):
    """A token from before a restart lists what was changed and deleted since."""
    token = wire.get("changes/startPageToken")["startPageToken"]
    kept, gone = wire.create("kept")["id"], wire.create("gone")["id"]
    wire("DELETE", f"/drive/v3/files/{gone}")
    process.kill()
    process.start()
    late = wire.create("late")["id"]
    found = wire.get("changes", pageToken=token)["changes"]
    assert [one["fileId"] for one in found] == [kept, gone, late]
    assert [one["removed"] for one in found] == [False, True, False]


def test_a_refused_start_leaves_incoming_contents(process):
    """A second emulator on a folder is refused, and deletes nothing that the first one receives."""
    arriving = process.data_dir / "incoming" / "0123"
    arriving.write_bytes(b"half of something")
    with pytest.raises(ValueError, match="another emulator"), DriveEmulator(process.data_dir):
        pass
    assert arriving.exists()


@pytest.mark.parametrize("name", ["content", "incoming"])
def test_files_of_something_else_are_kept(tmp_path, name):
    """A folder whose content/ or incoming/ the emulator did not make is refused as data folder."""
    mine = tmp_path / name / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(ValueError, match="choose another folder"), DriveEmulator(tmp_path):
        pass
    assert mine.exists()
    assert list(tmp_path.iterdir()) == [mine.parent]


def test_a_token_may_begin_with_a_dash():
    """As random tokens do."""
    with (
        DriveEmulator(process=True, tokens=["-a=a@example.com"]) as emulator,
        RawClient(emulator.url, "-a") as wire,
    ):
        assert wire.names("") == []


def test_serve_takes_tokens_and_faults(tmp_path):
    """`tokens` replace the default token; SIGTERM leaves no temporary folder behind."""
    script = """
from colab_drive_tuner.emulator import serve

faults = [
    "do=error,status=500,api=drive.about.get",
    "do=latency,seconds=0.001,probability=0.5",
]
serve(tokens=["abc=a@example.com,client=x,scopes=drive.file"], faults=faults)
"""
    with running_python("-c", script, environment={"TMPDIR": str(tmp_path)}) as (process, line):
        with RawClient(line.strip().rpartition(" ")[2], "abc") as wire:
            assert wire.names("") == []
            assert wire("GET", "/drive/v3/about?fields=user").status_code == 500
            assert wire.refusal("GET", "/drive/v3/files/root") == (404, "notFound")
            known = wire("GET", "/drive/v3/files", headers={"Authorization": "Bearer emulator"})
            assert known.status_code == 401
        assert len(list(tmp_path.iterdir())) == 1
        process.terminate()
        process.wait(60)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"port": 65536}, "the port must be 0 to 65535, not 65536"),
        ({"latency": math.nan}, "the latency must be 0 or more seconds, not nan"),
        ({"tokens": ["x"]}, "TOKEN=ACCOUNT"),
        ({"data": "."}, "file is not a database"),
        ({"data": "taken"}, "unable to open database file"),
    ],
)
def test_invalid_arguments_are_named(monkeypatch, tmp_path, values, reason):
    """An invalid port, latency, token or data folder is named."""
    (tmp_path / "metadata.sqlite").write_text("not of an emulator" * 10)
    (tmp_path / "taken" / "metadata.sqlite").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=reason):
        serve(**values)


def test_a_content_that_fits_the_disk_only_in_part_is_an_error(tmp_path):
    """A write that the disk accepts in part is continued, so that the disk's error is raised."""
    script = """
import asyncio, errno, pathlib, resource, sys
from colab_drive_tuner.emulator.media.contents import Sink

sink = Sink(pathlib.Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (4, 4))
asyncio.run(sink.write(b"content"))
try:
    asyncio.run(sink.finish())
except OSError as error:
    assert error.errno == errno.EFBIG
else:
    raise AssertionError("a part of the content was taken for the whole")
"""
    run_python("-c", script, tmp_path / "incoming")


def test_its_data_stay_where_they_are(tmp_path, monkeypatch):
    """An emulator with a relative folder finds its data again from another working directory."""
    monkeypatch.chdir(tmp_path)
    emulator = DriveEmulator("drive")
    other = tmp_path / "other"
    other.mkdir()
    with emulator, RawClient(emulator.url, "emulator") as wire:
        wire.create("kept")
        emulator.stop()
        monkeypatch.chdir(other)
        emulator.start()
        assert wire.names("") == ["kept"]
    assert list(other.iterdir()) == []


@pytest.mark.parametrize("as_process", [False, True])
def test_a_failed_start_can_be_repeated(tmp_path, as_process):
    """After a failed start nothing runs or holds the data, so that the next start works."""
    emulator = DriveEmulator(tmp_path, process=as_process)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        emulator.port = taken.getsockname()[1]
        with pytest.raises((OSError, RuntimeError)):
            emulator.start()
    assert emulator.process is None
    with emulator:
        assert requests.get(f"{emulator.url}/_emulator/", timeout=30).ok


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_uploads_and_downloads(process, tmp_path):
    """curl, which sends Expect: 100-continue, uploads and downloads as in the documentation."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3_000_000))

    def curl(*arguments: str) -> str:
        header = "Authorization: Bearer emulator"
        command = ["curl", "-sS", "--noproxy", "*", "-H", header, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    upload = f"{process.url}/upload/drive/v3/files?uploadType=media&fields=id"
    answer = curl("-X", "POST", "-T", str(source), upload)
    file_id = answer.split('"')[3]
    target = tmp_path / "target"
    curl("-o", str(target), f"{process.url}/drive/v3/files/{file_id}?alt=media")
    assert target.read_bytes() == source.read_bytes()


def test_memory_stays_flat_for_large_bodies(process, wire):
    """A 64 MB upload and download grow the emulator's memory by less than 16 MB."""
    status = Path(f"/proc/{process.process.pid}/status")
    if not status.exists():
        pytest.skip("needs /proc to see another process's memory")

    def peak() -> int:
        with status.open() as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

    wire.upload(b"warm")
    before = peak()
    piece = os.urandom(1024 * 1024)
    body = (piece for _ in range(64))
    answer = wire("POST", "/upload/drive/v3/files?uploadType=media&fields=id,size", data=body)
    assert answer.json()["size"] == str(64 * 2**20)
    with wire.session.get(
        f"{process.url}/drive/v3/files/{answer.json()['id']}?alt=media", stream=True
    ) as download:
        assert sum(map(len, download.iter_content(2**20))) == 64 * 2**20
    assert peak() - before < 16 * 1024
