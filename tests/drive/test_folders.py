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

    def test_two_that_make_it_at_once_share_it(self, client):
        """Whoever comes later finds the elder's and takes its own empty one back."""
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: client.folder("race").id, range(8)))
        left = client.find("race", parent="root")
        assert client.folder("race").id in found
        assert min(left, key=lambda file: (file.created, file.id)).id == client.folder("race").id
