"""Examples of plain values and trial documents, and a comparison that sees every difference."""

import struct
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, timedelta, timezone
from enum import IntEnum

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from colab_drive_tuner.checkpoint.pickles.writer import TrialsPickle


def assert_same(one, other):
    """Assert that both have the same types, bits and order, down to the leaves."""
    assert type(one) is type(other), (one, other)
    if isinstance(one, dict):
        assert len(one) == len(other)
        for (key, value), (key2, value2) in zip(one.items(), other.items(), strict=True):
            assert_same(key, key2)
            assert_same(value, value2)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for value, value2 in zip(one, other, strict=True):
            assert_same(value, value2)
    elif isinstance(one, set | frozenset):
        assert _in_order(one) == _in_order(other)
    elif isinstance(one, np.ndarray | np.generic):
        _assert_same_arrays(one, other)
    elif isinstance(one, float):
        assert struct.pack("<d", one) == struct.pack("<d", other)
    elif isinstance(one, complex):
        assert_same((one.real, one.imag), (other.real, other.imag))
    elif isinstance(one, datetime):
        assert one.replace(tzinfo=None) == other.replace(tzinfo=None)
        assert (one.fold, repr(one.tzinfo)) == (other.fold, repr(other.tzinfo))
    else:
        assert one == other


def _assert_same_arrays(one, other):
    if isinstance(one, np.str_ | np.bytes_):
        assert one == other
        return
    assert one.dtype == other.dtype
    assert one.dtype.str == other.dtype.str
    assert one.dtype.isalignedstruct == other.dtype.isalignedstruct
    assert one.shape == other.shape
    if one.dtype.names:  # bytes between fields have no meaning
        for name in one.dtype.names:
            _assert_same_arrays(np.asarray(one[name]), np.asarray(other[name]))
    elif one.dtype.char in "gG":  # nor have the padding bytes of these types
        assert repr(one) == repr(other)
    else:
        assert one.tobytes() == other.tobytes()


def _in_order(key):
    """Return a text that is equal for hashable values that differ only in the order of sets."""
    if isinstance(key, set | frozenset | tuple):
        parts = [_in_order(part) for part in key]
        return f"{type(key)}{parts if isinstance(key, tuple) else sorted(parts)}"
    return f"{type(key)}{key!r}"


def document(tid, state=2, exp_key=None, **result):
    """Return a trial document as hyperopt writes it, with one parameter."""
    moment = datetime(2026, 11, 23, 1, 2, 3, 456000)
    return {
        "state": state,
        "tid": tid,
        "spec": None,
        "result": {"loss": tid / 8, "status": "ok", **result},
        "misc": {
            "tid": tid,
            "cmd": ("domain_attachment", "FMinIter_Domain"),
            "workdir": None,
            "idxs": {"x": [tid], "unused": []},
            "vals": {"x": [np.float64(tid / 7)], "unused": []},
        },
        "exp_key": exp_key,
        "owner": None,
        "version": 0,
        "book_time": moment,
        "refresh_time": moment,
    }


PLAIN_DTYPES = (
    *("?", "b", "B", "i2", ">i2", "u2", "i4", ">i4", "u4", "i8", ">i8", "u8", ">u8"),
    *("f2", "f4", ">f4", "f8", ">f8", "g", "c8", ">c8", "c16", "G", "S3", "U2", ">U2", "V5"),
    *("M8[ns]", ">M8[D]", "M8[25s]", "M8", "m8[h]", "m8"),
)

STRUCTS = (
    np.dtype([("a", "i1"), ("b", ">f8")]),
    np.dtype([("a", "i1"), ("b", "f8")], align=True),
    np.dtype([(("title", "a"), "i2"), ("s", "U3"), ("m", "M8[ms]"), ("sub", "u1", (2, 3))]),
    np.dtype({"names": ["x", "y"], "formats": ["i4", "i4"], "offsets": [8, 0], "itemsize": 20}),
    np.dtype([("outer", [("inner", "f4"), ("more", "c8", (2,))])]),
)

PLAIN = {
    "none": None,
    "bools": [True, False],
    "ints": [0, -1, 2**63 - 1, -(2**63), 2**64 - 1, 2**64, -(2**63) - 1, 10**100, -(10**100)],
    "floats": [0.0, -0.0, 1e-320, float("inf"), float("-inf"), float("nan")],
    "odd_nan": struct.unpack("<d", bytes.fromhex("010203040506f87f"))[0],
    "complex": complex(-0.0, float("nan")),
    "text": ["", "a\0", "ä🙂", "\ud800", "\udc00\ud800", "\ud83d\ude00"],
    "bytes": [b"", b"\xc4\x00\xff"],
    "tuples": [(), (1,), ((), [(), (2, ((3,),))])],
    "sets": [set(), {1, "a", (2, 3)}, frozenset({b"x"}), frozenset()],
    "floats first": [1.0, 10**400, np.float16(6e4), np.float16(6e4), b"b", np.ones((2, 1)), "x"],
    "keys": {None: 0, True: 1, 2: 2, 2.5: 3, (1, (2,)): 4, b"b": 5, np.int8(9): 6, -(10**30): 7},
    "key_moments": {datetime(1, 1, 1): 0, date(1, 1, 1): 1, frozenset({1}): 2, float("nan"): 3},
    "naive": datetime(9999, 12, 31, 23, 59, 59, 999999, fold=1),
    "utc": datetime(2020, 2, 29, tzinfo=UTC),
    "offset": datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=-3, microseconds=7))),
    "named": datetime(2020, 1, 1, tzinfo=timezone(timedelta(0), "a=\ud800")),
    "date": date(1, 1, 1),
    "spans": [timedelta.min, timedelta.max, timedelta(-1, 3, 5)],
    "numpy_text": [
        np.str_(""),
        np.str_("x\0"),
        np.str_("\ud800"),
        np.bytes_(b""),
        np.bytes_(b"\0"),
    ],
    "scalars": [np.zeros(1, dtype)[0] for dtype in (*PLAIN_DTYPES, *STRUCTS)],
    "numbers": [np.float64("nan"), np.float32(-0.0), np.int8(-1), np.bool_(True), np.uint64(2**63)],
    "no_time": [np.datetime64("NaT"), np.datetime64("NaT", "ns"), np.timedelta64(5, "D")],
    "void": np.frombuffer(bytes(range(40)), "V5"),
    "dtypes": [np.zeros((2, 3), dtype) for dtype in (*PLAIN_DTYPES, *STRUCTS)],
    "shapes": [
        np.array(3.5),
        np.zeros((0, 3)),
        np.zeros((2, 0, 2)),
        np.arange(24).reshape(2, 3, 4),
    ],
    "orders": [
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(20)[::-3],
        np.eye(3)[:, 1],
    ],
    "words": np.array([["ä", "\ud800b"], ["", "\0x"]]),
    "large": (1, [np.arange(20_000), {"x": (np.arange(30_000, dtype=">f4").reshape(3, -1).T,)}], 2),
}


class Color(IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


class Array(np.ndarray):
    pass


Point = namedtuple("Point", "x y")

NOT_PLAIN = {
    "object": object(),
    "function": len,
    "class": int,
    "ordered": OrderedDict(a=1),
    "enum": Color.RED,
    "namedtuple": Point(1, 2),
    "text": Text("a"),
    "bytearray": bytearray(b"a"),
    "memoryview": memoryview(b"a"),
    "range": range(3),
    "module": np,
    "objects": np.array([1, None]),
    "object_field": np.zeros(2, [("a", "i4"), ("o", object)]),
    "masked": np.ma.masked_array([1, 2], [0, 1]),
    "matrix": np.zeros(3).view(Array),
    "record": np.rec.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")]),
    "metadata": np.zeros(2, np.dtype("i4", metadata={"a": 1})),
    "strings": np.array(["a"], np.dtypes.StringDType()),
    "empty_elements": np.zeros(2, np.dtype([])),
}

_dtypes = st.one_of(
    st_numpy.boolean_dtypes(),
    st_numpy.integer_dtypes(),
    st_numpy.unsigned_integer_dtypes(),
    st_numpy.floating_dtypes(),
    st_numpy.complex_number_dtypes(),
    st_numpy.datetime64_dtypes(),
    st_numpy.timedelta64_dtypes(),
    st_numpy.byte_string_dtypes(min_len=1, max_len=4),
    st_numpy.unicode_string_dtypes(min_len=1, max_len=4),
)
_arrays = st_numpy.arrays(
    st.one_of(_dtypes, st_numpy.array_dtypes(_dtypes, max_size=3)),
    st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(codec=None, exclude_categories=())),
    st.binary(),
    st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(minutes=7), "x")])),
    st.dates(),
    st.timedeltas(),
    st_numpy.from_dtype(np.dtype("f8")),
    st_numpy.from_dtype(np.dtype("i4")),
)
_keys = st.recursive(
    _scalars, lambda keys: st.tuples(keys, keys) | st.frozensets(keys), max_leaves=4
)

plain_values = st.recursive(
    st.one_of(_scalars, _arrays),
    lambda values: st.one_of(
        st.lists(values, max_size=4),
        st.lists(values, max_size=4).map(tuple),
        st.dictionaries(_keys, values, max_size=4),
        st.sets(_keys, max_size=3),
    ),
    max_leaves=12,
)
"""Every kind of value that a result may hold, nested."""


def dump_trials(documents, attachments=None):
    """Return the pickle of a plain Trials with these documents, assembled by `TrialsPickle`."""
    trials = TrialsPickle()
    for document in documents:
        trials.replace(document)
    return trials.join(attachments)
