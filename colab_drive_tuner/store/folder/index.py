"""The index of one folder: which file in it, or below it, each id stands for.

    <folder>/index/ids/<id>                 a file's description; linking it here is the create
    <folder>/index/names/<parent>/<file>.id who has this visible name in that folder
    <folder>/index/names/<parent>/<n>.new   the content, until it is seen under its visible name
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
from dataclasses import replace
from pathlib import Path

from colab_drive_tuner.errors import (
    ChecksumError,
    IdTakenError,
    NotFoundError,
    RefusedError,
    StoreError,
)
from colab_drive_tuner.machine import sync_folder
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
from colab_drive_tuner.store.folder.two_copies import TwoCopies

NAME = "index"
HELP = "`colab-drive-tuner doctor` says what can be done."
_CLAIM, _TRASHED = ".id", ".trashed"


class Index:
    """What is known of the files in the folder `base`; its own files lie in `home`."""

    def __init__(self, base: Path, home: Path, trash: Path) -> None:
        self.base, self.home, self._trash = base, home, trash
        self.descriptions = TwoCopies(home, "ids", decode)
        self.kept_properties = TwoCopies(home, "properties", decode_properties)
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
        aside = disk.make_folders(self.home, "names", parent or TOP)
        disk.make_folders(self.home, "ids")
        file, claimed = self._claim(aside, where, name, entry_id)
        nonce = uuid.uuid4().hex
        described = Description(
            entry_id, name, parent, file, created, content is None, properties, nonce
        )
        new, draft = aside / f"{nonce}.new", aside / f"{nonce}.draft"
        written = encode(described)
        try:
            if content is None:
                new.mkdir()
            else:
                disk.write(new, content)
            self.commit(draft, written, entry_id)
        except BaseException as error:
            disk.discard(new)
            taken = self.describe(entry_id) if isinstance(error, FileExistsError) else None
            if claimed and (taken is None or taken.file != file):
                disk.discard(aside / f"{file}{_CLAIM}")
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
        names = disk.make_folders(self.home, "names", described.parent or TOP)
        disk.write_new(names / f"{described.file}{_CLAIM}", described.id.encode())

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
            raise NotFoundError(f"{visible} was put into the trash, {self._trash}.")
        if os.path.lexists(self._new(described)):
            self._show(described, where)
        with contextlib.suppress(FileNotFoundError):
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
        for key, file in self._claims(parent):
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

    def trash(self, key: str) -> None:
        """Move an entry into the trash, from where a person can move it back."""
        described, visible = self.locate(key)
        trash = disk.make_folders(self._trash.parent, self._trash.name)
        target = disk.with_ending(described.file, described.id[:8])
        if os.path.lexists(trash / target):
            target = disk.with_ending(described.file)
        # Killed before the move it lies where it was, which is found as if it were moved back.
        self.descriptions.write(key, encode(replace(described, trashed=target)))
        visible.rename(trash / target)
        sync_folder(trash)
        sync_folder(visible.parent)
        # The name may be given away only when nothing can mistake the next owner for this one.
        names = disk.make_folders(self.home, "names", described.parent or TOP)
        with contextlib.suppress(FileExistsError):
            disk.write_new(names / f"{key}{_TRASHED}", b"")
        if self._has_claim(described):
            disk.discard(names / f"{described.file}{_CLAIM}")

    def in_trash(self, key: str) -> tuple[Description, Path] | None:
        """Where an entry lies in the trash, by itself or in a folder; None: it does not."""
        described = self.describe(key)
        if described is None:
            return None
        if described.trashed:
            path = self._trash / described.trashed
        else:
            above = self.in_trash(described.parent) if described.parent else None
            if above is None:
                return None
            path = above[1] / described.file
        return (described, path) if os.path.lexists(path) and not path.is_symlink() else None

    def list_trash(self, parent: str) -> Iterator[tuple[str, Description, Path]]:
        """What came out of a folder into the trash, or lies in it there."""
        names = self.home / "names" / (parent or TOP)
        keys = {key for key, _ in self._claims(parent)}
        gone = [file for file in disk.names(names) if file.endswith(_TRASHED)]
        keys |= {file.removesuffix(_TRASHED) for file in gone}
        for key in sorted(keys):
            with contextlib.suppress(ChecksumError):
                found = self.in_trash(key)
                if found is not None and found[0].parent == parent:
                    yield key, *found

    def abandoned(self, before: float) -> Iterator[Path]:
        """Hidden files that no id stands for, last touched `before`: of creates that never were.

        A create that was killed before its id was linked is found and finished by nobody.
        """
        for part in [self.home / name for name in disk.names(self.home) if name.startswith("new-")]:
            if _is_old(part, before):
                yield part
        for parent in disk.names(self.home / "names"):
            aside = self.home / "names" / parent
            claims = list(self._claims("" if parent == TOP else parent))
            used = set()
            for key, file in claims:
                with contextlib.suppress(ChecksumError):
                    if (described := self.describe(key)) is not None:
                        used |= {f"{described.nonce}.new", f"{file}{_CLAIM}"}
            for name in disk.names(aside):
                ours = name.endswith((".new", ".draft", _CLAIM))
                if ours and name not in used and _is_old(aside / name, before):
                    yield aside / name

    def _claim(self, aside: Path, where: Path, name: str, entry_id: str) -> tuple[str, bool]:
        """A visible file name that is this id's alone, and whether it was claimed just now."""
        plain, ending = disk.file_names(name, entry_id)
        for file in (plain, ending, disk.with_ending(plain)):
            claim = aside / f"{file}{_CLAIM}"
            if os.path.lexists(where / file):
                continue
            try:
                disk.write_new(claim, entry_id.encode())
            except FileExistsError:
                if disk.read_small(claim) == entry_id.encode():
                    return file, False  # by somebody who creates it too, or was killed at it
            else:
                return file, True
        raise FileExistsError(f"{where / name} exists")

    def _claims(self, parent: str) -> Iterator[tuple[str, str]]:
        """The id and the visible name of each claim in a folder."""
        names = self.home / "names" / (parent or TOP)
        for claim in disk.names(names):
            if not claim.endswith(_CLAIM):
                continue
            key = (disk.read_small(names / claim, 129) or b"").decode("ascii", "replace")
            if ID.fullmatch(key):
                yield key, claim.removesuffix(_CLAIM)

    def find_named(self, file: str) -> Iterator[str]:
        """The ids that have this visible name, in whichever folder."""
        for parent in disk.names(self.home / "names"):
            claim = self.home / "names" / parent / f"{file}{_CLAIM}"
            key = (disk.read_small(claim, 129) or b"").decode("ascii", "replace")
            if ID.fullmatch(key):
                yield key

    def _has_claim(self, described: Description) -> bool:
        claim = self.home / "names" / (described.parent or TOP) / f"{described.file}{_CLAIM}"
        return disk.read_small(claim) == described.id.encode()

    def _is_back(self, described: Description, visible: Path) -> bool:
        """Whether a person moved a trashed entry back: its old name, and nobody else's since."""
        if os.path.lexists(self._trash / described.trashed) or not os.path.lexists(visible):
            return False
        names = self.home / "names" / (described.parent or TOP)
        claim = disk.read_small(names / f"{described.file}{_CLAIM}")
        return claim is None or claim == described.id.encode()

    def _without_claim(
        self, parent: str, where: Path, shown: set[str]
    ) -> Iterator[tuple[str, Description, Path]]:
        """Entries whose claim on their name is lost: it is made again.

        Each visible file that nobody claims is either such a one or a person's own.
        """
        try:
            changed = self.descriptions.folder.stat().st_mtime_ns
        except FileNotFoundError:
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
                    aside = disk.make_folders(self.home, "names", parent or TOP)
                    disk.discard(aside / f"{described.file}{_CLAIM}")
                    disk.write_new(aside / f"{described.file}{_CLAIM}", key.encode())

    def _new(self, described: Description) -> Path:
        return self.home / "names" / (described.parent or TOP) / f"{described.nonce}.new"

    def _show(self, described: Description, where: Path, written: bytes = b"") -> None:
        """Give a created entry its visible name and wait for the disk; anybody may do it again."""
        new, visible = self._new(described), where / described.file
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
    with contextlib.suppress(FileNotFoundError):
        return path.lstat().st_mtime < before
    return False


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False
