"""The store contract on a local folder, and changes made by users and file systems."""

import errno
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hyperopt import hp

from colab_drive_tuner.errors import (
    ChecksumError,
    IdTakenError,
    NotFoundError,
    QuotaError,
    RefusedError,
    StoreError,
    UnavailableError,
    UsageError,
)
from colab_drive_tuner.local_files import sync_folder
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.results.read_search import list_searches
from colab_drive_tuner.store.folder import FolderStore, index, top_folders
from colab_drive_tuner.store.folder.description import MirroredFiles, seal, unseal
from colab_drive_tuner.store.protocol import LATEST_TIME
from tests.journal.simulated_disks import VolatileDisk
from tests.store.contract import Reopen, StoreContract


def visible(root: Path) -> list[str]:
    """Return the paths that a user sees in the folder, without those in an index."""
    paths = [path.relative_to(root) for path in root.rglob("*")]
    return sorted(
        str(path)
        for path in paths
        if not any(part.startswith(".") or part == "index" for part in path.parts)
    )


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """An empty store."""
    return FolderStore(tmp_path / "store")


@pytest.fixture
def record(store: FolderStore) -> str:
    """A record, `s/000000`, with the content `1`."""
    folder, record = store.reserve(2)
    store.create(folder, None, name="s", parent=store.root)
    store.create(record, b"1", name="000000", parent=folder)
    return record


class TestContract(StoreContract):
    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Reopen:
        return lambda: FolderStore(tmp_path / "store")


def test_people_see_their_files_under_their_names(store: FolderStore, record: str) -> None:
    """The visible folder has the files under their names, an index and nothing else."""
    root = Path(store.url(store.root))
    assert visible(root) == ["s", "s/000000"]
    assert (root / "s/000000").read_bytes() == b"1"
    assert Path(store.url(record)) == root / "s/000000"


def test_a_folder_is_found_by_its_name_without_reading_the_others(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listing by name reads no properties of other folders, of which there may be hundreds."""
    ids = store.reserve(3)
    for number, entry_id in enumerate(ids):
        store.create(
            entry_id, None, name=f"s{number}", parent=store.root, properties={"n": f"{number}"}
        )
    read: list[str] = []
    properties = index.Index.properties
    monkeypatch.setattr(
        index.Index, "properties", lambda *args: read.append(args[1].id) or properties(*args)
    )
    (found,) = store.list(store.root, name="s1")
    assert (found.id, found.properties, read) == (ids[1], {"n": "1"}, [ids[1]])


def test_a_name_that_is_in_use_gets_a_suffix(store: FolderStore) -> None:
    """A name in use gets a suffix; no other entry and no file of the user's is touched."""
    root = Path(store.url(store.root))
    root.mkdir()
    (root / "a.txt").write_text("mine")
    one, two = store.reserve(2)
    store.create(one, b"1", name="a.txt", parent=store.root)
    store.create(two, b"2", name="a.txt", parent=store.root)
    assert (root / "a.txt").read_text() == "mine"
    assert [store.read(one), store.read(two)] == [b"1", b"2"]
    assert len(visible(root)) == 3
    assert all(name.startswith("a") and name.endswith(".txt") for name in visible(root))


def test_files_of_users_are_not_listed(store: FolderStore, record: str) -> None:
    """A file that a user puts into the folder is not an entry."""
    root = Path(store.url(store.root))
    (root / "notes.txt").write_text("mine")
    assert [entry.name for entry in store.list(store.root)] == ["s"]


def test_a_file_deleted_by_hand_is_gone(store: FolderStore, record: str) -> None:
    """No hidden copy replaces a deleted file, and its id stays taken."""
    Path(store.url(record)).unlink()
    for ask in (store.read, store.stat, store.url):
        with pytest.raises(NotFoundError, match="by hand"):
            ask(record)
    with pytest.raises(IdTakenError):
        store.create(record, b"1", name="000000", parent=store.root)


def test_an_id_works_once_wherever_it_is_used(store: FolderStore, record: str) -> None:
    """A used id is refused in any folder, for a file and for a folder."""
    folder = store.stat(record).parent
    other, loose = store.reserve(2)
    store.create(other, None, name="other", parent=store.root)
    store.create(loose, b"1", name="loose", parent=store.root)
    for used, parent in (
        (record, store.root),
        (record, other),
        (loose, folder),
        (folder, other),
        (folder, store.root),
        (loose, store.root),
    ):
        for content in (b"2", None):
            with pytest.raises(IdTakenError):
                store.create(used, content, name="again", parent=parent)
    assert (store.read(record), store.read(loose)) == (b"1", b"1")


def test_a_file_edited_by_hand_is_read_as_edited(store: FolderStore, record: str) -> None:
    """An edited file is read as it is seen, whether an editor changed or replaced it."""
    path = Path(store.url(record))
    path.write_bytes(b"edited in place")
    assert store.read(record) == b"edited in place"
    other = path.with_name("other")
    other.write_bytes(b"edited aside")
    other.replace(path)
    assert store.read(record) == b"edited aside"


def test_a_freed_name_does_not_confuse_ids(store: FolderStore, record: str) -> None:
    """A new file with the name of a deleted or trashed one is not taken for it."""
    folder = store.stat(record).parent
    again, third = store.reserve(2)
    store.trash(record)
    store.create(again, b"2", name="000000", parent=folder)
    assert Path(store.url(again)).name == "000000"
    with pytest.raises(NotFoundError):
        store.read(record)
    Path(store.url(again)).unlink()
    store.create(third, b"3", name="000000", parent=folder)
    for gone in (record, again):
        with pytest.raises(NotFoundError):
            store.read(gone)
    assert store.read(third) == b"3"


def test_trash_keeps_files_under_their_names(store: FolderStore, record: str) -> None:
    """A trashed folder lies in `.trash` with all its files, where a user can find them."""
    folder = store.stat(record).parent
    store.trash(folder)
    with pytest.raises(NotFoundError):
        store.read(record)
    root = Path(store.url(store.root))
    assert visible(root) == []
    (kept,) = (root / ".trash").rglob("000000")
    assert kept.read_bytes() == b"1"


def test_a_copy_of_the_folder_is_a_store(store: FolderStore, record: str, tmp_path: Path) -> None:
    """A copy is a store, because nothing depends on inode numbers or hard links."""
    copy = tmp_path / "copy"
    for path in Path(store.url(store.root)).rglob("*"):
        target = copy / path.relative_to(Path(store.url(store.root)))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir(exist_ok=True) if path.is_dir() else target.write_bytes(path.read_bytes())
    other = FolderStore(copy)
    assert other.read(record) == b"1"
    assert other.location != store.location
    with pytest.raises(IdTakenError):
        other.create(record, b"2", name="x", parent=other.root)


@pytest.mark.parametrize("entry_id", ["../../etc/passwd", "", "a/b", ".", "a" * 300, "ä", "a\0"])
def test_an_id_cannot_point_outside(store: FolderStore, entry_id: str) -> None:
    """An id that is a path is refused. Ids come from records that others may have written."""
    with pytest.raises(NotFoundError):
        store.read(entry_id)
    with pytest.raises(UsageError):
        store.create(entry_id, b"", name="a", parent=store.root)


@pytest.mark.parametrize(
    "harm",
    [
        {"file": "../../x"},
        {"file": "a/b"},
        {"file": ".."},
        {"file": ""},
        {"trashed": "../x"},
        {"nonce": "../x"},
        {"parent": "../x"},
        {"id": "another"},
        {"name": 1},
        {"created": "now"},
        {"created": LATEST_TIME + 1},
        {"properties": {"a": 1}},
    ],
)
def test_a_description_cannot_point_outside(
    store: FolderStore, record: str, harm: dict[str, Any]
) -> None:
    """A forged description, even with a valid checksum, is damage and no way out of the store."""
    index = Path(store.url(store.root)) / "s" / "index"
    forged = seal(unseal((index / "ids" / record).read_bytes()) | harm)
    for path in (index / "ids" / record, index / "copies" / "ids" / record):
        path.write_bytes(forged)
    with pytest.raises(ChecksumError, match=f"{record} cannot be decoded"):
        store.read(record)


def test_values_of_a_newer_version_are_ignored(store: FolderStore, record: str) -> None:
    """A value that a newer version adds to descriptions is not damage."""
    entry = store.stat(record)
    for kind in ("ids", "properties"):
        for path in store.local_path.rglob(f"{kind}/*"):
            path.write_bytes(seal(unseal(path.read_bytes()) | {"new": [1]}))
    assert FolderStore(store.local_path).stat(record) == entry


def test_folders_have_no_content_and_files_no_entries(store: FolderStore, record: str) -> None:
    """Reading a folder, creating in a file and trashing the store itself are refused."""
    folder = store.stat(record).parent
    with pytest.raises(RefusedError, match="is a folder"):
        store.read(folder)
    with pytest.raises(RefusedError, match="is a file"):
        store.create(store.reserve(1)[0], b"", name="a", parent=record)
    with pytest.raises(RefusedError, match="store itself"):
        store.trash(store.root)


def test_relative_paths_and_links_name_one_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The location of a store is its resolved path."""
    store = FolderStore(tmp_path / "a" / "b")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert FolderStore("a/b").location == FolderStore("link/b").location == store.location
    assert store.location == f"folder:{(tmp_path / 'a' / 'b').resolve()}"


def test_a_file_cannot_be_a_store(tmp_path: Path) -> None:
    """A file, or a path below one, is refused and left as it was."""
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="file"):
            FolderStore(path)
    assert (tmp_path / "file").read_text() == "mine"


def begin(store: FolderStore) -> None:
    """Create a search's folder."""
    store.create(*store.reserve(1), None, name="s", parent=store.root)


def test_an_unknown_home_folder_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`~name` of a user that this machine does not know is a usage error, with the way out."""
    with pytest.raises(UsageError, match=r"home folder .* or \./~nobody-here/x"):
        FolderStore("~nobody-here/x")
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", "~nobody-here/x")
    assert FolderStore(tmp_path).option == str(tmp_path)


def test_a_place_where_no_folder_can_be_made_is_refused(tmp_path: Path) -> None:
    """A create in a place where no folder can be made is an error that names the place."""
    with pytest.raises(UsageError, match="/proc/no/store"):
        begin(FolderStore("/proc/no/store"))


def test_a_file_trashed_during_a_look_for_marks_hides_no_other(
    store: FolderStore, record: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`find_marked` leaves out a file that another process moves to the trash meanwhile."""
    (folder,) = store.list(store.root)
    (other,) = store.reserve(1)
    store.create(other, b"2", name="000001", parent=folder.id)
    for entry_id in (record, other):
        store.set_properties(entry_id, {"k": "v"})
    locate = index.Index.locate

    def then_trashed(self: index.Index, key: str) -> Any:
        found = locate(self, key)
        if key == record:
            found[1].unlink()
        return found

    monkeypatch.setattr(index.Index, "locate", then_trashed)
    assert [entry.id for entry in store.find_marked({"k": "v"})] == [other]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_folder_whose_name_is_not_utf8_holds_a_search(tmp_path: Path) -> None:
    """Bytes of another encoding in a folder's name are no obstacle to what is noted of it."""
    root = tmp_path / os.fsdecode(b"\xff")
    trials = DriveTrials("a", store=root)
    trials.fmin(lambda x: x, hp.uniform("x", 0, 1), max_evals=1, show_progressbar=False)
    assert [status.done for status in list_searches(root)] == [1]


def test_reading_creates_no_folder(tmp_path: Path) -> None:
    """Reading in a store that does not exist names it; only a create makes its folder."""
    store = FolderStore(tmp_path / "typo" / "below")
    for look in (lambda: store.list(store.root), lambda: store.read("a")):
        with pytest.raises(NotFoundError, match="There is no folder"):
            look()
    assert store.free_space() > 0
    assert store.find_marked({"a": "b"}) == []
    assert list(tmp_path.iterdir()) == []
    begin(store)
    assert [entry.name for entry in store.list(store.root)] == ["s"]


def test_its_clock_is_the_file_systems(
    store: FolderStore, record: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease is not stale for a machine with another clock that shares the folder."""
    real, (other,) = time.time(), store.reserve(1)
    monkeypatch.setattr(time, "time", lambda: real + 86_400)
    parent = store.stat(record).parent
    created = store.create(other, b"", name="000001", parent=parent).created
    assert max(abs(store.now() - real), abs(created - real)) < 60


@pytest.mark.usefixtures("record")
def test_a_folder_in_which_another_user_began_is_refused(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write to the folder, but not to its index, cannot begin a search in it."""
    allowed = os.access  # root may write anywhere

    def access(path: Path, mode: int) -> bool:
        return path.name != "ids" and allowed(path, mode)

    monkeypatch.setattr("os.access", access)
    with pytest.raises(RefusedError, match=r"cannot hold searches: .*ids cannot be written to"):
        store.check_usable()


not_as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read and write anywhere"
)


@not_as_root
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    """A create in a folder without write permission is an error that names the folder."""
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match=str(tmp_path)):
        begin(FolderStore(tmp_path))
    tmp_path.chmod(0o700)


@not_as_root
def test_a_folder_that_may_not_be_entered_is_refused(tmp_path: Path) -> None:
    """A folder without permissions can be opened; the first request raises RefusedError."""
    tmp_path.chmod(0)
    try:
        store = FolderStore(tmp_path)
        with pytest.raises(RefusedError, match=f"Permission denied, {tmp_path}"):
            store.list(store.root)
    finally:
        tmp_path.chmod(0o700)


def test_a_file_system_without_links_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without hard links is refused with the reason, and nothing is left on it."""

    def no_links(*args: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(UsageError, match="without hard links"):
        begin(FolderStore(tmp_path / "a" / "b"))
    assert list(tmp_path.iterdir()) == []


def test_a_search_on_a_file_system_without_links_can_only_be_read(
    store: FolderStore, record: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without hard links a copied search can be read; a create is refused with the reason."""

    def no_links(*args: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    folder = store.stat(record).parent
    (again,) = store.reserve(1)
    with pytest.raises(UsageError, match="without hard links"):
        store.create(again, b"2", name="000001", parent=folder)
    assert store.read(record) == b"1"
    with pytest.raises(NotFoundError):
        store.read(again)


LINKS = pytest.mark.parametrize("link", [os.link, shutil.copyfile], ids=["disk", "as sshfs shows"])


@LINKS
@pytest.mark.parametrize("error", [KeyboardInterrupt(), TimeoutError(errno.ETIMEDOUT, "late")])
def test_what_is_linked_stays_although_the_create_failed(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, error: BaseException, link: Any
) -> None:
    """An interrupt or a network error may follow a link that was made: its id is then used."""

    def link_and_fail(source: Path, target: Path) -> None:
        link(source, target)
        if target.name == entry_id:
            raise error

    folder, entry_id, other = store.reserve(3)
    store.create(folder, None, name="s", parent=store.root)
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link_and_fail)
        with pytest.raises((KeyboardInterrupt, UnavailableError)):
            store.create(entry_id, b"1", name="a", parent=folder)
    store.create(other, b"2", name="a", parent=folder)
    with pytest.raises(IdTakenError):
        store.create(entry_id, b"1", name="a", parent=folder)
    assert (store.read(entry_id), store.read(other)) == (b"1", b"2")
    assert store.url(entry_id).endswith("/s/a")


def test_a_full_disk_leaves_no_claim_on_a_name(store: FolderStore, record: str) -> None:
    """A file that is created once there is room again has its own name, not one with a suffix."""
    (entry_id,) = store.reserve(1)
    parent = store.stat(record).parent
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(StoreError):
            store.create(entry_id, b"1", name="a", parent=parent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    store.create(entry_id, b"1", name="a", parent=parent)
    assert store.url(entry_id).endswith("/s/a")


@LINKS
def test_a_lost_answer_of_link_is_no_loss(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, link: Any
) -> None:
    """A link that was made counts, even if NFS reports that it already exists."""

    def link_and_forget(source: Path, target: Path) -> None:
        link(source, target)
        raise FileExistsError(errno.EEXIST, "File exists", str(source), None, str(target))

    folder, entry_id = store.reserve(2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link_and_forget)
        store.create(folder, None, name="s", parent=store.root)
        store.create(entry_id, b"1", name="a", parent=folder)
    assert store.read(entry_id) == b"1"


def test_two_processes_may_finish_one_create_at_once(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check whether a file is visible may find that its hidden name has just been removed."""
    looked: list[Path] = []

    def removed_meanwhile(new: Path, visible: Path) -> bool:
        looked.append(visible)
        new.unlink()
        return same(new, visible)

    def shown_already(source: Path, target: Path) -> None:
        link(source, target)
        if target.name == "x":
            raise FileExistsError(errno.EEXIST, "File exists", str(source), None, str(target))

    link, same = os.link, index._is_same_file
    monkeypatch.setattr(os, "link", shown_already)
    monkeypatch.setattr(index, "_is_same_file", removed_meanwhile)
    (entry_id,) = store.reserve(1)
    store.create(entry_id, b"1", name="x", parent=store.root)
    assert looked == [Path(store.url(store.root)) / "x"]
    assert store.read(entry_id) == b"1"


@pytest.mark.parametrize("comes", [[], ["a new one"]], ids=["gone", "in its place"])
def test_a_name_may_be_freed_during_a_create(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, comes: list[str]
) -> None:
    """Another process trashes the folder of that name during a create, or also replaces it."""
    other = FolderStore(Path(store.url(store.root)))
    *ids, last = other.reserve(3)
    other.create(ids[0], None, name="a", parent=other.root)

    def changed_hands(base: Path) -> None:  # called just before the name is checked
        monkeypatch.setattr(top_folders, "_token_of", token)
        other.trash(ids[0])
        for _ in comes:
            other.create(ids[1], None, name="a", parent=other.root)

    token = top_folders._token_of
    monkeypatch.setattr(top_folders, "_token_of", changed_hands)
    store.create(last, None, name="a", parent=store.root)
    assert {entry.id for entry in store.list(store.root, name="a")} == {
        last,
        *ids[1 : 1 + len(comes)],
    }


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, QuotaError),
        (errno.EROFS, RefusedError),
        (errno.EIO, UnavailableError),
        (errno.EINVAL, StoreError),
    ],
)
def test_each_kind_of_disk_failure_has_its_error(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[StoreError]
) -> None:
    """A full, read-only or failing disk has an error of its own; nothing is left behind."""
    (entry_id,) = store.reserve(1)

    def fail(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StoreError) as caught:
            store.create(entry_id, b"1", name="a", parent=store.root)
    assert type(caught.value) is kind
    with pytest.raises(NotFoundError):
        store.read(entry_id)
    store.create(entry_id, b"1", name="a", parent=store.root)
    assert visible(Path(store.url(store.root))) == ["a"]


def test_a_folder_that_vanished_is_unavailable_and_not_empty(
    store: FolderStore, record: str
) -> None:
    """A vanished store, such as an unplugged disk, is unavailable until it comes back."""
    root = Path(store.url(store.root))
    away = root.rename(root.with_name("away"))
    for ask in (store.read, store.stat, store.list):
        with pytest.raises(UnavailableError):
            ask(record)
    with pytest.raises(UnavailableError):
        store.create(store.reserve(1)[0], b"", name="a", parent=store.root)
    away.rename(root)
    assert store.read(record) == b"1"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOTCONN, UnavailableError),
        (errno.ESTALE, UnavailableError),
        (errno.EACCES, RefusedError),
        (errno.ENAMETOOLONG, StoreError),
    ],
)
def test_a_folder_that_cannot_be_looked_at_has_the_error_of_its_reason(
    store: FolderStore,
    record: str,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    kind: type[StoreError],
) -> None:
    """A network folder that does not answer is unavailable, and the search waits for it."""
    root = Path(store.url(store.root))
    entry_id, folder = *store.reserve(1), store.stat(record).parent

    def failing(real: Callable[..., Any], path: Any, *args: Any, **options: Any) -> Any:
        if str(path).startswith(str(root)):
            raise OSError(code, os.strerror(code), str(path))
        return real(path, *args, **options)

    with monkeypatch.context() as patch:
        for name in ("stat", "lstat", "open", "scandir", "link", "mkdir", "statvfs"):
            patch.setattr(os, name, partial(failing, getattr(os, name)))
        for ask in (
            partial(FolderStore, root),
            store.free_space,
            partial(store.list, store.root),
            partial(store.read, record),
            partial(store.create, entry_id, b"2", name="b", parent=folder),
        ):
            with pytest.raises(StoreError, match=os.strerror(code)) as caught:
                ask()
            assert type(caught.value) is kind
    store.create(entry_id, b"2", name="b", parent=folder)


def test_everything_is_on_the_disk_before_the_create_returns(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content and description are flushed before the id is linked, then the id and the name."""
    seen: list[str] = []
    link, fsync = os.link, os.fsync
    root = Path(store.url(store.root))

    def spy_link(source: Path, target: Path) -> None:
        link(source, target)
        seen.append(f"link {Path(target).parent.relative_to(root)}")

    def spy_fsync(handle: int) -> None:
        fsync(handle)
        path = str(Path(f"/proc/self/fd/{handle}").readlink())
        path = re.sub(r".*/[0-9a-f]{32}\.new(?=/|$)", str(root / "<new>"), path)
        shown = Path(path).relative_to(root) if path.startswith(f"{root}/") else Path()
        seen.append(f"fsync {shown.suffix or shown}")

    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not say which file a handle is of")
    monkeypatch.setattr(os, "link", spy_link)
    monkeypatch.setattr(os, "fsync", spy_fsync)
    folder, first, entry_id = store.reserve(3)
    store.create(folder, None, name="s", parent=store.root)
    steps = seen[seen.index("fsync <new>/index/ids/folder") :]
    assert [step for step in steps if step not in ("fsync .store", "fsync .store/copies")] == [
        "fsync <new>/index/ids/folder",
        "fsync <new>/index/ids",
        "fsync <new>/index",
        "fsync <new>",
        "fsync .draft",
        "fsync .store/names/folder",
        "link .store/ids",
        "fsync .store/ids",
        "fsync .",
    ]
    store.create(first, b"0", name="first", parent=folder)
    seen.clear()
    store.create(entry_id, b"1", name="a", parent=folder)
    assert seen == [
        "fsync <new>",
        "fsync .draft",
        "fsync s/index/names/folder",
        "link s/index/ids",
        "link s",
        "fsync s/index/ids",
        "fsync s",
    ]
    seen.clear()
    with pytest.raises(IdTakenError):
        store.create(entry_id, b"1", name="a", parent=folder)
    assert "fsync s/index/ids" in seen


def heal(store: FolderStore, record: str) -> None:
    """Read a file whose description was lost, so that it is made again from its copy."""
    (Path(store.url(store.root)) / "s" / "index" / "ids" / record).unlink()
    assert store.read(record) == b"1"


CHANGES: dict[str, Callable[[FolderStore, str, str], object]] = {
    "create": lambda store, folder, _: store.create(
        store.reserve(1)[0], b"2", name="000001", parent=folder
    ),
    "create a folder": lambda store, folder, _: store.create(
        store.reserve(1)[0], None, name="below", parent=folder
    ),
    "replace": lambda store, _, record: store.replace(record, b"another"),
    "set a property": lambda store, _, record: store.set_properties(record, {"a": "1"}),
    "set it again": lambda store, _, record: [
        store.set_properties(record, {"a": value}) for value in "12"
    ],
    "set one of a search": lambda store, folder, _: store.set_properties(folder, {"a": "1"}),
    "set one of the store": lambda store, _, __: store.set_properties(store.root, {"a": "1"}),
    "trash": lambda store, _, record: store.trash(record),
    "trash a search": lambda store, folder, _: store.trash(folder),
    "rename a search": lambda store, folder, _: store.rename(folder, "t"),
    "heal": lambda store, _, record: heal(store, record),
    "reindex": lambda store, folder, _: store.reindex(folder, {}),
}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs to know what is flushed")
@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_on_the_disk_when_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Each change is flushed when it returns.

    Copies and claims of names are not, because they are rebuilt after a power cut.
    """
    disk = VolatileDisk(monkeypatch, tmp_path)
    store = FolderStore(tmp_path / "new" / "store")
    folder, record = store.reserve(2)
    store.create(folder, None, name="s", parent=store.root)
    store.create(record, b"1", name="000000", parent=folder)
    CHANGES[change](store, folder, record)
    lost = disk.unflushed()
    assert not [path for path in lost if not {"copies", "names"} & set(Path(path).parts)]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs to know what is flushed")
def test_no_power_cut_leaves_two_names_of_a_search(
    store: FolderStore, record: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename flushes the removal of a description's copy before it changes the description."""
    root = Path(store.url(store.root))
    folder = next(entry.id for entry in store.list(store.root))
    disk, replacing, lost = VolatileDisk(monkeypatch, root), os.replace, set[str]()
    sync_folder(root / "s" / "index" / "copies" / "ids")

    def replace(source: Path, target: Path) -> None:
        if Path(target).name == "folder":
            lost.update(disk.unflushed())
        replacing(source, target)

    monkeypatch.setattr(os, "replace", replace)
    store.rename(folder, "t")
    assert "t/index/ids/folder" in lost  # not flushed since the disk is watched
    assert "t/index/copies/ids/folder" not in lost


def test_an_unused_id_is_not_looked_for_in_other_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading ahead in one search takes no longer because a store holds many others."""
    store = FolderStore(tmp_path / "store")
    for name in ("a", "b", "c"):
        folder, record = store.reserve(2)
        store.create(folder, None, name=name, parent=store.root)
        store.create(record, b"1", name="record", parent=folder)
    root, searched = store.url(store.root), store.for_search("c")
    assert searched.read_unverified(record) == b"1"
    looked_at: list[str] = []
    lexists = os.path.lexists

    def noted(path: object) -> bool:
        looked_at.append(str(path))
        return lexists(str(path))

    monkeypatch.setattr(os.path, "lexists", noted)
    with pytest.raises(NotFoundError):
        searched.read_unverified(store.reserve(1)[0])
    assert looked_at
    assert not [path for path in looked_at if path.startswith((f"{root}/a/", f"{root}/b/"))]


def test_a_folder_is_found_without_looking_into_all_others(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost of finding a search's folder does not grow with the files of other searches."""
    folders = store.reserve(3)
    for number, folder in enumerate(folders):
        store.create(folder, None, name=f"s{number}", parent=store.root)
    looked_up: list[str] = []
    has = MirroredFiles.has
    monkeypatch.setattr(MirroredFiles, "has", lambda *at: looked_up.append(at[1]) or has(*at))
    assert store.for_search("s1").url(folders[1]).endswith("s1")
    assert looked_up == []
