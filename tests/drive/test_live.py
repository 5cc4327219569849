"""The chain's assumptions on the real Drive: `LIVE_DRIVE=1 scripts/test tests/drive`.

Uses whoever `find_credentials` finds, one folder, and the trash; costs a few megabytes.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from colab_drive_tuner.drive import DriveClient
from colab_drive_tuner.errors import IdTakenError

pytestmark = pytest.mark.skipif(
    not os.environ.get("LIVE_DRIVE"), reason="asks the real Google Drive: set LIVE_DRIVE=1"
)


@pytest.fixture(scope="module")
def live():
    client = DriveClient.connect()
    folder = client.create_folder(f"colab_drive_tuner test {uuid4()}", parent="root")
    yield client, folder.id
    client.trash(folder.id)
    client.close()


def create(client, parent, file_id, content):
    """The content, or None where the id was taken."""
    try:
        client.create_file("raced", content, parent=parent, file_id=file_id)
    except IdTakenError:
        return None
    return content


@pytest.mark.parametrize("size", [20, 6_000_000])
def test_of_many_that_race_for_one_id_one_wins(live, size):
    """Exactly one creation succeeds, and the file holds the winner's bytes."""
    client, folder = live
    file_id = client.generate_ids(1)[0]
    contents = [os.urandom(size) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda one: create(client, folder, file_id, one), contents))
    winners = [one for one in results if one is not None]
    assert len(winners) == 1
    assert client.download(file_id) == winners[0]


def test_an_id_stays_used_in_the_trash(live):
    """A file that somebody trashed still guards its id."""
    client, folder = live
    file_id = client.generate_ids(1)[0]
    client.create_file("x", b"first", parent=folder, file_id=file_id)
    client.trash(file_id)
    assert create(client, folder, file_id, b"second") is None


def test_what_was_created_is_there_at_once(live):
    """By its id, a file can be described and read as soon as its creation was answered."""
    client, folder = live
    for number in range(5):
        made = client.create_file(f"{number}", b"there", parent=folder)
        assert client.get(made.id).sha256 == made.sha256
        assert client.download(made.id) == b"there"


def test_the_clock_of_answers_is_the_clock_of_files(live):
    """Leases compare the two: Date headers, and the times that Drive gives to files."""
    client, folder = live
    made = client.create_file("x", b"", parent=folder)
    assert abs(client.now() - made.created) < 5


def test_properties_are_set_in_the_creation_and_merged_later(live):
    """A folder bears its marks from its first moment on."""
    client, folder = live
    made = client.create_folder("x", parent=folder, properties={"cdt_a": "1"})
    assert made.properties == {"cdt_a": "1"}
    assert client.update_properties(made.id, {"cdt_b": "2"}).properties == {
        "cdt_a": "1",
        "cdt_b": "2",
    }
