"""Files written by ModelCheckpoint and CSVLogger callbacks, as part of a backup.

A backup includes the newest file that each ModelCheckpoint wrote during this `fit` (with
`save_best_only` the best model) and the table of each CSVLogger. Files are restored to the paths
of the current callbacks; a backup provides only the values of the placeholders in a path.
"""

import glob
import os
import re
import shutil
import stat
import string
import tempfile
import weakref
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import keras

from colab_drive_tuner.errors import ChecksumError
from colab_drive_tuner.local_files import scratch_folder, sha256_of
from colab_drive_tuner.training.backup.callback_state import key_callbacks
from colab_drive_tuner.training.backup.variable_paths import IncompatibleBackupError

MAX_EMBEDDED_BYTES = 1 << 20
"""Files up to this size are embedded in the backup; larger ones are stored separately, once."""
_SEPARATOR = re.compile(r"[/\\]")
Stamp = tuple[int, int, int]
"""Modification time in nanoseconds, size and inode of a file."""


class SavedFile:
    """Copy of the file of a callback (its key) at the end of an epoch; deleted with this object.

    `fills` are the values of the placeholders in the callback's `filepath`.
    """

    def __init__(self, path: Path, callback: str, fills: Collection[str]) -> None:
        folder = tempfile.mkdtemp(prefix=f"colab-drive-tuner-{os.getpid()}-")
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._callback, self._fills = callback, fills
        self.path = Path(folder) / "copy.part"
        shutil.copyfile(path, self.path)
        self.size = self.path.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """Checksum of the copy, computed on first access."""
        return sha256_of(self.path)

    @property
    def name(self) -> str:
        """Name of a separately stored file; equal for equal content."""
        return f"file-x{self.sha256[:32]}"

    @property
    def is_large(self) -> bool:
        """Whether the file is stored separately."""
        return self.size > MAX_EMBEDDED_BYTES

    def as_plain(self) -> dict[str, Any]:
        """Return this file's entry in the backup."""
        return {
            "callback": self._callback,
            "fills": list(self._fills),
            "sha256": self.sha256,
            "name": self.name,
            "content": None if self.is_large else self.path.read_bytes(),
        }


class CallbackFiles:
    """Files of one `fit`'s callbacks; knows which of them existed when `fit` started."""

    def __init__(self, callbacks: Collection[Any]) -> None:
        self._callbacks = callbacks
        self._before = {p: s for _, c in self._writers() for p, s in _stamps(c).items()}
        self._copies: dict[str, tuple[str, Stamp, SavedFile]] = {}

    def capture(self) -> list[SavedFile]:
        """Return copies of the current files; an unchanged file is not copied again."""
        saved = []
        for key, callback in self._writers():
            paths = _stamps(callback)
            if isinstance(callback, keras.callbacks.ModelCheckpoint):
                paths = {p: s for p, s in paths.items() if self._before.get(p) != s}
            if not paths:
                continue
            path = max(paths, key=lambda p: (paths[p][0], len(p), p))
            known = self._copies.get(key)
            if known is None or known[:2] != (path, paths[path]):
                fills = _path_pattern(_path_template(callback)).fullmatch(path)
                copy = SavedFile(Path(path), key, fills.groups() if fills else ())
                known = self._copies[key] = path, paths[path], copy
            saved.append(known[2])
        return saved

    def _writers(self) -> list[tuple[str, Any]]:
        return [
            (key, callback)
            for key, (_, callback) in key_callbacks(self._callbacks).items()
            if _path_template(callback)
        ]


def prepare_file_restore(
    callbacks: Iterable[Any], files: list[dict[str, Any]], fetch: Callable[[str, Path], bool]
) -> Callable[[], None]:
    """Fetch and check a backup's files, and return a function that writes them to their paths."""
    found = {key: callback for key, (_, callback) in key_callbacks(callbacks).items()}
    ready: list[tuple[Any, Path, SavedFile]] = []
    with scratch_folder() as scratch:
        for file in files:
            callback = found.get(file["callback"])
            template = _path_template(callback)
            if not template:
                raise IncompatibleBackupError(
                    f"it has a file of {file['callback']}, a callback that fit lacks"
                )
            copy = _fetched(file, scratch / "file.part", fetch)
            ready.append((callback, Path(_format_path(template, file["fills"])), copy))

    def restore() -> None:
        for callback, path, copy in ready:
            _restore_file(callback, path, copy)

    return restore


def _fetched(file: dict[str, Any], path: Path, fetch: Callable[[str, Path], bool]) -> SavedFile:
    """Return a file of a backup, checked; `path` is where it is fetched to."""
    if file["content"] is not None:
        path.write_bytes(file["content"])
    elif not fetch(str(file["name"]), path):
        raise ChecksumError(f"its file {file['name']} is missing")
    if sha256_of(path) != file["sha256"]:
        raise ChecksumError(f"its file {file['name']} is damaged")
    return SavedFile(path, file["callback"], file["fills"])


def _restore_file(callback: Any, path: Path, copy: SavedFile) -> None:
    """Write a file to its path; a CSVLogger continues its table there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_table = isinstance(callback, keras.callbacks.CSVLogger)
    if is_table and callback.csv_file and not callback.csv_file.closed:
        callback.csv_file.close()
    part = path.with_name(f".{path.name}.part")
    shutil.copyfile(copy.path, part)
    part.replace(path)
    if is_table:
        callback.csv_file = path.open("a")
        callback.append_header = not copy.size


def _path_template(callback: Any) -> str:
    """Return the path that a callback writes to, with placeholders; "" if none or not local."""
    path = ""
    if isinstance(callback, keras.callbacks.ModelCheckpoint):
        path = str(callback.filepath)
    elif isinstance(callback, keras.callbacks.CSVLogger):
        path = str(callback.filename).replace("{", "{{").replace("}", "}}")
    return "" if "://" in path else path


def _literals(template: str) -> list[tuple[str, bool]]:
    """Return each literal part of a path, and whether a placeholder follows it."""
    return [(text, name is not None) for text, name, _, _ in string.Formatter().parse(template)]


def _path_pattern(template: str) -> re.Pattern[str]:
    """Return a pattern of the paths of a template; a placeholder never matches a separator."""
    parts = (
        re.escape(text) + (r"([^/\\]*)" if follows else "") for text, follows in _literals(template)
    )
    return re.compile("".join(parts), re.DOTALL)


def _format_path(template: str, fills: list[str]) -> str:
    """Return the path for these placeholder values; raise `IncompatibleBackupError` if invalid."""
    literals = _literals(template)
    if len(fills) != sum(follows for _, follows in literals):
        raise IncompatibleBackupError(f"the files of {template!r} were named by another pattern")
    rest = iter(fills)
    path = "".join(text + (str(next(rest)) if follows else "") for text, follows in literals)
    if not _path_pattern(template).fullmatch(path) or "\0" in path:
        raise IncompatibleBackupError(f"{path!r} is not a file of {template!r}")
    # A placeholder value such as ".." would change the folder.
    parts = zip(_SEPARATOR.split(template), _SEPARATOR.split(path), strict=True)
    if any("{" in part and made in (".", "..") for part, made in parts):
        raise IncompatibleBackupError(f"{path!r} is not a file of {template!r}")
    return path


def _stamps(callback: Any) -> dict[str, Stamp]:
    """Return the existing files whose paths match a callback's template, with their stamps."""
    template = _path_template(callback)
    wild = "".join(
        glob.escape(text) + ("*" if follows else "") for text, follows in _literals(template)
    )
    found = {}
    for path in filter(_path_pattern(template).fullmatch, glob.glob(wild)):  # noqa: PTH207 - a template may be relative, and is text
        with suppress(FileNotFoundError):  # a callback of another trial may just have removed it
            status = Path(path).stat()
            if stat.S_ISREG(status.st_mode):
                found[path] = status.st_mtime_ns, status.st_size, status.st_ino
    return found
