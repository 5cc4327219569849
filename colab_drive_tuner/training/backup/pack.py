"""Conversion of Python values to plain data, for a backup.

A restricted alternative to pickle: only the types in `supported_types`, instances of user-defined
classes and objects that hold Keras variables can be saved, and `unpack` imports nothing and runs no
code of a class. Objects changed in place are restored in place, so that other references to them
see the restored content.

A packed value is a scalar or array that the codec supports, or a tuple that starts with a type tag.
"""

import functools
import io
from collections import defaultdict
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
from colab_drive_tuner.templates.function_source import is_users_module
from colab_drive_tuner.training.backup.supported_types import (
    BUILTIN_TYPES,
    IMMUTABLE_TYPES,
    MUTABLE_TYPES,
)
from colab_drive_tuner.training.backup.variable_paths import (
    VARIABLE_HOLDERS,
    attributes_of,
    find_by_name,
    identity,
    is_variable,
    qualified_name,
    value_of,
    variables_of,
)

Packed = Any
_MAX_DEPTH = 100
_LEAVES = ATOMS - {datetime}
"""Types that the codec supports for any value; the time zone of a datetime may be unsupported."""

# A callback may hold resources that are not training state: functions, files, locks, loggers,
# datasets, and objects that display or send progress. A new process creates its own.
FUNCTION_TYPES = (FunctionType, BuiltinFunctionType, MethodType, type, functools.partial)

_RESOURCE_MODULES = frozenset(
    {
        *("_thread", "threading", "concurrent", "multiprocessing", "asyncio", "subprocess"),
        *("logging", "io", "_io", "csv", "_csv", "tempfile", "contextlib", "weakref", "_weakref"),
        *("re", "socket", "ssl", "http", "urllib", "sqlite3", "argparse", "ctypes", "inspect"),
        *("types", "typing", "abc", "operator", "importlib", "_frozen_importlib", "zoneinfo"),
    }
)
"""Standard library modules whose objects are handles, patterns, or parts of the language."""

_RESOURCE_PACKAGES = frozenset(
    {
        *("tqdm", "rich", "IPython", "ipywidgets", "ipykernel", "matplotlib", "plotly", "seaborn"),
        *("wandb", "mlflow", "neptune", "comet_ml", "clearml", "aim", "tensorboard"),
        *("tensorboardX", "requests", "urllib3", "google", "googleapiclient", "fsspec", "gcsfs"),
        *("keras", "tensorflow", "jax", "jaxlib", "torch", "optree", "tree"),
    }
)
"""Packages that display or send progress, and frameworks; the state of framework objects is
packed before this set is consulted."""


class CannotSaveError(Exception):
    """A value that cannot be saved; the message names its path and type."""

    def __init__(self, path: str, value: Any) -> None:
        super().__init__(f"{path} ({qualified_name(type(value))})")


class Packer:
    """Packs values; an object that occurs several times is packed once.

    `originals` are the objects that existed when `fit` started, by path: an object still at its
    path is restored in place. Objects whose id is in `known` are saved elsewhere. `omitted`
    returns the names of an object's attributes to leave out.
    """

    def __init__(
        self,
        originals: Mapping[str, Any] | None = None,
        known: frozenset[int] = frozenset(),
        omitted: Callable[[Any], frozenset[str]] = lambda _: frozenset(),
    ) -> None:
        self._originals, self._known, self._omitted = originals or {}, known, omitted
        self._numbers: dict[int, int] = {}
        self._objects: list[Any] = []  # referenced, so that their ids are not reused
        self.by_path: dict[str, Any] = {}
        """The registered objects, by path."""

    def register(self, value: Any, path: str = "") -> None:
        """Give an object the next number; later occurrences are packed as that number."""
        self._numbers[id(value)] = len(self._objects)
        self._objects.append(value)
        if path:
            self.by_path[path] = value

    def pack_or_rollback(self, value: Any, path: str) -> Packed:
        """Like `pack`; if it raises, later values are packed as if it had not been called."""
        before = len(self._objects)
        try:
            return self.pack(value, path)
        except CannotSaveError:
            for registered in self._objects[before:]:
                self._numbers.pop(id(registered), None)
            del self._objects[before:]
            raise

    def pack(self, value: Any, path: str, depth: int = 0) -> Packed:
        """Return `value` as plain data; raise `CannotSaveError`, naming its path, if impossible."""
        kind = type(value)
        if _is_plain(value):
            return value
        if depth > _MAX_DEPTH:
            raise CannotSaveError(path, value)
        if kind in IMMUTABLE_TYPES:
            return (kind.__name__, self.pack(IMMUTABLE_TYPES[kind][0](value), path, depth + 1))
        if kind in (tuple, frozenset):
            return (kind.__name__, *self._items(value, path, depth))
        if id(value) in self._numbers:
            return ("same", self._numbers[id(value)])
        if id(value) in self._known:
            return ("here", identity(value))
        if kind is np.ndarray:
            return self._array(value, path, depth)
        if kind in MUTABLE_TYPES:
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
        self.register(value, path)
        if value.dtype == object:
            items = self._items(value.reshape(-1).tolist(), path, depth)
            return ("objects", in_place, list(value.shape), *items)
        if not _has_plain_dtype(value):
            raise CannotSaveError(path, value)
        return ("ndarray", in_place, value.copy())

    def _mutable(self, value: Any, path: str, depth: int) -> Packed:
        kind = MUTABLE_TYPES[type(value)]
        in_place = self._originals.get(path) is value
        self.register(value, path)
        try:
            args, state = kind.args(value), kind.state(value)
        except ValueError:  # a closed buffer
            raise CannotSaveError(path, value) from None
        if type(value) is defaultdict and args is None and not in_place:
            raise CannotSaveError(path, value)  # its factory is a function of the user's
        packed = self.pack(args, path, depth + 1)
        return (type(value).__name__, in_place, packed, self.pack(state, path, depth + 1))

    def _object(self, value: Any, path: str, depth: int) -> Packed:
        kind = type(value)
        if isinstance(value, VARIABLE_HOLDERS) or is_variable(value):
            self.register(value)
            variables = variables_of(value, self._known)
            return (
                "variables",
                qualified_name(kind),
                {p: value_of(v) for p, v in variables.items()},
            )
        if keras.ops.is_tensor(value):
            return ("tensor", _array_of(value, path))
        if kind is MethodType and id(value.__self__) in self._numbers:
            return ("method", self._numbers[id(value.__self__)], value.__func__.__name__)
        if kind is FunctionType and find_by_name(qualified_name(value)) is value:
            return ("function", qualified_name(value))
        is_callback = isinstance(value, keras.callbacks.Callback)
        if is_process_resource(value) and not is_callback:
            return ("here", identity(value))
        own = is_users_module(kind.__module__) or is_callback
        if not own or is_iterator(value) or isinstance(value, BUILTIN_TYPES):
            raise CannotSaveError(path, value)
        in_place = self._originals.get(path) is value
        name = qualified_name(kind) if in_place else self._class(value, path)
        self.register(value, path)
        attributes = {
            key: self.pack(item, f"{path}.{key}", depth + 1)
            for key, item in attributes_of(value).items()
            if key not in self._omitted(value)
        }
        return ("object", in_place, name, attributes)

    def _class(self, value: Any, path: str) -> str:
        """Return the name of a user-defined class; raise if another process could not find it."""
        kind, name = type(value), qualified_name(type(value))
        if is_users_module(kind.__module__) and (
            find_by_name(name) is kind or type(self._originals.get(path)) is kind
        ):
            return name
        raise CannotSaveError(path, value)


def is_process_resource(value: Any) -> bool:
    """Return whether a value is a resource that a new process creates itself, not state."""
    if type(value) in MUTABLE_TYPES:
        return False
    if isinstance(value, (*FUNCTION_TYPES, ModuleType, io.IOBase, np.dtype, np.ufunc)):
        return True
    root = type(value).__module__.partition(".")[0]
    return root in _RESOURCE_MODULES | _RESOURCE_PACKAGES and not is_iterator(value)


def is_iterator(value: Any) -> bool:
    """Return whether a value is an iterator, whose position cannot be saved."""
    return hasattr(type(value), "__next__") and not isinstance(value, io.IOBase)


def pack_or_none(value: Any) -> Packed:
    """Return `value` packed, or None if it cannot be saved."""
    try:
        return Packer().pack_or_rollback(value, "")
    except CannotSaveError:
        return None


def _is_plain(value: Any) -> bool:
    """Return whether the codec can write a value without packing."""
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
