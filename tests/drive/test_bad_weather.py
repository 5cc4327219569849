"""Every fault of the emulator: no data is lost, nothing is created twice, no call hangs."""

import hashlib
import io
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from colab_drive_tuner.drive import source, transfer
from colab_drive_tuner.drive.requests import transport
from colab_drive_tuner.errors import (
    ChecksumError,
    CredentialsError,
    IdTakenError,
    UnavailableError,
)

SMALL = os.urandom(1000)
LARGE = os.urandom(7_000_000)

FAULTS = [
    {"do": "error", "status": 503},
    {"do": "error", "status": 500, "reason": "internalError"},
    {"do": "error", "status": 429},
    {"do": "error", "status": 403, "reason": "rateLimitExceeded"},
    {"do": "reset", "when": "before"},
    {"do": "reset", "when": "during"},
    {"do": "reset", "when": "after"},
    {"do": "reset", "when": "answer"},
    {"do": "truncate"},
    {"do": "expire"},
]


@pytest.fixture
def weather(drive_emulator, monkeypatch):
    """The emulator's faults, with windows so small that large files need several."""
    monkeypatch.setattr(source, "WINDOW", 2 * 2**20)
    return drive_emulator.faults


def describe(fault):
    return "-".join(str(value) for value in fault.values())


@pytest.mark.parametrize("fault", FAULTS, ids=describe)
@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_an_upload_survives_and_is_there_once(client, root, weather, fault, content):
    """Every third request of an upload fails: there is one file, with the right bytes."""
    weather.add(path="/upload/", every=3, after=-2, **fault)
    made = client.create_file("x", content, parent=root)
    weather.clear()
    assert made.sha256 == hashlib.sha256(content).hexdigest()
    assert [file.id for file in client.list_folder(root)] == [made.id]
    assert client.download(made.id) == content


@pytest.mark.parametrize("fault", FAULTS, ids=describe)
def test_metadata_calls_survive(client, root, weather, fault):
    """The first attempt of each call fails: folders, properties, lists and trash are right."""
    weather.add(every=2, after=-1, **fault)
    folder = client.create_folder("f", parent=root)
    client.update_properties(folder.id, {"cdt_a": "1"})
    found = client.find("f", parent=root)
    assert [(file.id, file.properties) for file in found] == [(folder.id, {"cdt_a": "1"})]
    client.trash(folder.id)
    assert client.list_folder(root) == []
    assert any(rule["struck"] >= 4 for rule in weather.rules)


@pytest.mark.parametrize("fault", FAULTS, ids=describe)
def test_downloads_survive(client, root, weather, fault, tmp_path):
    """The first attempt of each request fails: bytes are right, and files replaced in one step."""
    made = client.create_file("x", LARGE, parent=root)
    weather.add(every=2, after=-1, **fault)
    assert client.download(made.id) == LARGE
    target = tmp_path / "x"
    target.write_bytes(b"older")
    client.download_file(made.id, target)
    assert target.read_bytes() == LARGE
    assert list(tmp_path.iterdir()) == [target]


def test_a_broken_download_resumes(client, root, weather, drive_emulator):
    """Only the missing bytes are requested again."""
    made = client.create_file("x", LARGE, parent=root)
    drive_emulator.clear_log()
    weather.add("truncate", query="alt=media", times=1, fraction=0.5)
    seen = []
    transfer.download(client._calls, made.id, io.BytesIO(), lambda done, _: seen.append(done))
    answers = [entry["status"] for entry in drive_emulator.log if "media" in entry["query"]]
    assert answers == [200, 206]
    assert seen == sorted(seen)


@pytest.mark.parametrize("size", [1_000_000, 5_000_000])
def test_a_file_replaced_during_its_download_arrives_whole(client, root, weather, size):
    """If a file is replaced by a shorter one while its download breaks, its new content arrives."""
    made = client.create_file("x", LARGE, parent=root)
    weather.add("truncate", query="alt=media", times=1, fraction=0.5)
    replacements = [LARGE[-size:]]

    def replace(done, total):
        if replacements:
            client.update_content(made.id, replacements.pop())

    sink = io.BytesIO()
    transfer.download(client._calls, made.id, sink, replace)
    assert sink.getvalue() == LARGE[-size:]


def test_a_broken_upload_resumes(client, root, weather, drive_emulator):
    """After a failure the client asks how much has arrived and sends only the rest."""
    drive_emulator.clear_log()
    weather.add("error", status=503, verb="PUT", nth=[2])
    client.create_file("x", LARGE, parent=root)
    sent = [entry["bytes_in"] for entry in drive_emulator.log if entry["method"] == "PUT"]
    assert sent[2] == 0, "the question how much has arrived"
    assert sum(sent) < len(LARGE) + source.WINDOW + 10_000


def test_altered_bytes_are_noticed_and_fetched_again(client, root, weather, tmp_path):
    """Corrupt content is downloaded again; always corrupt, it is an error and leaves no file."""
    made = client.create_file("x", LARGE, parent=root)
    weather.add("corrupt", query="alt=media", times=transfer.ATTEMPTS - 1)
    assert client.download(made.id) == LARGE
    weather.clear()
    weather.add("corrupt", query="alt=media")
    with pytest.raises(ChecksumError, match="4 times"):
        client.download_file(made.id, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_lost_answer_to_a_creation_with_a_given_id(client, root, weather):
    """A create that is repeated after a lost answer raises IdTakenError.

    The caller who gave the id finds out whose file it is.
    """
    file_id = client.generate_ids(1)[0]
    weather.add("reset", when="after", verb="POST", times=1)
    with pytest.raises(IdTakenError):
        client.create_file("x", SMALL, parent=root, file_id=file_id)
    assert client.download(file_id) == SMALL


@pytest.mark.parametrize("delay", [0.0, 0.2])
def test_a_request_that_arrives_late(client, root, weather, delay):
    """A request that was repeated and takes effect late does not create a second file."""
    weather.add("late", seconds=delay, verb="POST", times=1)
    made = client.create_file("x", SMALL, parent=root)
    deadline = time.monotonic() + delay + 0.2
    while time.monotonic() < deadline:
        assert [file.id for file in client.list_folder(root)] == [made.id]


def test_a_silent_server_is_given_up(client, root, weather, monkeypatch):
    """A request without an answer is a failed attempt and is repeated."""
    monkeypatch.setattr(transport, "READ_TIMEOUT", 0.2)
    weather.add("hang", seconds=60, nth=[1, 3])
    assert client.get(root).id == root
    assert client.list_folder(root) == []


def test_an_outage_ends_in_one_error(client, root, weather, clock):
    """Once the patience is over, one error names the call; later the same client works."""
    weather.add("outage")
    with pytest.raises(UnavailableError, match="did not answer the upload of 'x'"):
        client.create_file("x", SMALL, parent=root)
    assert 30 < clock.time <= 60
    weather.clear()
    client.create_file("x", SMALL, parent=root)
    assert len(client.list_folder(root)) == 1


def test_the_daily_cap_is_named_for_uploads_only(client, root, weather):
    """The upload's error names the daily cap; that of a change of properties does not."""
    weather.add("error", status=403, reason="userRateLimitExceeded")
    with pytest.raises(UnavailableError, match="750 GB"):
        client.create_file("x", SMALL, parent=root, file_id="0" * 33)
    with pytest.raises(UnavailableError, match="when the connection is back"):
        client.update_properties(root, {"a": "b"})


def test_patience_is_counted_from_the_last_progress(client, root, weather, clock):
    """A transfer that makes progress between failures may take longer than the patience."""
    weather.add("error", status=503, verb="PUT", every=3, retry_after=40)
    content = os.urandom(12_000_000)
    made = client.create_file("x", content, parent=root)
    weather.clear()
    assert clock.time > 60
    waited = clock.time
    weather.add("truncate", query="alt=media", nth=[1, 3, 5], fraction=0.3)
    weather.add("error", status=503, query="alt=media", nth=[2, 4, 6], retry_after=40)
    assert client.download(made.id) == content
    assert clock.time - waited > 60


def test_a_download_that_only_trickles_is_given_up(client, root, clock, monkeypatch):
    """A download that gets only a few bytes at a time counts as without progress."""
    made = client.create_file("x", LARGE, parent=root)
    real = transfer._Fetch._receive

    def slow(fetch, blocks):
        def few():
            for number, block in enumerate(blocks):
                clock.time += 100 if number == 1 else 0
                yield block[:10]

        real(fetch, few())

    monkeypatch.setattr(transfer._Fetch, "_receive", slow)
    with pytest.raises(UnavailableError, match="too slowly"):
        client.download(made.id)


def test_a_revoked_token_is_an_error(client, root, drive_emulator):
    """A token that can no longer be renewed raises CredentialsError."""
    drive_emulator.call("DELETE", "tokens", {"token": os.environ["DRIVE_EMULATOR_TOKEN"]})
    with pytest.raises(CredentialsError, match="revoked"):
        client.get(root)


def test_weather_does_not_touch_the_global_random(client, root, weather):
    """Retries leave the global random state unchanged, on which a trial may depend."""
    before = random.getstate()
    weather.add("error", status=503, every=3, after=-2)
    for content in (SMALL, LARGE):
        assert client.download(client.create_file("x", content, parent=root).id) == content
    assert any(rule["struck"] >= 3 for rule in weather.rules)
    assert random.getstate() == before


@pytest.mark.parametrize("patience", [3600.0])  # long enough for a dozen failures in a row
def test_many_threads_in_a_storm(client, root, weather):
    """Sixteen threads with a third of all requests failing create each file exactly once."""
    weather.seed(7)
    for fault in FAULTS:
        if fault["do"] != "expire":  # if two tokens expire at once, the second is refused
            weather.add(probability=0.04, **fault)

    def work(number):
        content = f"{number}".encode() * 1000
        made = client.create_file(f"{number}", content, parent=root)
        assert client.download(made.id) == content
        return made.id

    with ThreadPoolExecutor(16) as pool:
        made = sorted(pool.map(work, range(80)))
    weather.clear()
    assert sorted(file.id for file in client.list_folder(root)) == made
