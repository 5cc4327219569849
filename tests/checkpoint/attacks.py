"""Malicious pickles: they try to run code, patch classes, corrupt memory or exhaust resources."""

import os
import pickle
import struct
import threading
from collections import OrderedDict

import hyperopt
import numpy as np

MARKER = "attacked"
"""The folder that a successful attack creates in the working directory."""


class Calls:
    """Pickles as a call of `function`, which runs when it is loaded."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def text(value):
    """Return opcodes that push a str."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module, attribute):
    """Return opcodes that push a class or function."""
    return f"c{module}\n{attribute}\n".encode()


def trials_with(opcodes):
    """Return a pickled Trials whose first document is what these opcodes push."""
    state = b"}" + text("_dynamic_trials") + b"](" + opcodes + b"es"
    return name("hyperopt.base", "Trials") + b")\x81" + state + b"b."


def dtype(code, state):
    """Return opcodes that push a dtype with that pickled state."""
    start = name("numpy", "dtype") + text(code) + b"\x89\x88\x87R"
    return start + pickle.dumps(state, 2)[2:-1] + b"b"


def array(dtype_opcodes, shape, data, opcode=b"C"):
    """Return opcodes that push an array by `_frombuffer`."""
    return (
        name("numpy._core.numeric", "_frombuffer")
        + b"("
        + (b"C" + bytes([len(data)]) + data)
        + dtype_opcodes
        + pickle.dumps(shape, 2)[2:-1]
        + text("C")
        + b"tR"
    )


def array_by_state(dtype_opcodes, shape, data):
    """Return opcodes that push an array by `_reconstruct` and BUILD."""
    start = name("numpy._core.multiarray", "_reconstruct") + name("numpy", "ndarray")
    start += b"K\x00\x85C\x01b\x87R"
    state = b"(K\x01" + pickle.dumps(shape, 2)[2:-1] + dtype_opcodes + b"\x89" + data + b"t"
    return start + state + b"b"


def scalar(dtype_opcodes, data):
    """Return opcodes that push a numpy scalar."""
    data = b"C" + bytes([len(data)]) + data
    return name("numpy._core.multiarray", "scalar") + dtype_opcodes + data + b"\x86R"


FLOAT = dtype("f8", (3, "<", None, None, None, -1, -1, 0))
OBJECT = dtype("O8", (3, "|", None, None, None, -1, -1, 63))
_FIELDS = b"}" + text("a") + OBJECT + b"K\x00\x86s"
HIDDEN = (
    (name("numpy", "dtype") + text("V8") + b"\x89\x88\x87R")
    + (b"(K\x03" + text("|") + b"N" + text("a") + b"\x85" + _FIELDS)
    + b"K\x08K\x01K\x00tb"
)
MKDIR = name("posix", "mkdir") + text(MARKER) + b"\x85R"
DATETIME = name("datetime", "datetime")
DEEP = 200_000


def keys(values):
    """Return a pickled Trials whose first document is a dict with these keys."""
    return trials_with(pickle.dumps(dict.fromkeys(values), 4)[2:-1])


def numbers_alike():
    """Return numbers that all have the hash 2**60, because Python hashes modulo 2**61 - 1."""
    return (2**60 + k * (2**61 - 1) for k in range(-500, 500))


def tuples_alike(count):
    """Return pairs of ints with one hash, computed by inverting Python's mixing of two items."""
    half, mask = 11400714785074694791, 2**64 - 1
    last = 14029467366897019727
    wanted, found, first = 12345 << 20, [], 0
    back, undo = pow(half, -1, 2**64), pow(last, -1, 2**64)
    while len(found) < count:
        first += 1
        one = (2870177450012600261 + first * last) & mask
        one = ((one << 31 | one >> 33) & mask) * half & mask
        two = wanted * back & mask
        two = (two >> 31 | two << 33) & mask
        second = (two - one) * undo & mask
        if second < 2**61 - 1:
            found.append((first, second))
    assert len({hash(pair) for pair in found}) == 1
    return found


_COPIES = b"cnumpy._core.numeric\n_frombuffer\n(h\x63" + (
    dtype("u1", (3, "|", None, None, None, -1, -1, 0))
    + b"J\x00\x00\x10\x00\x85"
    + text("C")
    + b"tR"
)
_SETS = b"cbuiltins\nset\nh\x00\x85R"

LAUGHS = b"K\x01\x85" + b"2\x86" * 100
"""A pair of a pair of ... of one tuple: written out it would have 2**100 numbers."""
JOBLIB = name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")R}"
GOOGOLS = b"\x8b\xa0\x0f\x00\x00" + b"\x7f" * 4000
"""A number of 9,632 digits, which Python refuses to convert to text."""

ATTACKS = {
    "call": (pickle.dumps(Calls(os.mkdir, MARKER)), r"call (posix|nt).mkdir"),
    "system": (pickle.dumps(Calls(os.system, "mkdir " + MARKER), 0), r"call (posix|nt).system"),
    "exec": (pickle.dumps([Calls(exec, f"import os; os.mkdir('{MARKER}')")]), "call builtins.exec"),
    "call by opcodes": (MKDIR + b".", "call posix.mkdir"),
    "import": (name("antigravity", "x") + b".", "class or function antigravity.x"),
    "call in a document": (trials_with(MKDIR), "call posix.mkdir"),
    "call of a method": (name("builtins", "getattr") + b"(tR.", "call builtins.getattr"),
    "call of text": (text("os.system") + b")R.", "it calls a str"),
    "object in a call": (
        name("a", "B") + b")\x81)R.",
        "tries to call a class created by the pickle",
    ),
    "old-style object": (b"(" + text(MARKER) + b"iposix\nmkdir\n.", "opcode INST"),
    "old-style object 2": (b"(" + name("posix", "mkdir") + text(MARKER) + b"o.", "opcode OBJ"),
    "new with arguments": (
        name("posix", "mkdir") + text(MARKER) + b"\x85\x81.",
        "an object of posix.mkdir",
    ),
    "new with keywords": (name("posix", "mkdir") + b")}\x92.", "object of posix.mkdir"),
    "object of a class": (trials_with(name("posix", "mkdir") + b")\x81"), "object of posix.mkdir"),
    "class in a document": (trials_with(name("os", "system")), "class or function os.system"),
    "patched class": (
        name("hyperopt.base", "Trials") + b"}" + text("refresh") + b"Nsb.",
        "set attributes of the class or function hyperopt.base.Trials",
    ),
    "trials with arguments": (
        name("hyperopt.base", "Trials") + b"K\x01\x85R.",
        "wrong number of arguments",
    ),
    "patched twice": (
        name("hyperopt.base", "Trials") + b")\x81}b}b.",
        "set attributes of an object of hyperopt.base.Trials",
    ),
    "patched list": (b"]}b.", "set attributes of a list"),
    "patched array": (
        trials_with(array(FLOAT, (1,), b"8" * 8) + b"}b"),
        "set attributes of a ndarray",
    ),
    "items of an object": (name("a", "B") + b")\x81K\x01K\x02s.", "holds an object of a.B"),
    "items of a list": (b"]K\x01K\x02s.", "adds to a list as if that were a dict"),
    "appended to bytes": (b"C\x01aK\x01a.", "adds to a bytes as if that were a list"),
    "added to a list": (b"](K\x01\x90.", "adds to a list as if that were a set"),
    "extension": (b"\x82\x01.", "opcode EXT1"),
    "persistent": (b"Pid\n.", "opcode PERSID"),
    "persistent 2": (b"K\x01Q.", "opcode BINPERSID"),
    "buffer": (b"\x97.", "opcode NEXT_BUFFER"),
    "python 2": (b"S'text'\n.", "opcode STRING"),
    "array of 2**60": (trials_with(array(FLOAT, (2**60,), b"")), "does not agree"),
    "array of 2**60 by state": (
        trials_with(array_by_state(FLOAT, (2**60,), b"C\x00")),
        "does not agree",
    ),
    "array of 2**70": (trials_with(array(FLOAT, (2**70,), b"")), "an invalid shape"),
    "array of 2**61 times 8": (trials_with(array(FLOAT, (2**61, 8), b"")), "too many elements"),
    "array of -1": (trials_with(array(FLOAT, (-1,), b"8" * 8)), "an invalid shape"),
    "too short": (trials_with(array(FLOAT, (2,), b"8" * 8)), "does not agree"),
    "too short by state": (trials_with(array_by_state(FLOAT, (2,), b"C\x01a")), "does not agree"),
    "objects": (trials_with(array(OBJECT, (1,), b"A" * 8)), "plain dtypes"),
    "objects by state": (trials_with(array_by_state(OBJECT, (1,), b"]")), "Python objects"),
    "objects by size": (trials_with(array_by_state(OBJECT, (1,), b"C\x08AAAAAAAA")), "plain dtype"),
    "hidden objects": (trials_with(array(HIDDEN, (1,), b"A" * 8)), "plain dtypes"),
    "scalar object": (trials_with(scalar(OBJECT, b"A" * 8)), "plain dtypes"),
    "scalar of hidden objects": (trials_with(scalar(HIDDEN, b"A" * 8)), "plain dtypes"),
    "short scalar": (trials_with(scalar(FLOAT, b"A")), "does not agree"),
    "array before its state": (
        trials_with(
            name("numpy._core.multiarray", "_reconstruct")
            + name("numpy", "ndarray")
            + b"K\x00\x85C\x01b\x87R"
        ),
        "an unfinished array",
    ),
    "array of another class": (
        name("numpy._core.multiarray", "_reconstruct") + name("os", "system") + b"))\x87R.",
        "array of os.system",
    ),
    "dtype of another kind": (
        trials_with(array(dtype("f8,O", (3, "<", None, None, None, -1, -1, 0)), (1,), b"8" * 8)),
        "plain dtypes",
    ),
    "dtype of version 9": (
        trials_with(array(dtype("f8", (9, "<", None, None, None, -1, -1, 0)), (1,), b"8" * 8)),
        "version",
    ),
    "dtype of few words": (trials_with(array(dtype("f8", (3,)), (1,), b"8" * 8)), "not enough"),
    "dtype that is none": (trials_with(array(b"K\x01", (1,), b"8" * 8)), "expected a dtype"),
    "text beyond Unicode": (
        trials_with(
            array(dtype("U1", (3, "<", None, None, None, 4, 4, 8)), (1,), b"\xff\xff\xff\x7f")
        ),
        "beyond Unicode",
    ),
    "datetime of month 99": (
        DATETIME + b"C\x0a\x07\xe4\x63\x01\x00\x00\x00\x00\x00\x00\x85R.",
        "month",
    ),
    "datetime of nothing": (DATETIME + b"C\x00\x85R.", "datetime"),
    "datetime in an odd zone": (
        DATETIME + b"C\x0a\x07\xe4\x01\x01\x00\x00\x00\x00\x00\x00K\x01\x86R.",
        "time zone",
    ),
    "zone elsewhere": (
        name("zoneinfo", "ZoneInfo._unpickle") + text("../../etc/passwd") + b"\x88\x86R.",
        "an invalid name",
    ),
    "endless timedelta": (
        name("datetime", "timedelta") + b"J\xff\xff\xff\x7fK\x00K\x00\x87R.",
        "damaged or crafted",
    ),
    "terabytes of zeros": (
        name("builtins", "bytes") + b"\x8a\x06" + b"\x01" * 6 + b"\x85R.",
        "number",
    ),
    "memo of 2**31": (b"Nr\xff\xff\xff\x7f" + trials_with(b"h\x05"), "never created"),
    "memo of 10**18": (b"Np999999999999999999\n" + trials_with(b"h\x05"), "never created"),
    "bytes of 2**60": (b"\x8e" + struct.pack("<Q", 2**60) + b"abc.", "expected"),
    "bytearray of 2**40": (b"\x96" + struct.pack("<Q", 2**40) + b"abc.", "expected"),
    "text of 2**31": (b"X\xff\xff\xff\x7fabc.", "expected"),
    "frame of 2**60": (b"\x80\x04\x95" + struct.pack("<Q", 2**60), "end is missing|damaged"),
    "number of 10 million digits": (b"L" + b"9" * 10**7 + b"L\n.", "damaged"),
    "deep lists": (b"]" * DEEP + b"a" * (DEEP - 1) + b".", "nested more than|not a trial"),
    "deep tuples": (trials_with(b")" + b"\x85" * DEEP), "nested more than"),
    "deep key": (trials_with(b"})" + b"\x85" * DEEP + b"K\x01s"), "nested more than"),
    "deep set": (trials_with(b"\x8f()" + b"\x85" * DEEP + b"\x90"), "nested more than"),
    "marks": (b"(" * DEEP + b".", "never created"),
    "list in itself": (trials_with(b"]q\x00h\x00a"), "contains itself"),
    "dict in itself": (trials_with(b"}q\x00K\x01h\x00s"), "contains itself"),
    "billion laughs": (trials_with(b"K\x01\x85" + b"2\x86" * 100), "too large"),
    "billion laughs as a class": (
        trials_with(name("copyreg", "__newobj__") + LAUGHS + b"\x85R"),
        "expected a class or function",
    ),
    "billion laughs as an array's class": (
        trials_with(name("numpy._core.multiarray", "_reconstruct") + LAUGHS + b"NN\x87R"),
        "expected a class or function",
    ),
    "billion laughs as dill's function": (
        trials_with(name("dill._dill", "_create_array") + LAUGHS + b"NN\x87R"),
        "expected a class or function",
    ),
    "billion laughs as joblib's word": (trials_with(JOBLIB + LAUGHS + b"Nsb"), "expected str"),
    "billion laughs as joblib's class": (
        trials_with(JOBLIB + text("subclass") + LAUGHS + b"sb"),
        "expected a class or function",
    ),
    "billion laughs as a field's title": (
        trials_with(
            array(
                (name("numpy", "dtype") + text("V8") + b"\x89\x88\x87R")
                + (b"(K\x03" + text("|") + b"N" + text("a") + b"\x85")
                + (b"}" + text("a") + FLOAT + b"K\x00" + LAUGHS + b"\x87s")
                + b"\x8a\x05\x00\x00\x00\x00\x01K\x01K\x00tb",
                (1,),
                b"A" * 8,
            )
        ),
        "plain dtypes",
    ),
    "number of a trial beyond words": (
        trials_with(b"}" + text("tid") + GOOGOLS + b"s"),
        "entry 0 is not a trial",
    ),
    "key beyond words": (trials_with(b"}" + GOOGOLS + MKDIR + b"s"), "call posix.mkdir"),
    "list as a key": (trials_with(b"}]K\x01s"), "cannot be hashed"),
    "array as a key": (trials_with(b"}" + array(FLOAT, (0,), b"") + b"K\x01s"), "cannot be hashed"),
    "odd escapes": (b"c\\w\n\\w\n.", "class or function .*w"),
    "odd dict": (b"(K\x01d.", "damaged"),
    "nothing below": (b"0.", "never created"),
    "empty stack": (b".", "never created"),
    "not in the memo": (b"h\x07.", "never created"),
    "end is missing": (b"K\x01", "its end is missing"),
    "no pickle": (b"\x00\x01\x02", "not a pickle"),
    "json": (b'{"state": 2}', "damaged|opcode"),
    "number": (b"K\x01.", "holds an int"),
    "dict": (pickle.dumps({"_dynamic_trials": []}), "holds a dict"),
    "another class": (pickle.dumps(hyperopt.base.Ctrl(None)), "hyperopt.base.Ctrl"),
    "ordered dict": (pickle.dumps([OrderedDict(a=1)]), "entry 0 is not a trial"),
    "call with an ordered dict": (
        pickle.dumps([OrderedDict(a=Calls(os.mkdir, MARKER))]),
        r"document\[0\]\['a'\] tries to call (posix|nt).mkdir",
    ),
    "one array many times": (
        b"](" + b"B\x00\x00\x10\x00" + bytes(1 << 20) + b"q\x630" + _COPIES * 1000 + b"e.",
        "more than 17. MiB of memory",
    ),
    "one list as many sets": (
        b"](" + b"](" + b"N" * (1 << 16) + b"eq\x00" + _SETS * 1000 + b"e.",
        "of memory",
    ),
    "ints that hash alike": (keys(k * (2**61 - 1) for k in range(2000)), "equal hashes"),
    "floats and ints that hash alike": (keys(numbers_alike()), "equal hashes"),
    "complex numbers that hash alike": (
        keys(complex(-1000003.0 * k, k) for k in range(2000)),
        "equal hashes",
    ),
    "tuples that hash alike": (keys(tuples_alike(2000)), "equal hashes"),
    "a set of tuples that hash alike": (
        trials_with(pickle.dumps(set(tuples_alike(2000)), 4)[2:-1]),
        "equal hashes",
    ),
    "python 2 object": (b"(ia\nB\n.", "Python 2"),
    "documents that are none": (
        name("hyperopt.base", "Trials") + b")\x81}" + text("_dynamic_trials") + b"}sb.",
        "not a hyperopt.Trials",
    ),
    "attachments that are none": (
        name("hyperopt.base", "Trials")
        + (b")\x81}" + text("_dynamic_trials") + b"]s" + text("attachments") + b"]sb."),
        "attachments are not a dict",
    ),
    "random generator": (pickle.dumps([np.random.default_rng(1)]), "call numpy.random"),
    "function": (pickle.dumps([threading.Thread]), "class or function threading.Thread"),
}
"""The pickle and the text of its refusal, by name."""

INERT = {
    "call that is thrown away": MKDIR + b"0" + trials_with(b""),
    "call in another attribute": (
        name("hyperopt.base", "Trials")
        + b")\x81}("
        + (text("_dynamic_trials") + b"]" + text("other") + MKDIR)
        + b"ub."
    ),
}
"""Pickles with a call outside of their trials: they are read, and nothing runs."""
