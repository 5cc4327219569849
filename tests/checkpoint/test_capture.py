"""Capturing a value now and encoding it later gives the bytes of encoding it at once."""

import copy
import gc
from datetime import datetime, tzinfo
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_drive_tuner.checkpoint.codec.capture import capture
from colab_drive_tuner.checkpoint.codec.codec import decode, encode
from colab_drive_tuner.errors import NotPlainDataError
from tests.checkpoint.values import NOT_PLAIN, PLAIN, assert_same, document, plain_values


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v, 1.0], lambda v: {"a": {"b": v}}])
def test_what_comes_back_is_the_value(name, wrap):
    """Every plain value, wherever it stands; its bytes may differ in a long double's padding."""
    value = wrap(PLAIN[name])
    assert_same(decode(capture(value).encode()), decode(encode(value)))


@pytest.mark.parametrize("name", NOT_PLAIN)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [1.0, v], lambda v: {"a": {"b": v}}])
def test_what_is_not_plain_is_refused_at_once(name, wrap):
    """Not later, in the background, where nobody could say what is wrong with the trial."""
    with pytest.raises(NotPlainDataError):
        capture(wrap(NOT_PLAIN[name]))


@given(st.dictionaries(st.text(), plain_values, max_size=20), plain_values, st.integers(0, 20))
def test_what_was_taken_before_goes_in_as_it_is(fields, value, at):
    """Around it the same bytes come out as for the whole dict, wherever its key stands."""
    items = [(name, other) for name, other in fields.items() if name != "result"]
    items.insert(at, ("result", value))
    whole = dict(items)
    assert capture(whole | {"result": capture(value)}).encode() == encode(whole)


def _spoil(value: dict[str, Any]) -> None:
    """Change whatever can be changed in its place."""
    for item in list(value.values()):
        if isinstance(item, dict):
            _spoil(item)
        elif isinstance(item, list):
            item[:] = [object()]
        elif isinstance(item, set):
            item.add(object())
        elif isinstance(item, np.ndarray):
            item[:] = 0
    value["more"] = object()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"deep": {"a": {"b": {"c": {"d": {"e": {"f": {"g": [1.0]}}}}}}}},
        {"lists": {"of": [[1.0], [2.0, [3.0]]]}},
        {"array": np.arange(3.0)},
        {"large array": np.arange(1e5)},
        {"set": {1, 2}},
    ],
    ids=lambda more: next(iter(more), "a trial"),
)
def test_no_later_change_reaches_it(more):
    """What the objective does to its result later is not what it returned."""
    value = document(3) | more
    before = copy.deepcopy(value)
    taken = capture(value)
    _spoil(value)
    assert_same(decode(taken.encode()), before)


def test_a_list_that_looks_like_floats_is_looked_at_to_its_end():
    """One impostor after many numbers is found."""
    with pytest.raises(NotPlainDataError, match=r"\[900\]"):
        capture([0.5] * 900 + [bytearray(b"x")])


def test_a_time_zone_of_unknown_kind_is_refused_at_once():
    """A datetime may be what cannot be encoded, unlike all other values that cannot change."""

    class Nowhere(tzinfo):
        pass

    with pytest.raises(NotPlainDataError, match="Nowhere"):
        capture({"when": datetime(2026, 1, 1, tzinfo=Nowhere())})


def test_a_cycle_is_refused_at_once():
    """However it is nested."""
    value: dict[str, Any] = {"a": [1.0]}
    value["a"].append(value)
    with pytest.raises(NotPlainDataError, match="contains itself"):
        capture(value)


def test_a_refused_list_leaves_nothing_behind():
    """Lists share a buffer, and the next one is what it would have been."""
    with pytest.raises(NotPlainDataError):
        capture([0.5] * 900 + [object()])
    floats = [1.5] * 70
    assert capture({"history": floats}).encode() == encode({"history": floats})


def test_what_was_sent_is_free_at_once():
    """A thousand trials' results do not wait for the garbage collector."""
    assert min(left_by_one_trial() for _ in range(10)) == 0  # others leave theirs now and then


def left_by_one_trial() -> int:
    """How many objects its result leaves to the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        capture({"history": [1.5] * 900}).encode()
        return gc.collect()
    finally:
        gc.enable()
