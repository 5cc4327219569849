"""Arrays, and what else numpy makes, as text that is the same in every process."""

import hashlib
from collections.abc import Callable
from typing import Any

_ROWS = 1 << 18
"""Elements of an array that are hashed at once."""
_DRAWN = 1 << 64
"""A seed above it was drawn by the operating system, not written by anybody."""


def array_text(value: Any, describe: Callable[[Any], str]) -> str | None:
    """Text for an array, a scalar, a dtype or a generator; None for anything else.

    What gives itself as an array (a tensor, a table of pandas) is one. A generator is told by its
    seed, for its state is meant to change.
    """
    import numpy as np

    if isinstance(value, np.random.Generator | np.random.RandomState):
        seeds: Any = getattr(getattr(value, "bit_generator", None), "seed_seq", None)
        entropy = getattr(seeds, "entropy", None)
        written = entropy is not None and not (isinstance(entropy, int) and entropy > _DRAWN)
        return f"seed {describe(entropy)}" if written else "compared by type only"
    if isinstance(value, np.dtype):
        return repr(value)
    if isinstance(value, np.ma.MaskedArray):
        return f"{describe(value.filled())}, {describe(np.asarray(value.mask))}"
    if isinstance(value, np.ndarray):
        return f"{value.shape}, {_content(value, describe)}"
    if isinstance(value, np.generic):
        shown = value.dtype.kind in "biufcSU" and value.dtype.char not in "gG"
        return describe(value.tolist()) if shown else _content(np.asarray(value), describe)
    if isinstance(value, type) or not hasattr(type(value), "__array__"):
        return None
    labels = [getattr(value, name, None) for name in ("index", "columns")]
    parts = [np.asarray(one) for one in (value, *labels) if hasattr(type(one), "__array__")]
    return ", ".join(map(describe, parts))


def _content(array: Any, describe: Callable[[Any], str]) -> str:
    """The type and content of an array."""
    import numpy as np

    if array.dtype.names is not None:  # between its fields there may be bytes without a meaning
        fields = (f"{name}: {describe(array[name])}" for name in array.dtype.names)
        return f"{{{', '.join(fields)}}}"
    if array.dtype.hasobject or array.dtype.kind == "T":
        return f"objects, {describe(array.tolist())}"
    flat, digest = np.ravel(array), hashlib.sha256()
    if array.dtype.char in "gG":  # its bytes have some without a meaning, too
        flat = flat.astype(str)
    for start in range(0, flat.size, _ROWS):
        digest.update(flat[start : start + _ROWS].tobytes())
    return f"{array.dtype.str}, {digest.hexdigest()[:16]}"
