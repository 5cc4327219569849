"""Maintenance by a search's owner, in a thread of its own: heartbeat, ids, snapshot, trials.pkl.

Nothing here is needed for correctness, so a store that does not answer is met with patience: the
sender says so to the user, and this thread tries again later.
"""

import logging
import threading
import time

from colab_drive_tuner.errors import (
    ColabDriveTunerError,
    ForeignFileError,
    IdTakenError,
    NotFoundError,
    StoreError,
    UnavailableError,
)
from colab_drive_tuner.journal.chain.record import ClaimReason
from colab_drive_tuner.journal.folder.duplicate_folders import is_another_search
from colab_drive_tuner.journal.folder.file_ownership import owned_entry
from colab_drive_tuner.journal.folder.lookup import EXPORT, EXPORT_NAME, find_folder
from colab_drive_tuner.journal.folder.marked_folders import exists
from colab_drive_tuner.journal.lease import BEAT_SECONDS, beat
from colab_drive_tuner.journal.snapshot import save_snapshot
from colab_drive_tuner.journal.writer import Writer
from colab_drive_tuner.store.protocol import LIST_LAG_SECONDS
from colab_drive_tuner.text import visible

SNAPSHOT_RECORDS = 64
"""Records between two snapshots: a reader needs three round trips behind one."""
SNAPSHOT_SHARE = 0.008
"""The part of one core that snapshots may use; past it they come half as often."""
EXPORT_SECONDS = 300.0
DUPLICATE_CHECKS = (2.0, 15.0, 120.0)
"""When the owner of a young search looks whether its folder's listing lagged, in seconds."""

log = logging.getLogger(__name__)


class Maintenance:
    """The periodic duties of the session that owns a search."""

    def __init__(self, writer: Writer, claim_id: str, reason: ClaimReason) -> None:
        self._writer, self._reader, self._claim_id = writer, writer.reader, claim_id
        folder, pos = self._reader.folder, self._reader.head.pos
        self._snapshots: list[str] = [folder.hint] if folder.hint else []
        self._snapshot_pos = pos
        # Only a release says that the copy holds everything before it.
        self._exported_pos = pos if reason is ClaimReason.RELEASED else 0
        self._export_id = folder.export
        self._export_found = bool(folder.export) and EXPORT not in self._reader.absent
        self._begun = self._exported_at = self._beat_at = time.monotonic()
        self._rested_at = self._begun
        young = self._reader.store.now() - folder.created < LIST_LAG_SECONDS
        self._looks = list(DUPLICATE_CHECKS) if young and self._reader.fixed_folder is None else []
        self._told = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cdt-maintenance", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """End the thread, waiting so long for an upload in the middle."""
        self._stop.set()
        self._thread.join(timeout)

    def finish(self) -> None:
        """The last snapshot and trials.pkl of a session that ends cleanly."""
        if self._reader.head.pos - self._snapshot_pos > SNAPSHOT_RECORDS // 4:
            self._snapshot()
        if self._exported_pos < self._reader.head.pos:
            self._copy_out()

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            try:
                self._tick()
            except UnavailableError as error:
                log.debug("maintenance waits: %s", error)
                self._stop.wait(5.0)
            except ColabDriveTunerError as error:
                # Said once a minute at most: a refusal of a convenience must not end training.
                log.warning("Search %r: %s", self._reader.name, error)
                self._stop.wait(60.0)

    def _tick(self) -> None:
        writer, now = self._writer, time.monotonic()
        writer.reserve_ids()
        if now - max(self._beat_at, writer.acknowledged_at) >= BEAT_SECONDS:
            self._beat_at = now
            beat(self._reader.store, self._claim_id)
        rested = now >= self._rested_at
        if self._reader.head.pos - self._snapshot_pos >= SNAPSHOT_RECORDS * (1 if rested else 2):
            self._snapshot()
        changed = self._exported_pos < self._reader.head.pos
        if changed and now - self._exported_at >= EXPORT_SECONDS:
            self._copy_out()
        if self._looks and now - self._begun >= self._looks[0]:
            self._looks.pop(0)
            self._look_for_winner()

    def _snapshot(self) -> None:
        used = time.thread_time()
        with self._writer.advance:
            head, state = self._reader.head, self._reader.state.dump()
        self._snapshots.append(save_snapshot(self._reader.store, self._reader.folder, head, state))
        self._snapshot_pos = head.pos
        self._rested_at = time.monotonic() + (time.thread_time() - used) / SNAPSHOT_SHARE
        while len(self._snapshots) > 2:
            try:
                self._reader.store.trash(self._snapshots[0])
            except NotFoundError:
                log.debug("snapshot %s was already gone", self._snapshots[0])
            self._snapshots.pop(0)

    def _copy_out(self) -> None:
        """Renew trials.pkl, the copy for people and other tools."""
        export = self._reader.rules.export
        if export is None:
            return
        with self._writer.advance:
            pos, content = self._reader.head.pos, export(self._reader.state)
        try:
            self._put_copy(content)
        except NotFoundError:  # the user removed it
            self._export_found = False
            self._put_copy(content)
        self._exported_pos, self._exported_at = pos, time.monotonic()
        self._tell_of_folder()

    def _tell_of_folder(self) -> None:
        """Say once what somebody did to the folder meanwhile; the run goes on in it, by its id."""
        store, name, folder = self._reader.store, self._reader.name, self._reader.folder
        what = ""
        try:
            entry = store.stat(folder.id)
            kept = not folder.records or exists(store, folder.records)
        except NotFoundError:
            what = "was deleted or lies in the trash, and what is recorded with it: restore it"
        except StoreError as error:  # said another time
            log.debug("the folder of search %r cannot be looked at: %s", name, error)
            return
        else:
            at_home = entry.parent in {store.root, *(other.id for other in store.duplicates())}
            next_time = "the next run finds it under that name"
            if not at_home:
                next_time = f"the next run needs it back in {store.url(store.root)}"
            moved = "" if at_home else "moved out of its place"
            renamed = "" if entry.name == name else f"renamed to {visible(entry.name)!r}"
            if moves := " and ".join(filter(None, (moved, renamed))):
                what = f"was {moves}; this run goes on there, and {next_time}"
            elif not kept:
                what = "has its records in the trash, which is emptied in time: restore them"
        if what and what != self._told:
            self._writer.notify(f"The folder of search {name!r} {what}.")
        self._told = what

    def _put_copy(self, content: bytes) -> None:
        """Write trials.pkl: into the file that was seen to be ours, or into a new one."""
        store, folder, ids = self._reader.store, self._reader.folder.id, self._reader.head.ids
        if self._export_found:
            store.replace(self._export_id, content)
            return
        if not self._export_id or self._export_id in ids:
            self._rename_copy()
        try:
            store.create(self._export_id, content, name=EXPORT_NAME, parent=folder)
        except IdTakenError:
            try:  # perhaps by an earlier create whose answer was lost
                owned_entry(store, self._export_id, {folder}, EXPORT, name=EXPORT_NAME)
                store.replace(self._export_id, content)
            except (NotFoundError, ForeignFileError):
                self._rename_copy()
                store.create(self._export_id, content, name=EXPORT_NAME, parent=folder)
        self._export_found = True

    def _rename_copy(self) -> None:
        """Give trials.pkl an id that nothing else has."""
        (self._export_id,) = self._reader.store.reserve(1)
        self._reader.store.set_properties(self._reader.folder.id, {EXPORT: self._export_id})

    def _look_for_winner(self) -> None:
        """FOLDER: a listing may have lagged when this search was created."""
        store, ours = self._reader.store, self._reader.folder
        found = find_folder(store, self._reader.name)
        if found is None or found.first == ours.first or found.age > ours.age:
            return
        if not is_another_search(store, found, ours):
            self._writer.lose(
                "Two runtimes created it at the same moment, and the other's folder was first."
            )
