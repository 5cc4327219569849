"""Capturing a value now and encoding it later gives the bytes of encoding it at once."""

import copy
import gc
from datetime import datetime, tzinfo
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_drive_tuner.checkpoint.codec.codec import capture, decode, encode
from colab_drive_tuner.errors import NotPlainDataError
from tests.checkpoint.values import NOT_PLAIN, PLAIN, assert_same, document, plain_values


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v, 1.0], lambda v: {"a": {"b": v}}])
def test_a_captured_value_decodes_to_the_same_value(name, wrap):
    """Every plain value survives, nested or not; the padding of a long double may differ."""
    value = wrap(PLAIN[name])
    assert_same(decode(capture(value).encode()), decode(encode(value)))


@pytest.mark.parametrize("name", NOT_PLAIN)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [1.0, v], lambda v: {"a": {"b": v}}])
def test_what_is_not_plain_is_refused_at_once(name, wrap):
    """A value that is not plain is refused by `capture`, not later in the background."""
    with pytest.raises(NotPlainDataError) as caught:
        capture(wrap(NOT_PLAIN[name]))
    error = caught.value
    assert error.__cause__ is None  # a notebook would show msgpack's frames
    assert error.__context__ is None or error.__suppress_context__


@given(st.dictionaries(st.text(), plain_values, max_size=20), plain_values, st.integers(0, 20))
def test_a_captured_part_is_encoded_as_the_value_itself(fields, value, at):
    """A dict with a captured part has the same bytes as the whole dict, at any position."""
    items = [(name, other) for name, other in fields.items() if name != "result"]
    items.insert(at, ("result", value))
    whole = dict(items)
    assert capture(whole | {"result": capture(value)}).encode() == encode(whole)


def _spoil(value: dict[str, Any]) -> None:
    """Change everything that can be changed in place."""
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
def test_later_changes_do_not_affect_a_captured_value(more):
    """What the objective changes in its result after returning it is not recorded."""
    value = document(3) | more
    before = copy.deepcopy(value)
    taken = capture(value)
    _spoil(value)
    assert_same(decode(taken.encode()), before)


def test_a_long_list_of_floats_is_checked_to_its_end():
    """A value of another type after 900 floats in a list is refused."""
    with pytest.raises(NotPlainDataError, match=r"\[900\]"):
        capture([0.5] * 900 + [bytearray(b"x")])


def test_a_time_zone_of_unknown_kind_is_refused_at_once():
    """A datetime whose time zone cannot be encoded is refused by `capture`."""

    class Nowhere(tzinfo):
        pass

    with pytest.raises(NotPlainDataError, match="Nowhere"):
        capture({"when": datetime(2026, 1, 1, tzinfo=Nowhere())})


def test_a_cycle_is_refused_at_once():
    """A dict that contains itself through a list is refused by `capture`."""
    value: dict[str, Any] = {"a": [1.0]}
    value["a"].append(value)
    with pytest.raises(NotPlainDataError, match="contains itself"):
        capture(value)


def test_a_refused_list_leaves_nothing_behind():
    """A refused list leaves nothing in the buffer that lists share."""
    with pytest.raises(NotPlainDataError):
        capture([0.5] * 900 + [object()])
    floats = [1.5] * 70
    assert capture({"history": floats}).encode() == encode({"history": floats})


def test_an_encoded_value_leaves_no_reference_cycles():
    """Encoding a value leaves no objects to the garbage collector."""
    left = (left_by_one_trial() for _ in range(10))  # other code sometimes leaves objects
    assert 0 in left


def left_by_one_trial() -> int:
    """Return the number of objects that a result leaves to the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        capture({"history": [1.5] * 900}).encode()
        return gc.collect()
    finally:
        gc.enable()
