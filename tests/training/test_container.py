"""Backup files: bit for bit, and refused unless whole."""

import hashlib
import struct

import ml_dtypes
import msgpack
import numpy as np
import pytest

from colab_drive_tuner.errors import ChecksumError
from colab_drive_tuner.training.backup.container import read_container, write_container

TREE = {
    "plain": [None, True, 3, -1.5, "text", b"bytes", {"a": 1, 2: ()}],
    "tuple": (1, [2, (3, 4)], np.arange(3)),
    "nan": float("nan"),
    "arrays": [
        np.zeros((0, 3), np.float32),
        np.array(7, np.uint32),
        np.arange(12.0).reshape(3, 4).T,
        np.array([1.5, np.nan], ml_dtypes.bfloat16),
        np.array([True, False]),
        np.array(["loss", "val_loss"]),
        np.array([b"a", b"bc"]),
        np.array([1, 2], ">i4"),
        np.array(["2026-01-01"], "M8[s]"),
    ],
    "scalar": np.float32(1.1),
}


def test_what_was_written_is_read_bit_for_bit(tmp_path):
    """Types, shapes and values; tuples stay tuples, numpy scalars numpy scalars."""
    write_container(tmp_path / "x", TREE)
    read = read_container(tmp_path / "x")
    assert repr(read) == repr(TREE)
    for one, other in zip(read["arrays"], TREE["arrays"], strict=True):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    assert type(read["scalar"]) is np.float32


def test_what_cannot_be_read_again_is_not_written(tmp_path):
    """Objects, and records, whose fields no name tells."""
    for array in (np.array([None]), np.zeros(2, [("a", "i4"), ("b", "f8")])):
        with pytest.raises(TypeError, match="no plain data"):
            write_container(tmp_path / "x", [array])


def test_any_altered_byte_is_noticed(tmp_path):
    """As is a file that was cut off, or that goes on."""
    path = tmp_path / "x"
    write_container(path, TREE)
    whole = path.read_bytes()
    for place in (0, 9, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ChecksumError):
            read_container(path)
    for other in (b"", whole[:10], whole[:-1], whole + b"x"):
        path.write_bytes(other)
        with pytest.raises(ChecksumError):
            read_container(path)


def forged(body, layout, arrays=b""):
    """A file with a right checksum and any content."""
    header = msgpack.packb([msgpack.packb(body), layout])
    content = b"CDTBACK1" + struct.pack(">Q", len(header)) + header + arrays
    return content + hashlib.sha256(content).digest()


@pytest.mark.parametrize(
    ("body", "layout"),
    [
        (msgpack.ExtType(1, msgpack.packb(5)), []),
        (1, [["object", [1]]]),
        (1, [["O", [0]]]),
        (1, [["float32", [2**40]]]),
        (1, [["float32", [-1, -4]]]),
        (1, [["float32", [12]]]),
        (1, [["no such type", [1]]]),
        (1, [7]),
        (msgpack.ExtType(3, b""), []),
        (1, 5),
    ],
)
def test_a_forged_file_is_refused(tmp_path, body, layout):
    """Objects, sizes beyond the file, and nonsense are no backup, whatever the checksum says."""
    (tmp_path / "x").write_bytes(forged(body, layout))
    with pytest.raises(ChecksumError):
        read_container(tmp_path / "x")


def test_what_is_no_plain_data_is_not_written(tmp_path):
    """An object array would hold pointers."""
    with pytest.raises(TypeError):
        write_container(tmp_path / "x", {"a": np.array([object()])})
