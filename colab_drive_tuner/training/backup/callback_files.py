"""The files that callbacks write and a training reads again: ModelCheckpoint's, and CSVLogger's.

Of each ModelCheckpoint the newest file that it wrote in this `fit` belongs to a backup (with
`save_best_only` that is the best model), of each CSVLogger its table so far. Where a file goes is
told by the callback that is here; a backup gives only what fills the placeholders of its name.
"""

import glob
import os
import re
import shutil
import string
import tempfile
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import keras

from colab_drive_tuner.errors import ChecksumError
from colab_drive_tuner.local_files import scratch_folder, sha256_of
from colab_drive_tuner.training.backup.callback_state import named
from colab_drive_tuner.training.backup.variables import DoesNotFitError

SMALL = 1 << 20
"""A file of so many bytes lies within the backup; a larger one beside it, and is sent once."""
_SEPARATOR = re.compile(r"[/\\]")
Stamp = tuple[int, int, int]


class FileCopy:
    """A file as it was at an epoch's end; it goes when nobody needs it any more."""

    def __init__(self, path: Path) -> None:
        folder = tempfile.mkdtemp(prefix=f"colab-drive-tuner-{os.getpid()}-")
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.path = Path(folder) / "copy"
        shutil.copyfile(path, self.path)
        self.size = self.path.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """Its checksum; reads the file when first asked."""
        return sha256_of(self.path)

    @property
    def name(self) -> str:
        """The name under which a large one is kept: alike for the same content."""
        return f"file-x{self.sha256[:32]}"


@dataclass(frozen=True)
class SavedFile:
    """A file of a callback in a backup that is being made."""

    callback: str
    fills: tuple[str, ...]
    """What stands for the placeholders in the callback's `filepath`."""
    copy: FileCopy

    @property
    def is_large(self) -> bool:
        """Whether it is kept beside the backup."""
        return self.copy.size > SMALL

    def as_plain(self) -> dict[str, Any]:
        """What the backup says of it."""
        return {
            "callback": self.callback,
            "fills": list(self.fills),
            "sha256": self.copy.sha256,
            "name": self.copy.name,
            "content": None if self.is_large else self.copy.path.read_bytes(),
        }


@dataclass
class CallbackFiles:
    """The files of one `fit`'s callbacks, and which of them were there when it began."""

    callbacks: Iterable[Any]
    _before: dict[str, Stamp] = field(default_factory=dict)
    _copies: dict[str, tuple[str, Stamp, FileCopy]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for _, callback in self._writers():
            for path in _matching(callback):
                self._before[path] = _stamp(path)

    def capture(self) -> list[SavedFile]:
        """Copies of the files as they are now; one that has not changed is not copied again."""
        saved = []
        for key, callback in self._writers():
            paths = {path: _stamp(path) for path in _matching(callback)}
            if isinstance(callback, keras.callbacks.ModelCheckpoint):
                paths = {p: s for p, s in paths.items() if self._before.get(p) != s}
            if not paths:
                continue
            path = max(paths, key=lambda p: (paths[p][0], len(p), p))
            fills = _pattern(_template(callback)).fullmatch(path)
            if fills is None:
                continue
            known = self._copies.get(key)
            if known is None or known[:2] != (path, paths[path]):
                known = self._copies[key] = path, paths[path], FileCopy(Path(path))
            saved.append(SavedFile(key, fills.groups(), known[2]))
        return saved

    def _writers(self) -> list[tuple[str, Any]]:
        return [
            (key, callback)
            for key, (_, callback) in named(self.callbacks).items()
            if _template(callback)
        ]


def prepare_files(
    callbacks: Iterable[Any], files: list[dict[str, Any]], fetch: Callable[[str, Path], bool]
) -> Callable[[], None]:
    """Fetch the files of a backup, and return a function that puts them into their places.

    Raises `ChecksumError` for one that is damaged or gone, `DoesNotFitError` for one whose callback
    is not here.
    """
    found = {key: callback for key, (_, callback) in named(callbacks).items()}
    ready: list[tuple[Any, Path, FileCopy]] = []
    with scratch_folder() as scratch:
        for file in files:
            callback = found.get(file["callback"])
            template = _template(callback)
            if not template:
                raise DoesNotFitError(f"it has a file of {file['callback']}, which is not here")
            path = scratch / "file"
            if file["content"] is not None:
                path.write_bytes(file["content"])
            elif not fetch(str(file["name"]), path):
                raise ChecksumError(f"its file {file['name']} is not there")
            if sha256_of(path) != file["sha256"]:
                raise ChecksumError(f"its file {file['name']} is damaged")
            ready.append((callback, Path(_filled(template, file["fills"])), FileCopy(path)))

    def restore() -> None:
        for callback, path, copy in ready:
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

    return restore


def _template(callback: Any) -> str:
    """The path that a callback writes to, with its placeholders; empty for none on this disk."""
    path = ""
    if isinstance(callback, keras.callbacks.ModelCheckpoint):
        path = str(callback.filepath)
    elif isinstance(callback, keras.callbacks.CSVLogger):
        path = str(callback.filename).replace("{", "{{").replace("}", "}}")
    return "" if "://" in path else path


def _literals(template: str) -> list[tuple[str, bool]]:
    """The text between placeholders, and whether one follows it."""
    return [(text, name is not None) for text, name, _, _ in string.Formatter().parse(template)]


def _pattern(template: str) -> re.Pattern[str]:
    """Matches the paths that a template makes; no placeholder makes a folder."""
    parts = (
        re.escape(text) + (r"([^/\\]*)" if follows else "") for text, follows in _literals(template)
    )
    return re.compile("".join(parts), re.DOTALL)


def _filled(template: str, fills: list[str]) -> str:
    """The path that a template makes with these; `DoesNotFitError` if it makes none."""
    literals = _literals(template)
    if len(fills) != sum(follows for _, follows in literals):
        raise DoesNotFitError(f"the files of {template!r} were named in another way")
    rest = iter(fills)
    path = "".join(text + (str(next(rest)) if follows else "") for text, follows in literals)
    if not _pattern(template).fullmatch(path) or "\0" in path:
        raise DoesNotFitError(f"{path!r} is not a file of {template!r}")
    # A name such as ".." would make another folder of it.
    parts = zip(_SEPARATOR.split(template), _SEPARATOR.split(path), strict=True)
    if any("{" in part and made in (".", "..") for part, made in parts):
        raise DoesNotFitError(f"{path!r} is not a file of {template!r}")
    return path


def _matching(callback: Any) -> list[str]:
    """The files that lie where a callback writes."""
    template = _template(callback)
    wild = "".join(
        glob.escape(text) + ("*" if follows else "") for text, follows in _literals(template)
    )
    pattern = _pattern(template)
    return [p for p in glob.glob(wild) if pattern.fullmatch(p) and Path(p).is_file()]  # noqa: PTH207 - a template may be relative, and is text


def _stamp(path: str) -> Stamp:
    status = Path(path).stat()
    return status.st_mtime_ns, status.st_size, status.st_ino
