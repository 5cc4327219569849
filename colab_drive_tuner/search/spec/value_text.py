"""Text descriptions of Python values: the same text for the same value in every process.

`repr` contains addresses and the order of sets, which differ between processes. A value is
therefore described by the parts from which it could be rebuilt. A value without comparable content
(an object without `__repr__` and `__eq__`, an iterator, a lock) is described by its type only.
"""

import copyreg
import hashlib
import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, GenericAlias, ModuleType
from typing import Any

from colab_drive_tuner.errors import TemplateError
from colab_drive_tuner.templates.function_source import read_source
from colab_drive_tuner.text import visible

_MAX_DEPTH = 50
"""Most levels of nesting that are described."""
_MAX_TEXT = 2000
"""Most characters of a text; a longer one is replaced by its beginning and a digest."""
_SYSTEM_ENTROPY = 1 << 64
"""A larger seed comes from the operating system rather than from the user."""
_PLAIN = (type(None), bool, float, complex, range, type(...), type(NotImplemented))
_FIXED = (*_PLAIN, int, str, bytes, tuple, frozenset, FunctionType, type)
"""Types of default and closure values that cannot change."""
_KEYS_OF_USED_LAYERS = ("build_config", "build_input_shape", "compile_config", "shared_object_id")
"""Keys that Keras adds to a configuration when a layer is used."""


def describe_value(value: Any) -> str:
    """Describe a value by a text that is equal for equal values in every process.

    An object that cannot be distinguished from others of its type is `<its type, compared by type
    only>`. Functions and classes are described by their names, lambdas by their source.
    """
    return _Describer().of(value)


class _Describer:
    """Describes one value and its parts."""

    def __init__(self) -> None:
        self._path: list[Any] = []
        """The objects being described, outermost first."""
        self._cut = 0
        """Number of references to an outer object, and of parts that were too deep."""
        self._known: dict[int, tuple[Any, str]] = {}
        """Texts by id; the object is kept alive, so that its id is not reused."""

    def of(self, value: Any) -> str:
        """Describe a part of the value."""
        kind = type(value)
        if kind in _PLAIN:
            return repr(value)
        if kind is int:
            return repr(value) if value.bit_length() < 10_000 else hex(value)
        if kind is str:
            return quoted(value)
        if id(value) in self._known:
            return self._known[id(value)][1]
        for level, outer in enumerate(reversed(self._path), 1):
            if outer is value:
                self._cut += 1
                return f"<the object {level} levels up>"
        if len(self._path) == _MAX_DEPTH:
            self._cut += 1
            return type_only(value)
        cut = self._cut
        self._path.append(value)
        try:
            text = _shortened(self._text_of(value))
        except Exception:  # noqa: BLE001 - the value's own methods may raise anything
            text = type_only(value)
        finally:
            self._path.pop()
        if cut == self._cut:
            self._known[id(value)] = value, text
        return text

    def _text_of(self, value: Any) -> str:
        kind = type(value)
        if kind is list:
            return f"[{self._row(value)}]"
        if kind is tuple:
            return f"({self._row(value)})"
        if isinstance(value, set | frozenset):
            return f"{_name(kind)}({{{', '.join(sorted(map(self.of, value)))}}})"
        if kind is dict:
            items = sorted(f"{self.of(key)}: {self.of(part)}" for key, part in value.items())
            return f"{{{', '.join(items)}}}"
        if kind in (bytes, bytearray):
            return f"{_name(kind)}({_shortened(repr(bytes(value)))})"
        if isinstance(value, ModuleType):
            return f"<module {value.__name__}>"
        named = isinstance(getattr(value, "__qualname__", None), str)
        if callable(value) and named and kind is not GenericAlias:
            return self._function(value)
        text = _array_text(value, self.of)
        return self._object(value) if text is None else f"{_name(kind)}({text})"

    def _row(self, values: Iterable[Any]) -> str:
        return ", ".join(map(self.of, values))

    def _function(self, value: Any) -> str:
        """Describe a function or class; a nested function also by fixed defaults and closure."""
        owner = getattr(value, "__self__", None)
        if owner is not None and not isinstance(owner, ModuleType):
            return f"{self.of(owner)}.{value.__name__}"
        text = _name(value)
        if not isinstance(value, FunctionType) or "<" not in value.__qualname__:
            return text
        if value.__name__ == "<lambda>":
            try:
                text = f"<{read_source(value).expression}>"
            except TemplateError:
                code = value.__code__
                names = ", ".join((*code.co_varnames, *code.co_names))
                text = f"<{text} of {names}, compared by names only>"
        made = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        made += [cell.cell_contents for cell in value.__closure__ or ()]
        fixed = [self.of(part) for part in made if type(part) in _FIXED]
        return f"{text} with {', '.join(fixed)}" if fixed else text

    def _object(self, value: Any) -> str:
        """Describe an object by its configuration, or by its state, or by its type."""
        kind = type(value)
        if callable(getattr(value, "get_config", None)):  # Keras
            return self._made_by(kind, _without_names(value.get_config(), {}))
        if callable(getattr(value, "get_params", None)):  # scikit-learn
            return self._made_by(kind, value.get_params(deep=False))
        if isinstance(value, os.PathLike):  # its class moved in Python 3.13
            return f"path {self.of(os.fspath(value))}"
        if callable(getattr(value, "named_parameters", None)):  # PyTorch, whose weights are random
            return f"{_name(kind)}({quoted(re.sub('0x[0-9a-fA-F]+', '', repr(value)))})"
        if all(getattr(kind, name) is getattr(object, name) for name in ("__repr__", "__eq__")):
            return type_only(value)
        return self._state(value)

    def _made_by(self, kind: Any, arguments: Mapping[str, Any]) -> str:
        """Describe an object by its arguments, without defaults: newer versions add arguments."""
        known = inspect.signature(kind.__init__).parameters
        given = {
            name: part
            for name, part in arguments.items()
            if name not in known or self.of(part) != self.of(known[name].default)
        }
        return f"{_name(kind)}({self.of(given)})"

    def _state(self, value: Any) -> str:
        """Describe what pickle would store of the value."""
        kind = type(value)
        reduce = copyreg.dispatch_table.get(kind)
        reduced: Any = value.__reduce_ex__(4) if reduce is None else reduce(value)
        if isinstance(reduced, str):
            return f"{kind.__module__}.{reduced}"
        _make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        parts = [self.of(part) for part in arguments if part is not kind]
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
            state = (state[0] or {}) | state[1]  # the second item is the state of __slots__
        if isinstance(state, dict):
            parts += sorted(f"{name}={self.of(part)}" for name, part in state.items())
        elif state is not None:
            parts.append(self.of(state))
        parts += [self.of(part) for part in items or ()]
        parts += [f"{self.of(key)}: {self.of(part)}" for key, part in pairs or ()]
        return f"{_name(kind)}({', '.join(parts)})"


def type_only(value: Any) -> str:
    """Describe a value that cannot be distinguished from others of its type."""
    return f"<{_name(type(value))}, compared by type only>"


def quoted(text: str) -> str:
    """Quote a text; unlike `repr`, the same in every version of Python."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return _shortened(f"'{visible(escaped)}'")


def _shortened(text: str) -> str:
    if len(text) <= _MAX_TEXT:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text[:100]}...<{len(text)} characters, {digest}>"


def _name(value: Any) -> str:
    """Return the qualified name of a class or function with the public part of its module.

    In which private module a package defines what it exports differs between its versions.
    """
    parts = (getattr(value, "__module__", None) or "").split(".")
    module = ".".join(part for part in parts if not part.startswith("_") or part.endswith("__"))
    name: str = value.__qualname__
    return f"{module}.{name}" if module and module != "builtins" else name


def _without_names(part: Any, names: dict[str, str], key: str = "") -> Any:
    """Return a Keras configuration without what differs when the same cell is run again.

    These are the names of layers, which are numbered, the keys added when a layer is used, and the
    bytecode of lambdas. None values are omitted, since newer versions of Keras add keys.
    """
    if isinstance(part, dict):
        if part.get("class_name") == "__lambda__":
            return "<lambda, compared by type only>"
        return {
            name: _without_names(inner, names, name)
            for name, inner in part.items()
            if inner is not None and name not in _KEYS_OF_USED_LAYERS
        }
    if isinstance(part, list | tuple):
        return [_without_names(inner, names) for inner in part]
    if isinstance(part, str):
        return names.setdefault(part, f"#{len(names)}") if key == "name" else names.get(part, part)
    return part


def _array_text(value: Any, describe: Callable[[Any], str]) -> str | None:
    """Describe a number of numpy, a generator, or an array with its labels; None for others.

    Values with `__array__` (tensors, pandas tables) are arrays. A generator is described by its
    seed, since its state is expected to change.
    """
    import numpy as np

    if isinstance(value, np.random.Generator | np.random.RandomState):
        seeds: Any = getattr(getattr(value, "bit_generator", None), "seed_seq", None)
        entropy = getattr(seeds, "entropy", None)
        by_system = isinstance(entropy, int) and entropy > _SYSTEM_ENTROPY
        return (
            "compared by type only" if entropy is None or by_system else f"seed {describe(entropy)}"
        )
    if isinstance(value, np.generic):
        return f"{value.dtype.str}, {describe(value.item())}"
    if isinstance(value, type) or not hasattr(type(value), "__array__"):
        return None
    labels = [getattr(value, name, None) for name in ("index", "columns")]
    arrays = [np.asarray(one) for one in (value, *labels) if hasattr(type(one), "__array__")]
    texts = []
    for array in arrays:
        if array.dtype.kind in "biufcmMSU":
            in_order = np.ascontiguousarray(array).reshape(-1)  # itself, for nearly every array
            content = hashlib.sha256(in_order.view(np.uint8).data).hexdigest()[:16]
        else:
            content = describe(array.tolist())
        texts.append(f"{array.shape}, {array.dtype.str}, {content}")
    return "; ".join(texts)
