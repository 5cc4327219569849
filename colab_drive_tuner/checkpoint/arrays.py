"""numpy dtypes and arrays as plain data, and back from untrusted data without trusting numpy.

Both the codec and the reader of foreign pickles build arrays here and nowhere else. numpy's own
reconstructors believe what they are told (a crafted dtype makes them read memory that is not
theirs), so a dtype is rebuilt only from a description that was checked piece by piece, and an
array only where shape, dtype and bytes agree exactly. No dtype that holds references to Python
objects can be described at all.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

Spec = Any
"""A dtype as plain data: its `str` where it is simple, else ("sub", spec, shape) for a fixed-size
subarray or ("struct", itemsize, aligned, [[name, title, offset, spec], ...])."""

_SIMPLE = re.compile(
    r"[<>|](?:b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|[SUV][1-9][0-9]{0,8}"
    r"|[mM]8(?:\[[0-9]{0,9}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)"
)
_MAX_DEPTH = 8
_MAX_DIMENSIONS = 32
_MAX_CODE_POINT = 0x10FFFF


def describe_dtype(dtype: np.dtype[Any]) -> Spec:
    """Return the description from which `build_dtype` makes exactly this dtype.

    Raises ValueError, saying why, for every dtype that would not come back as it is: objects,
    metadata, types from other packages, elements without any bytes.
    """
    spec = _describe(dtype)
    if build_dtype(spec) != dtype:  # bfloat16, for one, calls itself "<V2"
        raise ValueError(f"the dtype {dtype} is not one of numpy's plain dtypes")
    return spec


def _describe(dtype: np.dtype[Any]) -> Spec:
    if dtype.hasobject:
        raise ValueError("its dtype holds Python objects")
    if dtype.metadata:
        raise ValueError("its dtype carries metadata")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return ["sub", _describe(base), list(shape)]
    if dtype.names is None:
        return dtype.str
    if dtype.type is not np.void:
        raise ValueError(f"its elements are {dtype.type.__name__}, not plain numpy.void")
    fields: Any = dtype.fields
    rows = []
    for name in dtype.names:
        field, offset, *title = fields[name]
        rows.append([name, title[0] if title else None, offset, _describe(field)])
    return ["struct", dtype.itemsize, dtype.isalignedstruct, rows]


def build_dtype(spec: Spec, depth: int = 0) -> np.dtype[Any]:
    """Return the dtype that a description means; ValueError where it means none."""
    if depth > _MAX_DEPTH:
        raise ValueError("a dtype is nested too deeply")
    if type(spec) is str:
        if not _SIMPLE.fullmatch(spec):
            raise ValueError(f"{spec[:40]!r} is not one of numpy's plain dtypes")
        try:
            dtype = np.dtype(spec)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"numpy does not know the dtype {spec!r} here") from error
    elif isinstance(spec, list | tuple) and len(spec) == 3 and spec[0] == "sub":
        shape = _check_shape(spec[2])
        dtype = np.dtype((build_dtype(spec[1], depth + 1), shape))
    elif isinstance(spec, list | tuple) and len(spec) == 4 and spec[0] == "struct":
        dtype = _build_struct(spec[1], spec[2], spec[3], depth)
    else:
        raise ValueError("a dtype is described in an unknown way")
    if dtype.itemsize == 0:
        raise ValueError("elements of its dtype have no bytes")
    return dtype


def _build_struct(itemsize: Any, aligned: Any, rows: Any, depth: int) -> np.dtype[Any]:
    if type(itemsize) is not int or type(aligned) is not bool or not isinstance(rows, list | tuple):
        raise ValueError("a structured dtype is described in an unknown way")
    names, titles, offsets, formats, end = [], [], [], [], 0
    for row in rows:
        if not isinstance(row, list | tuple) or len(row) != 4:
            raise ValueError("a field of a structured dtype is described in an unknown way")
        name, title, offset, spec = row
        if type(name) is not str or (title is not None and type(title) is not str):
            raise ValueError("a field of a structured dtype has no proper name")
        dtype = build_dtype(spec, depth + 1)
        if type(offset) is not int or offset < 0 or offset + dtype.itemsize > itemsize:
            raise ValueError(f"the field {name[:40]!r} lies outside of its structured dtype")
        names.append(name)
        titles.append(title)
        offsets.append(offset)
        formats.append(dtype)
        end = max(end, offset + dtype.itemsize)
    whole: dict[str, Any] = {
        "names": names,
        "formats": formats,
        "offsets": offsets,
        "itemsize": itemsize,
        "aligned": aligned,
    }
    if any(title is not None for title in titles):
        whole["titles"] = titles
    if itemsize >= 2**31:
        raise ValueError("a structured dtype is too large")
    try:
        # numpy's stubs want the fields spelt out; these were checked above.
        return np.dtype(whole)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"numpy refuses a structured dtype: {error}") from error


def _check_shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list | tuple) or len(shape) > _MAX_DIMENSIONS:
        raise ValueError("an array has no proper shape")
    if any(type(n) is not int or not 0 <= n < 2**63 for n in shape):
        raise ValueError("an array has no proper shape")
    if math.prod(n for n in shape if n) >= 2**62:  # zeros apart: numpy counts them so, too
        raise ValueError("an array has too many elements")
    return tuple(shape)


def check_size(dtype: np.dtype[Any], shape: Any) -> int:
    """How many bytes an array has; ValueError where `shape` is none."""
    return math.prod(_check_shape(shape)) * dtype.itemsize


def build_array(
    dtype: np.dtype[Any], shape: Sequence[int], data: bytes | bytearray | memoryview, *, order: str
) -> np.ndarray[Any, Any]:
    """Return a new, writable array; ValueError unless `data` is exactly its content.

    `dtype` must come from `build_dtype`; `order` "F" means Fortran's. Nothing is allocated before
    the shape is known to agree with the bytes at hand.
    """
    dimensions = _check_shape(shape)
    if check_size(dtype, dimensions) != len(data):
        raise ValueError("an array's shape does not agree with its bytes")
    try:
        array = np.ndarray(dimensions, dtype, order="F" if order == "F" else "C")
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise ValueError(f"numpy refuses an array: {error}") from error
    if len(data):
        content_of(array)[:] = np.frombuffer(data, np.uint8)
        _check_text(array)
    return array


def content_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The bytes of a contiguous array that is not empty, in the order in which they lie; a view."""
    return array.reshape(-1, order="A").view(np.uint8)


def _check_text(array: np.ndarray[Any, Any]) -> None:
    """Refuse code points beyond Unicode: Python's str takes them from numpy without looking."""
    if array.dtype.names is not None:
        for name in array.dtype.names:
            _check_text(array[name])
    elif array.dtype.kind == "U" and array.size:
        points = np.ascontiguousarray(array).reshape(-1)
        if points.view(np.dtype("u4").newbyteorder(array.dtype.byteorder)).max() > _MAX_CODE_POINT:
            raise ValueError("an array of text holds code points beyond Unicode")
