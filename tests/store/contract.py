"""Contract tests for every store: a class that each store's tests inherit.

A subclass provides the fixture `reopen`: a function that returns a new object for the same store,
as another process would create it.
"""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from colab_drive_tuner.errors import (
    ColabDriveTunerError,
    IdTakenError,
    NotFoundError,
    StoreError,
)
from colab_drive_tuner.store import Store, open_store, split_scheme

Reopen = Callable[[], Store]


class StoreContract:
    """The guarantees of `store/protocol.py`, one per test."""

    @pytest.fixture
    def store(self, reopen: Reopen) -> Store:
        return reopen()

    def test_what_is_created_can_be_read_at_once_by_others(
        self, store: Store, reopen: Reopen
    ) -> None:
        """Other clients see a finished create at once, with its name, properties and size."""
        (entry_id,) = store.reserve(1)
        made = store.create(
            entry_id,
            b"content",
            name="000007",
            parent=store.root,
            properties={"cdt_kind": "record"},
        )
        other = reopen()
        assert other.read(entry_id) == b"content"
        assert other.stat(entry_id) == made
        assert (made.id, made.name, made.parent, made.size, made.is_folder) == (
            entry_id,
            "000007",
            store.root,
            7,
            False,
        )
        assert made.properties["cdt_kind"] == "record"

    def test_an_id_works_once(self, store: Store, reopen: Reopen) -> None:
        """The second create of an id is refused to everyone, and changes nothing."""
        (entry_id,) = store.reserve(1)
        store.create(entry_id, b"first", name="a", parent=store.root)
        for other in (store, reopen()):
            with pytest.raises(IdTakenError):
                other.create(entry_id, b"second", name="b", parent=store.root)
            with pytest.raises(IdTakenError):
                other.create(entry_id, None, name="c", parent=store.root)
        assert store.read(entry_id) == b"first"
        assert store.stat(entry_id).name == "a"

    def test_folders_are_created_once_too(self, store: Store, reopen: Reopen) -> None:
        """A folder has an id like a file, and its properties from its create on."""
        folder, inner = store.reserve(2)
        made = store.create(folder, None, name="s", parent=store.root, properties={"cdt_id0": "x"})
        assert made.is_folder
        assert reopen().stat(folder).properties["cdt_id0"] == "x"
        with pytest.raises(IdTakenError):
            store.create(folder, b"", name="s", parent=store.root)
        assert store.create(inner, b"1", name="f", parent=folder).parent == folder
        assert reopen().read(inner) == b"1"

    def test_reserved_ids_differ(self, store: Store, reopen: Reopen) -> None:
        """No id is reserved twice."""
        ids = [*store.reserve(50), *reopen().reserve(50)]
        assert len(set(ids)) == 100

    def test_an_unused_id_is_not_found(self, store: Store) -> None:
        """Each method raises `NotFoundError` for an id that was never created."""
        (entry_id,) = store.reserve(1)
        for ask in (store.read, store.read_unverified, store.stat):
            with pytest.raises(NotFoundError):
                ask(entry_id)
        with pytest.raises(NotFoundError):
            store.set_properties(entry_id, {"cdt_a": "1"})

    def test_two_files_may_have_one_name(self, store: Store) -> None:
        """Names need not be unique: only ids are."""
        one, two = store.reserve(2)
        store.create(one, b"1", name="same", parent=store.root)
        store.create(two, b"2", name="same", parent=store.root)
        assert (store.read(one), store.read_unverified(two)) == (b"1", b"2")
        assert store.stat(one).name == store.stat(two).name == "same"

    @pytest.mark.parametrize("name", ["it's", "a\\b", "ü, 日本", ".hidden", "a/b", " ", "x" * 300])
    def test_names_are_kept_exactly(self, store: Store, name: str) -> None:
        """Names are returned unchanged, including characters special to a disk or a query."""
        folder, entry_id = store.reserve(2)
        store.create(folder, None, name=name, parent=store.root)
        store.create(entry_id, b"1", name=name, parent=folder)
        assert store.stat(entry_id).name == store.stat(folder).name == name
        assert [entry.id for entry in store.list(folder, name=name)] == [entry_id]

    def test_a_list_shows_what_lies_directly_in_a_folder(self, store: Store) -> None:
        """Entries in subfolders, in other folders or in the trash are not listed."""
        folder, inner, deep, one, two, gone = store.reserve(6)
        store.create(folder, None, name="f", parent=store.root)
        store.create(inner, None, name="inner", parent=folder)
        store.create(deep, b"", name="one", parent=inner)
        for entry_id, name in ((one, "one"), (two, "two"), (gone, "one")):
            store.create(entry_id, b"", name=name, parent=folder)
        store.trash(gone)
        assert {entry.id for entry in store.list(folder)} == {inner, one, two}
        assert [entry.id for entry in store.list(folder, name="one")] == [one]
        assert store.list(folder, name="on") == []
        assert [entry.id for entry in store.list(store.root, name="f")] == [folder]

    def test_properties_are_seen_by_others(self, store: Store, reopen: Reopen) -> None:
        """New properties are merged with the existing ones by key; the content is unchanged."""
        (entry_id,) = store.reserve(1)
        store.create(entry_id, b"1", name="a", parent=store.root, properties={"cdt_a": "1"})
        store.set_properties(entry_id, {"cdt_a": "2", "cdt_b": "3"})
        store.set_properties(entry_id, {"cdt_c": "4"})
        found = reopen().stat(entry_id)
        assert {"cdt_a": "2", "cdt_b": "3", "cdt_c": "4"}.items() <= found.properties.items()
        assert reopen().read(entry_id) == b"1"

    def test_an_empty_value_removes_a_property(self, store: Store, reopen: Reopen) -> None:
        """A property from the create, and one set later, are gone once their value is empty."""
        (entry_id,) = store.reserve(1)
        store.create(entry_id, None, name="a", parent=store.root, properties={"cdt_a": "1"})
        store.set_properties(entry_id, {"cdt_b": "2", "cdt_c": "3"})
        store.set_properties(entry_id, {"cdt_a": ""})
        store.rename(entry_id, "b", {"cdt_b": ""})
        assert reopen().stat(entry_id).properties == {"cdt_c": "3"}
        store.set_properties(entry_id, {"cdt_a": "4"})
        assert reopen().stat(entry_id).properties == {"cdt_a": "4", "cdt_c": "3"}

    def test_entries_are_found_by_their_properties(self, store: Store, reopen: Reopen) -> None:
        """Entries are found by all given properties, also in other folders and in the trash."""
        ids = store.reserve(4)
        marks = {"cdt_kind": "search", "cdt_name": 'o\'clock \\ and "more"'}
        store.create(ids[0], None, name="here", parent=store.root, properties=marks)
        store.create(ids[1], None, name="below", parent=ids[0], properties=marks)
        store.create(ids[2], b"", name="gone", parent=store.root, properties=marks)
        store.create(ids[3], None, name="other", parent=store.root, properties={"cdt_kind": "x"})
        store.trash(ids[2])
        other = reopen()
        found = {entry.id: entry for entry in other.find_marked(marks)}
        assert {entry_id: entry.trashed for entry_id, entry in found.items()} == {
            ids[0]: False,
            ids[1]: False,
            ids[2]: True,
        }
        assert found[ids[0]] == other.stat(ids[0])
        assert other.find_marked({**marks, "cdt_kind": "other"}) == []
        both = other.find_marked({"cdt_kind": "x"}, or_named="below")
        assert {entry.id for entry in both} == {ids[1], ids[3]}

    def test_creation_times_are_of_the_stores_clock(self, store: Store) -> None:
        """Creation times and `now()` come from the same clock, in seconds."""
        (entry_id,) = store.reserve(1)
        created = store.create(entry_id, b"", name="a", parent=store.root).created
        assert -2 <= store.now() - created < 60

    def test_properties_too_long_are_refused(self, store: Store) -> None:
        """Key and value together have at most 124 bytes in UTF-8."""
        (entry_id,) = store.reserve(1)
        store.create(entry_id, b"", name="a", parent=store.root, properties={"k": "ü" * 61 + "x"})
        with pytest.raises(ColabDriveTunerError):
            store.set_properties(entry_id, {"k": "ü" * 62})

    def test_replaced_content_is_seen(self, store: Store, reopen: Reopen) -> None:
        """`replace` leaves id, name and properties, and changes content and size."""
        (entry_id,) = store.reserve(1)
        store.create(entry_id, b"1", name="a", parent=store.root, properties={"cdt_a": "1"})
        store.replace(entry_id, b"longer")
        found = reopen().stat(entry_id)
        assert reopen().read(entry_id) == b"longer"
        assert (found.name, found.size, found.properties["cdt_a"]) == ("a", 6, "1")

    @pytest.mark.parametrize("name", ["plain", "a: b?", "ü, 日本", "~", "x" * 120])
    def test_a_renamed_folder_keeps_all_but_its_name(
        self, store: Store, reopen: Reopen, name: str
    ) -> None:
        """A renamed folder's files keep their ids, others see the new name, the old one is free."""
        folder, inner, second = store.reserve(3)
        marks = {"cdt_a": "1", "cdt_b": "2"}
        store.create(folder, None, name="old: 1", parent=store.root, properties=marks)
        store.create(inner, b"1", name="file", parent=folder)
        store.rename(folder, name, {"cdt_b": "3"})
        (found,) = reopen().list(store.root, name=name)
        assert {"cdt_a": "1", "cdt_b": "3"}.items() <= found.properties.items()
        assert (reopen().read(inner), reopen().stat(inner).parent) == (b"1", found.id)
        assert reopen().list(store.root, name="old: 1") == []
        reopen().create(second, None, name="old: 1", parent=store.root)
        assert {entry.name for entry in reopen().list(store.root)} == {name, "old: 1"}
        reopen().rename(found.id, "again")
        assert reopen().stat(inner).parent == reopen().list(store.root, name="again")[0].id

    def test_the_root_has_properties(self, store: Store, reopen: Reopen) -> None:
        """The root keeps properties: a rerun's lock is one, before its search exists."""
        store.ensure_root()
        store.set_properties(store.root, {"cdt_a": "1"})
        root = reopen().stat(store.root)
        assert (root.is_folder, root.properties.get("cdt_a")) == (True, "1")
        store.set_properties(store.root, {"cdt_a": ""})
        assert "cdt_a" not in reopen().stat(store.root).properties

    def test_what_is_trashed_is_gone_and_its_id_stays_taken(
        self, store: Store, reopen: Reopen
    ) -> None:
        """After `trash`, `stat` finds nothing, and nothing can be created under the id again."""
        (entry_id,) = store.reserve(1)
        store.create(entry_id, b"1", name="a", parent=store.root)
        store.trash(entry_id)
        with pytest.raises(NotFoundError):
            reopen().stat(entry_id)
        with pytest.raises(IdTakenError):
            reopen().create(entry_id, b"1", name="a", parent=store.root)

    def test_a_folder_is_restored_from_the_trash(self, store: Store, reopen: Reopen) -> None:
        """After `restore` the folder is listed under its name, with everything in it."""
        folder, file = store.reserve(2)
        store.create(folder, None, name="a: b?", parent=store.root)
        store.create(file, b"1", name="file", parent=folder)
        store.trash(folder)
        store.restore(folder)
        assert [(e.id, e.name) for e in reopen().list(store.root)] == [(folder, "a: b?")]
        assert reopen().read(file) == store.read(file) == b"1"
        assert reopen().list_trash(store.root) == []
        with pytest.raises(NotFoundError):
            store.restore(*store.reserve(1))

    def test_files_go_in_and_out_by_path(self, store: Store, tmp_path: Path) -> None:
        """Content is uploaded from a file and fetched into one, replacing its content."""
        (entry_id,) = store.reserve(1)
        content = bytes(range(256)) * 5000
        source, target = tmp_path / "in.keras", tmp_path / "out.keras"
        source.write_bytes(content)
        target.write_bytes(b"old")
        assert store.create(entry_id, source, name="m", parent=store.root).size == len(content)
        store.fetch(entry_id, target)
        assert target.read_bytes() == content
        assert sorted(path.name for path in tmp_path.glob("*out*")) == ["out.keras"]

    def test_an_empty_file_is_a_file(self, store: Store) -> None:
        """An entry with empty content is a file, not a folder."""
        (entry_id,) = store.reserve(1)
        assert not store.create(entry_id, b"", name="empty", parent=store.root).is_folder
        assert store.read(entry_id) == b""

    def test_only_one_of_many_threads_creates(self, store: Store, reopen: Reopen) -> None:
        """Of concurrent creates, exactly one wins each id, and its content is stored."""
        ids = store.reserve(5)
        wins: dict[str, list[bytes]] = {entry_id: [] for entry_id in ids}
        gate = threading.Barrier(3)

        def compete(opened: Store, content: bytes) -> None:
            gate.wait()
            for entry_id in ids:
                try:
                    opened.create(entry_id, content, name="r", parent=opened.root)
                except IdTakenError:
                    continue
                wins[entry_id].append(content)

        threads = [
            threading.Thread(target=compete, args=(reopen(), str(number).encode()))
            for number in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [[store.read(entry_id)] for entry_id in ids] == list(wins.values())

    def test_another_process_finds_it_or_it_ends_with_this_one(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another process finds the store by its variables; without any, it ends with this one."""
        if store.environment is None:
            assert store.local_path is None
            assert not store.is_shared
            return
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        if not store.is_shared:
            assert open_store().location == store.location

    def test_a_store_without_files_is_empty(self, store: Store) -> None:
        """An empty store, even one that does not exist yet, can be searched without creating it."""
        existed = store.exists
        assert store.find_marked({"cdt_kind": "search"}, or_named="s") == []
        with contextlib.suppress(NotFoundError):
            assert store.list(store.root) == []
        assert store.url(store.root)
        assert store.free_space() != 0
        assert store.exists == existed

    def test_a_local_path_opens_the_store(self, store: Store) -> None:
        """`local_path` opens the same store, and the URL of an entry is a path in it."""
        if store.local_path is None:
            return
        (folder,) = store.reserve(1)
        store.create(folder, None, name="s", parent=store.root)
        opened = open_store(store.local_path)
        assert (opened.location, opened.stat(folder)) == (store.location, store.stat(folder))
        assert Path(store.url(folder)) == store.local_path / "s"

    def test_a_name_opens_the_store(self, store: Store) -> None:
        """The value of `--store` in messages opens this store, which describes itself as usable."""
        if store.option and not store.needs_google_account:
            assert open_store(store.option).location == store.location
            assert not split_scheme(store.option)[0].needs_google_account
        assert store.check_usable().endswith(".")
        store.create(*store.reserve(1), None, name="s", parent=store.root)
        assert store.exists
        assert store.check_usable().endswith(".")
        assert "s" in store.names_in(store.root)

    def test_what_is_in_a_trashed_folder_is_in_the_trash(
        self, store: Store, reopen: Reopen
    ) -> None:
        """Files trashed with their folder or on their own: listed, readable, counted as trashed."""
        folder, inner, with_it, alone, loose = store.reserve(5)
        marks = {"cdt_kind": "record"}
        store.create(folder, None, name="s", parent=store.root)
        store.create(inner, None, name="records", parent=folder)
        for entry_id, parent in ((with_it, inner), (alone, inner), (loose, store.root)):
            content = entry_id.encode()
            store.create(entry_id, content, name=entry_id, parent=parent, properties=marks)
        for entry_id in (alone, folder, loose):
            store.trash(entry_id)
        other = reopen()
        assert {folder, loose} <= {entry.id for entry in other.list_trash(store.root)}
        assert [entry.id for entry in other.list_trash(folder)] == [inner]
        assert {entry.id for entry in other.list_trash(inner)} == {with_it, alone}
        assert all(entry.trashed for entry in other.list_trash(inner))
        for entry_id in (with_it, alone, loose):
            assert other.read_trashed(entry_id) == entry_id.encode()
            with pytest.raises(NotFoundError):
                other.stat(entry_id)
        found = other.find_marked(marks)
        assert {entry.id: entry.trashed for entry in found} == dict.fromkeys(
            (with_it, alone, loose), True
        )

    def test_only_a_folder_is_a_parent(self, store: Store) -> None:
        """A create in a file is refused, and takes no id."""
        file, entry_id = store.reserve(2)
        store.create(file, b"1", name="file", parent=store.root)
        for content in (b"2", None):
            with pytest.raises(StoreError):
                store.create(entry_id, content, name="a", parent=file)
        assert store.create(entry_id, b"2", name="a", parent=store.root).id == entry_id

    def test_the_location_names_the_store(self, store: Store, reopen: Reopen) -> None:
        """Objects for one store have the same location, and each entry has a URL."""
        assert reopen().location == store.location
        assert reopen().account == store.account
        assert reopen().root == store.root
        assert store.url(store.root)
