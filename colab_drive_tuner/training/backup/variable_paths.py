"""Paths of all variables reachable from a Keras model, and names of classes and functions.

`model.variables` is incomplete: it lacks the states of a stateful RNN, variables of losses and
metrics, those of optimizers in a custom training step, and plain TensorFlow variables. So the
object graph is walked, attribute by attribute.
"""

import contextlib
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import chain
from types import FunctionType, ModuleType
from typing import Any

import keras
import numpy as np

from colab_drive_tuner.templates.function_source import is_users_module

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, FunctionType, ModuleType})
VARIABLE_HOLDERS = (
    keras.Layer,
    keras.metrics.Metric,
    keras.losses.Loss,
    keras.optimizers.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.random.SeedGenerator,
    keras.regularizers.Regularizer,
    keras.constraints.Constraint,
    keras.initializers.Initializer,
)
"""Classes whose attributes may hold variables."""
_PUBLIC, _LAYERS, _PRIVATE, _DUPLICATE = range(4)
"""The order in which attributes are walked, so that each object gets its most readable path."""
_DUPLICATES = frozenset(
    {"_trainable_variables", "_parameters", "_buffers", "_modules", "torch_params"}
)
"""Attributes of built optimizers and of PyTorch modules that repeat the variables of layers."""
Variables = dict[str, Any]


class IncompatibleBackupError(Exception):
    """The backup belongs to a different model, or to different callbacks."""


class TrainableChangedError(IncompatibleBackupError):
    """A backup was made with other trainable variables than the model has when `fit` starts.

    Keras reads `trainable` when it compiles the training step, in the first batch. A `fit` resumed
    after the change would train other variables than the uninterrupted one.
    """


def variables_of(root: Any, known: frozenset[int] = frozenset()) -> Variables:
    """Return every variable reachable from `root`, by path; skip objects with an id in `known`."""
    return {path: value for path, value in walk(root, known) if is_variable(value)}


def walk(root: Any, known: frozenset[int] = frozenset()) -> Iterator[tuple[str, Any]]:
    """Yield each variable reachable from `root`, and each object on the way, with a stable path."""
    seen = set(known)
    levels: tuple[deque[tuple[str, Any]], ...] = (deque([("", root)]), deque(), deque(), deque())
    while level := next(filter(None, levels), None):
        path, value = level.popleft()
        if type(value) in _PLAIN or id(value) in seen:
            continue
        seen.add(id(value))
        yield path, value
        if is_variable(value):
            if is_variable(held := getattr(value, "value", None)):
                seen.add(id(held))  # the TensorFlow variable wrapped by Keras's
            continue
        for name, item, order in _parts(value):
            levels[order].append((f"{path}{name}", item))


def is_variable(value: Any) -> bool:
    """Return whether `value` is a variable of Keras, TensorFlow or PyTorch."""
    if isinstance(value, keras.Variable):
        return True
    tensorflow, torch = sys.modules.get("tensorflow"), sys.modules.get("torch")
    return (tensorflow is not None and isinstance(value, tensorflow.Variable)) or (
        torch is not None and isinstance(value, torch.nn.Parameter)
    )


def attributes_of(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, including slots, without calling any of its code."""
    found: dict[str, Any] = {}
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                with contextlib.suppress(AttributeError):  # not set
                    found[name] = object.__getattribute__(value, name)
    own = getattr(value, "__dict__", None)
    return found | own if isinstance(own, dict) else found


def _parts(value: Any) -> Iterator[tuple[str, Any, int]]:
    """Yield the members of an object or a container: name, value and order of walking."""
    if isinstance(value, dict | list | tuple | deque | set | frozenset):
        items = value.values() if isinstance(value, dict) else value
        if not _PLAIN.issuperset(map(type, items)):
            yield from ((name, item, _PUBLIC) for name, item in _items(value))
    elif isinstance(value, VARIABLE_HOLDERS) or is_users_module(type(value).__module__):
        for name, item in sorted(attributes_of(value).items()):
            if not name.startswith("_self_"):  # TensorFlow's bookkeeping of the other attributes
                yield f".{name}", item, _order(name)
    else:
        yield from _foreign_parts(value)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the items of a container, with names that are the same in another process."""
    if isinstance(value, dict):
        for number, (key, item) in enumerate(value.items()):
            # The repr of other keys may differ between processes; their position does not.
            yield f"[{key!r}]" if type(key) in (str, int) else f"[#{number}]", item
    else:
        is_set = isinstance(value, set | frozenset)
        for number, item in enumerate(sorted(value, key=_creation_order) if is_set else value):
            yield f"[{number}]", item


def _order(name: str) -> int:
    if name in _DUPLICATES:
        return _DUPLICATE
    return _LAYERS if name == "_layers" else _PRIVATE if name.startswith("_") else _PUBLIC


def _foreign_parts(value: Any) -> Iterator[tuple[str, Any, int]]:
    """Yield the variables of a TensorFlow or PyTorch object."""
    tensorflow, torch = sys.modules.get("tensorflow"), sys.modules.get("torch")
    if tensorflow is not None and isinstance(value, tensorflow.random.Generator):
        yield ".state", value.state, _PUBLIC
    elif tensorflow is not None and isinstance(value, tensorflow.Module):
        for number, item in enumerate(value.variables):
            yield f".variables[{number}]", item, _PUBLIC
    elif torch is not None and isinstance(value, torch.nn.Module):
        for name, item in chain(value.named_parameters(), value.named_buffers()):
            yield f".{name}", item, _PUBLIC


def _creation_order(value: Any) -> tuple[str, int, str]:
    """Return a sort key for members of a set: Keras numbers names in order of creation."""
    name = str(getattr(value, "name", ""))
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or -1), type(value).__qualname__


def value_of(variable: Any) -> np.ndarray[Any, Any]:
    """Return a copy of the variable's value, which training will not change."""
    inner = variable.value if isinstance(variable, keras.Variable) else variable
    if keras.backend.backend() == "tensorflow" or not isinstance(variable, keras.Variable):
        # PyTorch's parameters have a `numpy`, too, which refuses to leave the gradient behind.
        array = inner.detach().cpu().numpy() if hasattr(inner, "detach") else inner.numpy()
    else:
        array = keras.ops.convert_to_numpy(inner)
    array = np.asarray(array)
    return array if array.flags.owndata else array.copy()


def check_compatible(
    variables: Variables, arrays: Mapping[str, Any], optional: frozenset[str] = frozenset()
) -> None:
    """Raise unless arrays and variables agree; a path in `optional` needs no variable."""
    if missing := sorted(arrays.keys() - variables.keys() - optional):
        raise IncompatibleBackupError(f"the model does not have its variables {_some(missing)}")
    if added := sorted(variables.keys() - arrays.keys()):
        raise IncompatibleBackupError(f"it lacks the model's variables {_some(added)}")
    for path, array in arrays.items():
        if path in variables:
            if not isinstance(array, np.ndarray):
                raise IncompatibleBackupError(f"{path} is not an array")
            now = (tuple(variables[path].shape), _dtype_name(variables[path]))
            if now != (array.shape, array.dtype.name):
                was = f"{array.dtype.name}{array.shape}"
                raise IncompatibleBackupError(
                    f"the variable {_some([path])} was {was} and is {now[1]}{now[0]}"
                )


def _dtype_name(variable: Any) -> str:
    return str(keras.backend.standardize_dtype(variable.dtype))


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(path.lstrip(".") for path in paths[:3]) + more


def set_value(variable: Any, array: np.ndarray[Any, Any]) -> None:
    """Set a variable to the value of an array of its shape and dtype."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(variable, torch.Tensor):
        variable.data.copy_(torch.as_tensor(array))
    else:
        variable.assign(array)


def qualified_name(kind: Any) -> str:
    """Return the module and qualified name of a class or function."""
    return f"{kind.__module__}:{kind.__qualname__}"


def without_module(name: str) -> str:
    """Return a qualified name without its module."""
    return name.partition(":")[2]


def identity(value: Any) -> str:
    """Return the name that identifies an unsaved object: a function's own, else the class's."""
    return qualified_name(value if isinstance(value, FunctionType) else type(value))


def find_by_name(name: str) -> Any:
    """Return the user-defined class or function of that name; None if its module is not loaded."""
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    if not isinstance(found, type | FunctionType) or qualified_name(found) != name:
        return None
    return found if is_users_module(found.__module__) else None
