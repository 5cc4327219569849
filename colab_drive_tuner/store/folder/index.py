"""The index of one folder: which file in it, or below it, each id stands for.

    <folder>/index/ids/<id>                 a file's description; linking it here is the create
    <folder>/index/names/                   who has which visible name, and what waits for one
    <folder>/index/properties/<id>          properties, where there are any
    <folder>/index/copies/                  `ids` and `properties` once more

A create writes content and description aside, syncs them, links the id, links the visible name,
syncs both directories, and only then returns. Killed before the id is linked, nothing happened;
killed after it, whoever comes next finishes. So neither locks nor a repair run are needed. Nothing
rests on inode numbers or on where the folder lies: a copy of it is as good.
"""

import contextlib
import os
import stat
import uuid
from collections.abc import Iterator, Mapping
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
    decode,
    decode_properties,
    encode,
    encode_properties,
)
from colab_drive_tuner.store.folder.mirrored_file import TwoCopies
from colab_drive_tuner.store.folder.names import CLAIM, Names

NAME = "index"
HELP = "`colab-drive-tuner doctor` says what can be done."


class Index:
    """What is known of the files in the folder `base`; its own files lie in `home`."""

    def __init__(self, base: Path, home: Path, trash: Path) -> None:
        self.base, self.home, self.trash = base, home, trash
        self.descriptions = TwoCopies(home, "ids", decode)
        self.kept_properties = TwoCopies(home, "properties", decode_properties)
        self.names = Names(home)
        self._folders: dict[str, tuple[object, Path]] = {}
        self._strangers: dict[tuple[str, str], int] = {}

    def __repr__(self) -> str:
        return f"Index({str(self.base)!r})"

    def describe(self, key: str) -> Description | None:
        """What the id was used for; None if it never was."""
        return self.descriptions.read(key) if ID.fullmatch(key) else None

    def properties(self, described: Description) -> dict[str, str]:
        """The properties of an entry: those of its create, and those that were set later."""
        return described.properties | (self.kept_properties.read(described.id) or {})

    def set_properties(self, key: str, properties: Mapping[str, str]) -> None:
        """Add to the properties of an entry that exists."""
        known = self.kept_properties.read(key) or {}
        self.kept_properties.write(key, encode_properties(key, known | dict(properties)))

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
        """Create a file, or a folder, once; on disk for good when this returns."""
        where = self.folder(parent)
        if self.describe(entry_id) is not None:
            raise self.taken(entry_id, name)
        disk.make_folders(self.home, "ids")
        file, claimed = self.names.claim(where, parent, name, entry_id)
        nonce = uuid.uuid4().hex
        described = Description(
            entry_id, name, parent, file, created, content is None, properties, nonce
        )
        new = self.names.new(described)
        written = encode(described)
        try:
            if content is None:
                new.mkdir()
            else:
                disk.write(new, content)
            self.commit(new.with_suffix(".draft"), written, entry_id)
        except BaseException as error:  # an interrupt, too, leaves nothing half made
            disk.discard(new)
            taken = self.describe(entry_id) if isinstance(error, FileExistsError) else None
            if claimed and (taken is None or taken.file != file):
                self.names.give_up(parent, file)
            if taken is not None:
                raise self.taken(entry_id, name) from None
            raise
        self._show(described, where, written)
        return described, where / file

    def adopt(self, described: Description, properties: Mapping[str, str]) -> None:
        """Describe a file that lies under its visible name already."""
        self.descriptions.write(described.id, encode(described))
        if properties:
            self.kept_properties.write(described.id, encode_properties(described.id, properties))
        self.names.claim_again(described)

    def commit(self, draft: Path, written: bytes, entry_id: str) -> None:
        """Make the description that is written to `draft` the id's; FileExistsError: it has one."""
        target = self.descriptions.path(entry_id)
        try:
            disk.write(draft, written)
            sync_folder(draft.parent)
            try:
                disk.link(draft, target)
            except FileExistsError:
                # A network file system may have linked it and lost the answer to its own retry.
                if not draft.samefile(target):
                    raise
        finally:
            disk.discard(draft)

    def taken(self, entry_id: str, name: str) -> IdTakenError:
        """The error to raise; the winner's create is on disk by now, even if the winner is not."""
        with contextlib.suppress(NotFoundError):
            self.locate(entry_id)
        sync_folder(self.descriptions.folder)
        return IdTakenError(f"The id {entry_id}, asked for {name!r}, was used in {self.base}.")

    def locate(self, key: str) -> tuple[Description, Path]:
        """The description and the visible path, which exists; a half-done create is finished."""
        described = self.describe(key)
        if described is None or not described.file:
            raise NotFoundError(f"There is no file {key} in {self.base}, or it was deleted.")
        where = self.folder(described.parent)
        visible = where / described.file
        if described.trashed and not self._is_back(described, visible):
            raise NotFoundError(f"{visible} was put into the trash, {self.trash}.")
        if os.path.lexists(self.names.new(described)):
            self._show(described, where)
        with contextlib.suppress(*disk.NOT_THERE):
            mode = visible.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise disk.link_refused(visible)
            if stat.S_ISDIR(mode) == described.is_folder:
                return described, visible
        raise NotFoundError(f"{visible} was deleted or renamed by hand: put it back. {HELP}")

    def folder(self, key: str) -> Path:
        """Where the folder of that id lies; an empty id: the folder that has this index."""
        if not key:
            return self.base
        try:
            state = self.descriptions.path(key).stat()
            signature = (state.st_ino, state.st_mtime_ns, state.st_size)
        except (OSError, ValueError):
            signature = None
        known, path = self._folders.get(key, (None, self.base))
        if signature is None or known != signature:
            described, path = self.locate(key)
            if not described.is_folder:
                raise RefusedError(f"{path} is a file: nothing can lie in it.")
            self._folders[key] = (signature, path)
        elif not os.path.lexists(path):
            self.locate(key)  # says what happened to it
        disk.require_folder(path)
        return path

    def file(self, key: str) -> Path:
        """Where the file of that id lies."""
        described, visible = self.locate(key)
        if described.is_folder:
            raise RefusedError(f"{visible} is a folder: it has no content.")
        return visible

    def list(self, parent: str) -> Iterator[tuple[str, Description | StoreError, Path]]:
        """Id, description and path of what lies in a folder; not what people put there by hand.

        In place of a description that cannot be read or used stands the error that says why.
        """
        where = self.folder(parent)
        shown: set[str] = set()
        for key, file in self.names.claims(parent):
            try:
                described, visible = self.locate(key)
            except NotFoundError:  # trashed, deleted, given up, or a claim that was edited
                continue
            except (ChecksumError, RefusedError) as error:
                yield key, error, where / file
                shown.add(file)
                continue
            if visible == where / file:
                shown.add(file)
                yield key, described, visible
        yield from self._without_claim(parent, where, shown)

    def abandoned(self, before: float) -> Iterator[Path]:
        """Hidden files that no id stands for, last touched `before`: of creates that never were.

        A create that was killed before its id was linked is found and finished by nobody.
        """
        for part in [self.home / name for name in disk.names(self.home) if name.startswith("new-")]:
            if _is_old(part, before):
                yield part
        for parent in self.names.parents():
            used = set()
            for key, file in self.names.claims(parent):
                with contextlib.suppress(ChecksumError):
                    if (described := self.describe(key)) is not None:
                        used |= {f"{described.nonce}.new", f"{file}{CLAIM}"}
            for path in self.names.waiting(parent):
                if path.name not in used and _is_old(path, before):
                    yield path

    def _is_back(self, described: Description, visible: Path) -> bool:
        """Whether a person moved a trashed entry back: its old name, and nobody else's since."""
        if os.path.lexists(self.trash / described.trashed) or not os.path.lexists(visible):
            return False
        return self.names.holder(described.parent, described.file) in (None, described.id)

    def _without_claim(
        self, parent: str, where: Path, shown: set[str]
    ) -> Iterator[tuple[str, Description, Path]]:
        """Entries whose claim on their name is lost: it is made again.

        Each visible file that nobody claims is either such a one or a person's own.
        """
        try:
            changed = self.descriptions.folder.stat().st_mtime_ns
        except disk.NOT_THERE:
            changed = 0
        left = {
            file
            for file in disk.names(where)
            if file not in shown
            and not file.startswith(".")
            and where / file != self.home
            and self._strangers.get((parent, file)) != changed
        }
        if not left:
            return
        self._strangers.update({(parent, file): changed for file in left})
        for key in self.descriptions:
            try:
                described = None if key == TOP else self.describe(key)
            except ChecksumError:
                continue  # which file it was of is not known any more
            if described is None or described.parent != parent or described.file not in left:
                continue
            with contextlib.suppress(NotFoundError, RefusedError):
                yield key, *self.locate(key)
                del self._strangers[parent, described.file]
                with contextlib.suppress(OSError):  # a folder that can only be read is read
                    self.names.claim_again(described)

    def _show(self, described: Description, where: Path, written: bytes = b"") -> None:
        """Give a created entry its visible name and wait for the disk; anybody may do it again."""
        new, visible = self.names.new(described), where / described.file
        try:
            if described.is_folder:
                new.rename(visible)
            else:
                os.link(new, visible)
        except OSError:
            # Somebody else has done it; in the way of a folder may also be one that a person made.
            done = visible.is_dir() if described.is_folder else _same(new, visible)
            # Asked last: whoever has done it may be removing `new` at this very moment.
            if not done and os.path.lexists(new):
                raise
        sync_folder(self.descriptions.folder)
        sync_folder(where)
        self.descriptions.write_copy(described.id, written or encode(described))
        if described.properties and not self.kept_properties.has(described.id):
            self.kept_properties.write(
                described.id, encode_properties(described.id, described.properties)
            )
        disk.discard(new)


def _is_old(path: Path, before: float) -> bool:
    with contextlib.suppress(*disk.NOT_THERE):
        return path.lstat().st_mtime < before
    return False


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except disk.NOT_THERE:
        return False
