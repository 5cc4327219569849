"""Recipes for the calls in a pickle of trials: our own implementations with checked arguments.

A recipe replaces the function that the pickle names (`numpy._core.multiarray.scalar`,
`datetime.datetime`), which is never called. Recipes raise ValueError or TypeError for arguments
that numpy and Python would not have written.
"""

import io
import sys
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from colab_drive_tuner.checkpoint.codec.arrays import Spec, build_array, build_dtype, check_size
from colab_drive_tuner.checkpoint.codec.extensions import find_zone
from colab_drive_tuner.checkpoint.pickles.interpreter import (
    Instance,
    Name,
    Recipe,
    Refused,
    Unbuilt,
    Unhashed,
    UnplainError,
)

_SON, _OBJECT_ID = "bson.son.SON", "bson.objectid.ObjectId"
_ZONE = Name("zoneinfo", "ZoneInfo._unpickle")
_ALIGNED_STRUCT = 0x80
"""The bit in the pickled flags of a dtype that says `align=True`."""


@dataclass(frozen=True, slots=True)
class _Dtype:
    spec: Spec


def _check(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, found {type(value).__name__}")
    return value


def _named(value: Any) -> str:
    """Return the name of a class or function; `str` of other values may be endless."""
    if type(value) not in (Name, Instance):
        raise TypeError("expected a class or function")
    return str(value)


def _checks(values: Any, *kinds: type) -> list[Any]:
    if type(values) is not tuple or len(values) != len(kinds):
        raise TypeError("a call has the wrong number of arguments")
    return [_check(value, kind) for value, kind in zip(values, kinds, strict=True)]


def _dict_items(value: Any) -> list[Any]:
    """Return the keys and values of a dict, alternating."""
    if type(value) is not Unhashed or value.kind is not dict:
        raise TypeError("expected a dict")
    return value.items


def _by_name(items: list[Any]) -> dict[str, Any]:
    """Build a dict of alternating keys and values; the keys must be text."""
    return dict(zip((_check(key, str) for key in items[::2]), items[1::2], strict=True))


def _spec(dtype: Any) -> Spec:
    if type(dtype) is Unbuilt and type(dtype.value) is Refused:
        raise UnplainError(dtype.value.reason)
    if type(dtype) is not Unbuilt or type(dtype.value) is not _Dtype:
        raise TypeError("expected a dtype")
    return dtype.value.spec


def _dtype(arguments: tuple[Any, ...]) -> Unbuilt:
    code, _, _ = arguments
    return Unbuilt(lambda state, _: _Dtype(_dtype_state(_check(code, str), _check(state, tuple))))


def _dtype_state(code: str, state: tuple[Any, ...]) -> Spec:
    """Return the description of a dtype from numpy's pickled state, versions 3 and 4."""
    version, order, sub, names, fields, itemsize, _, flags, *more = state
    if version not in (3, 4):
        raise UnplainError("holds a dtype of an unknown version")
    metadata, unit_of_time = (
        _check(more[0], tuple) if code in ("M8", "m8") else (*more, None, None)[:2]
    )
    if metadata is not None and (_dict_items(metadata)):
        raise UnplainError("holds a dtype with metadata")
    if sub is not None:
        base, shape = _check(sub, tuple)
        return ["sub", _spec(base), list(shape) if type(shape) is tuple else [shape]]
    if names is not None:
        rows = []
        items = _dict_items(fields)
        by_name = _by_name(items)
        for name in _check(names, tuple):
            dtype, offset, *title = _check(by_name[_check(name, str)], tuple)
            rows.append([name, title[0] if title else None, offset, _spec(dtype)])
        return ["struct", itemsize, bool(_check(flags, int) & _ALIGNED_STRUCT), rows]
    native = "<" if sys.byteorder == "little" else ">"
    simple = (native if order == "=" else _check(order, str)) + code
    if code in ("M8", "m8"):
        (unit, count, divisor, _) = _check(unit_of_time, tuple)
        if divisor != 1:
            raise UnplainError("holds a dtype of fractions of a time unit")
        name = unit if type(unit) is str else _check(unit, bytes).decode("ascii")
        if name != "generic":
            simple += f"[{_check(count, int) if count != 1 else ''}{name}]"
    return simple


def _reconstruct(arguments: tuple[Any, ...]) -> Unbuilt:
    kind, _, _ = arguments
    if (name := _named(kind)) != "numpy.ndarray":
        raise UnplainError(f"holds an array of {name}, not an ordinary numpy array")
    return Unbuilt(_array_state)


def _array_state(state: Any, _: Any = None) -> np.ndarray[Any, Any]:
    _, shape, dtype, fortran, data = _check(state, tuple)
    if type(data) is list:
        raise UnplainError("holds an array of Python objects")
    dtype = build_dtype(_spec(dtype))
    return build_array(dtype, shape, [_check(data, bytes)], order="F" if fortran else "C")


def _frombuffer(arguments: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    data, dtype, shape, order, *axes = arguments
    if type(data) not in (bytes, bytearray):
        raise TypeError("expected an array's bytes")
    if order != "K" or not axes or axes[0] is None:
        return build_array(build_dtype(_spec(dtype)), shape, [data], order=_check(order, str))
    array = build_array(build_dtype(_spec(dtype)), shape, [data])
    if sorted(_check(axes[0], tuple)) != list(range(array.ndim)):
        raise ValueError("an array has invalid axes")
    return array.transpose(axes[0])


def _scalar(arguments: tuple[Any, ...]) -> Any:
    dtype, data = arguments
    spec = _spec(dtype)
    if type(spec) is str and spec[1:2] == "U":  # as text, since arrays strip trailing zeros
        codec = "utf-32-be" if spec[0] == ">" else "utf-32-le"
        return np.str_(_check(data, bytes).decode(codec, "surrogatepass"))
    if type(spec) is str and spec[1:2] == "S":
        return np.bytes_(_check(data, bytes))
    return build_array(build_dtype(spec), (), [_check(data, bytes)])[()]


def _datetime(arguments: tuple[Any, ...]) -> datetime:
    state, *zones = arguments
    if len(_check(state, bytes)) != 10 or len(zones) > 1:
        raise ValueError("a datetime was not pickled by Python")
    zone = zones[0] if zones else None
    if zone is not None and type(zone) is not timezone and type(zone) is not ZoneInfo:
        raise TypeError("expected a time zone")
    year, month = int.from_bytes(state[:2], "big"), state[2] & 0x7F
    microsecond = int.from_bytes(state[7:], "big")
    day, hour, minute, second = state[3:7]
    fold = state[2] >> 7
    return datetime(year, month, day, hour, minute, second, microsecond, zone, fold=fold)


def _date(arguments: tuple[Any, ...]) -> date:
    (state,) = _checks(arguments, bytes)
    if len(state) != 4:
        raise ValueError("a date was not pickled by Python")
    return date(int.from_bytes(state[:2], "big"), state[2], state[3])


def _encode(arguments: tuple[Any, ...]) -> bytes:
    text, codec = _checks(arguments, str, str)
    if codec not in ("latin1", "latin-1"):
        raise ValueError("bytes were not pickled by Python")
    return bytes(text, "latin-1")


def _zone(arguments: tuple[Any, ...]) -> Any:
    key, _ = arguments
    return find_zone(_check(key, str))


def _getattr(arguments: tuple[Any, ...]) -> Name | Instance:
    """Name the function that builds a time zone: pickles hold it as an attribute of its class."""
    match arguments:
        case Name(module="zoneinfo", name="ZoneInfo"), str("_unpickle"):
            return _ZONE
    return Instance(Name("builtins", "getattr"), called=True)


def _set(kind: type) -> Recipe:
    return lambda arguments: Unhashed(kind, list(_checks(arguments, list)[0]))


def _copyreg_object(arguments: tuple[Any, ...]) -> Any:
    """Build an object as written by protocols 0 and 1."""
    kind, _, state = arguments
    if _named(kind) == _SON and type(state) is Unhashed:
        return state
    return _newobj((kind,))


def _newobj(arguments: tuple[Any, ...]) -> Any:
    kind, *more = arguments
    recipe = RECIPES.get(_named(kind))
    return recipe(tuple(more)) if recipe else Instance(kind)


def _object_id(arguments: tuple[Any, ...]) -> Unbuilt:
    """Build the hexadecimal text of a MongoDB id."""
    _checks(arguments)
    return Unbuilt(lambda state, _: _check(state, bytes).hex())


def _dict(arguments: tuple[Any, ...]) -> Unhashed:
    """Build a plain dict for a subclass of dict, with the same items in the same order."""
    if arguments and type(arguments[0]) is Unhashed:  # a Counter's; a defaultdict has its factory
        return Unhashed(dict, list(_dict_items(arguments[0])))
    return Unhashed(dict)


def _joblib_array(arguments: tuple[Any, ...]) -> Unbuilt:
    _checks(arguments)
    return Unbuilt(_joblib_state)


def _joblib_state(state: Any, stream: io.BytesIO) -> np.ndarray[Any, Any]:
    """Build an array whose bytes joblib wrote after its description and some padding."""
    items = _dict_items(state)
    parts = _by_name(items)
    if (name := _named(parts["subclass"])) != "numpy.ndarray":
        raise UnplainError(f"holds an array of {name}, not an ordinary one")
    spec, shape = _spec(parts["dtype"]), _check(parts["shape"], tuple)
    dtype = build_dtype(spec)
    if parts.get("numpy_array_alignment_bytes") is not None:
        stream.read(int.from_bytes(stream.read(1), "little"))
    data = stream.read(check_size(dtype, shape))
    return build_array(dtype, shape, [data], order=_check(parts["order"], str))


def _dill_array(arguments: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    function, creation, state, *_ = arguments
    if (name := _named(function)).rpartition(".")[2] != "_reconstruct":
        raise UnplainError(f"holds an array made by {name}")
    _reconstruct(_check(creation, tuple))  # raises for anything but ordinary arrays
    return _array_state(state)


def _trials(arguments: tuple[Any, ...]) -> Instance:
    _checks(arguments)
    return Instance(Name("hyperopt.base", "Trials"))


RECIPES: dict[str, Recipe] = {
    "numpy.dtype": _dtype,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy._core.numeric._frombuffer": _frombuffer,
    "numpy._core.multiarray.scalar": _scalar,
    "datetime.datetime": _datetime,
    "datetime.date": _date,
    "datetime.timedelta": lambda arguments: timedelta(*_checks(arguments, int, int, int)),
    "datetime.timezone": lambda arguments: timezone(
        _check(arguments[0], timedelta), *_checks(arguments[1:], *[str] * (len(arguments) - 1))
    ),
    str(_ZONE): _zone,
    "builtins.getattr": _getattr,
    "_codecs.encode": _encode,
    "builtins.bytes": lambda arguments: bytes(len(_checks(arguments))),
    "builtins.complex": lambda arguments: complex(*_checks(arguments, float, float)),
    "builtins.set": _set(set),
    "builtins.frozenset": _set(frozenset),
    "copyreg._reconstructor": _copyreg_object,
    "copyreg.__newobj__": _newobj,
    "collections.OrderedDict": _dict,
    "collections.defaultdict": _dict,
    "collections.Counter": _dict,
    _SON: _dict,
    _OBJECT_ID: _object_id,
    "joblib.numpy_pickle.NumpyArrayWrapper": _joblib_array,
    "dill._dill._create_array": _dill_array,
    "hyperopt.base.Trials": _trials,
}
