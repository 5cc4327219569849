"""The chain's assumptions on the real Drive: `LIVE_DRIVE=1 scripts/test tests/drive`.

Uses the credentials that `find_credentials` finds, one folder, and the trash; transfers a few
megabytes.
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
    """Create a file and return its content, or None if the id was taken."""
    try:
        client.create_file("raced", content, parent=parent, file_id=file_id)
    except IdTakenError:
        return None
    return content


@pytest.mark.parametrize("size", [20, 6_000_000])
def test_one_of_many_concurrent_creates_wins_an_id(live, size):
    """Exactly one concurrent create succeeds, and the file has its bytes."""
    client, folder = live
    file_id = client.generate_ids(1)[0]
    contents = [os.urandom(size) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda one: create(client, folder, file_id, one), contents))
    winners = [one for one in results if one is not None]
    assert len(winners) == 1
    assert client.download(file_id) == winners[0]


def test_an_id_stays_used_in_the_trash(live):
    """The id of a trashed file is still taken."""
    client, folder = live
    file_id = client.generate_ids(1)[0]
    client.create_file("x", b"first", parent=folder, file_id=file_id)
    client.trash(file_id)
    assert create(client, folder, file_id, b"second") is None


def test_what_was_created_is_there_at_once(live):
    """A file can be described and read by its id as soon as its create is answered."""
    client, folder = live
    for number in range(5):
        made = client.create_file(f"{number}", b"there", parent=folder)
        assert client.get(made.id).sha256 == made.sha256
        assert client.download(made.id) == b"there"


def test_the_clock_of_answers_is_the_clock_of_files(live):
    """Date headers agree with the creation times of files, because leases compare them."""
    client, folder = live
    made = client.create_file("x", b"", parent=folder)
    assert abs(client.now() - made.created) < 5


def test_properties_are_set_in_the_creation_and_merged_later(live):
    """A folder has its properties from its creation on; later ones are merged."""
    client, folder = live
    made = client.create_folder("x", parent=folder, properties={"cdt_a": "1"})
    assert made.properties == {"cdt_a": "1"}
    assert client.update_properties(made.id, {"cdt_b": "2"}).properties == {
        "cdt_a": "1",
        "cdt_b": "2",
    }
