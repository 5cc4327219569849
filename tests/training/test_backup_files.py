"""Backup files: stored bit for bit, and refused unless complete."""

import hashlib

import ml_dtypes
import msgpack
import numpy as np
import pytest

from colab_drive_tuner.checkpoint.codec import codec
from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.errors import ChecksumError, NotPlainDataError
from colab_drive_tuner.training.backup.writer import read_backup, write_backup

TREE = {
    "plain": [None, True, 3, -1.5, "text", b"bytes", {"a": 1, 2: ()}],
    "tuple": (1, [2, (3, 4)], np.arange(3)),
    "nan": float("nan"),
    "arrays": [
        np.zeros((0, 3), np.float32),
        np.array(7, np.uint32),
        np.arange(12.0).reshape(3, 4).T,
        np.array([1.5, np.nan], ml_dtypes.bfloat16),
        np.array([1.5, 2], ml_dtypes.float8_e4m3fn),
        np.array([1, -1], ml_dtypes.int4),
        np.array([True, False]),
        np.array(["loss", "val_loss"]),
        np.array([b"a", b"bc"]),
        np.array([1, 2], ">i4"),
        np.array(["2026-01-01"], "M8[s]"),
        np.arange(50_000, dtype=np.float32).reshape(100, 500),
        np.arange(40_000).astype(ml_dtypes.bfloat16),
    ],
    "scalars": [np.float32(1.1), ml_dtypes.bfloat16(1.5)],
}


def test_what_was_written_is_read_bit_for_bit(tmp_path):
    """Types, shapes and values are kept; tuples stay tuples and numpy scalars numpy scalars."""
    write_backup(tmp_path / "x", TREE)
    read = read_backup(tmp_path / "x")
    assert repr(read) == repr(TREE)
    for one, other in zip(read["arrays"], TREE["arrays"], strict=True):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    assert [type(scalar) for scalar in read["scalars"]] == [np.float32, ml_dtypes.bfloat16]


def test_an_array_too_large_for_one_piece_is_written_in_several(tmp_path, monkeypatch):
    """A variable larger than 4 GiB, the limit of the format, is written in several pieces."""
    monkeypatch.setattr(codec, "_CHUNK", 70_001)
    write_backup(tmp_path / "x", TREE["arrays"])
    for one, other in zip(read_backup(tmp_path / "x"), TREE["arrays"], strict=True):
        assert (one.shape, one.tobytes()) == (other.shape, other.tobytes())


def test_any_altered_byte_is_noticed(tmp_path):
    """Altered, truncated or extended files raise a ChecksumError."""
    path = tmp_path / "x"
    write_backup(path, TREE)
    whole = path.read_bytes()
    for place in (0, 9, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ChecksumError):
            read_backup(path)
    for other in (b"", whole[:10], whole[:-1], whole + b"x"):
        path.write_bytes(other)
        with pytest.raises(ChecksumError):
            read_backup(path)


def array(spec, shape, content):
    """Return an encoded array as a forger would write it."""
    head = msgpack.packb(msgpack.ExtType(16, msgpack.packb([spec, shape, "C"])))
    return b"\x92" + head + msgpack.packb(content)


NESTED = b"\xc0"
for _ in range(2000):
    NESTED = msgpack.packb(msgpack.ExtType(1, b"\x91" + NESTED))

FORGED = {
    "objects": array("|O", [1], b"12345678"),
    "no objects": array("|O", [0], b""),
    "four terabytes": array("<f4", [2**40], b"1234"),
    "a negative shape": array("<f4", [-1, -4], b"1234" * 4),
    "too few bytes": array("<f4", [12], b"1234"),
    "no such type": array("no such type", [1], b"1234"),
    "no type": array(7, [1], b"1234"),
    "a head of nothing": b"\x92" + msgpack.packb(msgpack.ExtType(16, b"")) + b"\xc4\x00",
    "values in values": NESTED,
    "nothing": b"",
    "two values": encode(1) + encode(2),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_is_refused(tmp_path, name):
    """Objects, sizes beyond the file and nonsense are refused despite a correct checksum."""
    content = b"CDTBACK2" + FORGED[name]
    (tmp_path / "x").write_bytes(content + hashlib.sha256(content).digest())
    with pytest.raises(ChecksumError):
        read_backup(tmp_path / "x")


def test_a_file_of_another_version_is_refused(tmp_path):
    """A file of another version is recognized by its first bytes."""
    content = b"CDTBACK9" + encode(1)
    (tmp_path / "x").write_bytes(content + hashlib.sha256(content).digest())
    with pytest.raises(ChecksumError, match="not a backup of this version"):
        read_backup(tmp_path / "x")


def test_an_object_array_is_not_written(tmp_path):
    """An object array is refused, because it would contain pointers."""
    with pytest.raises(NotPlainDataError):
        write_backup(tmp_path / "x", {"a": np.array([object()])})
