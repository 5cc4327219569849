"""numpy dtypes and arrays as plain data, and their reconstruction from untrusted data.

Records, backups and the reader of foreign pickles build arrays only here. numpy's reconstructors
trust their arguments (a crafted dtype makes them read foreign memory), so a dtype is rebuilt only
from a description that was checked piece by piece, and an array only if shape, dtype and bytes
agree exactly. Dtypes that hold references to Python objects are not supported. `.npy` files are not
used: their header is a Python expression, slow to parse, and cannot express aligned or overlapping
fields, nor bfloat16.
"""

import math
import re
from typing import Any

import numpy as np

Spec = Any
"""Description of a dtype as plain data: its `str` if it is simple, otherwise ("sub", spec, shape)
for a fixed-size subarray or ("struct", itemsize, aligned, [[name, title, offset, spec], ...])."""

_SIMPLE = re.compile(
    r"[<>|](?:b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|[SUV][1-9][0-9]{0,8}"
    r"|[mM]8(?:\[[0-9]{0,9}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)"
)
_FOREIGN = re.compile(r"bfloat16|float[468]_[a-z0-9]{1,12}|u?int[24]")
"""Names of the dtypes that the package ml_dtypes adds to numpy; Keras variables may have them."""
_PARTS = ("names", "titles", "offsets", "formats")
_MAX_DEPTH = 8
_MAX_DIMENSIONS = 32
_MAX_CODE_POINT = 0x10FFFF


def describe_dtype(dtype: np.dtype[Any], *, foreign: bool = False) -> Spec:
    """Return the description from which `build_dtype` builds exactly this dtype.

    Raises ValueError with the reason for every dtype that would not be restored exactly: objects,
    metadata, elements of zero bytes, and, unless `foreign`, types from other packages.
    """
    if dtype.hasobject:
        raise ValueError("its dtype holds Python objects")
    if dtype.metadata:
        raise ValueError("its dtype carries metadata")
    spec: Spec
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        spec = ["sub", describe_dtype(base), list(shape)]
    elif dtype.names is None:
        spec = dtype.name if foreign and _FOREIGN.fullmatch(dtype.name) else dtype.str
    elif dtype.type is not np.void:
        raise ValueError(f"its elements are {dtype.type.__name__}, not plain numpy.void")
    else:
        fields: Any = dtype.fields
        rows = []
        for name in dtype.names:
            field, offset, *title = fields[name]
            rows.append([name, title[0] if title else None, offset, describe_dtype(field)])
        spec = ["struct", dtype.itemsize, dtype.isalignedstruct, rows]
    if build_dtype(spec) != dtype:  # bfloat16, for one, calls itself "<V2"
        raise ValueError(f"the dtype {dtype} is not one of numpy's plain dtypes")
    return spec


def build_dtype(spec: Spec) -> np.dtype[Any]:
    """Build the dtype of a description; raise ValueError if the description is invalid."""
    try:
        dtype = _build(spec, 0)
    except (TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"numpy cannot make a dtype of {_shown(spec)}: {error}") from error
    if dtype.itemsize == 0:
        raise ValueError("elements of its dtype have no bytes")
    return dtype


def _build(spec: Spec, depth: int) -> np.dtype[Any]:
    if depth > _MAX_DEPTH:
        raise ValueError("a dtype is nested too deeply")
    match spec:
        case str() if _SIMPLE.fullmatch(spec) or _FOREIGN.fullmatch(spec):
            return np.dtype(spec)
        case ["sub", base, shape]:
            return np.dtype((_build(base, depth + 1), _check_shape(shape)))
        case ["struct", int(itemsize), bool(aligned), [*rows]] if itemsize < 2**31:
            parts = [_field(row, itemsize, depth + 1) for row in rows]
            fields = dict(zip(_PARTS, zip(*parts, strict=True), strict=True))
            if not any(fields["titles"]):
                del fields["titles"]
            described: Any = {**fields, "itemsize": itemsize, "aligned": aligned}
            dtype: np.dtype[Any] = np.dtype(described)
            return dtype
    raise ValueError(f"{_shown(spec)} is not one of numpy's plain dtypes")


def _shown(spec: Spec) -> str:
    """Return a simple dtype's name; the text of another description could be endless."""
    return f"{spec!r:.40}" if type(spec) is str else "a description"


def _field(row: Any, itemsize: int, depth: int) -> tuple[str, str | None, int, np.dtype[Any]]:
    name, title, offset, spec = row
    if type(name) is not str or type(title) not in (str, type(None)):
        raise ValueError("a field of a structured dtype has an invalid name")
    dtype = _build(spec, depth)
    if type(offset) is not int or not 0 <= offset <= itemsize - dtype.itemsize:
        raise ValueError(f"the field {name[:40]!r} lies outside of its structured dtype")
    return name, title, offset, dtype


def _check_shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list | tuple) or len(shape) > _MAX_DIMENSIONS:
        raise ValueError("an array has an invalid shape")
    if any(type(n) is not int or not 0 <= n < 2**63 for n in shape):
        raise ValueError("an array has an invalid shape")
    if math.prod(n for n in shape if n) >= 2**62:  # zeros are ignored, as numpy does
        raise ValueError("an array has too many elements")
    return tuple(shape)


def check_size(dtype: np.dtype[Any], shape: Any) -> int:
    """Return the number of bytes of an array; raise ValueError if `shape` is invalid."""
    return math.prod(_check_shape(shape)) * dtype.itemsize


def build_array(
    dtype: np.dtype[Any], shape: Any, chunks: list[Any], *, order: str = "C"
) -> np.ndarray[Any, Any]:
    """Build a writable array; raise ValueError unless the chunks are exactly its content.

    `dtype` must come from `build_dtype`; `order` "F" means Fortran order. Memory is allocated only
    after the shape was compared with the size of the chunks, and each chunk is removed from the
    list once copied, so that a large array is not in memory twice.
    """
    if check_size(dtype, shape) != sum(map(len, chunks)):
        raise ValueError("an array's shape does not agree with its bytes")
    try:
        array = np.ndarray(tuple(shape), dtype, order="F" if order == "F" else "C")
    except (TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"numpy refuses an array: {error}") from error
    if not array.size:
        return array
    content, end = content_of(array), array.nbytes
    while chunks:
        chunk = chunks.pop()
        content[end - len(chunk) : end] = np.frombuffer(chunk, np.uint8)
        end -= len(chunk)
    _check_text(array)
    return array


def content_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a view of the bytes of a contiguous, non-empty array, in memory order."""
    return array.reshape(-1, order="A").view(np.uint8)


def _check_text(array: np.ndarray[Any, Any]) -> None:
    """Refuse code points beyond Unicode, which numpy would pass on to str unchecked."""
    if array.dtype.names is not None:
        for name in array.dtype.names:
            _check_text(array[name])
    elif array.dtype.kind == "U" and array.size:
        points = np.ascontiguousarray(array).reshape(-1)
        if points.view(np.dtype("u4").newbyteorder(array.dtype.byteorder)).max() > _MAX_CODE_POINT:
            raise ValueError("an array of text holds code points beyond Unicode")
