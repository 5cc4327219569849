"""Python values as plain data, for a backup.

This is what pickle does, without its freedom: only the kinds of `kinds`, instances of the user's
own classes, and what holds Keras variables can be saved, and `unpack` imports nothing and runs no
code of a class. What was changed in place is restored in place, so whoever else holds it sees what
it held.

Packed, a value is one that the codec takes and that holds no others, or a tuple that begins with
its kind.
"""

import functools
import io
from collections.abc import Callable, Mapping
from datetime import datetime
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import keras
import numpy as np

from colab_drive_tuner.checkpoint.codec.arrays import describe_dtype
from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.checkpoint.codec.plain_data import ATOMS
from colab_drive_tuner.errors import NotPlainDataError
from colab_drive_tuner.training.backup.kinds import (
    BUILT_IN,
    KINDS,
    VALUES,
    find,
    identity,
    is_users_own,
    name_of,
)
from colab_drive_tuner.training.backup.variables import (
    WALKED,
    attributes_of,
    is_variable,
    value_of,
    variables_of,
)

Packed = Any
_MOST_DEPTH = 100
_LEAVES = ATOMS - {datetime}
"""What the codec takes whatever its value; the zone of a datetime may be unknown."""

# A callback may hold what is no state of a training but its means: functions, files, locks,
# loggers, datasets, and what draws progress or sends it somewhere. A new process makes its own.
FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, type, functools.partial)

_STANDARD = frozenset(
    {
        *("_thread", "threading", "concurrent", "multiprocessing", "asyncio", "subprocess"),
        *("logging", "io", "_io", "csv", "_csv", "tempfile", "contextlib", "weakref", "_weakref"),
        *("re", "socket", "ssl", "http", "urllib", "sqlite3", "argparse", "ctypes", "inspect"),
        *("types", "typing", "abc", "operator", "importlib", "_frozen_importlib", "zoneinfo"),
    }
)
"""Modules of the standard library whose objects are handles, patterns, or pieces of the language.
"""

_INSTALLED = frozenset(
    {
        *("tqdm", "rich", "IPython", "ipywidgets", "ipykernel", "matplotlib", "plotly", "seaborn"),
        *("wandb", "mlflow", "neptune", "comet_ml", "clearml", "aim", "tensorboard"),
        *("tensorboardX", "requests", "urllib3", "google", "googleapiclient", "fsspec", "gcsfs"),
        *("keras", "tensorflow", "jax", "jaxlib", "torch", "optree", "tree"),
    }
)
"""Packages that show or send progress, and frameworks: what they have as state is saved before
this is asked."""


class CannotSaveError(Exception):
    """A value that no backup can hold: where it was found, and what it is."""

    def __init__(self, path: str, value: Any) -> None:
        super().__init__(f"{path} ({name_of(type(value))})")


class Packer:
    """Packs values; an object that is met twice is packed once.

    `originals` are the objects that were there when `fit` began, by path: one that still is in its
    place is to be restored in place. Objects whose id is in `known` are saved elsewhere. `omitted`
    tells which attributes of an object are left out.
    """

    def __init__(
        self,
        originals: Mapping[str, Any] | None = None,
        known: frozenset[int] = frozenset(),
        omitted: Callable[[Any], frozenset[str]] = lambda _: frozenset(),
    ) -> None:
        self._originals, self._known, self._omitted = originals or {}, known, omitted
        self._numbers: dict[int, int] = {}
        self._met: list[Any] = []  # held, so that their ids stay theirs
        self.found: dict[str, Any] = {}
        """The objects that were packed, by path."""

    def number(self, value: Any, path: str = "") -> None:
        """Give an object the next number, under which it is met again."""
        self._numbers[id(value)] = len(self._met)
        self._met.append(value)
        if path:
            self.found[path] = value

    def pack_or_forget(self, value: Any, path: str) -> Packed:
        """As `pack`; after an error it is as if it had not been tried."""
        before = len(self._met)
        try:
            return self.pack(value, path)
        except CannotSaveError:
            for met in self._met[before:]:
                self._numbers.pop(id(met), None)
            del self._met[before:]
            raise

    def pack(self, value: Any, path: str, depth: int = 0) -> Packed:
        """`value` as plain data; `CannotSaveError`, naming the place, if that is impossible."""
        kind = type(value)
        if _is_plain(value):
            return value
        if depth > _MOST_DEPTH:
            raise CannotSaveError(path, value)
        if kind in VALUES:
            return (kind.__name__, self.pack(VALUES[kind][0](value), path, depth + 1))
        if kind in (tuple, frozenset):
            return (kind.__name__, *self._items(value, path, depth))
        if id(value) in self._numbers:
            return ("same", self._numbers[id(value)])
        if id(value) in self._known:
            return ("here", identity(value))
        if kind is np.ndarray:
            return self._array(value, path, depth)
        if kind in KINDS:
            return self._mutable(value, path, depth)
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return ("namedtuple", self._class(value, path), *self._items(value, path, depth))
        if hasattr(kind, "_member_map_"):
            return ("enum", self._class(value, path), value.name)
        return self._object(value, path, depth)

    def _items(self, values: Any, path: str, depth: int) -> list[Packed]:
        if _LEAVES.issuperset(map(type, values)):
            return list(values)
        return [self.pack(item, f"{path}[{n}]", depth + 1) for n, item in enumerate(values)]

    def _array(self, value: Any, path: str, depth: int) -> Packed:
        in_place = value.flags.writeable and self._originals.get(path) is value
        self.number(value, path)
        if value.dtype == object:
            items = self._items(value.reshape(-1).tolist(), path, depth)
            return ("objects", in_place, list(value.shape), *items)
        if not _has_plain_dtype(value):
            raise CannotSaveError(path, value)
        return ("ndarray", in_place, value.copy())

    def _mutable(self, value: Any, path: str, depth: int) -> Packed:
        kind = KINDS[type(value)]
        in_place = self._originals.get(path) is value
        self.number(value, path)
        head, body = kind.head(value), kind.body(value)
        if kind.name == "defaultdict" and head is None and not in_place:
            raise CannotSaveError(path, value)  # its factory is a function of the user's
        return (
            kind.name,
            in_place,
            self.pack(head, path, depth + 1),
            self.pack(body, path, depth + 1),
        )

    def _object(self, value: Any, path: str, depth: int) -> Packed:
        kind = type(value)
        if isinstance(value, WALKED) or is_variable(value):
            self.number(value)
            variables = variables_of(value, self._known)
            return ("variables", name_of(kind), {p: value_of(v) for p, v in variables.items()})
        if keras.ops.is_tensor(value):
            return ("tensor", _array_of(value, path))
        if kind is MethodType and id(value.__self__) in self._numbers:
            return ("method", self._numbers[id(value.__self__)], value.__func__.__name__)
        if kind is FunctionType and find(name_of(value)) is value:
            return ("function", name_of(value))
        is_callback = isinstance(value, keras.callbacks.Callback)
        if is_inert(value) and not is_callback:
            return ("here", identity(value))
        own = is_users_own(kind) or is_callback
        if not own or is_iterator(value) or isinstance(value, BUILT_IN):
            raise CannotSaveError(path, value)
        in_place = self._originals.get(path) is value
        name = name_of(kind) if in_place else self._class(value, path)
        self.number(value, path)
        attributes = {
            key: self.pack(item, f"{path}.{key}", depth + 1)
            for key, item in attributes_of(value).items()
            if key not in self._omitted(value)
        }
        return ("object", in_place, name, attributes)

    def _class(self, value: Any, path: str) -> str:
        """The name of a class that another process will have, too."""
        kind, name = type(value), name_of(type(value))
        if is_users_own(kind) and (find(name) is kind or type(self._originals.get(path)) is kind):
            return name
        raise CannotSaveError(path, value)


def is_inert(value: Any) -> bool:
    """Whether a value may stay as the running process has made it."""
    if type(value) in KINDS:
        return False
    if isinstance(value, (*FUNCTIONS, ModuleType, io.IOBase, np.dtype, np.ufunc)):
        return True
    root = type(value).__module__.partition(".")[0]
    return root in _STANDARD | _INSTALLED and not is_iterator(value)


def is_iterator(value: Any) -> bool:
    """Whether it remembers how far it was read, and tells nobody."""
    return hasattr(type(value), "__next__") and not isinstance(value, io.IOBase)


def pack_or_none(value: Any) -> Packed:
    """`value` packed, or None where that is impossible."""
    try:
        return Packer().pack_or_forget(value, "")
    except CannotSaveError:
        return None


def _is_plain(value: Any) -> bool:
    """Whether a value is written as it is."""
    kind = type(value)
    if kind is datetime:
        try:
            encode(value)
        except NotPlainDataError:
            return False
        return True
    if isinstance(value, np.generic):
        return kind is value.dtype.type and _has_plain_dtype(value)
    return kind in ATOMS


def _has_plain_dtype(value: np.ndarray[Any, Any] | np.generic) -> bool:
    try:
        describe_dtype(value.dtype, foreign=True)
    except ValueError:
        return False
    return True


def _array_of(tensor: Any, path: str) -> Any:
    try:
        array = np.asarray(keras.ops.convert_to_numpy(tensor))
    except (TypeError, ValueError, NotImplementedError, AttributeError, RuntimeError) as error:
        raise CannotSaveError(path, tensor) from error
    if not _has_plain_dtype(array):
        raise CannotSaveError(path, tensor)
    return array.copy()
