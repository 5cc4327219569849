"""The variables of a Keras model and of all that it holds, each under a path that is stable.

`model.variables` is not all of it: the states of a stateful RNN, the variables of losses, of
metrics, of optimizers in a training step of the user's own, and TensorFlow's own variables are
elsewhere. So the objects themselves are walked, attribute by attribute.
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

from colab_drive_tuner.training.backup.kinds import is_users_own

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, FunctionType, ModuleType})
WALKED = (
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
_NAMED, _LAYERS, _PRIVATE, _AGAIN = range(4)
"""The order in which attributes are walked, so that a path is the plainest one there is."""
_HELD_AGAIN = frozenset(
    {"_trainable_variables", "_parameters", "_buffers", "_modules", "torch_params"}
)
"""Where an optimizer, once built, and PyTorch hold what a layer has under a better name."""
Variables = dict[str, Any]


class DoesNotFitError(Exception):
    """A backup belongs to a model, or to callbacks, that are built differently."""


class TrainableChangedError(DoesNotFitError):
    """Other variables were trained than when the `fit` began, so no backup of it can be used.

    Keras reads `trainable` when it compiles the training step, in the first batch: a `fit` that
    goes on after the change would train what an uninterrupted one does not.
    """


def variables_of(root: Any, known: frozenset[int] = frozenset()) -> Variables:
    """Every variable that can be reached from `root`, by its path; none whose id is in `known`."""
    return {path: value for path, value in walk(root, known) if is_variable(value)}


def walk(root: Any, known: frozenset[int] = frozenset()) -> Iterator[tuple[str, Any]]:
    """Every object that can be reached from `root` and may hold variables, and the variables.

    Each comes once, under a path that is the same in every process that builds the same objects.
    """
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
                seen.add(id(held))  # TensorFlow's own, inside of Keras's
            continue
        for name, item, order in _parts(value):
            levels[order].append((f"{path}{name}", item))


def is_variable(value: Any) -> bool:
    """Whether `value` is a variable of Keras, TensorFlow or PyTorch."""
    if isinstance(value, keras.Variable):
        return True
    tensorflow, torch = sys.modules.get("tensorflow"), sys.modules.get("torch")
    return (tensorflow is not None and isinstance(value, tensorflow.Variable)) or (
        torch is not None and isinstance(value, torch.nn.Parameter)
    )


def attributes_of(value: Any) -> dict[str, Any]:
    """The attributes of an object, those in slots among them; nothing is called."""
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
    """What lies in an object or a container: name, value, and how late to look at it."""
    if isinstance(value, dict | list | tuple | deque | set | frozenset):
        items = value.values() if isinstance(value, dict) else value
        if not _PLAIN.issuperset(map(type, items)):
            yield from ((name, item, _NAMED) for name, item in _items(value))
    elif isinstance(value, WALKED) or is_users_own(type(value)):
        for name, item in sorted(attributes_of(value).items()):
            if not name.startswith("_self_"):  # TensorFlow's notes about the others
                yield f".{name}", item, _order(name)
    else:
        yield from _foreign_parts(value)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """The items of a container, under names that are the same in another process."""
    if isinstance(value, dict):
        for number, (key, item) in enumerate(value.items()):
            # Other keys may look different there: their place does not.
            yield f"[{key!r}]" if type(key) in (str, int) else f"[#{number}]", item
    else:
        is_set = isinstance(value, set | frozenset)
        for number, item in enumerate(sorted(value, key=_made) if is_set else value):
            yield f"[{number}]", item


def _order(name: str) -> int:
    if name in _HELD_AGAIN:
        return _AGAIN
    return _LAYERS if name == "_layers" else _PRIVATE if name.startswith("_") else _NAMED


def _foreign_parts(value: Any) -> Iterator[tuple[str, Any, int]]:
    """The variables of an object of TensorFlow's or PyTorch's."""
    tensorflow, torch = sys.modules.get("tensorflow"), sys.modules.get("torch")
    if tensorflow is not None and isinstance(value, tensorflow.random.Generator):
        yield ".state", value.state, _NAMED
    elif tensorflow is not None and isinstance(value, tensorflow.Module):
        for number, item in enumerate(value.variables):
            yield f".variables[{number}]", item, _NAMED
    elif torch is not None and isinstance(value, torch.nn.Module):
        for name, item in chain(value.named_parameters(), value.named_buffers()):
            yield f".{name}", item, _NAMED


def _made(value: Any) -> tuple[str, int, str]:
    """Sorts the members of a set as they were made: Keras numbers its names."""
    name = str(getattr(value, "name", ""))
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or -1), type(value).__qualname__


def value_of(variable: Any) -> np.ndarray[Any, Any]:
    """The variable's value, in memory that training will not change."""
    inner = variable.value if isinstance(variable, keras.Variable) else variable
    if keras.backend.backend() == "tensorflow" or not isinstance(variable, keras.Variable):
        array = inner.numpy() if hasattr(inner, "numpy") else inner.detach().cpu().numpy()
    else:
        array = keras.ops.convert_to_numpy(inner)
    array = np.asarray(array)
    return array if array.flags.owndata else array.copy()


def refuse_misfits(
    here: Variables, there: Mapping[str, Any], optional: frozenset[str] = frozenset()
) -> None:
    """Raise `DoesNotFitError` unless each array has its variable here, of its shape and dtype.

    An array whose path is `optional` may find no variable.
    """
    if missing := sorted(there.keys() - here.keys() - optional):
        raise DoesNotFitError(f"it has variables that are not here: {_some(missing)}")
    if added := sorted(here.keys() - there.keys()):
        raise DoesNotFitError(f"it lacks variables that are here: {_some(added)}")
    for path, array in there.items():
        if path in here:
            if not isinstance(array, np.ndarray):
                raise DoesNotFitError(f"{path} is not an array")
            now = (tuple(here[path].shape), _dtype_name(here[path]))
            if now != (array.shape, array.dtype.name):
                was = f"{array.dtype.name}{array.shape}"
                raise DoesNotFitError(
                    f"the variable {_some([path])} was {was} and is {now[1]}{now[0]}"
                )


def _dtype_name(variable: Any) -> str:
    return str(keras.backend.standardize_dtype(variable.dtype))


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(path.lstrip(".") for path in paths[:3]) + more


def set_value(variable: Any, array: np.ndarray[Any, Any]) -> None:
    """Give a variable the value of an array, which fits."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(variable, torch.Tensor):
        variable.data.copy_(torch.as_tensor(array))
    else:
        variable.assign(array)
