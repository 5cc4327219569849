"""Folders by path, id or link."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from colab_drive_tuner.errors import NotFoundError, UsageError


class TestFolder:
    """`folder` takes what people have: a path, an id, a link."""

    def test_makes_a_path_once(self, client):
        """Missing folders are made on the way; the next one finds them."""
        made = client.folder("one/two/it's three")
        assert client.folder("My Drive/one/two/it's three").id == made.id
        assert client.folder("").id == client.get("root").id

    def test_does_not_make_where_not_asked_to(self, client):
        """Looking leaves no trace."""
        with pytest.raises(NotFoundError, match="no folder 'two'"):
            client.folder("two", create=False)
        assert client.find("two") == []

    def test_by_id_and_link(self, client):
        """Both lead to the folder itself."""
        made = client.folder("one")
        assert client.folder(made.id).id == made.id
        assert client.folder(made.web_view_link).id == made.id
        assert client.folder(f"https://drive.google.com/open?id={made.id}").id == made.id

    def test_an_unknown_id_makes_nothing(self, client):
        """A mistyped id must not become a folder of that name."""
        unknown = client.generate_ids(1)[0]
        with pytest.raises(NotFoundError, match="looks like an id"):
            client.folder(unknown)
        assert client.find(unknown) == []

    def test_a_file_in_the_way(self, client):
        """A path that leads through a file is refused before anything is made."""
        file = client.create_file("thing", b"", parent="root")
        for place in ("thing", "thing/inside", file.id):
            with pytest.raises(UsageError, match="not a folder"):
                client.folder(place)
        assert [one.id for one in client.find("thing")] == [file.id]

    def test_a_folder_in_the_trash(self, client):
        """By id it is refused; by path a new one is made."""
        made = client.folder("one")
        client.trash(made.id)
        with pytest.raises(UsageError, match="in the trash"):
            client.folder(made.id)
        assert client.folder("one").id != made.id

    def test_of_several_the_oldest(self, client):
        """Everybody who looks takes the same one."""
        first = client.create_folder("twice", parent="root")
        client.create_folder("twice", parent="root")
        assert client.folder("twice").id == first.id

    def test_many_that_make_it_at_once_share_one(self, client):
        """Whatever each of them had seen, all take the oldest when they look again."""
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: client.folder("race").id, range(8)))
        left = sorted(client.find("race", parent="root"), key=lambda file: (file.created, file.id))
        assert client.folder("race").id == left[0].id
        assert left[0].id in found

    def test_the_younger_ones_come_after_the_oldest(self, client):
        """On every step of the path: two may have made all of it at once."""
        paths = [[client.create_folder("a", parent="root").id] for _ in range(2)]
        for path in reversed(paths):
            path.append(client.create_folder("b", parent=path[0]).id)
        assert [folder.id for folder in client.folders("a/b")] == [paths[1][1], paths[0][1]]
        assert [folder.id for folder in client.folders(paths[0][1])] == [paths[0][1]]

    def test_one_that_no_list_shows_yet_is_the_first(self, drive_emulator, client):
        """Its maker goes on with it, although it cannot see it."""
        drive_emulator.faults.add("list_lag", seconds=3600)
        made = client.folder("late")
        assert client.find("late") == []
        assert client.get(made.id).name == "late"
