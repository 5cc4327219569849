"""Untrusted file ids in properties and records never lead outside the search."""

import contextlib
import hashlib
import itertools
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from colab_drive_tuner.checkpoint.record_items import attachment_item
from colab_drive_tuner.errors import ColabDriveTunerError, NotFoundError, SearchDamagedError
from colab_drive_tuner.journal import maintenance
from colab_drive_tuner.journal.chain import chain
from colab_drive_tuner.journal.chain.record import Record, decode_record, encode_record
from colab_drive_tuner.journal.folder.creation import find_or_create_subfolder
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.journal.folder.properties import FolderKind, Property
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.results.exchange.import_export import export_trials
from colab_drive_tuner.search.results.read_search import list_searches, open_journal, read_status
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.store.protocol import Entry, Store
from colab_drive_tuner.training.trial_backup_files import EPOCH, TID, TrialBackupFiles
from colab_drive_tuner.troubleshoot.clean.removal import remove
from colab_drive_tuner.troubleshoot.clean.search_leftovers import leftovers_of_searches
from colab_drive_tuner.troubleshoot.doctor import Level, examine
from colab_drive_tuner.troubleshoot.repair.repair import repair
from tests.journal.faulty_store import FaultyStore
from tests.search.sample_searches import run_in_store, sample_objective
from tests.troubleshoot.damaged_searches import run_with_record_per_trial

SHARED, PRIVATE = "search", "private"
GARBAGE = [
    "",
    "root",
    "..",
    "../../x",
    "a b",
    "x?alt=media",
    "'",
    "é" * 9,
    "\x00",
    "None",
    "a" * 99,
]
BACKUPS, BEST = "cdt_backups", "cdt_best"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take snapshots, and trash old ones, within a few trials."""
    monkeypatch.setattr(maintenance, "SNAPSHOT_RECORDS", 1)
    monkeypatch.setattr(chain, "_READ_PAUSES", (0.0,))


def fill(store: Store, name: str, trials: int = 3) -> None:
    """Create a search with records, snapshots, trials.pkl, an attachment, a model and backups."""
    run_with_record_per_trial(store, trials, name)
    more = DriveTrials(name, store=store, notify=lambda text: None)
    more.attachments["large"] = name.encode() * 5000
    more.close()
    folder = find_folder(store, name)
    assert folder is not None
    marks = {Property.KIND: "model", TID: "0", "cdt_loss": "1.0", EPOCH: ""}
    best = find_or_create_subfolder(store, folder.id, "best")
    store.create(store.reserve(1)[0], b"keras", name="m.keras", parent=best, properties=marks)
    scratch = Path("scratch")
    scratch.write_bytes(b"a backup")
    TrialBackupFiles(store, folder.id, 77).put("fit-000-epoch-00001.backup", scratch)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder store with two searches, a file of the user's, and one in the trash."""
    where = tmp_path_factory.mktemp("original")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        patch.setenv("XDG_STATE_HOME", str(where / "state"))
        patch.setattr(maintenance, "SNAPSHOT_RECORDS", 1)
        make(FolderStore(where / "store"))
    return where / "store"


def make(store: Store) -> None:
    fill(store, SHARED)
    fill(store, PRIVATE)
    for name in ("thesis.txt", "old thesis.txt"):
        (made,) = store.reserve(1)
        store.create(made, name.encode(), name=name, parent=store.root)
    store.trash(made)


@pytest.fixture
def in_folder(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """Return a copy of the folder store on a machine that has no local state of it."""
    monkeypatch.chdir(tmp_path)
    return FolderStore(shutil.copytree(original, tmp_path / "store"))


@pytest.fixture
def in_drive(drive_emulator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return the same searches and files in Drive."""
    from colab_drive_tuner.store.drive import DriveStore

    monkeypatch.chdir(tmp_path)
    store = DriveStore.connect()
    make(store)
    return store


def everything(store: Store, parent: str) -> Iterator[Entry]:
    """Yield all entries under a folder, and those that were trashed from it."""
    for entry in [*store.list(parent), *store.list_trash(parent)]:
        yield entry
        if entry.is_folder:
            yield from everything(store, entry.id)


def outside(store: Store) -> dict[str, Any]:
    """Return place, properties and hash of everything outside the attacked search.

    The head of the private chain is included, because a record that continues it may lie anywhere.
    """
    seen: dict[str, Any] = {PRIVATE: open_journal(store, PRIVATE)._reader.head}
    for top in [*store.list(store.root), *store.list_trash(store.root)]:
        if top.name == SHARED:
            continue
        for entry in [top, *(everything(store, top.id) if top.is_folder else ())]:
            content = b"" if entry.is_folder else store.read_trashed(entry.id)
            there = True
            try:
                store.stat(entry.id)
            except NotFoundError:
                there = False
            seen[entry.id] = (
                entry.name, entry.parent, dict(entry.properties), there,
                hashlib.sha256(content).hexdigest(),
            )  # fmt: skip
    return seen


def targets(store: Store) -> dict[str, str]:
    """Return ids that an attacker may know."""
    private, shared = find_folder(store, PRIVATE), find_folder(store, SHARED)
    assert private is not None
    assert shared is not None
    found = {
        "the folder itself": shared.id,
        "the root": store.root,
        "never used": store.reserve(1)[0],
        "a private search": private.id,
        "private trials.pkl": private.export,
        "private records": private.records,
        "the private first record": private.first,
        "a private snapshot": private.hint,
    }
    found |= {entry.name: entry.id for entry in store.list(store.root) if not entry.is_folder}
    found |= {entry.name: entry.id for entry in store.list_trash(store.root)}
    for entry in everything(store, private.id):
        if entry.name in ("best", "backups", "m.keras") or "backup" in entry.name:
            found[f"private {entry.name}"] = entry.id
        if entry.name.startswith("record-"):
            found["the last private record"] = entry.id
    return found


def attempt(action: Callable[[], Any]) -> None:
    """Run `action` without warnings; suppress this package's errors only."""
    with contextlib.suppress(ColabDriveTunerError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        action()


def use(store: Store) -> None:
    """Do everything that an owner may do with a search that others have changed."""
    attempt(lambda: list_searches(store))
    attempt(lambda: list(examine(store)))
    attempt(lambda: export_trials(store, SHARED, "out.pkl"))
    attempt(lambda: _clean(store))
    attempt(lambda: run_with_record_per_trial(store, 7, SHARED))
    attempt(lambda: run_in_store(store, "rand", 8))
    attempt(lambda: _restart(store))
    attempt(lambda: _clean(store))
    attempt(lambda: repair(store, SHARED))
    attempt(lambda: run_with_record_per_trial(store, 3, SHARED))


def _clean(store: Store) -> None:
    """Remove the leftovers of all searches but the private one."""
    found = [one for one in leftovers_of_searches(store) if f"search {PRIVATE!r}" not in one.where]
    remove(found, yes=True)


def _restart(store: Store) -> None:
    from tests.search.sample_searches import SPACE, resume_search

    resume_search(
        sample_objective, name=SHARED, store=store, space=SPACE, max_evals=2, seed=3, restart=True,
        progress=False, algo="rand", on_busy="takeover",
    )  # fmt: skip


def point(store: Store, key: str, target: str) -> None:
    """Set a property of the search's folder, as anyone who may edit it can."""
    folder = find_folder(store, SHARED)
    assert folder is not None
    place = folder.id
    if key.startswith("cdt_newest"):
        place = next(e.id for e in store.list(folder.id) if e.name == "backups")
    store.set_properties(place, {key: target})


KEYS = [
    Property.EXPORT,
    Property.RECORDS,
    Property.FIRST,
    Property.HINT,
    BACKUPS,
    BEST,
    "cdt_newest0",
]
TARGETS = [
    "thesis.txt", "old thesis.txt", "the folder itself", "the root", "never used",
    "a private search", "private trials.pkl", "private records", "the private first record",
    "the last private record", "a private snapshot", "private best", "private m.keras",
    "private backups", "private trial-00077-fit-000-epoch-00001.backup",
]  # fmt: skip
NEAREST = {
    Property.EXPORT: ["old thesis.txt", "thesis.txt", "private trials.pkl"],
    Property.RECORDS: ["private records", "a private search"],
    Property.FIRST: ["the private first record", "thesis.txt"],
    Property.HINT: ["a private snapshot", "private m.keras"],
    BACKUPS: ["private backups", "private best"],
    BEST: ["private best"],
    "cdt_newest0": ["private trial-00077-fit-000-epoch-00001.backup", "thesis.txt"],
}
"""The most dangerous targets for each property, the first one also for a search in Drive."""


@pytest.mark.parametrize(("key", "target"), [(k, t) for k in KEYS for t in NEAREST[k]])
def test_a_property_that_names_anothers_file_harms_nothing(
    in_folder: FolderStore, key: str, target: str
) -> None:
    """Whatever the owner does next, everything outside of the search stays equal byte for byte."""
    if key == Property.FIRST:
        without_hint(in_folder)
    point(in_folder, key, targets(in_folder)[target])
    before = outside(in_folder)
    use(in_folder)
    assert outside(in_folder) == before


@pytest.mark.parametrize("key", KEYS)
def test_a_property_that_names_anothers_file_harms_nothing_in_drive(
    in_drive: Store, key: str
) -> None:
    """In Drive, where trashed files can be read and written, nothing outside changes either."""
    point(in_drive, key, targets(in_drive)[NEAREST[key][0]])
    before = outside(in_drive)
    use(in_drive)
    assert outside(in_drive) == before


@pytest.mark.long
@pytest.mark.parametrize(("key", "target"), [*itertools.product(KEYS, [*TARGETS, *GARBAGE])])
def test_every_property_with_every_target(in_folder: FolderStore, key: str, target: str) -> None:
    """No combination of property and target changes anything outside or raises a foreign error."""
    point(in_folder, key, targets(in_folder).get(target, target))
    before = outside(in_folder)
    use(in_folder)
    assert outside(in_folder) == before


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("text", GARBAGE)
def test_a_property_that_is_not_an_id_is_reported_or_ignored(
    in_folder: FolderStore, key: str, text: str
) -> None:
    """An invalid `records` property is an error that names it; reading needs no other property."""
    point(in_folder, key, text)
    if key == Property.RECORDS:
        with pytest.raises(SearchDamagedError, match=rf"{key}.*repair search"):
            read_status(in_folder, SHARED)
    else:
        assert read_status(in_folder, SHARED).done == 3
    assert {s.name: s.done for s in list_searches(in_folder)}[PRIVATE] == 3


@pytest.mark.parametrize("key", [Property.EXPORT, Property.HINT])
def test_a_wrong_export_or_hint_is_replaced(in_folder: FolderStore, key: str) -> None:
    """A trials.pkl or snapshot property that names a foreign file gets a new file of the search."""
    wrong = targets(in_folder)["thesis.txt"]
    point(in_folder, key, wrong)
    (finding,) = (one for one in examine(in_folder) if one.about == f"search {SHARED!r}")
    assert (finding.level, key in finding.text) == (Level.WARNING, True)
    run_with_record_per_trial(in_folder, 6, SHARED)
    folder = find_folder(in_folder, SHARED)
    assert folder is not None
    named = {Property.EXPORT: folder.export, Property.HINT: folder.hint}[key]
    assert named != wrong
    (ours,) = (one for one in examine(in_folder) if one.about == f"search {SHARED!r}")
    assert ours.level == Level.OK
    assert in_folder.stat(named).parent in (folder.id, folder.records)
    assert in_folder.read(wrong) == b"thesis.txt"


@pytest.mark.parametrize("key", [Property.RECORDS, Property.FIRST])
def test_repair_finds_all_records_despite_a_wrong_property(
    in_folder: FolderStore, key: str
) -> None:
    """Repair finds all records of the search and takes in none of the other search."""
    without_hint(in_folder)
    point(in_folder, key, targets(in_folder)["private records"])
    with pytest.raises(SearchDamagedError, match="repair search"):
        read_status(in_folder, SHARED)
    report = repair(in_folder, SHARED)
    assert (report.done, report.lost) == (3, ())
    assert read_status(in_folder, SHARED).done == 3


def without_hint(store: Store) -> None:
    point(store, Property.HINT, "")


def test_a_first_id_that_was_never_used_begins_no_second_history(in_folder: FolderStore) -> None:
    """An unused first id is an error, because existing records show that the search is not new."""
    without_hint(in_folder)
    point(in_folder, Property.FIRST, targets(in_folder)["never used"])
    with pytest.raises(SearchDamagedError, match=r"Record 0 .* is missing although later ones"):
        run_with_record_per_trial(in_folder, 6, SHARED)
    assert [s.problem != "" for s in list_searches(in_folder)] == [False, True]
    assert repair(in_folder, SHARED).done == 3


@pytest.mark.parametrize("what", ["snapshot", "first record"])
def test_a_copy_from_another_search_does_not_lead_there(in_folder: FolderStore, what: str) -> None:
    """A snapshot or record copied from another search is not followed into that search's chain."""
    wanted = targets(in_folder)
    folder = find_folder(in_folder, SHARED)
    assert folder is not None
    source = wanted["a private snapshot" if what == "snapshot" else "the private first record"]
    (copy,) = in_folder.reserve(1)
    in_folder.create(copy, in_folder.read(source), name="record-000000.cdt", parent=folder.records)
    without_hint(in_folder)
    point(in_folder, Property.HINT if what == "snapshot" else Property.FIRST, copy)
    before = outside(in_folder)
    use(in_folder)
    assert outside(in_folder) == before


@pytest.mark.parametrize("key", [Property.FIRST, Property.RECORDS])
def test_a_second_folder_of_the_name_does_not_end_another_search(
    in_folder: FolderStore, key: str
) -> None:
    """The chain of a duplicate folder is closed with `moved` only if it is the folder's own."""
    wanted = targets(in_folder)
    own, first, records, export = in_folder.reserve(4)
    marks = {
        Property.KIND: FolderKind.SEARCH,
        Property.FIRST: first,
        Property.RECORDS: records,
        Property.EXPORT: export,
    }
    wrong = "the private first record" if key == Property.FIRST else "private records"
    in_folder.create(
        own, None, name=SHARED, parent=in_folder.root, properties=marks | {key: wanted[wrong]}
    )
    before = outside(in_folder)
    run_with_record_per_trial(in_folder, 6, SHARED)
    assert outside(in_folder) == before
    assert read_status(in_folder, SHARED).done == 6


def test_an_attachment_is_never_read_from_another_search(in_folder: FolderStore) -> None:
    """A record that names a file of another search, with the right sha256, is refused."""
    private = find_folder(in_folder, PRIVATE)
    assert private is not None
    (large,) = (e for e in in_folder.list(private.records) if e.name.startswith("attachment-"))
    forge_attachment(in_folder, large.id, in_folder.read(large.id))
    with pytest.raises(SearchDamagedError, match="no file of this search"):
        export_trials(in_folder, SHARED, "out.pkl")
    trials = DriveTrials(SHARED, store=in_folder)
    with pytest.raises(SearchDamagedError, match="no file of this search"):
        trials.attachments["stolen"]


def forge_attachment(store: FolderStore, entry_id: str, value: bytes) -> None:
    """Append a record with an attachment whose file belongs to another search."""
    folder = find_folder(store, SHARED)
    assert folder is not None
    files = sorted(
        (e for e in store.list(folder.records) if e.name.startswith("record-")),
        key=lambda e: e.name,
    )
    ids = [folder.first]
    for entry in files:
        record = decode_record(store.read(entry.id), "it")
        ids += record.more
    forged = encode_record(
        Record(
            pos=record.pos + 1,
            kind="trials",
            owner=record.owner,
            prev=record.sha,
            payload=attachment_item("stolen", value)[0],
            files={hashlib.sha256(value).hexdigest(): entry_id},
        )
    )
    name = f"record-{record.pos + 1:06d}.cdt"
    store.create(ids[record.pos + 1], forged.content, name=name, parent=folder.records)


def test_clean_keeps_a_search_that_is_marked_as_an_unfinished_repair(
    in_folder: FolderStore,
) -> None:
    """`clean --yes` does not trash a search whose folder is marked as an unfinished repair."""
    folder = find_folder(in_folder, SHARED)
    assert folder is not None
    in_folder.set_properties(
        folder.id, {Property.KIND: FolderKind.REPAIRING, "cdt_from": folder.id}
    )
    later = FaultyStore(Path(in_folder.location.removeprefix("folder:")))
    later.later = 86_400.0
    (found,) = (one for one in leftovers_of_searches(later) if one.kind == "unfinished repair")
    assert not found.ours
    assert remove([found], yes=True) == {}
    assert in_folder.stat(folder.id).name == SHARED
