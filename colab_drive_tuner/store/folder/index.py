"""Index of one folder: the file in it, or below it, that each id refers to.

    <folder>/index/ids/<id>                 a file's description; linking it here is the create
    <folder>/index/names/                   claims on visible names, and unfinished creates
    <folder>/index/properties/<id>          properties, if there are any
    <folder>/index/copies/                  second copies of `ids` and `properties`

A create writes content and description under temporary names, syncs them, links the id, links the
visible name, syncs both directories, and only then returns. A kill before the id is linked has no
effect; after it, the next process that sees the id completes the create. So neither locks nor
repair runs are needed. The index does not depend on inode numbers or on the folder's path, so a
copy of the folder is equally valid.
"""

import contextlib
import filecmp
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from colab_drive_tuner.errors import (
    ChecksumError,
    IdTakenError,
    NotFoundError,
    RefusedError,
    StoreError,
)
from colab_drive_tuner.local_files import sync_folder
from colab_drive_tuner.store.folder import disk
from colab_drive_tuner.store.folder.description import (
    ID,
    TOP,
    Description,
    MirroredFiles,
    decode,
    decode_properties,
    encode,
    encode_properties,
)
from colab_drive_tuner.store.folder.visible_names import CLAIM, VisibleNames

INDEX_FOLDER = "index"
DEEPEST = 100
"""Maximum nesting of folders: altered descriptions may name each other as parents."""
DOCTOR_HINT = "`colab-drive-tuner doctor` says what can be done."


class Index:
    """Index of the folder `base`; the index's own files are in `home`."""

    def __init__(self, base: Path, home: Path, trash: Path) -> None:
        self.base, self.home, self.trash = base, home, trash
        self.descriptions = MirroredFiles(home, "ids", decode)
        self.property_files = MirroredFiles(home, "properties", decode_properties)
        self.names = VisibleNames(home)
        self._folders: dict[str, tuple[object, Path]] = {}
        """Paths of folders by id, each with the signature of the description it was read from."""
        self._unclaimed: dict[tuple[str, str], int] = {}
        """Files that no id claims, by parent and name, with the time of the last change of `ids/`:
        until the next one, they are not looked up again."""

    def describe(self, key: str) -> Description | None:
        """Return the description of the id; None if it was never used."""
        return self.descriptions.read(key) if ID.fullmatch(key) else None

    def properties(self, described: Description) -> dict[str, str]:
        """Return the properties of an entry: those at its creation, updated by those set later."""
        merged = described.properties | (self.property_files.read(described.id) or {})
        return {key: value for key, value in merged.items() if value}  # empty: removed

    def set_properties(self, key: str, properties: Mapping[str, str]) -> None:
        """Add to the properties of an existing entry."""
        known = self.property_files.read(key) or {}
        self.write_properties(key, known | dict(properties))

    def write_properties(self, key: str, properties: Mapping[str, str]) -> None:
        """Replace the properties that were set after the creation of an entry."""
        self.property_files.write(key, encode_properties(key, properties))

    def create(
        self,
        entry_id: str,
        content: bytes | Path | None,
        *,
        name: str,
        parent: str,
        created: float,
        properties: dict[str, str],
    ) -> tuple[Description, Path]:
        """Create a file or folder once; it is durable on the disk when this returns."""
        folder = self.folder(parent)
        if self.describe(entry_id) is not None:
            raise self.id_taken_error(entry_id, name)
        file, claimed = self.names.claim(folder, parent, name, entry_id)
        nonce = uuid.uuid4().hex
        described = Description(
            entry_id, name, parent, file, created, content is None, properties, nonce
        )

        def fill(pending: Path) -> None:
            if content is None:
                pending.mkdir()
            else:
                disk.write(pending, content)

        try:
            written = self.commit(described, fill)
        except BaseException as error:  # including KeyboardInterrupt
            taken = self.describe(entry_id)
            if claimed and (taken is None or taken.file != file):
                self.names.release(parent, file)
            if taken is not None and isinstance(error, FileExistsError):
                raise self.id_taken_error(entry_id, name) from None
            raise
        self._publish(described, folder, written)
        return described, folder / file

    def adopt(self, described: Description, properties: Mapping[str, str]) -> None:
        """Describe a file that already has its visible name."""
        self.descriptions.write(described.id, encode(described))
        if properties:
            self.write_properties(described.id, properties)
        self.names.reclaim(described)

    def commit(self, described: Description, fill: Callable[[Path], None]) -> bytes:
        """Have `fill` write the pending content, and link the description, whose bytes it returns.

        Raises `FileExistsError` if the id was used; any error leaves nothing behind.
        """
        pending, written = self.names.pending_content(described), encode(described)
        draft, target = pending.with_suffix(".draft"), self.descriptions.path(described.id)
        disk.ensure_folders(self.home, "ids")
        try:
            fill(pending)
            disk.write(draft, written)
            sync_folder(draft.parent)
            try:
                disk.link(draft, target)
            except FileExistsError:
                # A network file system may have retried a link that had succeeded.
                if not _is_same_file(draft, target):
                    raise
        except BaseException:  # including KeyboardInterrupt
            if not _is_same_file(draft, target):  # the link may have been made all the same
                shutil.rmtree(pending, ignore_errors=True)
                disk.remove(pending)
            raise
        finally:
            disk.remove(draft)
        return written

    def id_taken_error(self, entry_id: str, name: str) -> IdTakenError:
        """Return the error, once the winner's create is durable, even if the winner was killed."""
        with contextlib.suppress(NotFoundError):
            self.locate(entry_id)
        sync_folder(self.descriptions.folder)
        return IdTakenError(f"The id {entry_id}, asked for {name!r}, was used in {self.base}.")

    def locate(self, key: str, depth: int = 0) -> tuple[Description, Path]:
        """Return the description and the existing visible path, completing an unfinished create."""
        described = self.describe(key)
        if described is None or not described.file:
            raise NotFoundError(f"There is no file {key} in {self.base}, or it was deleted.")
        folder = self.folder(described.parent, depth + 1)
        visible = folder / described.file
        if described.trashed and not self._is_restored(described, visible):
            raise NotFoundError(f"{visible} was put into the trash, {self.trash}.")
        if os.path.lexists(self.names.pending_content(described)):
            self._publish(described, folder)
        with contextlib.suppress(*disk.MISSING):
            mode = visible.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise disk.symlink_error(visible)
            if stat.S_IFMT(mode) == (stat.S_IFDIR if described.is_folder else stat.S_IFREG):
                return described, visible
        raise NotFoundError(f"{visible} was deleted or renamed by hand: put it back. {DOCTOR_HINT}")

    def folder(self, key: str, depth: int = 0) -> Path:
        """Return the path of the folder with this id; an empty id is the folder with this index."""
        if not key:
            return self.base
        if depth > DEEPEST:
            raise disk.damaged_error(self.descriptions.path(key))
        try:
            state = self.descriptions.path(key).stat()
            signature = (state.st_ino, state.st_mtime_ns, state.st_size)
        except (OSError, ValueError):
            signature = None
        known, path = self._folders.get(key, (None, self.base))
        if signature is None or known != signature:
            described, path = self.locate(key, depth)
            if not described.is_folder:
                raise RefusedError(f"{path} is a file: it cannot contain files.")
            self._folders[key] = (signature, path)
        elif not os.path.lexists(path):
            self.locate(key)  # raises the error that explains it
        disk.require_folder(path)
        return path

    def file(self, key: str) -> Path:
        """Return the path of the file with this id."""
        described, visible = self.locate(key)
        if described.is_folder:
            raise RefusedError(f"{visible} is a folder: it has no content.")
        return visible

    def list(self, parent: str) -> Iterator[tuple[str, Description | StoreError, Path]]:
        """Yield id, description and path of a folder's children, except files added by hand.

        If a description is unreadable or unusable, the error is yielded in its place.
        """
        folder = self.folder(parent)
        shown: set[str] = set()
        for key, file in self.names.claims(parent):
            try:
                described, visible = self.locate(key)
            except NotFoundError:  # trashed, deleted, released, or an edited claim
                continue
            except (ChecksumError, RefusedError) as error:
                yield key, error, folder / file
                shown.add(file)
                continue
            if visible == folder / file:
                shown.add(file)
                yield key, described, visible
        yield from self._recover_claims(parent, folder, shown)

    def created_in(self, parent: str) -> Iterator[Description]:
        """Yield what was created in a folder, and may have been trashed or deleted since."""
        for key in self.descriptions:
            with contextlib.suppress(ChecksumError):  # its folder is unknown
                described = None if key == TOP else self.describe(key)
                if described is not None and described.parent == parent:
                    yield described

    def abandoned(self, before: float) -> Iterator[Path]:
        """Yield hidden files that no id refers to, last modified before that time.

        They come from creates that were killed before their id was linked; nobody completes those.
        """
        for name in disk.list_names(self.home):
            if name.startswith("new-") and _is_old(self.home / name, before):
                yield self.home / name
        for parent in self.names.parents():
            used = set()
            for key, file in self.names.claims(parent):
                with contextlib.suppress(ChecksumError):
                    if (described := self.describe(key)) is not None:
                        used |= {f"{described.nonce}.new", f"{file}{CLAIM}"}
            for path in self.names.unfinished(parent):
                if path.name not in used and _is_old(path, before):
                    yield path

    def _is_restored(self, described: Description, visible: Path) -> bool:
        """Return whether a user moved a trashed entry back, and no other id has its name."""
        if os.path.lexists(self.trash / described.trashed) or not os.path.lexists(visible):
            return False
        return self.names.holder(described.parent, described.file) in (None, described.id)

    def _recover_claims(
        self, parent: str, folder: Path, shown: set[str]
    ) -> Iterator[tuple[str, Description, Path]]:
        """Yield entries whose claim on their name is lost, and claim it again.

        Visible files without a claim are either such entries or files of the user.
        """
        try:
            changed = self.descriptions.folder.stat().st_mtime_ns
        except disk.MISSING:
            changed = 0
        home = self.home.name if self.home.parent == folder else ""
        left = {
            file
            for file in disk.list_names(folder)
            if file not in shown
            and not file.startswith(".")
            and file != home
            and self._unclaimed.get((parent, file)) != changed
        }
        if not left:
            return
        found = [described for described in self.created_in(parent) if described.file in left]
        # Trashed entries last: another one may have their name by now.
        for described in sorted(found, key=lambda one: bool(one.trashed)):
            if described.file not in left:
                continue
            with contextlib.suppress(NotFoundError, RefusedError):
                yield described.id, *self.locate(described.id)
                left.remove(described.file)
                with contextlib.suppress(OSError):  # the folder may be read-only
                    self.names.reclaim(described)
        self._unclaimed.update({(parent, file): changed for file in left})

    def _publish(self, described: Description, folder: Path, written: bytes = b"") -> None:
        """Give a created entry its visible name, durably; idempotent."""
        pending, visible = self.names.pending_content(described), folder / described.file
        try:
            if described.is_folder:
                pending.rename(visible)
            else:
                os.link(pending, visible)
        except OSError:
            # Already done by another process, unless a user created a folder of that name.
            done = visible.is_dir() if described.is_folder else _is_same_file(pending, visible)
            # Checked last: the other process may be removing `pending` concurrently.
            if not done and os.path.lexists(pending):
                raise
        sync_folder(self.descriptions.folder)
        sync_folder(folder)
        self.descriptions.write_copy(described.id, written or encode(described))
        if described.properties and not self.property_files.has(described.id):
            self.write_properties(described.id, described.properties)
        disk.remove(pending)


def _is_old(path: Path, before: float) -> bool:
    with contextlib.suppress(*disk.MISSING):
        return path.lstat().st_mtime < before
    return False


def _is_same_file(one: Path, other: Path) -> bool:
    """Whether it is one file, or two with equal content: sshfs shows hard links as such."""
    try:
        return one.samefile(other) or filecmp.cmp(one, other, shallow=False)
    except disk.MISSING:
        return False
