"""The codec returns every plain value exactly, and refuses everything else by name."""

import zoneinfo
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings

from colab_drive_tuner.checkpoint.codec.codec import CodecError, decode, encode
from colab_drive_tuner.checkpoint.codec.plain_data import NUMPY_SCALARS
from colab_drive_tuner.errors import NotPlainDataError
from tests.checkpoint.values import NOT_PLAIN, PLAIN, STRUCTS, assert_same, document, plain_values


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_value_comes_back_exactly(name):
    """Types, bits and order of every plain value survive."""
    assert_same(decode(encode(PLAIN[name])), PLAIN[name])


@settings(max_examples=150, deadline=None)
@given(plain_values)
def test_any_nesting_of_plain_values_comes_back_exactly(value):
    """Random nestings of plain values survive."""
    assert_same(decode(encode(value)), value)


def test_encoding_changes_nothing():
    """An encoded value stays as it was, and a second encoding gives the same bytes."""
    value = decode(encode(PLAIN))  # NumPy 2.1 copies a str_ without its last NUL
    encode(value)
    assert encode(value["large"]) == encode(value["large"])
    assert_same(value, PLAIN)


def test_a_decoded_array_is_the_callers_own():
    """A decoded array is writable and keeps the original's memory order."""
    array = decode(encode(np.asfortranarray(np.ones((2, 3)))))
    array[0, 0] = 5
    assert array.flags.f_contiguous


@pytest.mark.parametrize("name", NOT_PLAIN)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: (0, v), lambda v: {"a": v}])
def test_what_is_not_plain_is_refused(name, wrap):
    """A value that is not plain is refused, nested or not, and never converted silently."""
    with pytest.raises(NotPlainDataError):
        encode(wrap(NOT_PLAIN[name]))


def test_a_refusal_names_path_type_and_remedy():
    """The error about a value gives its path, its type and the remedy."""
    with pytest.raises(NotPlainDataError) as refusal:
        encode({"loss": 1.0, "history": {"acc": [0.5, (1, object())]}})
    assert "result['history']['acc'][1][1] is an object" in str(refusal.value)
    assert "attachments" in str(refusal.value)
    with pytest.raises(NotPlainDataError, match=r"a key of trial\['a'\] is a type"):
        encode({"a": {int: 1}}, where="trial")
    with pytest.raises(NotPlainDataError, match=r"an element of result is a memoryview"):
        encode({memoryview(b"")})
    with pytest.raises(NotPlainDataError, match=r"a key of result\[3\]\[0\]\[0\] is a memoryview"):
        encode([0, 1, 2, [{(memoryview(b""),): 1}]])
    with pytest.raises(NotPlainDataError, match=r"bytearray.*`bytes\(x\)`"):
        encode(bytearray(b"x"))
    with pytest.raises(NotPlainDataError, match=r"Point.*`tuple\(x\)`"):
        encode(NOT_PLAIN["namedtuple"])
    with pytest.raises(NotPlainDataError, match="holds Python objects"):
        encode(NOT_PLAIN["objects"])


def test_keras_values_are_refused_with_the_conversion_to_use():
    """A tensor is not converted silently; the message says `float(x)`."""
    keras = pytest.importorskip("keras")
    with pytest.raises(NotPlainDataError, match=r"result\['loss'\].*`float\(x\)`"):
        encode({"loss": keras.ops.convert_to_tensor(1.0)})
    with pytest.raises(NotPlainDataError, match=r"result\['history'\].*`x.history`"):
        encode({"history": keras.callbacks.History()})
    with pytest.raises(NotPlainDataError, match=r"result\['net'\].*under `model`"):
        encode({"net": keras.Sequential()})


def test_dtypes_of_other_packages_are_refused():
    """A bfloat16 array is refused, because its bytes would come back as plain void."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for value in (np.zeros(2, ml_dtypes.bfloat16), ml_dtypes.bfloat16(1)):
        with pytest.raises(NotPlainDataError, match="bfloat16"):
            encode(value)


def test_deep_and_cyclic_values_are_refused():
    """Deep and cyclic values raise an error that says which they are, and no RecursionError."""
    deep = [1]
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(NotPlainDataError, match="nested more than 200 levels"):
        encode(deep)
    deep = ()
    for _ in range(210):
        deep = (deep,)
    with pytest.raises(NotPlainDataError, match="nested more than 200 levels"):
        encode(deep)
    for _ in range(15):
        (deep,) = deep
    assert_same(decode(encode(deep)), deep)
    cycle = {"a": []}
    cycle["a"].append(cycle)
    with pytest.raises(NotPlainDataError, match=r"result\['a'\]\[0\] contains itself"):
        encode(cycle)


def test_one_object_in_two_places_is_no_cycle():
    """A shared object is written twice."""
    shared = [1, (2,)]
    assert_same(decode(encode([shared, {"a": shared}])), [shared, {"a": shared}])


FIRST_FORMAT = bytes.fromhex(
    "89a8646f63756d656e748aa5737461746502a374696403a473706563c0a6726573756c7482a46c6f7373cb3f"
    "d8000000000000a6737461747573a26f6ba46d69736385a374696403a3636d6493c70001b1646f6d61696e5f"
    "6174746163686d656e74af464d696e497465725f446f6d61696ea7776f726b646972c0a46964787382a17891"
    "03a6756e7573656490a476616c7382a17891d72bdbb66ddbb66ddb3fa6756e7573656490a76578705f6b6579"
    "c0a56f776e6572c0a776657273696f6e00a9626f6f6b5f74696d65c71a08323032362d31312d32335430313a"
    "30323a30332e343536303030ac726566726573685f74696d65c71a08323032362d31312d32335430313a3032"
    "3a30332e343536303030a57475706c6593c700010192c70001a161a4736574739292c700020592c7000306a7"
    "6e756d6265727396c70904000000000000000040c709040000000000000000ffd805000000000000f03f0000"
    "000000000040cb7ff8000000000000a3eda080c40162a76d6f6d656e747394c72308323032302d30312d3031"
    "5430303a30303a30302d30323a35393a35392e393939393933c71908323032302d30322d32395430303a3030"
    "3a30302b30303a3030c70a09303030312d30312d303193c70c0a013665c40000000000000000c70c0affc99a"
    "3b7f5101003f420f00c70c0affffffff0300000005000000a77363616c6172739ed42001d42101d5220100d6"
    "2301000000d7240100000000000000d42501d5260100d62701000000d7280100000000000000d529003cd62a"
    "0000803fd72b000000000000f03fd72c0000803f00000000d82d000000000000f03f0000000000000000a574"
    "6578747393d41278d41378c7121192a63c4d385b735dc4080300000000000000a5617272617992c70a1093a3"
    "3e6932920202a146c4080001000300020004a673747275637492c747109394a67374727563741cc29494a161"
    "a57469746c6500a33c693294a173c002a33c553394a16dc00ea73c4d385b6d735d94a3737562c01693a37375"
    "62a37c75319202039102a143c438000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000"
)


def test_the_first_format_stays_readable():
    """Bytes of the first version decode to the same values, and are still written."""
    value = {
        "document": document(3),
        "tuple": (1, ("a",)),
        "sets": [{5}, frozenset({6})],
        "numbers": [2**70, -(2**64), 1 + 2j, float("nan"), "\ud800", b"b"],
        "moments": [PLAIN["offset"], PLAIN["utc"], PLAIN["date"], PLAIN["spans"]],
        "scalars": [kind(1) for kind in NUMPY_SCALARS],
        "texts": [np.str_("x"), np.bytes_(b"x"), np.datetime64(3, "s")],
        "array": np.array([[1, 2], [3, 4]], ">i2", order="F"),
        "struct": np.zeros(2, STRUCTS[2]),
    }
    assert encode(value) == FIRST_FORMAT
    assert_same(decode(FIRST_FORMAT), value)


def test_a_named_time_zone_comes_back():
    """A `ZoneInfo` is restored by its key; an unknown zone raises a CodecError that names it."""
    if "Europe/Berlin" not in zoneinfo.available_timezones():
        pytest.skip("this machine has no time zone database")
    moment = datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    encoded = encode(moment)
    assert_same(decode(encoded), moment)
    with pytest.raises(CodecError, match="no time zone 'Europe/Berlix'"):
        decode(encoded.replace(b"Berlin", b"Berlix"))
    with pytest.raises(CodecError, match="an invalid name"):
        decode(encoded.replace(b"Europe/Berlin", b"../etc/passwd"))


def test_unknown_extensions_are_refused():
    """An extension that a later version may add is an error."""
    with pytest.raises(CodecError, match="extension 120 is unknown"):
        decode(b"\xd4\x78\x00")
