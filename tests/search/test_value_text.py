"""Descriptions of values: equal in every process and cell, and different for other values."""

import ast
import linecache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hyperopt import hp

from colab_drive_tuner.errors import SpaceChangedError
from colab_drive_tuner.search.spec.value_text import describe_value
from colab_drive_tuner.text import visible
from tests.processes import run_python
from tests.search.sample_searches import resume_sample_search

DEFINITIONS = """
import array, collections, dataclasses, datetime, decimal, enum, fractions, functools, itertools
import logging, math, pathlib, random, re, string, threading, types, typing, uuid, weakref, zoneinfo
import attrs, numpy as np, pandas as pd, pydantic, scipy.sparse, sklearn.linear_model

class Color(enum.Enum):
    RED = frozenset({"r", "e", "d"})
    BLUE = 2

class Bits(enum.Flag):
    A = 1
    B = 2

class Text(enum.StrEnum):
    A = "a"

@dataclasses.dataclass(frozen=True)
class Frozen:
    tags: frozenset
    more: typing.Any = None

@dataclasses.dataclass(slots=True)
class Slots:
    tags: set

@attrs.define
class Attrs:
    tags: set

class Model(pydantic.BaseModel):
    tags: set[str]

Named = collections.namedtuple("Named", "x tags")

class Thing:
    def __init__(self, n): self.n = n
    def method(self, x): return x

class Shows:
    def __init__(self, tags): self.tags, self.inner = tags, Thing(1)
    def __repr__(self): return f"Shows({self.tags}, {self.inner})"

class Raises:
    def __repr__(self): raise ValueError
    def __reduce_ex__(self, protocol): raise RuntimeError

class Local(dict): pass

def named(x, k=3): return x

def make(k):
    def inner(x): return x * k
    return inner

def around(f):
    @functools.wraps(f)
    def wrapper(*args): return f(*args)
    return wrapper

@functools.lru_cache
def cached(x): return x

def circle():
    loop = [1]
    loop.append(loop)
    return loop

def itself():
    space = types.SimpleNamespace(tags={"a", "b", "c"})
    space.me = space
    return space

def doubled():
    value = {"a", "b"}
    for _ in range(45):
        value = [value, value]
    return value

def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value

def padded(byte):
    record = np.zeros(3, dtype=np.dtype([("a", "u1"), ("b", "f8")], align=True))
    record.view("u1")[1::16] = byte
    return record
"""
SAME = """
np.array(["relu", None, {"a", "b", "c"}], dtype=object)
np.array([[1, 2], [3, 4]]).T
np.arange(3_000_000)
np.ma.masked_array([1, 2], mask=[True, False])
padded(len(os.environ.get("PYTHONHASHSEED", "")))
np.array(["a", "bc"], dtype=np.dtypes.StringDType())
np.float32(0.1)
np.longdouble(3)
np.datetime64("2020-01-01")
np.dtype("f4")
np.tanh
np.random.default_rng(3)
np.random.default_rng()
np.random.RandomState(3)
random.Random(3)
Frozen(frozenset({"a", "b", "c"}), Frozen(frozenset({"x", "y"})))
Slots({"a", "b", "c"})
Attrs({"a", "b", "c"})
Model(tags={"a", "b", "c"})
Named(1, {"a", "b", "c"})
Shows({"a", "b", "c"})
Raises()
Thing(1)
Thing(1).method
Thing
collections.deque([{"a", "b", "c"}], maxlen=3)
collections.Counter("abracadabra")
collections.OrderedDict(a=1, b={"a", "b"})
collections.defaultdict(set, a={"a", "b", "c"})
collections.ChainMap({"a": {"a", "b"}})
collections.UserDict(a={"a", "b", "c"})
types.SimpleNamespace(tags={"a", "b", "c"})
types.MappingProxyType({"a": {"a", "b"}})
functools.partial(named, {"a", "b", "c"}, k={"d", "e", "f"})
functools.partial(Thing(1).method, 2)
dict.fromkeys({"a", "b", "c"})
{("a", 1): {"a", "b"}, 3: frozenset({"c", "d"})}
Color.RED
Bits.A | Bits.B
Text.A
{Color.RED, Color.BLUE, "a"}
lambda x: {x, "a"}
[lambda x: x, lambda x: 2 * x]
make(3)
around(named)
cached
named
len
"abc".upper
str.upper
math
string.Template("$a")
re.compile("[ab]+", re.IGNORECASE)
pathlib.PurePosixPath("/a/b")
datetime.datetime(2020, 1, 2, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
datetime.timedelta(days=1)
datetime.timezone.utc
decimal.Decimal("1.10")
fractions.Fraction(1, 3)
uuid.UUID(int=3)
array.array("d", [1.0, 2.0])
b"bytes"
bytearray(b"x" * 5000)
range(1, 9, 2)
slice(1, None)
list[int]
typing.Optional[dict[str, int]]
ValueError("a", {"b", "c", "d"})
Local(a={"a", "b"})
(i for i in [1])
iter([1])
itertools.count(3)
threading.Lock()
weakref.ref(Thing)
logging.getLogger("x")
object()
...
float("nan")
-0.0
10**5000
"gr\\u00fc\\u00df \\U0001fae9 \\ud800 \\x1b"
"long" * 5000
circle()
itself()
doubled()
nested(500)
pd.DataFrame({"a": [1, 2], "b": ["x", None]})
pd.Series([1, 2], index=["x", "y"])
scipy.sparse.eye(3).tocsr()
sklearn.linear_model.LogisticRegression(C=3)
"""
DIFFERENT = """
1 | 1.0
1 | True
"1" | 1
"a\\\\n" | "a\\n"
"a" * 5000 + "b" | "a" * 5000 + "c"
[1, 2] | [2, 1]
{1, 2} | {1, 3}
{"a": 1} | {"a": 2}
collections.OrderedDict(a=1, b=2) | collections.OrderedDict(b=2, a=1)
collections.defaultdict(set) | collections.defaultdict(list)
collections.deque([1], 2) | collections.deque([1], 3)
Frozen(frozenset({"a"})) | Frozen(frozenset({"b"}))
Slots({"a"}) | Slots({"b"})
Attrs({"a"}) | Attrs({"b"})
Model(tags={"a"}) | Model(tags={"b"})
Named(1, 2) | Named(1, 3)
Shows({"a"}) | Shows({"b"})
types.SimpleNamespace(a={1}) | types.SimpleNamespace(a={2})
functools.partial(named, k={1}) | functools.partial(named, k={2})
functools.partial(named, 1) | functools.partial(max, 1)
Color.RED | Color.BLUE
Bits.A | Bits.A | Bits.B
lambda x: x | lambda x: x + 1
[lambda x: x, lambda x: 2 * x] | [lambda x: x, lambda x: 3 * x]
make(3) | make(4)
named | make
Thing | Shows
Thing(1) | object()
"abc".upper | "abd".upper
np.array([1, 2]) | np.array([1, 3])
np.array([1, 2]) | np.array([1.0, 2.0])
np.array([[1, 2]]) | np.array([1, 2])
np.array(["relu", None], dtype=object) | np.array(["relu", 0], dtype=object)
np.arange(3_000_000) | np.append(np.arange(2_999_999), 1)
np.float32(0.5) | np.float64(0.5)
np.float32(0.5) | np.float32(0.25)
np.datetime64(1, "ns") | np.datetime64(1, "s")
np.dtype("f4") | np.dtype("f8")
np.random.default_rng(3) | np.random.default_rng(4)
re.compile("a") | re.compile("a", re.IGNORECASE)
pathlib.PurePosixPath("/a") | pathlib.PurePosixPath("/b")
datetime.datetime(2020, 1, 1) | datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
datetime.timedelta(1) | datetime.timedelta(2)
decimal.Decimal("1.1") | decimal.Decimal("1.2")
b"a" * 5000 + b"b" | b"a" * 5000 + b"c"
range(3) | range(4)
slice(1) | slice(2)
list[int] | list[str]
pd.DataFrame({"a": [1]}) | pd.DataFrame({"b": [1]})
sklearn.linear_model.LogisticRegression(C=3) | sklearn.linear_model.LogisticRegression(C=4)
0.0 | -0.0
"""
TYPE_ONLY = """
Thing(1)
Raises()
object()
threading.Lock()
(i for i in [1])
iter([1])
np.random.default_rng()
random.Random(3)
Frozen(frozenset(), Thing(1))
[1, {"a": Thing(2)}]
nested(500)
"""


def expressions(text: str) -> list[str]:
    """Return the lines of a list."""
    return text.strip().split("\n")


def run_cell(number: int) -> dict[str, Any]:
    """Return the names that a notebook has after the cell of definitions ran."""
    return compiled(DEFINITIONS + "\nimport os\n", f"<cell {number}>", {"__name__": "__main__"})


def compiled(source: str, filename: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run a cell, keep its source as IPython does, and return the names."""
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), names)
    return names


def value_of(expression: str, names: dict[str, Any], number: int = 1) -> Any:
    """Return the value of an expression that is in a cell of its own."""
    filename = f"<cell {number} {expression}>"
    return compiled(f"value = {expression}\n", filename, dict(names))["value"]


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Return the names of the definitions."""
    return run_cell(1)


def test_descriptions_are_equal_in_every_process(tmp_path: Path) -> None:
    """Descriptions do not depend on the hash seed or on memory addresses."""
    script = tmp_path / "describe.py"
    script.write_text(
        "import sys\n"
        "from tests.search import test_value_text as test\n"
        "kept = [object() for _ in range(int(sys.argv[1]))]\n"
        "names = test.run_cell(int(sys.argv[1]))\n"
        "for one in test.expressions(test.SAME):\n"
        "    print(one, '=>', test.describe_value(test.value_of(one, names)).encode())\n"
    )
    answers = [
        run_python(
            *("-W", "ignore", script, 10 + seed * 977),
            environment={"PYTHONHASHSEED": str(49**seed)},
        ).stdout.splitlines()
        for seed in range(3)
    ]
    assert len(answers[0]) == len(expressions(SAME))
    for lines in zip(*answers, strict=True):
        assert len(set(lines)) == 1


@pytest.mark.parametrize("expression", expressions(SAME))
def test_descriptions_are_equal_when_the_cell_is_run_again(
    expression: str, names: dict[str, Any]
) -> None:
    """Functions, classes and objects that are created again have the same description."""
    again = describe_value(value_of(expression, run_cell(2), 2))
    assert describe_value(value_of(expression, names)) == again
    assert len(again) < 5000
    assert visible(again) == again


@pytest.mark.parametrize("pair", expressions(DIFFERENT))
def test_different_values_have_different_descriptions(pair: str, names: dict[str, Any]) -> None:
    """Values that differ in content, type or order have different descriptions."""
    one, _, other = pair.partition(" | ")
    assert describe_value(value_of(one, names)) != describe_value(value_of(other, names))


@pytest.mark.parametrize("expression", expressions(TYPE_ONLY))
def test_a_value_compared_by_type_only_says_so(expression: str, names: dict[str, Any]) -> None:
    """A value that is compared by type only is described so, also inside another value."""
    assert "compared by type only" in describe_value(value_of(expression, names))


def test_descriptions_are_readable() -> None:
    """Descriptions, which the message about a changed space shows, are short and readable."""
    assert describe_value(SimpleNamespace(b=2, a={"y", "x"})) == (
        "types.SimpleNamespace(a=set({'x', 'y'}), b=2)"
    )
    assert describe_value(np.array([1.0])).startswith("numpy.ndarray((1,), <f8, ")
    assert describe_value(object()) == "<object, compared by type only>"
    text = describe_value("x" * 5000)
    assert text.startswith("'xxx")
    assert "...<5002 characters, " in text


class OldLayer:
    """A class as Keras's: its configuration names every argument."""

    def __init__(self, units: int, rate: float = 0.5) -> None:
        self.units, self.rate = units, rate

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, as Keras and scikit-learn do."""
        return dict(vars(self))

    def get_params(self, *, deep: bool) -> dict[str, Any]:
        """Return the arguments, as Keras and scikit-learn do."""
        del deep
        return dict(vars(self))


class NewLayer(OldLayer):
    """The class in a later version, which has one more argument."""

    __qualname__ = OldLayer.__qualname__

    def __init__(self, units: int, rate: float = 0.5, *, fused: bool = False) -> None:
        super().__init__(units, rate)
        self.fused = fused


@pytest.mark.parametrize("hidden", ["get_config", "get_params"])
def test_an_argument_that_a_newer_version_adds_changes_nothing(
    hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments with their default value are left out; others are compared."""
    monkeypatch.delattr(OldLayer, hidden)
    described = describe_value(OldLayer(3))
    assert describe_value(NewLayer(3)) == described
    for other in (OldLayer(4), OldLayer(3, 0.4), NewLayer(3, fused=True)):
        assert describe_value(other) != described


def test_descriptions_are_equal_in_every_version_of_python() -> None:
    """Python 3.12 quotes f-strings differently, and 3.13 has moved the class of paths."""
    assert describe_value(Path("a") / "b") == "path 'a/b'"
    assert describe_value(lambda x: f"{x['a']!r:>{9}} {{{f'{x}'}}} it's\n") == (
        "<lambda x: f'{x['a']!r:>{9}} {{{f'{x}'}}} it's\\n'>"
    )


def test_lambdas_on_one_line_are_told_apart_in_every_version_of_python() -> None:
    """Versions differ in the positions that they store of a constant, a condition, a closure."""
    one = 1
    # fmt: off
    lambdas = [lambda x: 1_000, lambda x: "a", lambda x: x if x > 0 else one, lambda x: lambda y: x]
    # fmt: on
    assert [describe_value(each) for each in lambdas] == [
        "<lambda x: 1000>",
        "<lambda x: 'a'>",
        "<lambda x: x if x > 0 else one> with 1",
        "<lambda x: lambda y: x>",
    ]
    assert describe_value(lambdas[-1](2)) == "<lambda y: x> with 2"


def test_lambdas_on_one_line_that_differ_only_in_a_default_are_told_apart() -> None:
    """They have the same code, and a list is not compared by its value."""
    lambdas = [lambda x, y=[1]: [*y, x], lambda x, y=[2]: [*y, x]]
    assert [describe_value(each) for each in lambdas] == [
        "<lambda x, y=[1]: [*y, x]>",
        "<lambda x, y=[2]: [*y, x]>",
    ]


def test_a_function_is_named_without_the_private_module_that_defines_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In numpy 2.1 default_rng is of numpy.random._generator, in 2.4 of numpy.random."""
    assert describe_value(np.random.default_rng) == "numpy.random.default_rng"
    monkeypatch.setattr(value_of, "__module__", "package._private.models._new")
    assert describe_value(value_of) == "package.models.value_of"
    monkeypatch.setattr(value_of, "__module__", "__main__")
    assert describe_value(value_of) == "__main__.value_of"


KERAS_CELL = """
import keras
class Own(keras.layers.Layer):
    def __init__(self, n, **more):
        super().__init__(**more)
        self.n = n
    def get_config(self):
        return super().get_config() | {"n": self.n}
    def call(self, x): return x
inputs = keras.Input((3,))
options = [
    keras.layers.Dense(UNITS, activation=keras.activations.relu),
    keras.layers.Bidirectional(keras.layers.LSTM(UNITS)),
    keras.layers.Lambda(lambda x: x + 1),
    keras.layers.Dropout(0.5),
    Own(UNITS),
    keras.Sequential([keras.layers.Dense(UNITS), keras.layers.Dense(2)]),
    keras.Model(inputs, keras.layers.Add()([keras.layers.Dense(UNITS)(inputs), inputs[:, :1]])),
    keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, UNITS, 0.9)),
    keras.losses.CategoricalCrossentropy(label_smoothing=UNITS / 10),
    keras.regularizers.L2(UNITS),
    keras.initializers.RandomNormal(),
    keras.callbacks.EarlyStopping(patience=UNITS),
]
"""


def test_layers_are_the_same_when_their_cell_is_run_again(tmp_path: Path) -> None:
    """Descriptions of layers ignore Keras's numbering and use; other layers are a changed space."""
    pytest.importorskip("keras")
    cells = [
        compiled(KERAS_CELL.replace("UNITS", units), f"<keras {n}>", {"__name__": "__main__"})
        for n, units in enumerate("4445")
    ]
    texts = [list(map(describe_value, cell["options"])) for cell in cells]
    assert texts[0] == texts[1] == texts[2]
    same = [a == b for a, b in zip(texts[0], texts[3], strict=True)]
    assert same == [False, False, True, True] + [False] * 6 + [True, True]
    for index in (0, 3, 4):
        cells[0]["options"][index](np.zeros((2, 3), "float32"))
        assert describe_value(cells[0]["options"][index]) == texts[0][index]
    compiled(KERAS_CELL.replace("UNITS", "4"), "<keras 9>", cells[1])
    resume_sample_search(
        tmp_path, lambda point: 1.0, space=hp.choice("o", cells[0]["options"]), max_evals=1
    )
    resume_sample_search(
        tmp_path, lambda point: 1.0, space=hp.choice("o", cells[1]["options"]), max_evals=2
    )
    with pytest.raises(SpaceChangedError):
        resume_sample_search(
            tmp_path, lambda point: 1.0, space=hp.choice("o", cells[3]["options"]), max_evals=3
        )


def test_every_listed_expression_parses() -> None:
    """A line that does not parse would test nothing."""
    for text in (SAME, DIFFERENT, TYPE_ONLY):
        for line in expressions(text):
            ast.parse(line.partition(" | ")[0], mode="eval")
