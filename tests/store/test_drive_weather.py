"""A search's journal on Drive with lost answers, expired tokens and a revoked sign-in."""

import time
from collections import Counter

import pytest
from google.oauth2.credentials import Credentials

from colab_drive_tuner.credentials import Identity
from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.drive.requests.endpoint import Authorizer, Endpoint
from colab_drive_tuner.journal import Journal, outage
from colab_drive_tuner.journal.folder.creation import find_or_create_subfolder, find_subfolders
from colab_drive_tuner.store.drive import DriveStore
from tests.journal.faulty_store import append_acknowledged
from tests.journal.list_state import RULES, item


@pytest.fixture
def sign_in(drive_emulator):
    """A function that signs the owner in with a refresh token at the emulator's endpoint."""
    clients = []

    def sign_one_in(name):
        drive_emulator.allow("", "owner@example.com", refresh_token=name)
        credentials = Credentials(
            None,
            refresh_token=name,
            token_uri=f"{drive_emulator.url}/token",
            client_id="an-id",
            client_secret="a-secret",
        )
        endpoint = Endpoint(drive_emulator.url, "")
        signer = Authorizer(Identity(credentials, "a test"))
        clients.append(DriveClient(signer, endpoint=endpoint))
        return DriveStore(clients[-1])

    yield sign_one_in
    for client in clients:
        client.close()


@pytest.fixture
def begin(monkeypatch, sign_in):
    """A function that opens and claims the journal of search "s"; `messages` gets its output."""
    monkeypatch.setattr(outage, "_REFUSED_SECONDS", 0.1)
    opened = []

    def begin_one(store, messages=None):
        journal = Journal.open(store, "s", RULES, sleep=lambda seconds: None)
        journal.claim(lambda state: b"", notify=(messages if messages is not None else []).append)
        opened.append(journal)
        return journal

    yield begin_one
    for journal in opened:
        journal.close(timeout=5)


@pytest.fixture
def names(drive_emulator, begin):
    """Counts of the names in a search's folders, after many creates lost their answers."""
    client = DriveClient.connect()
    store = DriveStore(client)
    drive_emulator.faults.add("reset", when="after", verb="POST", every=2, after=-1)
    journal = begin(store)
    for value in range(8):
        append_acknowledged(journal, value)
    journal.close()
    lost = drive_emulator.faults.rules[0]["struck"]
    drive_emulator.faults.clear()
    assert lost >= 10, "the folders, the claim, eight records"
    assert Journal.open(store, "s", RULES).state.items == list(range(8))
    [folder] = store.list(store.root)
    inside = store.list(folder.id)
    [records] = [one for one in inside if one.name == "records"]
    found = Counter(one.name for one in inside + store.list(records.id))
    client.close()
    return found


def test_a_lost_answer_creates_nothing_twice(names):
    """Folders and records exist once each, although the answers to their creates were lost."""
    records = {name: count for name, count in names.items() if name != "trials.pkl"}
    assert len(records) >= 10
    assert set(records.values()) == {1}


def test_a_subfolder_is_used_although_the_answer_to_its_create_was_lost(drive_emulator):
    """The folder of the best models is found by its id while listings do not show it yet."""
    store = DriveStore(DriveClient.connect())
    (search,) = store.reserve(1)
    store.create(search, None, name="s", parent=store.root)
    drive_emulator.faults.add("list_lag", seconds=3600)
    drive_emulator.faults.add("reset", when="after", api="drive.files.create", times=1)
    best = find_or_create_subfolder(store, search, "best")
    assert (store.stat(best).name, store.stat(best).parent) == ("best", search)
    assert find_subfolders(store, search, "best") == [best]


def test_the_convenience_copy_is_made_once(names):
    """`trials.pkl` exists once as well."""
    assert names["trials.pkl"] == 1


def test_an_expired_token_is_renewed_silently(drive_emulator, sign_in, begin):
    """A search that lasts longer than a token continues, without a message."""
    messages = []
    journal = begin(sign_in("refresh"), messages)
    append_acknowledged(journal, 1)
    drive_emulator.expire()
    append_acknowledged(journal, 2)
    assert journal.state.items == [1, 2]
    assert messages == []


def test_a_revoked_sign_in_loses_nothing(drive_emulator, begin, sign_in):
    """Training continues with one message, and the next sign-in records the spooled items."""
    messages = []
    journal = begin(sign_in("first"), messages)
    append_acknowledged(journal, 1)
    drive_emulator.call("DELETE", "tokens", {"token": "first"})
    drive_emulator.expire()
    for value in (2, 3):
        journal.append(item(value), durable=True)
    until = time.monotonic() + 60
    while not messages and time.monotonic() < until:
        assert not journal.flush(timeout=0.1)
    assert journal.pending == 2
    assert len(messages) == 1
    assert "revoked. Sign in again" in messages[0]
    journal.close(timeout=0.2)
    assert begin(sign_in("second")).state.items == [1, 2, 3]


def test_a_corrupt_record_is_read_again(drive_emulator, begin, sign_in):
    """Each record takes one call; one that fails its checksum on arrival is requested again."""
    journal = begin(sign_in("one"))
    for value in range(6):
        append_acknowledged(journal, value)
    journal.close()
    drive_emulator.faults.add("corrupt", verb="GET", query="alt=media", nth=[2])
    drive_emulator.clear_log()
    assert Journal.open(sign_in("two"), "s", RULES).state.items == list(range(6))
    media = [entry["path"] for entry in drive_emulator.log if "alt=media" in entry["query"]]
    again = len(media) - len(set(media))
    assert again == 1
