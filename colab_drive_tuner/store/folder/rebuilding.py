"""Rebuilding of a folder's index from the files in it and the remains of the old index."""

import contextlib
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from colab_drive_tuner.errors import StoreError
from colab_drive_tuner.local_files import sync_folder
from colab_drive_tuner.store.folder import disk
from colab_drive_tuner.store.folder.description import TOP, Description, MirroredFiles, Value
from colab_drive_tuner.store.folder.index import INDEX_FOLDER, Index
from colab_drive_tuner.store.folder.top_folders import make_folder
from colab_drive_tuner.store.protocol import LATEST_TIME


def rebuild_index(
    base: Path, name: str, trash: Path, ids: Mapping[str, str], original: Description | None = None
) -> None:
    """Create an index of the files in a folder, and set the remains of the old index aside.

    Files that the old index describes keep their descriptions; only names are known of the others.
    `original` describes another folder with the same ids, of which this one is a copy. The copy
    must remain recognizable as one, or shared ids would be resolved in the wrong folder.
    """
    disk.require_folder(base)
    disk.require_readable(base)  # what cannot be read now would be lost
    home = base / INDEX_FOLDER
    # A rebuilding that failed between its last two steps left only the old index's remains.
    remains = [] if os.path.lexists(home) else base.glob(f".{INDEX_FOLDER}-*")
    old = Index(base, max(remains, key=lambda path: path.stat().st_mtime, default=home), trash)
    properties, described = _readable(old.property_files), _readable(old.descriptions)
    new = Description(uuid.uuid4().hex, name, "", "", time.time(), True, {}, uuid.uuid4().hex)
    copied = None if original is None else replace(original, properties={})
    top = described.pop(TOP, None) or copied or new
    # Trashed entries first: another one may have their name by now.
    by_trash = sorted(described.values(), key=lambda one: not one.trashed)
    known = {(one.parent, one.file): one for one in by_trash}
    aside = trash.parent / ".store" / f"new-{uuid.uuid4().hex}"
    make_folder(aside, top, trash)
    index = Index(base, aside / INDEX_FOLDER, trash)
    for path, parent, key in _files_below(base, "", known, ids):
        made = known.get((parent, path.name)) or Description(
            id=key,
            name=path.name,
            parent=parent,
            file=path.name,
            created=min(max(path.lstat().st_mtime, 0.0), LATEST_TIME),
            is_folder=path.is_dir(),
            properties={},
            nonce=uuid.uuid4().hex,
        )
        index.adopt(made, properties.get(made.id, {}))
    if properties.get(top.id):
        index.set_properties(top.id, properties[top.id])
    # Last, because a rebuilding that is interrupted before needs the remains again.
    if os.path.lexists(home):
        home.rename(base / f".{INDEX_FOLDER}-{uuid.uuid4().hex[:8]}")
    (aside / INDEX_FOLDER).rename(home)
    aside.rmdir()
    sync_folder(base)


def _readable(files: MirroredFiles[Value]) -> dict[str, Value]:
    """Return the values that can still be read, by key."""
    found: dict[str, Value] = {}
    for key in files:
        with contextlib.suppress(StoreError, OSError):
            if (value := files.read(key)) is not None:
                found[key] = value
    return found


def _files_below(
    base: Path, parent: str, known: Mapping[tuple[str, str], Description], ids: Mapping[str, str]
) -> Iterator[tuple[Path, str, str]]:
    """Yield path, parent's id and id of all visible files and folders, folders first."""
    described = {one.id for one in known.values()}
    lost = {above for above, _ in known if above and above not in described}
    pending = [(base, parent)]
    while pending:
        folder, above = pending.pop()
        for name in disk.list_names(folder):
            path = folder / name
            if name.startswith(".") or path.is_symlink() or path == base / INDEX_FOLDER:
                continue
            inside = disk.list_names(path) if path.is_dir() else []
            fitting = [key for key in lost if any((key, file) in known for file in inside)]
            if (above, name) in known:
                key = known[above, name].id
            elif len(fitting) == 1:  # known by the files in it
                (key,) = fitting
            else:
                key = ids.get(path.relative_to(base).as_posix()) or uuid.uuid4().hex
            yield path, above, key
            if path.is_dir():
                pending.append((path, key))
