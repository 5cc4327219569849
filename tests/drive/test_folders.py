"""Folders by path, id or link."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from colab_drive_tuner.errors import NotFoundError, UsageError


class TestFolder:
    """`folder` takes a path, an id or a link."""

    def test_creates_a_path_once(self, client):
        """Missing folders of a path are created; the next call finds them."""
        made = client.folder("one/two/it's three")
        assert client.folder("My Drive/one/two/it's three").id == made.id
        assert client.folder("").id == client.get("root").id

    def test_creates_nothing_if_not_asked_to(self, client):
        """With `create=False` a missing folder is an error and is not created."""
        with pytest.raises(NotFoundError, match="no folder 'two'"):
            client.folder("two", create=False)
        assert client.find("two") == []

    def test_by_id_and_link(self, client):
        """An id and both kinds of link lead to the folder."""
        made = client.folder("one")
        assert client.folder(made.id).id == made.id
        assert client.folder(made.web_view_link).id == made.id
        assert client.folder(f"https://drive.google.com/open?id={made.id}").id == made.id

    def test_an_unknown_id_creates_nothing(self, client):
        """A mistyped id does not create a folder of that name."""
        unknown = client.generate_ids(1)[0]
        with pytest.raises(NotFoundError, match="looks like an id"):
            client.folder(unknown)
        assert client.find(unknown) == []

    def test_a_file_in_the_way(self, client):
        """A path that leads to or through a file is refused before anything is created."""
        file = client.create_file("thing", b"", parent="root")
        for place in ("thing", "thing/inside", file.id):
            with pytest.raises(UsageError, match="not a folder"):
                client.folder(place)
        assert [one.id for one in client.find("thing")] == [file.id]

    def test_a_folder_in_the_trash(self, client):
        """A trashed folder is refused by its id; by its path a new one is created."""
        made = client.folder("one")
        client.trash(made.id)
        with pytest.raises(UsageError, match="in the trash"):
            client.folder(made.id)
        assert client.folder("one").id != made.id

    def test_of_several_the_oldest(self, client):
        """Of folders with one name, the oldest is used."""
        first = client.create_folder("twice", parent="root")
        client.create_folder("twice", parent="root")
        assert client.folder("twice").id == first.id

    def test_concurrent_creators_share_one(self, client):
        """After concurrent creations each later call gives the oldest folder."""
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: client.folder("race").id, range(8)))
        left = sorted(client.find("race", parent="root"), key=lambda file: (file.created, file.id))
        assert client.folder("race").id == left[0].id
        assert left[0].id in found

    def test_the_younger_ones_come_after_the_oldest(self, client):
        """`folders` gives duplicates of a path by age, also if two creators made its every step."""
        paths = [[client.create_folder("a", parent="root").id] for _ in range(2)]
        for path in reversed(paths):
            path.append(client.create_folder("b", parent=path[0]).id)
        assert [folder.id for folder in client.folders("a/b")] == [paths[1][1], paths[0][1]]
        assert [folder.id for folder in client.folders(paths[0][1])] == [paths[0][1]]

    def test_a_new_folder_that_no_listing_shows_yet(self, drive_emulator, client):
        """The creator of a folder can use it before any listing shows it."""
        drive_emulator.faults.add("list_lag", seconds=3600)
        made = client.folder("late")
        assert client.find("late") == []
        assert client.get(made.id).name == "late"
