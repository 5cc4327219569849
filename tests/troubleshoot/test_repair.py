"""`repair`: the readable part continues in a new folder, as the old search would have."""

import errno
import functools
import hashlib
import os
from pathlib import Path

import pytest

from colab_drive_tuner.errors import (
    NotFoundError,
    QuotaError,
    RefusedError,
    SearchDamagedError,
    SearchNotFoundError,
    StoreError,
    UnavailableError,
)
from colab_drive_tuner.journal.folder.lookup import find_folder
from colab_drive_tuner.journal.folder.properties import Property
from colab_drive_tuner.manage.naming import remove_search
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.results.exchange.import_export import export_trials
from colab_drive_tuner.search.results.read_search import list_searches, read_history, read_status
from colab_drive_tuner.store.folder import FolderStore
from colab_drive_tuner.troubleshoot.repair import chain_writer
from colab_drive_tuner.troubleshoot.repair.repair import repair
from colab_drive_tuner.troubleshoot.repair.search_check import SearchCheck
from tests.search.sample_searches import (
    killing_objective,
    run_hyperopt,
    run_in_fork,
    run_in_store,
    sample_objective,
    trial_values,
)
from tests.troubleshoot.damaged_searches import (
    assert_resumes_as_uninterrupted,
    record_files,
    run_with_record_per_trial,
)

pytestmark = pytest.mark.usefixtures("no_waiting")


def sums(folder: Path) -> dict[str, str]:
    """Return the sha256 of each visible file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {".store", "index"} & set(path.parts)
    }


def test_a_missing_record_is_restored_from_trials_pkl(folder):
    """The trials of a deleted record are read from trials.pkl, and the search is the same."""
    record_files(folder)[8].unlink()
    with pytest.raises(SearchDamagedError):
        read_status(FolderStore(folder), "search")
    report = repair(FolderStore(folder), "search")
    assert (report.trials, report.done) == (12, 12)
    assert "the records 8" in report.lost
    assert any(source.startswith("trials.pkl: ") for source in report.sources)
    assert read_status(FolderStore(folder), "search").done == 12
    assert_resumes_as_uninterrupted(folder)


def test_a_record_that_may_not_be_read_is_not_given_up(folder, monkeypatch):
    """A change of its mode makes it readable, so nothing is rebuilt without it."""
    denied = record_files(folder)[8]

    def guarded(path, *arguments, original=os.open, **options):
        if Path(path) == denied:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", guarded)
        with pytest.raises(RefusedError, match=f"Permission denied, {denied}"):
            repair(FolderStore(folder), "search")
    assert "nothing to repair" in str(repair(FolderStore(folder), "search"))


def test_without_trials_pkl_the_lost_result_is_computed_again(folder):
    """A trial whose result is lost runs again with its recorded parameters, and no other does."""
    (folder / "search" / "trials.pkl").unlink()
    (path,) = [path for path in record_files(folder) if holds_end_of(path, 4)]
    path.unlink()
    report = repair(FolderStore(folder), "search")
    assert report.again == ("4",)
    ran = []

    @functools.wraps(sample_objective)
    def counted(point):
        ran.append(point)
        return sample_objective(point)

    trials = run_in_store(folder, "tpe", 12, counted)
    assert len(ran) == 1
    assert trial_values(trials) == trial_values(run_hyperopt("tpe", 12))
    assert_resumes_as_uninterrupted(folder)


def holds_end_of(path: Path, tid: int) -> bool:
    """Return whether a record contains the end of a trial."""
    from colab_drive_tuner.checkpoint.record_items import ItemKind, read_items
    from colab_drive_tuner.journal.chain.record import decode_record

    record = decode_record(path.read_bytes(), "a record")
    items = list(read_items(record.payload, "it")) if record.kind == "trials" else []
    return (ItemKind.END, tid) in [(item.kind, item.tid) for item in items]


@pytest.mark.parametrize("damage", ["cut", "altered", "swapped", "first", "all", "trashed"])
def test_repair_restores_every_trial_whatever_the_damage(folder, damage):
    """Cut, altered, swapped, trashed or missing records: all trials are restored."""
    store, paths = FolderStore(folder), record_files(folder)
    if damage == "cut":
        paths[5].write_bytes(paths[5].read_bytes()[:50])
    elif damage == "altered":
        content = bytearray(paths[5].read_bytes())
        content[-3] ^= 1
        paths[5].write_bytes(content)
    elif damage == "swapped":
        one, other = paths[5].read_bytes(), paths[6].read_bytes()
        paths[5].write_bytes(other)
        paths[6].write_bytes(one)
    elif damage == "first":
        paths[0].unlink()
    elif damage == "all":
        for path in paths:
            path.unlink()
    else:
        home = find_folder(store, "search").records
        for entry in store.list(home)[4:9]:
            store.trash(entry.id)
    report = repair(store, "search")
    assert report.done == 12
    assert {entry.k for entry in read_history(store, "search").trials.values()} == set(range(12))
    if damage in ("swapped", "trashed"):
        assert report.lost == ()
    if damage in ("first", "all"):
        assert any("random state" in loss for loss in report.lost)
        assert "pass the seed=" in str(report)
    # If the random state was lost, the caller passes the same seed again.
    assert_resumes_as_uninterrupted(folder)


def test_the_old_folder_is_unchanged(folder):
    """Every file of the old folder stays byte for byte; one record that ends its chain is added."""
    record_files(folder)[8].unlink()
    store = FolderStore(folder)
    old = find_folder(store, "search")
    before = sums(folder / "search")
    report = repair(store, "search")
    after = sums(folder / "search")
    assert before.items() <= after.items()
    assert {Path(name).name for name in after.keys() - before.keys()} <= {
        f"record-{len(record_files(folder)):06d}.cdt"
    }
    assert report.old == str(folder / "search")
    assert store.stat(old.id).properties[Property.KIND] == "archived"
    assert [search.name for search in list_searches(store)] == ["search"]
    assert find_folder(store, "search").duplicates == ()


def test_an_intact_search_is_not_repaired(folder):
    """An intact search stays in its folder, and the report says that nothing is to be repaired."""
    before = find_folder(FolderStore(folder), "search")
    report = repair(FolderStore(folder), "search")
    assert str(report) == "Search 'search' is intact and writable: there is nothing to repair."
    assert find_folder(FolderStore(folder), "search").id == before.id


def test_an_unknown_search_cannot_be_repaired(tmp_path):
    """The error for an unknown search names the command that lists searches."""
    with pytest.raises(SearchNotFoundError, match=r"`colab-drive-tuner --store \S+ list`"):
        repair(FolderStore(tmp_path), "search")


def test_a_search_in_the_trash_is_restored(folder):
    """A search in the trash continues in a new folder with all its trials."""
    store = FolderStore(folder)
    store.trash(find_folder(store, "search").id)
    report = repair(store, "search")
    assert (report.done, report.lost, report.old) == (12, (), "")
    assert_resumes_as_uninterrupted(folder)


def test_a_repaired_search_is_removed_with_its_name(folder):
    """After a repaired search is removed, its archived old folder does not take its name."""
    record_files(folder)[8].unlink()
    repair(FolderStore(folder), "search")
    run_with_record_per_trial(folder, 14)
    remove_search(folder, "search")
    assert repair(FolderStore(folder), "search").done == 14
    remove_search(folder, "search")
    assert len(run_with_record_per_trial(folder, 2)) == 2


def test_the_rest_of_a_killed_repair_is_not_taken_for_the_search(folder, monkeypatch):
    """A folder that a killed repair left incomplete is not used; repair can run again."""
    trials = DriveTrials("search", store=FolderStore(folder))
    trials.attachments["large"] = b"x" * 40_000
    trials.close()
    remove_search(folder, "search")
    with monkeypatch.context() as patched:
        patched.setattr(chain_writer, "attachment_item", lambda *_: os.kill(os.getpid(), 9))
        assert run_in_fork(lambda: repair(FolderStore(folder), "search")) == -9
    assert repair(FolderStore(folder), "search").reason == "its folder is in the trash"
    trials = DriveTrials("search", store=FolderStore(folder))
    assert trials.attachments["large"] == b"x" * 40_000


def test_a_record_written_while_a_repair_reads_is_not_missing(folder, monkeypatch):
    """A record that was written after repair had looked for its id does not count as missing."""
    late = record_files(folder)[8].read_bytes()
    missed = []

    def read(store, entry_id, read_trashed=FolderStore.read_trashed):
        content = read_trashed(store, entry_id)
        if content == late and not missed:
            missed.append(entry_id)
            raise NotFoundError("It is not there yet.")
        return content

    monkeypatch.setattr(FolderStore, "read_trashed", read)
    assert repair(FolderStore(folder), "search").reason == ""
    assert missed


def test_spooled_results_of_this_machine_are_restored(folder):
    """A result that a killed process had spooled here is part of the repaired search."""
    store = folder

    def run():
        run_in_store(store, "tpe", 20, killing_objective(sample_objective, 4, "once"))

    assert run_in_fork(run) < 0
    spooled = list(Path(os.environ["XDG_STATE_HOME"]).rglob("*.spool"))
    record_files(folder)[8].unlink()
    report = repair(FolderStore(folder), "search")
    assert report.done >= 12 + (1 if spooled else 0)
    assert_resumes_as_uninterrupted(folder)


class RefusingStore(FolderStore):
    """A store that permanently refuses one id."""

    refused = ""

    def create(self, entry_id, *args, **options):
        if entry_id == self.refused:
            raise RefusedError("The id is not for you.")
        return super().create(entry_id, *args, **options)


def test_a_refused_id_is_bypassed(folder):
    """If the next record can never be written, the search continues in a new chain."""
    store = RefusingStore(folder)
    store.refused = DriveTrials("search", store=store).log.journal._reader.head.ids[0]
    report = repair(store, "search")
    assert report.reason == "The id is not for you."
    assert (report.done, report.lost) == (12, ())
    assert_resumes_as_uninterrupted(folder)


@pytest.mark.parametrize("replace", [None, os.mkdir, os.mkfifo])
def test_a_deleted_attachment_is_damage_until_it_is_repaired(folder, replace):
    """The search is not called intact: it could not be exported."""
    store = FolderStore(folder)
    trials = DriveTrials("search", store=store)
    trials.attachments["large"] = b"L" * 50_000
    trials.close()
    assert not SearchCheck(store, "search").damage
    (path,) = (folder / "search" / "records").glob("attachment-*")
    path.unlink()
    if replace:  # the path by something that is not a file
        replace(path)
    with pytest.raises(SearchDamagedError):
        export_trials(store, "search", folder / "x.pkl")
    assert "such as 'large'" in SearchCheck(store, "search").damage
    repair(store, "search")
    assert not SearchCheck(store, "search").damage
    assert export_trials(store, "search", folder / "x.pkl")


def test_attachments_are_restored_and_a_lost_one_is_named(folder):
    """Attachments are restored; one whose file is lost is named in the report."""
    store = FolderStore(folder)
    trials = DriveTrials("search", store=store)
    trials.attachments["small"] = "s"
    trials.attachments["large"] = b"L" * 50_000
    trials.attachments["lost"] = b"l" * 50_000
    trials.close()
    (gone,) = [
        path
        for path in (folder / "search" / "records").glob("attachment-*")
        if b"lll" in path.read_bytes()
    ]
    gone.unlink()
    for path in (folder / "search").glob("trials.pkl"):
        path.unlink()
    record_files(folder)[8].unlink()
    report = repair(store, "search")
    assert any("'lost'" in note for note in report.notes)
    assert "attachments" not in SearchCheck(store, "search").damage
    kept = DriveTrials("search", store=store).attachments
    assert (kept["small"], kept["large"]) == ("s", b"L" * 50_000)
    assert "lost" not in kept


def test_an_interrupted_repair_changes_nothing(folder, monkeypatch):
    """Interrupted before its last step, repair leaves the old folder in place and can run again."""
    record_files(folder)[8].unlink()
    old = find_folder(FolderStore(folder), "search").id

    def cut(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("colab_drive_tuner.troubleshoot.repair.repair.replace_folders", cut)
        with pytest.raises(KeyboardInterrupt):
            repair(FolderStore(folder), "search")
    assert find_folder(FolderStore(folder), "search").id == old
    assert find_folder(FolderStore(folder), "search").duplicates == ()
    assert repair(FolderStore(folder), "search").done == 12
    assert_resumes_as_uninterrupted(folder)


class TakingNoAttachments(FolderStore):
    """A store that is away, or full, when a large attachment is created."""

    says: StoreError | None = None

    def create(self, entry_id, *args, **options):
        if self.says is not None and options["name"].startswith("attachment-"):
            raise self.says
        return super().create(entry_id, *args, **options)


@pytest.mark.parametrize("says", [UnavailableError("It is away."), RefusedError("It is full.")])
def test_a_store_that_does_not_take_the_new_chain_changes_nothing(folder, monkeypatch, says):
    """The store's error is raised, the old folder stays in place, and repair works later."""
    store = TakingNoAttachments(folder)
    trials = DriveTrials("search", store=store)
    trials.attachments["large"] = b"L" * 50_000
    trials.close()
    record_files(folder)[8].unlink()
    old = find_folder(store, "search").id
    with monkeypatch.context() as patched:
        patched.setattr(TakingNoAttachments, "says", says)
        patched.setattr(chain_writer, "_PATIENCE", 0.1)
        with pytest.raises(type(says), match=str(says)):
            repair(store, "search")
    assert find_folder(store, "search").id == old
    assert repair(store, "search").done == 12
    assert DriveTrials("search", store=store).attachments["large"] == b"L" * 50_000


@pytest.mark.parametrize(
    ("error", "noted"), [(QuotaError("full"), True), (RefusedError("no"), True), (StoreError(), 0)]
)
def test_an_old_chain_that_its_owner_may_continue_is_noted(folder, monkeypatch, error, noted):
    """Without room or rights the old chain stays open; other refusals are those of its owner."""
    record_files(folder)[3].unlink()

    def refuse(*_args):
        raise error

    monkeypatch.setattr(chain_writer, "end_chain", refuse)
    report = repair(FolderStore(folder), "search")
    assert report.done
    assert any("could not be closed" in note for note in report.notes) == noted


def test_records_of_another_search_in_its_folder_are_not_mixed_in(folder):
    """Ids and checksums tell the search's chain from records that were copied into its folder."""
    run_with_record_per_trial(folder, 3, name="other")
    store = FolderStore(folder)
    home = find_folder(store, "search").records
    for path in record_files(folder, "other"):
        store.create(store.reserve(1)[0], path.read_bytes(), name=path.name, parent=home)
    record_files(folder)[8].unlink()
    report = repair(store, "search")
    assert report.done == 12
    assert any("does not fit the neighbouring records" in note for note in report.notes)
    assert_resumes_as_uninterrupted(folder)
