"""Maintenance thread of a search's owner: heartbeat, id reservation, snapshots, trials.pkl.

None of this is needed for correctness. If the store does not answer, this thread tries again later;
the writer's sender notifies the user.
"""

import logging
import threading
import time
from collections.abc import Iterator

from colab_drive_tuner.errors import (
    ColabDriveTunerError,
    ForeignFileError,
    IdTakenError,
    NotFoundError,
    StoreError,
    UnavailableError,
)
from colab_drive_tuner.journal.chain.chain import (
    KEPT_SNAPSHOTS,
    old_snapshots,
    parallel_readers,
    save_snapshot,
)
from colab_drive_tuner.journal.chain.record import ClaimReason
from colab_drive_tuner.journal.folder.creation import is_another_search
from colab_drive_tuner.journal.folder.file_ownership import owned_entry
from colab_drive_tuner.journal.folder.lookup import exists, find_folder
from colab_drive_tuner.journal.folder.moved_folders import folder_changes
from colab_drive_tuner.journal.folder.properties import EXPORT_NAME, Property
from colab_drive_tuner.journal.lease import BEAT
from colab_drive_tuner.journal.writer import Writer
from colab_drive_tuner.store.protocol import LIST_LAG_SECONDS, discard

BEAT_SECONDS = 30.0
SNAPSHOT_RECORDS = 64
"""Records between two snapshots; a reader then needs three round trips after a snapshot."""
SNAPSHOT_SHARE = 0.008
"""Share of one core that snapshots may use; above it they are saved half as often."""
EXPORT_SECONDS = 300.0
TIDY_SECONDS = 60.0
"""Time after which a session discards the snapshots that killed ones left; once, as it lists."""
DUPLICATE_CHECKS = (2.0, 15.0, 120.0)
"""Times, in seconds, at which the owner of a new search looks for an older duplicate folder."""

log = logging.getLogger(__name__)


class Maintenance:
    """Periodic tasks of the session that owns a search."""

    def __init__(self, writer: Writer, claim_id: str, reason: ClaimReason) -> None:
        self._writer, self._reader = writer, writer.reader
        self._claim_id = claim_id
        folder, pos = self._reader.folder, self._reader.head.pos
        self._begun = self._renewed_at = time.monotonic()

        self._snapshot_pos = self._reader.snapshot_pos
        """Number of records that the newest snapshot covers."""
        # Anybody may have set the hint, to a record too: only one that was read is a snapshot.
        self._snapshots: list[str] = [folder.hint] if self._snapshot_pos else []
        self._next_snapshot_at = self._begun
        """Time from which snapshots keep within their share of a core again."""
        self._tidied = not self._snapshots
        self._old_snapshots: Iterator[str] = iter(())

        # Only a release guarantees that trials.pkl holds everything before it.
        self._exported_pos = pos if reason is ClaimReason.RELEASED else 0
        """Number of records that trials.pkl covers."""
        self._exported_at = self._begun
        self._export_id = folder.export
        self._export_found = bool(folder.export) and Property.EXPORT not in self._reader.absent

        young = self._reader.store.now() - folder.created < LIST_LAG_SECONDS
        self._duplicate_checks = (
            list(DUPLICATE_CHECKS) if young and self._reader.fixed_folder is None else []
        )
        """Times after the start, in seconds, of the checks that are still to be made."""
        self._last_change = ""
        """What the user did to the folder, as last notified."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cdt-maintenance", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread, waiting at most `timeout` seconds for an upload in progress."""
        self._stop.set()
        self._thread.join(timeout)

    def finish(self) -> None:
        """Save the last snapshot and trials.pkl of a session that ends cleanly."""
        if self._reader.head.pos - self._snapshot_pos > SNAPSHOT_RECORDS // 4:
            self._snapshot()
        if self._exported_pos < self._reader.head.pos:
            with parallel_readers("cdt-folder") as readers:
                change = readers.submit(self._folder_change)
                self._export()
                self._notify_of_change(change.result())

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            try:
                self._tick()
            except UnavailableError as error:
                log.debug("maintenance waits: %s", error)
                self._stop.wait(5.0)
            except Exception as error:
                # Logged at most once a minute: training must not end because of a convenience, and
                # the lease must be renewed whatever fails.
                unexpected = not isinstance(error, ColabDriveTunerError)
                log.warning("Search %r: %s", self._reader.name, error, exc_info=unexpected)
                self._stop.wait(60.0)

    def _tick(self) -> None:
        now = time.monotonic()
        if now - max(self._renewed_at, self._writer.acknowledged_at) >= BEAT_SECONDS:
            self._renewed_at = now
            store = self._reader.store
            store.set_properties(self._claim_id, {BEAT: f"{store.now():.3f}"})
        self._writer.reserve_ids()
        due = SNAPSHOT_RECORDS if now >= self._next_snapshot_at else 2 * SNAPSHOT_RECORDS
        if self._reader.head.pos - self._snapshot_pos >= due:
            self._snapshot()
        changed = self._exported_pos < self._reader.head.pos
        if changed and now - self._exported_at >= EXPORT_SECONDS:
            self._export()
            self._notify_of_change(self._folder_change())
        if self._duplicate_checks and now - self._begun >= self._duplicate_checks[0]:
            self._duplicate_checks.pop(0)
            self._check_for_older_duplicate()
        if not self._tidied and now - self._begun >= TIDY_SECONDS:
            self._tidied = True
            self._old_snapshots = old_snapshots(self._reader.store, self._reader.folder)
        if old := next(self._old_snapshots, None):  # one at a time, since the lease must be renewed
            discard(self._reader.store, old)

    def _snapshot(self) -> None:
        used = time.thread_time()
        with self._writer.state_lock:
            head, state = self._reader.head, self._reader.state.dump()
        self._snapshots.append(save_snapshot(self._reader.store, self._reader.folder, head, state))
        self._snapshot_pos = head.pos
        self._next_snapshot_at = time.monotonic() + (time.thread_time() - used) / SNAPSHOT_SHARE
        while len(self._snapshots) > KEPT_SNAPSHOTS:
            discard(self._reader.store, self._snapshots[0])
            self._snapshots.pop(0)

    def _export(self) -> None:
        """Update trials.pkl, the copy for people and other tools."""
        export = self._reader.rules.export
        if export is None:
            return
        with self._writer.state_lock:
            pos, content = self._reader.head.pos, export(self._reader.state)
        try:
            self._write_export(content)
        except NotFoundError:  # the user removed it
            self._export_found = False
            self._write_export(content)
        self._exported_pos, self._exported_at = pos, time.monotonic()

    def _write_export(self, content: bytes) -> None:
        """Write trials.pkl: into the file known to be ours, or into a new one."""
        store, folder, ids = self._reader.store, self._reader.folder.id, self._reader.head.ids
        if self._export_found:
            store.replace(self._export_id, content)
            return
        if not self._export_id or self._export_id in ids:
            self._reserve_export_id()
        try:
            store.create(self._export_id, content, name=EXPORT_NAME, parent=folder)
        except IdTakenError:
            try:  # possibly by an earlier create of ours whose answer was lost
                what = f"Property {Property.EXPORT}"
                owned_entry(store, self._export_id, {folder}, what, name=EXPORT_NAME)
                store.replace(self._export_id, content)
            except (NotFoundError, ForeignFileError):
                self._reserve_export_id()
                store.create(self._export_id, content, name=EXPORT_NAME, parent=folder)
        self._export_found = True

    def _reserve_export_id(self) -> None:
        (self._export_id,) = self._reader.store.reserve(1)
        self._reader.store.set_properties(
            self._reader.folder.id, {Property.EXPORT: self._export_id}
        )

    def _notify_of_change(self, change: str) -> None:
        """Notify once if the folder was moved, renamed or trashed; the run uses it by its id."""
        if change and change != self._last_change:
            self._writer.notify(f"The folder of search {self._reader.name!r} {change}.")
        self._last_change = change

    def _folder_change(self) -> str:
        """Describe what the user did to the folder, and the consequence; empty if nothing."""
        store, name, folder = self._reader.store, self._reader.name, self._reader.folder
        try:
            with parallel_readers("cdt-records") as readers:
                records = readers.submit(exists, store, folder.records) if folder.records else None
                entry, has_records = store.stat(folder.id), records is None or records.result()
        except NotFoundError:
            return "was deleted or is in the trash, together with its records: restore it"
        except StoreError as error:  # checked again next time
            log.debug("the folder of search %r cannot be read: %s", name, error)
            return self._last_change
        if found := folder_changes(store, name, entry):
            what, undo = (" and ".join(parts) for parts in zip(*found, strict=True))
            return f"{what}; this run continues there. For the next run, {undo}"
        if not has_records:
            return "has its records in the trash, which is emptied after a while: restore them"
        return ""

    def _check_for_older_duplicate(self) -> None:
        """FOLDER: give up the search if an older folder of its name, unlisted so far, exists."""
        store, ours = self._reader.store, self._reader.folder
        found = find_folder(store, self._reader.name)
        if found is None or found.first == ours.first or found.creation_order > ours.creation_order:
            return
        if not is_another_search(store, found, ours):
            self._writer.lose(
                "Two runtimes created it at the same moment, and the other's folder was first."
            )
