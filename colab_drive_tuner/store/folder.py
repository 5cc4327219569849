"""A local folder as a store: what a search needs, promised on an ordinary disk.

People see their files under their own names. Beside them, in `.store/`, lies what makes an id
usable once only:

    <root>/mnist-cnn/records/000007        the one copy of the content, for people and for us
    <root>/.store/in/<folder>/000007.json  who has this name in that folder: the entry's description
    <root>/.store/in/<folder>/000007.new   the content, until it is seen under its visible name
    <root>/.store/ids/<id>                 a hard link to the description: making it is the create
    <root>/.store/marks/<id>               properties set later
    <root>/.trash/                         what was put into the trash

A create writes content and description aside, syncs them, links the id, links the visible name,
syncs both directories, and only then returns. Killed before the id is linked, nothing happened;
killed after it, whoever comes next finishes. So neither locks nor a repair run are needed. Nothing
rests on inode numbers: a copy of the folder is a store as well. A file that a person deletes is
gone, and one that a person alters is altered: no hidden second copy covers it up.
"""

import builtins
import contextlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from colab_drive_tuner.errors import (
    IdTakenError,
    NotFoundError,
    RefusedError,
    StoreError,
    UnavailableError,
    UsageError,
)
from colab_drive_tuner.store import disk
from colab_drive_tuner.store.description import Description, check_properties, decode, encode
from colab_drive_tuner.store.protocol import Entry

_HELP = "`colab-drive-tuner doctor` says what can be done."
_ROOT = "root"
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class FolderStore:
    """A `Store` in the local folder `root`, which is made where it does not exist yet.

    Safe for any number of processes on a file system with hard links; one without them (Colab's
    Drive mount, FAT) is refused by `UsageError` before anything is kept there.
    """

    account = "local"
    root = _ROOT

    def __init__(self, root: Path | str) -> None:
        self._root = Path(root).expanduser().resolve()
        self._hidden = self._root / ".store"
        self._ids = self._hidden / "ids"
        if not self._ids.is_dir():
            disk.prepare(self._root, self._hidden)

    def __repr__(self) -> str:
        return f"FolderStore({str(self._root)!r})"

    @property
    def location(self) -> str:
        """`folder:` and the absolute path, links resolved."""
        return f"folder:{self._root}"

    def url(self, entry_id: str) -> str:
        """The path under which a person finds it."""
        with self._honest(f"find file {entry_id}"):
            return str(self._locate(entry_id)[1])

    def now(self) -> float:
        """The clock of this machine."""
        return time.time()

    def reserve(self, count: int) -> list[str]:
        """Return `count` random 128-bit ids."""
        return [uuid.uuid4().hex for _ in range(count)]

    def create(
        self,
        entry_id: str,
        content: bytes | Path | None,
        *,
        name: str,
        parent: str,
        properties: Mapping[str, str] | None = None,
    ) -> Entry:
        """Create a file, or a folder, once in the world; on disk for good when this returns."""
        if not _ID.fullmatch(entry_id) or entry_id == _ROOT:
            raise UsageError(f"{entry_id!r} is no id of a folder store; ask `reserve` for one.")
        check_properties(properties or {})
        with self._honest(f"create {name!r}"):
            where = self._folder(parent)
            if (self._ids / entry_id).exists():
                raise self._taken(entry_id, name)
            aside = self._hidden / "in" / parent
            file = disk.reserve_name(aside, where, name)
            described = Description(
                entry_id, name, parent, file, self.now(), content is None, dict(properties or {})
            )
            description, new = aside / f"{file}.json", aside / f"{file}.new"
            try:
                if content is None:
                    new.mkdir()
                    (self._hidden / "in" / entry_id).mkdir(exist_ok=True)
                    disk.sync(self._hidden / "in")
                else:
                    disk.write(new, content)
                disk.write(description, encode(described))
                disk.sync(aside)
            except BaseException:
                disk.discard(new)
                disk.discard(description)
                raise
            try:
                os.link(description, self._ids / entry_id)
            except FileExistsError:
                # A network file system may have linked it and lost the answer to its own retry.
                if not description.samefile(self._ids / entry_id):
                    disk.discard(new)
                    disk.discard(description)
                    raise self._taken(entry_id, name) from None
            self._show(described, where)
            return self._entry(described, where / file)

    def read(self, entry_id: str) -> bytes:
        """Return what lies under the file's visible name."""
        with self._honest(f"read file {entry_id}"):
            return self._file(entry_id).read_bytes()

    read_unverified = read

    def fetch(self, entry_id: str, path: Path) -> None:
        """Copy a file to `path`, replacing it atomically, in constant memory."""
        with self._honest(f"fetch file {entry_id}"):
            source = self._file(entry_id).open("rb")
        with source:
            temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            try:
                with temporary.open("xb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    def stat(self, entry_id: str) -> Entry:
        """Describe a file or folder that still lies under its visible name."""
        with self._honest(f"find file {entry_id}"):
            return self._entry(*self._locate(entry_id))

    def list(self, parent: str, *, name: str | None = None) -> builtins.list[Entry]:
        """What lies in a folder, oldest first, never lagging; not what people put there by hand."""
        found = []
        with self._honest(f"list folder {parent}"):
            where = self._folder(parent)
            for path in (self._hidden / "in" / parent).glob("*.json"):
                with contextlib.suppress(FileNotFoundError):  # trashed, deleted, or given up
                    hint = decode(path.read_bytes())
                    if hint is None or (name is not None and hint.name != name):
                        continue
                    described, visible = self._locate(hint.id)
                    if visible == where / path.stem:
                        found.append(self._entry(described, visible))
        return sorted(found, key=lambda entry: (entry.created, entry.id))

    def find_marked(self, properties: Mapping[str, str]) -> builtins.list[Entry]:
        """What has all these properties, of all that was ever created here and still exists."""
        found = []
        with self._honest("look for marked files"):
            for path in self._ids.iterdir():
                known = decode(path.read_bytes())
                if known is None:
                    continue
                marks = known.properties | self._marks(known.id)
                if not properties.items() <= marks.items():
                    continue
                where = self._in_trash(known)
                if where is not None:
                    found.append(replace(self._entry(known, where), trashed=True))
                    continue
                with contextlib.suppress(NotFoundError):  # deleted for good, by hand
                    found.append(self._entry(*self._locate(known.id)))
        return sorted(found, key=lambda entry: (entry.created, entry.id))

    def set_properties(self, entry_id: str, properties: Mapping[str, str]) -> float:
        """Set properties, in a file beside; return the time."""
        check_properties(properties)
        with self._honest(f"mark file {entry_id}"):
            self._locate(entry_id)
            marks = self._marks(entry_id) | dict(properties)
            self._overwrite(self._hidden / "marks" / entry_id, json.dumps(marks).encode())
        return self.now()

    def replace(self, entry_id: str, content: bytes) -> None:
        """Replace a file's content: a reader sees the old one or the new one."""
        with self._honest(f"replace file {entry_id}"):
            self._overwrite(self._file(entry_id), content)

    def trash(self, entry_id: str) -> None:
        """Move it into `.trash/`, from where a person can move it back; its name is free again."""
        with self._honest(f"put file {entry_id} into the trash"):
            described, visible = self._locate(entry_id)
            if entry_id == _ROOT:
                raise RefusedError(f"{self._root} is the store itself and is not put into a trash.")
            trash = self._root / ".trash"
            trash.mkdir(exist_ok=True)
            visible.rename(trash / described.trash_name)
            disk.sync(visible.parent)
            # The name may be given away only when nothing can mistake the next owner for this one.
            self._overwrite(self._ids / entry_id, encode(replace(described, trashed=True)))
            (self._hidden / "in" / described.parent / f"{described.file}.json").unlink()

    def list_trash(self, parent: str) -> builtins.list[Entry]:
        """What lies in `.trash/` and came out of the folder, or lay in it when it was trashed."""
        found = []
        with self._honest(f"look for what was in folder {parent}"):
            for path in self._ids.iterdir():
                known = decode(path.read_bytes())
                if known and known.parent == parent and (where := self._in_trash(known)):
                    found.append(replace(self._entry(known, where), trashed=True))
        return sorted(found, key=lambda entry: (entry.created, entry.id))

    def read_trashed(self, entry_id: str) -> bytes:
        """As `read`, also out of `.trash/`."""
        with self._honest(f"read file {entry_id}"):
            described = self._describe(entry_id)
            where = None if described is None else self._in_trash(described)
            return self.read(entry_id) if where is None else where.read_bytes()

    def _in_trash(self, described: Description) -> Path | None:
        """Where it lies in the trash, by itself or in a folder; None: it does not."""
        if described.trashed:
            path = self._root / ".trash" / described.trash_name
        else:
            above = self._describe(described.parent) if described.parent != _ROOT else None
            folder = None if above is None else self._in_trash(above)
            if folder is None:
                return None
            path = folder / described.file
        return path if path.exists() else None

    def _taken(self, entry_id: str, name: str) -> IdTakenError:
        """The error to raise; the winner's create is on disk by now, even if the winner is not."""
        with contextlib.suppress(NotFoundError):
            self._locate(entry_id)
        disk.sync(self._ids)
        return IdTakenError(
            f"The id {entry_id}, asked for {name!r}, has been used in {self._root}."
        )

    def _locate(self, entry_id: str) -> tuple[Description, Path]:
        """The description and the visible path, which exists; a half-done create is finished."""
        if entry_id == _ROOT:
            return Description(_ROOT, self._root.name, "", "", 0.0, True, {}), self._root
        described = self._describe(entry_id)
        if described is None or described.trashed:
            raise NotFoundError(f"There is no file {entry_id} in {self._root}, or it was deleted.")
        visible = self._folder(described.parent) / described.file
        if (self._hidden / "in" / described.parent / f"{described.file}.new").exists():
            self._show(described, visible.parent)
        if not os.path.lexists(visible):
            raise NotFoundError(f"{visible} was deleted or renamed by hand: put it back. {_HELP}")
        return described, visible

    def _describe(self, entry_id: str) -> Description | None:
        """What the id was used for; None if it never was."""
        if not _ID.fullmatch(entry_id):
            return None
        path = self._ids / entry_id
        try:
            described = decode(path.read_bytes())
        except FileNotFoundError:
            return None
        if described is None or described.id != entry_id or described.parent == entry_id:
            raise StoreError(f"{path} is damaged: it describes no file of this store. {_HELP}")
        return described

    def _folder(self, entry_id: str) -> Path:
        described, visible = self._locate(entry_id)
        if not described.is_folder:
            raise RefusedError(f"{visible} is a file: nothing can lie in it.")
        return visible

    def _file(self, entry_id: str) -> Path:
        described, visible = self._locate(entry_id)
        if described.is_folder:
            raise RefusedError(f"{visible} is a folder: it has no content.")
        return visible

    def _show(self, described: Description, where: Path) -> None:
        """Give a created entry its visible name and wait for the disk; anybody may do it again."""
        new = self._hidden / "in" / described.parent / f"{described.file}.new"
        visible = where / described.file
        try:
            if described.is_folder:
                new.rename(visible)
            else:
                os.link(new, visible)
        except OSError:
            # Somebody else has done it; in the way of a folder may also be one that a person made.
            done = visible.is_dir() if described.is_folder else _same(new, visible)
            # Asked last: whoever has done it may be removing `new` at this very moment.
            if not done and new.exists():
                raise
        disk.sync(self._ids)
        disk.sync(where)
        disk.discard(new)

    def _entry(self, described: Description, visible: Path) -> Entry:
        return Entry(
            id=described.id,
            name=described.name,
            parent=described.parent,
            created=described.created,
            size=0 if described.is_folder else visible.stat().st_size,
            is_folder=described.is_folder,
            properties=described.properties | self._marks(described.id),
        )

    def _marks(self, entry_id: str) -> dict[str, str]:
        path = self._hidden / "marks" / entry_id
        try:
            marks = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise StoreError(f"{path}, with a file's marks, is damaged. {_HELP}") from error
        return {str(key): str(value) for key, value in marks.items()}

    def _overwrite(self, path: Path, content: bytes) -> None:
        temporary = self._hidden / f"new-{uuid.uuid4().hex}"
        try:
            disk.write(temporary, content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        disk.sync(path.parent)

    @contextlib.contextmanager
    def _honest(self, doing: str) -> Iterator[None]:
        """Turn what the operating system says into the errors that the protocol names."""
        try:
            yield
        except OSError as error:
            if not self._ids.is_dir():
                raise UnavailableError(
                    f"Cannot {doing}: {self._root} is not there; was a disk unplugged, or the "
                    "folder deleted? Bring it back and run the cell again."
                ) from error
            if isinstance(error, StoreError):
                raise
            raise disk.meaning(error, doing) from error


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False
