"""The state of callbacks: each kind of value is restored exactly, or named as unsupported."""

import array
import collections
import datetime
import decimal
import enum
import fractions
import functools
import io
import itertools
import pathlib
import random
import threading
import types
import uuid
import zoneinfo

import keras
import numpy as np
import pytest

from colab_drive_tuner.training.backup import fit_backup
from colab_drive_tuner.training.backup.callback_state import (
    CallbackStates,
    prepare_callback_restore,
)
from colab_drive_tuner.training.backup.pack import CannotSaveError
from colab_drive_tuner.training.backup.variable_paths import IncompatibleBackupError, value_of
from colab_drive_tuner.training.backup.writer import read_backup, write_backup
from tests.training.flaky_store import NUMPY_2

pytestmark = NUMPY_2


class Callback(keras.callbacks.Callback):
    """A callback with one attribute as its state."""

    def __init__(self, value=None):
        super().__init__()
        self.value = value


class Colour(enum.Enum):
    RED = "red"


Point = collections.namedtuple("Point", "x y")


class Slotted:
    """An object without a `__dict__`."""

    __slots__ = ("left", "right")


class Plain:
    """A user's own object."""

    def __init__(self, **values):
        vars(self).update(values)


def module_function():
    """A function that is found by its name."""


def saved(tmp_path, before, now):
    """Return what a backup holds of a callback whose attribute has changed."""
    callback = Callback(before)
    memory = CallbackStates([callback], ())
    callback.value = now
    write_backup(tmp_path / "x", memory.capture([callback], frozenset()))
    return read_backup(tmp_path / "x")


def restored(tmp_path, before, now, here=None):
    """Return the attribute in another process whose callback was made with `here`."""
    states = saved(tmp_path, before, now)
    callback = Callback(here)
    prepare_callback_restore([callback], states)()
    return callback.value


ZONE = zoneinfo.ZoneInfo("Europe/Zurich")
MOMENT = datetime.datetime(2026, 10, 25, 2, 30, fold=1)
VALUES = [
    *(True, 7, -(2**70), 1.5, float("inf"), 2 - 1j, "text", "\udcff", b"bytes"),
    *((1, (2, [3])), [1, ["a", {}]], {"a": 1, 2: [None]}, {(1, 2): {3.5: "x"}, None: b""}),
    *({1, "a", (2,)}, frozenset({1, frozenset({2})}), bytearray(b"ab"), range(3, 9, 2)),
    *(slice(1, None), collections.deque([1, 2, [3]], maxlen=3), collections.deque()),
    collections.OrderedDict([("b", 1), ("a", 2)]),
    collections.Counter("abca"),
    collections.defaultdict(list, {"a": [1]}),
    collections.defaultdict(None, {"a": 1}),
    *(MOMENT, MOMENT.replace(tzinfo=ZONE), datetime.date(2026, 1, 2), datetime.time(1, 2, 3, 4)),
    MOMENT.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=2, minutes=30))),
    *(datetime.timedelta(-1, 5, 7), decimal.Decimal("1.10"), fractions.Fraction(1, 3)),
    *(uuid.UUID(int=5), pathlib.Path("/a/b"), pathlib.PureWindowsPath("c:/x")),
    *(Colour.RED, Point(1, [2]), types.SimpleNamespace(a=[1]), array.array("d", [1.5])),
    *(np.float32(1.5), np.int64(3), np.bool_(True), np.datetime64("2026-01-02")),
    np.arange(6).reshape(2, 3).T,
    *(np.array(["a", "bc"]), np.array([[1, None], ["x", [2]]], dtype=object), np.zeros((0, 2))),
    np.array([1.5, 2.5], dtype=">f4"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_is_restored_with_its_type_and_content(tmp_path, value):
    """Type and content are restored, also for a value in a list."""
    back = restored(tmp_path, None, value)
    assert type(back) is type(value)
    assert repr(back) == repr(value)
    (nested,) = restored(tmp_path, None, [value])
    assert type(nested) is type(value)
    assert repr(nested) == repr(value)


def test_a_deque_keeps_its_length_and_a_defaultdict_its_factory(tmp_path):
    """A deque's maximum length and a defaultdict's factory are saved with it."""
    assert restored(tmp_path, None, collections.deque([1], maxlen=2)).maxlen == 2
    assert restored(tmp_path, None, collections.defaultdict(set))["new"] == set()


GENERATORS = [
    lambda: np.random.default_rng(1),
    lambda: np.random.Generator(np.random.MT19937(1)),
    lambda: np.random.RandomState(1),
    lambda: random.Random(1),
]


@pytest.mark.parametrize("make", GENERATORS)
@pytest.mark.parametrize("in_place", [True, False])
def test_a_generator_continues_its_numbers(tmp_path, make, in_place):
    """A generator from before `fit`, or created in it, gives the same next numbers."""
    generator = make()
    generator.random()
    callback = Callback(generator if in_place else None)
    memory = CallbackStates([callback], ())
    callback.value = generator
    drawn = [generator.random(), generator.normal() if hasattr(generator, "normal") else 0]
    write_backup(tmp_path / "x", memory.capture([callback], frozenset()))
    expected = [generator.random() for _ in range(3)]
    here = Callback(make() if in_place else None)
    prepare_callback_restore([here], read_backup(tmp_path / "x"))()
    assert drawn
    assert [here.value.random() for _ in range(3)] == expected


def test_a_generator_continues_to_spawn(tmp_path):
    """The number of children spawned is part of a generator's state."""
    generator = np.random.default_rng(1)
    generator.spawn(2)
    here = np.random.default_rng(1)
    restored(tmp_path, None, generator)
    back = restored(tmp_path, None, generator, here)
    assert back.spawn(1)[0].random() == generator.spawn(1)[0].random()


def changed_in_place(value):
    value.append(2)


def test_shared_values_stay_shared(tmp_path):
    """A list that other code holds is filled, not replaced; two attributes stay one list."""
    one = [1]
    callback, other = Callback(one), Callback()
    other.held, other.made = one, None
    memory = CallbackStates([callback, other], ())
    one.append(2)
    other.made = callback.made = {"new": one}
    states = memory.capture([callback, other], frozenset())
    outside = [1]
    callback, other = Callback(outside), Callback()
    other.held = outside
    prepare_callback_restore([callback, other], states)()
    assert outside == [1, 2]
    assert callback.value is other.held is outside is other.made["new"]
    assert callback.made is other.made


def test_values_that_contain_themselves_are_restored(tmp_path):
    """A list that contains itself through a dict is restored as a cycle."""
    value = [1]
    value.append({"self": value})
    back = restored(tmp_path, None, value)
    assert back[1]["self"] is back


def test_objects_of_the_user_are_restored_in_place(tmp_path):
    """Attributes and slots of a user's objects are set; the objects themselves stay the same."""
    before = Plain(count=0, inner=Slotted(), lock=threading.Lock())
    before.inner.left = 0
    callback = Callback(before)
    memory = CallbackStates([callback], ())
    before.count, before.inner.left = 5, [6]
    states = memory.capture([callback], frozenset())
    here = Plain(count=0, inner=Slotted(), lock=threading.Lock())
    lock, inner = here.lock, here.inner
    prepare_callback_restore([Callback(here)], states)()
    assert (here.count, here.inner.left) == (5, [6])
    assert here.inner is inner
    assert here.lock is lock


def test_deeply_nested_values_are_restored_or_refused(tmp_path):
    """Chains of objects and nested lists are restored up to a limit."""
    chain, nested = None, []
    for _ in range(100):
        chain = Plain(next=chain)
    for _ in range(45):
        nested = [nested]
    back = restored(tmp_path, None, chain)
    for _ in range(99):
        back = back.next
    assert back.next is None
    assert restored(tmp_path, None, nested) == nested
    for _ in range(10):
        chain = Plain(next=chain)
    with pytest.raises(CannotSaveError):
        saved(tmp_path, None, chain)


def test_a_new_object_is_made_without_calling_its_class(tmp_path):
    """A new object of a user's class is found by name and restored without `__init__`."""
    back = restored(tmp_path, None, Plain(a=1))
    assert (type(back), back.a) == (Plain, 1)


def closed_buffer():
    buffer = io.StringIO("text")
    buffer.close()
    return buffer


@pytest.mark.parametrize(
    "value",
    [
        iter([1]),
        itertools.count(),
        (n for n in range(3)),
        types.MappingProxyType({}),
        type("Local", (), {})(),
        type("Listing", (list,), {})([1]),
        [iter(())],
        {"a": {"b": itertools.cycle([1])}},
        lambda: None,
        functools.partial(print),
        collections.defaultdict(lambda: 0),
        np.ma.array([1]),
        closed_buffer(),
    ],
)
def test_values_that_cannot_be_saved_are_named(tmp_path, value):
    """A value that cannot be saved is named with its callback's class and attribute."""
    with pytest.raises(CannotSaveError, match=r"^Callback\.value.* \("):
        saved(tmp_path, None, value)


def test_functions_that_change_are_saved_by_name(tmp_path):
    """A function of a module and a method of the callback are restored by name."""
    assert restored(tmp_path, None, module_function) is module_function
    callback = Callback()
    memory = CallbackStates([callback], ())
    callback.value = callback.on_epoch_end
    states = memory.capture([callback], frozenset())
    here = Callback()
    prepare_callback_restore([here], states)()
    assert here.value == here.on_epoch_end


def test_files_locks_and_functions_are_not_state(tmp_path):
    """Files, locks and functions do not keep a trial from being resumed."""
    callback = Callback()
    callback.lock, callback.function, callback.path = threading.Lock(), lambda: 1, None
    memory = CallbackStates([callback], ())
    with (tmp_path / "log").open("w") as callback.path:
        callback.buffer = io.StringIO("text")
        (state,) = memory.capture([callback], frozenset()).values()
    assert list(state) == ["buffer"]


def test_ignored_attributes_are_not_saved(tmp_path):
    """An attribute can be ignored by the name of a base class, too."""

    class Derived(Callback):
        pass

    callback = Derived()
    memory = CallbackStates([callback], ["Callback.value"])
    callback.value = iter([])
    assert list(memory.capture([callback], frozenset()).values()) == [{}]


def test_unchanged_attributes_are_not_saved(tmp_path):
    """An unchanged attribute is configuration, which the user may change between two runs."""
    callback = Callback([1, {"a": np.zeros(3)}])
    memory = CallbackStates([callback], ())
    assert list(memory.capture([callback], frozenset()).values()) == [{}]
    callback.value[1]["a"][0] = 1
    assert list(*memory.capture([callback], frozenset()).values()) == ["value"]


@pytest.mark.parametrize(
    ("before", "now", "here"),
    [
        ([1], None, (1,)),
        (np.zeros(2), None, np.zeros(3)),
        (collections.deque(maxlen=2), None, collections.deque(maxlen=3)),
        (Plain(), None, Slotted()),
    ],
)
def test_half_a_state_is_never_restored(tmp_path, before, now, here):
    """If one attribute of one callback does not fit, no other is changed either."""
    first, second = Callback(1), Callback(before)
    memory = CallbackStates([first, second], ())
    first.value = 2
    if isinstance(before, Plain):
        before.new = 1
    elif isinstance(before, np.ndarray):
        before[0] = 1
    else:
        before.append(2)
    states = memory.capture([first, second], frozenset())
    first = Callback(1)
    with pytest.raises(IncompatibleBackupError, match=r"Callback#2\.value does not fit"):
        prepare_callback_restore([first, Callback(here)], states)
    assert first.value == 1


def test_containers_that_grew_are_restored_in_place(tmp_path):
    """An array that was in a list or dict at first stays in it, with the values added later."""
    for make, grow in (
        (lambda: [np.zeros(2)], lambda it: it.append(np.ones(2))),
        (lambda: {"a": np.zeros(2)}, lambda it: it.update(b=np.ones(2))),
    ):
        first = Callback(make())
        memory = CallbackStates([first], ())
        grow(first.value)
        states = memory.capture([first], frozenset())
        here = make()
        array = next(iter(here.values() if isinstance(here, dict) else here))
        prepare_callback_restore([Callback(here)], states)()
        assert repr(here) == repr(first.value)
        assert any(one is array for one in (here.values() if isinstance(here, dict) else here))


def test_a_read_only_array_is_replaced(tmp_path):
    """A read-only array in a container restored in place is replaced by one of equal content."""

    def make():
        return [np.frombuffer(bytes(16)), 0]

    first, here = Callback(make()), make()
    memory = CallbackStates([first], ())
    first.value[1] = 7
    prepare_callback_restore([Callback(here)], memory.capture([first], frozenset()))()
    assert repr(here) == repr(first.value)


MISPLACED = {"bit_generator": "MT19937", "state": {"key": np.zeros(624, "u4"), "pos": 10**6}}
ALIKE = tuple(k * (2**61 - 1) for k in range(200))


@pytest.mark.parametrize(
    ("packed", "here"),
    [
        (
            ("Generator", True, ("tuple", "MT19937", None), ("tuple", MISPLACED, 0)),
            np.random.Generator(np.random.MT19937(1)),
        ),
        (("RandomState", True, "MT19937", MISPLACED), np.random.RandomState(1)),
        (("dict", True, None, ("tuple", "a")), {}),
        (("set", True, None, ("tuple", *ALIKE)), set()),
        (("object", True, f"{__name__}:Slotted", {"middle": 1}), Slotted()),
    ],
)
def test_a_state_that_cannot_be_restored_is_refused_before_anything_changes(packed, here):
    """A crafted backup that fits until the last step sets nothing."""
    first, second = Callback(1), Callback(here)
    key = f"{Callback.__module__}.{Callback.__qualname__}#"
    states = {key + "1": {"value": 2}, key + "2": {"value": packed}}
    with pytest.raises((IncompatibleBackupError, ValueError)):
        prepare_callback_restore([first, second], states)
    assert first.value == 1


@pytest.mark.parametrize(
    "packed",
    [
        ("dict", False, None, ("tuple", *(part for key in ALIKE for part in (key, 0)))),
        ("frozenset", *ALIKE),
        ("SeedSequence", False, ("tuple", 1, ("tuple",), 4, 0), 10**12),
        ("SeedSequence", False, ("tuple", 1, ("tuple",), 2**31, 0), 0),
        ("MT19937", False, ("tuple", "MT19937", None), ("tuple", MISPLACED, 0)),
        ("os.system", "true"),
        ("function", "os:system"),
        ("function", "builtins:eval"),
        ("object", False, "subprocess:Popen", {"args": "true"}),
        ("object", False, "builtins:type", {}),
        ("namedtuple", "builtins:tuple", 1),
        ("method", 0, "set_model"),
        ("mutable", 1),
        ("list", False),
        ("deque", False, "x", ("tuple",)),
        ("objects", False, [2**40]),
        ("same", 99),
        ("int", "zz"),
        ("Decimal", "x"),
    ],
)
def test_a_crafted_state_raises_an_error_and_runs_no_code(packed):
    """A crafted state finds no code and allocates no large memory; it raises an error."""
    callback = Callback()
    key = f"{Callback.__module__}.{Callback.__qualname__}#1"
    malformed = (IncompatibleBackupError, *fit_backup._MALFORMED)
    if packed[0] == "method":
        prepare_callback_restore([callback], {key: {"value": packed}})()
        assert callback.value == callback.set_model  # a method of the callback's own is harmless
        return
    with pytest.raises(malformed):
        prepare_callback_restore([callback], {key: {"value": packed}})
    assert callback.value is None


class TorchParameter:
    """The part of `torch.nn.Parameter` with which its value can be read."""

    def numpy(self):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")

    def detach(self):
        return types.SimpleNamespace(cpu=lambda: types.SimpleNamespace(numpy=lambda: np.ones(2)))


def test_a_parameter_of_pytorch_is_read_without_its_gradient():
    """PyTorch refuses `numpy()` for a tensor that requires one."""
    assert value_of(TorchParameter()).tolist() == [1, 1]
