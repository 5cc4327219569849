"""`load_data`: data() runs once per process, and again when its result could differ."""

import functools
import itertools
import types

import pytest

from colab_drive_tuner.errors import ObjectiveError, UsageError
from colab_drive_tuner.templates.data_cache import load_data

CELL = """
def load():
    runs.append(1)
    rows = [n * FACTOR + CONFIG["add"] for n in helper(3)]
    return rows, len(rows) + Settings.add + settings.add + options.add
"""
SETTINGS = """
class Settings:
    add = 0

    def __init__(self):
        self.nested = {"rows": [self]}

    @property
    def last(self):
        return self.nested["rows"][-1]


settings, options = Settings(), types.SimpleNamespace(add=0)
"""
HELPER = "def helper(n):\n    return range(n)\n"


@pytest.fixture
def notebook():
    """Return a namespace in which cells are run, as in a kernel."""
    namespace = {
        "runs": [],
        "FACTOR": 2,
        "CONFIG": {"sub": 1, "add": 0},
        "types": types,
        "__name__": f"notebook_{next(_numbers)}",
    }
    exec(HELPER + SETTINGS + CELL, namespace)
    return namespace


_numbers = itertools.count()


def test_running_the_cells_again_loads_nothing(notebook):
    """A function that is defined again but unchanged returns the very same data."""
    first = load_data(notebook["load"])
    assert first == ([0, 2, 4], 3)
    exec(HELPER + SETTINGS + "\n\n# moved down, and commented\n" + CELL, notebook)
    assert load_data(notebook["load"]) is first
    assert notebook["runs"] == [1]


@pytest.mark.parametrize(
    "change",
    [
        CELL.replace("* FACTOR", "+ FACTOR"),
        HELPER.replace("range(n)", "range(n + 1)"),
        "FACTOR = 3",
        "FACTOR = 10**5000",
        "CONFIG['add'] = 7",
        "CONFIG = {'sub': 1, 'add': 2}",
        "import math\nFACTOR = math",
        "Settings.add = 1",
        "settings.add = 1",
        "settings.nested['rows'].append(1)",
        "options.add = 1",
        SETTINGS.replace("rows", "lines"),
        HELPER + "    # the same\nhelper = lambda n: [n]",
    ],
)
def test_a_change_of_what_it_uses_loads_again(notebook, change):
    """A changed source, helper or constant loads the data again."""
    load_data(notebook["load"])
    exec(change, notebook)
    try:
        load_data(notebook["load"])
    except TypeError:
        assert "math" in change  # multiplying a number by a module fails
    assert len(notebook["runs"]) == 2


def test_another_of_the_known_objects_loads_again(notebook):
    """A name or an argument that now means another object, which `load` also uses, is a change."""
    cell = """
TRAIN, TEST = ["a"], ["b"]
used = TRAIN

def load(given):
    return TRAIN + TEST, used, given
"""
    exec(cell, notebook)
    train, test = notebook["TRAIN"], notebook["TEST"]
    assert load_data(notebook["load"], (train,)) == (["a", "b"], ["a"], ["a"])
    notebook["used"] = test
    assert load_data(notebook["load"], (train,)) == (["a", "b"], ["b"], ["a"])
    assert load_data(notebook["load"], (test,)) == (["a", "b"], ["b"], ["b"])


def test_the_inside_of_an_argument_of_a_partial_counts(notebook):
    """An object of the notebook's own classes that `functools.partial` binds is compared, too."""
    exec("def add(settings):\n    return [settings.add]\n", notebook)
    settings = notebook["settings"]
    settings.add = 1
    data = functools.partial(notebook["add"], settings)
    assert load_data(data) is load_data(data)
    settings.add = 2
    assert load_data(data) == [2]


def test_sets_are_compared_by_content(notebook):
    """A set that grew loads the data again; one made again with the same content does not."""
    cell = "skipped = {1}\n\ndef load():\n    return [n for n in range(3) if n not in skipped]\n"
    exec(cell, notebook)
    first = load_data(notebook["load"])
    exec(cell, notebook)
    assert load_data(notebook["load"]) is first
    notebook["skipped"].add(2)
    assert load_data(notebook["load"]) == [0]


def test_arguments_count(notebook):
    """Equal arguments, by position or name, give the same data; others load it again."""

    def load(path, size=1):
        notebook["runs"].append(path)
        return [path] * size

    assert load_data(load, ("a",)) == load_data(load, ["a"]) == ["a"]
    assert load_data(load, {"path": "a", "size": 2}) == ["a", "a"]
    assert load_data(load, ("b",)) == ["b"]
    assert notebook["runs"] in (["a", "a", "b"], ["a", "a", "a", "b"])
    assert load_data(functools.partial(load, "c")) == ["c"]
    with pytest.raises(ObjectiveError, match=r"load\(\) cannot be called with data_args=.*'path'"):
        load_data(load)
    with pytest.raises(UsageError, match=r"must be a tuple.* write data_args=\('a',\)"):
        load_data(load, "a")
    with pytest.raises(UsageError, match="there is none"):
        load_data([1], ("a",))
    assert load_data([1]) == [1]


def test_again_loads_the_data_again(notebook):
    """`again=True`, which `restart=True` passes, loads the data again."""
    load_data(notebook["load"])
    load_data(notebook["load"], again=True)
    assert len(notebook["runs"]) == 2


def test_data_that_can_be_read_once_is_not_cached():
    """A generator is not cached, because the first search would leave nothing for the second.

    A warning says that the second trial would get nothing, either.
    """

    def load():
        return "x", (n for n in range(3))

    for _ in range(2):
        with pytest.warns(UserWarning, match=r"load\(\) returned a generator: items that one"):
            _, numbers = load_data(load)
        assert list(numbers) == [0, 1, 2]

    def batches():
        return {"batches": itertools.count()}

    for _ in range(2):
        assert next(load_data(batches)["batches"]) == 0


def test_an_error_of_data_is_not_cached(notebook):
    """A data function that failed runs again."""
    notebook["FACTOR"] = None
    with pytest.raises(TypeError):
        load_data(notebook["load"])
    notebook["FACTOR"] = 1
    assert load_data(notebook["load"]) == ([0, 1, 2], 3)


def test_what_is_nested_too_deeply_to_compare_is_loaded_again(notebook):
    """A long linked list that the data function uses is no error; the cache is not used."""
    linked = """
class Node:
    def __init__(self, following):
        self.following = following

chain = None
for _ in range(1000):
    chain = Node(chain)

def load():
    runs.append(1)
    return chain.following, 1
"""
    exec(linked, notebook)
    load_data(notebook["load"])
    load_data(notebook["load"])
    assert notebook["runs"] == [1, 1]


def test_closures_methods_and_recursion():
    """Values in closures and instances count; functions that call themselves are supported."""

    class Source:
        def __init__(self, n):
            self.n = n

        def load(self):
            return [self.n] if self.n < 3 else Source.load(Source(self.n - 1))

    def made(n):
        def load():
            return [n] if n < 3 else load()

        return load

    assert [load_data(Source(n).load) for n in (1, 2, 4)] == [[1], [2], [2]]
    assert [load_data(made(n)) for n in (1, 2, 1)] == [[1], [2], [1]]


async def waiting():
    return [1], [2]


async def streaming():
    yield [1]


@pytest.mark.parametrize("data", [waiting, streaming, functools.partial(waiting)])
def test_data_that_is_async_is_refused(data):
    """An async data function, which would return a coroutine, is refused."""
    with pytest.raises(ObjectiveError, match="is async: a data function must run"):
        load_data(data)
