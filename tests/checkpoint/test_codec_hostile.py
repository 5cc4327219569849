"""`decode` of arbitrary bytes returns plain data or raises CodecError, within bounded memory."""

import random
import struct
import time
import tracemalloc

import msgpack
import pytest

from colab_drive_tuner.checkpoint.codec.codec import CodecError, decode, encode
from tests.checkpoint.values import PLAIN


def ext(code, data=b""):
    """Return an extension value with that payload."""
    return msgpack.packb(msgpack.ExtType(code, data))


def array(spec, shape, order="C", data=b""):
    """Return an encoded array as a forger would write it."""
    return b"\x92" + ext(16, msgpack.packb([spec, shape, order])) + msgpack.packb(data)


def struct_of(itemsize, *rows):
    """Return the description of a structured dtype."""
    return ["struct", itemsize, False, [list(row) for row in rows]]


NEW_YEAR = b"2020-01-01T00:00:00"
NESTED_SPEC = "<f8"
for _ in range(100):
    NESTED_SPEC = ["sub", NESTED_SPEC, [1]]

HOSTILE = {
    "nothing": b"",
    "cut": encode({"a": [1, 2, 3]})[:-1],
    "two values": encode(1) + encode(2),
    "reserved byte": b"\xc1",
    "list of 4 billion": b"\xdd\xff\xff\xff\xff",
    "dict of 4 billion": b"\xdf\xff\xff\xff\xff",
    "bytes of 4 GB": b"\xc6\xff\xff\xff\xffabc",
    "extension of 4 GB": b"\xc9\xff\xff\xff\xff\x10abc",
    "nested lists": b"\x91" * 100_000 + b"\xc0",
    "nested dicts": b"\x81\xc0" * 100_000 + b"\xc0",
    "nested tuples": (b"\x92" + ext(1)) * 100_000 + b"\xc0",
    "list as a key": b"\x81\x90\xc0",
    "dict in a set": b"\x92" + ext(2) + b"\x80",
    "marker alone": ext(1),
    "marker last": b"\x92\x01" + ext(1),
    "two markers": b"\x92" + ext(1) + ext(2),
    "marker as a key": b"\x81" + ext(1) + b"\x00",
    "marker with content": b"\x92" + ext(1, b"x") + b"\x00",
    "splice": ext(127, b"x" * 16),
    "unknown extension": ext(99),
    "short datetime": ext(8, b"\x00"),
    "no datetime": ext(8),
    "datetime of month 13": ext(8, b"2020-13-01T00:00:00"),
    "datetime that is not text": ext(8, b"\xff"),
    "datetime twice": ext(8, NEW_YEAR * 2),
    "zone outside": ext(8, NEW_YEAR + b" ../../x"),
    "zone at the root": ext(8, NEW_YEAR + b" /etc/passwd"),
    "zone that is a folder": ext(8, NEW_YEAR + b" Europe"),
    "zone of a hundred hours": ext(8, NEW_YEAR + b"+99:00"),
    "date of day 0": ext(9, b"2020-01-00"),
    "date that is not text": ext(9, b"\xff"),
    "endless timedelta": ext(10, struct.pack("<iii", 2**31 - 1, 0, 0)),
    "text that is none": ext(18, b"\xff"),
    "short number": ext(32 + 11, b"1234"),
    "array without head": b"\x92" + ext(16) + b"\xc4\x00",
    "array without a list": ext(16, msgpack.packb(["<f8", [0], "C"])),
    "array in two pieces, of which one is a list": b"\x93"
    + (ext(16, msgpack.packb(["<f8", [1], "C"])) + b"\xc4\x08" + b"8" * 8 + b"\x90"),
    "array of a number": b"\x92" + ext(16, msgpack.packb(["<f8", [1], "C"])) + b"\x01",
    "array with a head of text": b"\x92" + ext(16, msgpack.packb("abc")) + b"\xc4\x00",
    "array with a head in a head": b"\x92" + ext(16, ext(16, b"\x90")) + b"\xc4\x00",
    "dtype of a package that is not here": array("float8_nothing", [1], data=b"1"),
    "scalar without a head": ext(17),
    "scalar of two": ext(17, msgpack.packb(["<f4", b"12345678"])),
    "scalar that is an object": ext(17, msgpack.packb(["|O", b"12345678"])),
    "array of 2**60": array("<f8", [2**60]),
    "array of nearly 2**64": array("<f8", [2**64 - 1]),
    "array that wraps around": array("<f8", [2**61, 8]),
    "array of zero and too many": array("<f8", [0, 2**62, 2**62]),
    "array of -1": array("<f8", [-1], data=b"12345678"),
    "array of 1000 dimensions": array("<f8", [1] * 1000, data=b"12345678"),
    "array of float length": array("<f8", [1.0], data=b"12345678"),
    "array with a shape of text": array("<f8", "1", data=b"12345678"),
    "too few bytes": array("<f8", [3], data=b"12345678"),
    "too many bytes": array("<f8", [1], data=b"1234567890123456"),
    "objects": array("|O", [1], data=b"12345678"),
    "objects by size": array("O8", [1], data=b"12345678"),
    "dtype list": array("f8,O", [1], data=b"1234567812345678"),
    "dtype by name": array("float64", [1], data=b"12345678"),
    "dtype of no bytes": array("|V0", [2**40]),
    "dtype of a gigabyte": array("|V999999999", [1]),
    "odd float": array("<f7", [1], data=b"1234567"),
    "dtype as dict": array({"names": ["a"]}, [1], data=b"12345678"),
    "hidden objects": array(struct_of(8, ["a", None, 0, "|O"]), [1], data=b"12345678"),
    "field outside": array(struct_of(8, ["a", None, 4, "<f8"]), [1], data=b"12345678"),
    "negative field": array(struct_of(8, ["a", None, -4, "<f4"]), [1], data=b"12345678"),
    "equal names": array(struct_of(8, *[["a", None, 0, "<f4"]] * 2), [1], data=b"12345678"),
    "endless struct": array(struct_of(2**62, ["a", None, 0, "<f4"]), [0]),
    "endless subarray": array(["sub", "<f8", [2**60]], [0]),
    "nested dtype": array(NESTED_SPEC, [1], data=b"12345678"),
    "text beyond Unicode": array("<U1", [1], data=b"\xff\xff\xff\x7f"),
    "text beyond Unicode, in a field": array(
        struct_of(4, ["a", None, 0, ">U1"]), [1], data=b"\x7f\xff\xff\xff"
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_one_clear_error(name):
    """Hostile bytes raise a CodecError with a message."""
    with pytest.raises(CodecError, match=r"\w+ \w+"):
        decode(HOSTILE[name])


def test_claimed_lengths_allocate_no_memory():
    """Nested headers that claim a million elements allocate nothing in advance."""
    bomb = b"\xdd\x00\x0f\x00\x00" * 500
    bomb += b"\x00" * (2**20 - len(bomb))
    tracemalloc.start()
    try:
        with pytest.raises(CodecError):
            decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_randomly_damaged_bytes_decode_or_raise_codec_error():
    """Bytes that are cut, changed, doubled or mixed give plain data or a CodecError."""
    chance = random.Random(5)
    whole = [encode(value) for name, value in PLAIN.items() if name != "large"]
    started = time.process_time()
    for _ in range(6000):
        data = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(data) + 1)
            step = chance.randrange(4)
            if step == 0:
                data[place : place + 1] = bytes([chance.randrange(256)])
            elif step == 1:
                del data[place : place + chance.randint(1, 9)]
            elif step == 2:
                data[place:place] = chance.choice(whole)[: chance.randint(1, 40)]
            else:
                data[place:place] = chance.randbytes(chance.randint(1, 5))
        try:
            encode(decode(bytes(data)))  # encode accepts only plain data
        except CodecError:
            continue
    assert time.process_time() - started < 60
