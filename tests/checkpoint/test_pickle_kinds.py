"""Pickles of Trials that are compressed, merged, from MongoDB, or written by joblib or dill."""

import bz2
import gzip
import io
import lzma
import pickle
import sys
import tarfile
import types
import zipfile
import zlib
from collections import Counter, OrderedDict, defaultdict
from fractions import Fraction
from pathlib import Path

import cloudpickle
import hyperopt
import joblib
import numpy as np
import pytest

from colab_drive_tuner.checkpoint.pickles.reader import read_trials
from colab_drive_tuner.errors import UsageError
from tests.checkpoint.values import PLAIN, assert_same, document

PROTOCOLS = range(6)
DOCUMENTS = [document(tid, history=[float(n) for n in range(50)]) for tid in range(5)]


def zipped(*names):
    """Return a zip file of pickles with these names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, pickle.dumps(DOCUMENTS))
    return file.getvalue()


def archived():
    """Return a tar archive with one pickle."""
    pickled = pickle.dumps(DOCUMENTS)
    archive, member = io.BytesIO(), tarfile.TarInfo("trials.pkl")
    member.size = len(pickled)
    with tarfile.open(fileobj=archive, mode="w") as file:
        file.addfile(member, io.BytesIO(pickled))
    return archive.getvalue()


COMPRESSED = {
    "gzip": gzip.compress(pickle.dumps(DOCUMENTS)),
    "two members of gzip": (
        gzip.compress(pickle.dumps(DOCUMENTS)[:99]) + gzip.compress(pickle.dumps(DOCUMENTS)[99:])
    ),
    "bz2": bz2.compress(pickle.dumps(DOCUMENTS)),
    "xz": lzma.compress(pickle.dumps(DOCUMENTS)),
    "lzma": lzma.compress(pickle.dumps(DOCUMENTS), lzma.FORMAT_ALONE),
    "zlib": zlib.compress(pickle.dumps(DOCUMENTS)),
    "zip": zipped("trials.pkl"),
}


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_compressed_pickle_is_read(kind, tmp_path):
    """The compression is recognized by the content, not by the file's name."""
    path = tmp_path / "trials.pkl"
    path.write_bytes(COMPRESSED[kind])
    assert_same(read_trials(path), (DOCUMENTS, {}))


@pytest.mark.parametrize("kind", ["gzip", "xz"])
@pytest.mark.parametrize("size", [512, 20_000])
def test_zeros_behind_a_compressed_pickle_are_padding(kind, size, tmp_path):
    """Zeros, with which both formats may be padded, are ignored, as `gzip` does."""
    path = tmp_path / "trials.pkl"
    path.write_bytes(COMPRESSED[kind] + bytes(size))
    assert_same(read_trials(path), (DOCUMENTS, {}))


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_damaged_compressed_pickle_is_named(kind):
    """A file that is cut or has a wrong byte raises an error that names the format."""
    whole = COMPRESSED[kind]
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]
    name = kind.split()[-1]
    for data in (whole[:-9], flipped):
        with pytest.raises(UsageError, match=f"{name} file|it is damaged"):
            read_trials(data)
    with pytest.raises(UsageError, match=f"a (damaged )?{name} file"):
        read_trials(whole[: len(whole) // 3])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (zipped("a.pkl", "b.pkl"), "a zip file of 2 files: unpack it"),
        (zipped(), "a zip file of 0 files"),
        (b"\x04\x22\x4d\x18" + bytes(20), "compressed by lz4: decompress it first"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "compressed by Zstandard: decompress it first"),
        (archived(), "a tar archive: unpack it"),
        (gzip.compress(archived()), "a tar archive: unpack it"),
        (b"SQLite format 3\0" + bytes(84), "an SQLite database, not a pickle"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "an HDF5 file, not a pickle"),
        (b"\x93NUMPY\1\0" + bytes(20), "an array saved by numpy, not a pickle"),
        (b"S'text'\n.", r"Python 2: if you trust it, load it with pickle.load\(file, encoding="),
    ],
)
def test_a_format_that_cannot_be_read_is_named_with_the_remedy(data, words):
    """The error about another format names it and says what to do."""
    with pytest.raises(UsageError, match=words):
        read_trials(data)


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3)])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pickles_of_joblib_are_read(tmp_path, compress, protocol):
    """Files of joblib, which have arrays as raw bytes after their description, are read."""
    path = tmp_path / "trials.joblib"
    arrays = [value for value in PLAIN["dtypes"] if value.dtype.names is None]
    values = [*arrays, *PLAIN["shapes"], np.asfortranarray(np.arange(6.0).reshape(2, 3))]
    trials = hyperopt.trials_from_docs([document(0, arrays=values)], validate=False)
    joblib.dump(trials, path, compress=compress, protocol=protocol)
    ((read,), _) = read_trials(path)
    for one, other in zip(read["result"]["arrays"], values, strict=True):
        assert_same(one, np.array(other, order="K"))


def test_joblibs_arrays_of_objects_are_refused(tmp_path):
    """Object arrays, which joblib stores as separate pickles, are refused."""
    joblib.dump([document(0, value=np.array([1, None]))], tmp_path / "x")
    with pytest.raises(UsageError, match=r"not one of numpy's plain dtypes"):
        read_trials(tmp_path / "x")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_dicts_of_the_standard_library_become_dicts(protocol):
    """OrderedDict, defaultdict and Counter become dicts with the same items in the same order."""
    ordered = OrderedDict([("b", 1), ("a", OrderedDict(x=2))])
    several = defaultdict(list, {"k": [1, 2]})
    entry = OrderedDict(document(0, ordered=ordered, several=several, counted=Counter("aab")))
    ((read,), _) = read_trials(pickle.dumps([entry], protocol))
    plain = document(0, ordered={"b": 1, "a": {"x": 2}}, several={"k": [1, 2]})
    plain["result"]["counted"] = {"a": 2, "b": 1}
    assert_same(read, plain)


@pytest.fixture
def bson(monkeypatch):
    """Define the two classes of MongoDB's package, which pickle as the real ones do."""

    class ObjectId:
        def __getstate__(self):
            return bytes(range(12))

    class SON(dict):
        def __init__(self, pairs):
            super().__init__(pairs)
            self.__keys = list(self)

    ObjectId.__module__, ObjectId.__qualname__ = "bson.objectid", "ObjectId"
    SON.__module__, SON.__qualname__ = "bson.son", "SON"
    for name, held in {"bson.objectid": ObjectId, "bson.son": SON}.items():
        module = types.ModuleType(name)
        setattr(module, held.__name__, held)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "bson", types.ModuleType("bson"))
    return ObjectId, SON


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_documents_from_mongodb_are_read(bson, protocol):
    """In documents from MongoDB, ordered dicts become dicts and ids become text."""
    object_id, son = bson
    entry = son({**document(0), "_id": object_id()})
    ((read,), _) = read_trials(pickle.dumps([entry], protocol))
    assert_same(read, {**document(0), "_id": "000102030405060708090a0b"})


DILL = (
    b"\x80\x04]}\x94(\x8c\x01a\x8c\ndill._dill\x8c\r_create_array\x93("
    b"\x8c\x16numpy._core.multiarray\x8c\x0c_reconstruct\x93"
    b"\x8c\x05numpy\x8c\x07ndarray\x93K\x00\x85C\x01b\x87"
    b"(K\x01K\x01\x85\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02f8\x89\x88\x87R"
    b"(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89C\x08\x00\x00\x00\x00\x00\x00\xf8?t"
    b"NtR"
)
"""The beginning of a list by dill whose first item is a dict with the array [1.5]."""


def test_arrays_that_dill_wrote_are_read():
    """Arrays that dill creates through a function of its own are read."""
    rest = pickle.dumps(document(0), 4)
    rest = rest[rest.index(b"}") + 1 :]
    body = rest[rest.index(b"(") + 1 : -1]
    ((read,), _) = read_trials(DILL + body + b"a.")
    assert_same(read.pop("a"), np.array([1.5]))
    assert_same(read, document(0))


def test_merged_trials_get_new_ids_for_taken_ones():
    """All documents of two merged Trials are kept; those whose id is taken get a free one."""
    first = hyperopt.trials_from_docs([document(tid) for tid in range(3)], validate=False)
    second = [document(tid, note="second") for tid in (1, 7, 7)]
    merged = hyperopt.trials_from_docs([*first, *second, first.trials[0]], validate=False)
    merged.attachments["ATTACH::1::a"] = b"of the first"
    read, attachments = read_trials(pickle.dumps(merged))
    assert [doc["tid"] for doc in read] == [0, 1, 2, 8, 7, 9, 10]
    assert_same(read[:3], [document(tid) for tid in range(3)])
    assert attachments == {"ATTACH::1::a": b"of the first"}
    for doc, old in zip(read[3:], [*second, document(0)], strict=True):
        assert doc["misc"]["tid"] == doc["tid"]
        assert doc["misc"]["idxs"] == {"x": [doc["tid"]], "unused": []}
        assert_same(doc["result"], old["result"])
        assert_same(doc["misc"]["vals"], old["misc"]["vals"])
    hyperopt.trials_from_docs(read)  # checks that documents are as hyperopt writes them


def test_values_of_other_packages_are_named_with_their_place():
    """The error about a value of another package gives its path, its class and the remedy."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2]})
    trials = hyperopt.trials_from_docs([document(0), document(1, table=[0, frame])], validate=False)
    words = r"document\[1\]\['result'\]\['table'\]\[1\] holds an object of pandas.*DataFrame"
    with pytest.raises(UsageError, match=words + ".*replace that with numbers"):
        read_trials(pickle.dumps(trials))
    stamp = pandas.Timestamp(2020, 1, 1)
    with pytest.raises(UsageError, match=r"\['when'\] tries to call pandas.*_unpickle_timestamp"):
        read_trials(pickle.dumps([document(0, when=stamp)]))


class Loaded(hyperopt.Trials):
    """A subclass with attributes that no trial document may contain."""

    def __init__(self):
        super().__init__()
        self.root = Path("/tmp")
        self.rng = np.random.default_rng(1)
        self.ordered = OrderedDict(a=[Fraction(1, 3)])
        self.objects = np.array([1, None])
        self.masked = np.ma.masked_array([1, 2], [0, 1])
        self.function = lambda x: x + 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_other_attributes_of_a_subclass_are_ignored(protocol, monkeypatch):
    """Other attributes of a subclass are ignored, even if the pickle contains the class itself."""
    monkeypatch.setattr(Loaded, "__module__", "__main__")
    trials = Loaded()
    trials._insert_trial_docs(DOCUMENTS)
    trials.refresh()
    data = cloudpickle.dumps(trials, protocol=protocol)
    assert b"_make_skeleton_class" in data
    assert_same(read_trials(data), (DOCUMENTS, {}))
