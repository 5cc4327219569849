"""Reading pickles of hyperopt Trials: exact values, and errors that name invalid documents."""

import pickle
import zoneinfo
from datetime import datetime
from pathlib import Path

import cloudpickle
import hyperopt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colab_drive_tuner.checkpoint.codec.codec import decode, encode
from colab_drive_tuner.checkpoint.pickles.reader import read_trials
from colab_drive_tuner.errors import UsageError
from tests.checkpoint.values import (
    NOT_PLAIN,
    PLAIN,
    assert_same,
    document,
    dump_trials,
    plain_values,
)

FIXTURES = Path(__file__).parent / "fixtures"
PROTOCOLS = range(6)


class OwnTrials(hyperopt.Trials):
    """A subclass whose own state is not plain data."""

    def __init__(self):
        super().__init__()
        self.other = hyperopt.exceptions.AllTrialsFailed
        self.nested = hyperopt.Trials()


class PlainlyPickledTrials(hyperopt.Trials):
    """A subclass that pickles itself as a plain Trials, as DriveTrials does."""

    def __reduce__(self):
        return hyperopt.Trials, (), vars(self)


class SlottedTrials(hyperopt.Trials):
    __slots__ = ("extra",)


def trials_of(documents, kind=hyperopt.Trials):
    """Return a Trials, or an object of a subclass, with these documents."""
    trials = kind()
    trials._insert_trial_docs(documents)
    trials.refresh()
    trials.attachments["FMinIter_Domain"] = b"\x80\x04whatever"
    return trials


PICKLE_LOSES = {"odd_nan": 0, "naive": 3}
"""The highest protocol in which pickle itself loses a NaN's payload or a datetime's fold."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", PLAIN)
def test_every_plain_value_is_read_exactly(name, protocol):
    """Values survive in every protocol; big-endian arrays, too, which `pickle.load` converts."""
    documents = [document(0, value=PLAIN[name])]
    data = pickle.dumps(documents, protocol)
    if protocol <= PICKLE_LOSES.get(name, -1):
        documents = pickle.loads(data)
    assert_same(read_trials(data), (documents, {}))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", [hyperopt.Trials, OwnTrials, PlainlyPickledTrials, SlottedTrials])
@pytest.mark.parametrize("package", [pickle, cloudpickle])
def test_trials_and_subclasses_are_read(package, kind, protocol):
    """Documents of failed trials and attachments are read, too."""
    documents = [document(0), document(1, state=3), document(2, state=0)]
    trials = trials_of(documents, kind)
    if kind is SlottedTrials:
        trials.extra = 5
        protocol = max(protocol, 2)  # earlier protocols cannot write __slots__
    read, attachments = read_trials(package.dumps(trials, protocol=protocol))
    assert_same(read, documents)
    assert attachments == trials.attachments


@settings(max_examples=50, deadline=None)
@given(st.lists(plain_values, max_size=3), st.sampled_from([4, 5]))
def test_nested_plain_values_are_read_exactly(values, protocol):
    """Pickled plain documents are read exactly, and the codec accepts them."""
    documents = [document(tid, value=value) for tid, value in enumerate(values)]
    read, _ = read_trials(pickle.dumps(documents, protocol))
    assert_same(read, documents)
    assert_same(decode(encode(read)), documents)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_named_time_zone_is_read(protocol):
    """A time in a `ZoneInfo` comes back with it."""
    if "Europe/Berlin" not in zoneinfo.available_timezones():
        pytest.skip("this machine has no time zone database")
    moment = datetime(2020, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    (read,), _ = read_trials(pickle.dumps([document(0, value=moment)], protocol))
    assert_same(read["result"]["value"], moment)


def test_a_pickle_of_dump_trials_is_read():
    """`read_trials` reads what `dump_trials` writes."""
    documents = [document(tid, **{name: value}) for tid, (name, value) in enumerate(PLAIN.items())]
    attachments = {"a": b"b" * 100_000, "ä": b""}
    assert_same(read_trials(dump_trials(documents, attachments)), (documents, attachments))


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.pkl")), ids=lambda path: path.stem)
def test_pickles_of_older_numpy_are_read(path):
    """Files of numpy 1.26, whose constructors have other names, are read."""
    documents, attachments = read_trials(path)
    assert [doc["misc"]["vals"]["x"] for doc in documents] == [[0.0], [1 / 7]]
    result = documents[1]["result"]
    assert_same(result["loss"], np.float64(0.125))
    assert_same(result["big"], np.arange(3, dtype=">i4"))
    assert_same(result["when"], np.array(["2020-01-01", "NaT"], "M8[D]"))
    assert_same(result["rec"], np.array([(1, "a")], [("i", "i1"), ("u", "U3")]))
    assert_same(result["f"], np.arange(6.0).reshape(2, 3))
    assert_same([result["s"], result["b"]], [np.str_("x"), b"\xff\x00"])
    assert documents[0]["book_time"] == datetime(2020, 1, 1, 2, 3, 4, 5000)
    assert attachments == {"A": b"bytes"}


def test_objects_in_two_places_stay_one():
    """A shared object stays shared, as with `pickle.load`."""
    shared = [1]
    ((read,), _) = read_trials(pickle.dumps([document(0, a=shared, b=shared)]))
    assert read["result"]["a"] is read["result"]["b"]


@pytest.mark.parametrize("name", sorted(NOT_PLAIN.keys() - {"module", "memoryview", "ordered"}))
def test_a_value_that_is_not_plain_is_refused(name):
    """A document with a value that is not plain is refused, and nothing is dropped."""
    with pytest.raises(UsageError, match="cannot be read as trials"):
        read_trials(cloudpickle.dumps([document(0, value=NOT_PLAIN[name])]))


def broken(**changes):
    """Return a document with other values of these keys."""
    return {**document(4), **changes}


def broken_misc(**changes):
    """Return a document with other values of these keys in its misc."""
    return broken(misc={**document(4)["misc"], **changes})


BROKEN = {
    "its misc has the number of another trial": broken_misc(tid=5),
    "under another tid": broken_misc(idxs={"x": [5], "unused": []}),
    "an invalid index of 'x'": broken_misc(idxs={"x": [], "unused": []}),
    "differ in their labels": broken_misc(vals={"x": [1]}),
    "its misc.vals or misc.idxs is not a map": broken_misc(idxs=None),
    "an invalid index of 'unused'": broken_misc(
        idxs={"x": [4], "unused": {}}, vals={"x": [1], "unused": []}
    ),
    "its misc.vals is not a map of lists": broken_misc(
        idxs={"x": [4], "unused": []}, vals={"x": [1], "unused": {}}
    ),
    "its value of 'x' is .'high'.,": broken_misc(vals={"x": ["high"], "unused": []}),
    "its state is 7": broken(state=7),
    "its state is True": broken(state=True),
    "its result is not a map": broken(result=None),
    "its loss is 'low'": broken(result={"status": "ok", "loss": "low"}),
    "its misc is not a map": broken(misc=[]),
}


@pytest.mark.parametrize("words", BROKEN)
def test_a_document_that_hyperopt_would_not_write_is_named(words):
    """The error about an invalid document names the trial's id and what is wrong."""
    with pytest.raises(UsageError, match=f"trial 4 is not a trial document: .*{words}"):
        read_trials(pickle.dumps([document(0), BROKEN[words]]))


def test_incomplete_and_odd_documents_are_named():
    """Missing keys, a negative id and entries that are not documents are named."""
    for key in document(0):
        if key not in ("tid", "version"):
            incomplete = document(0)
            del incomplete[key]
            with pytest.raises(UsageError, match=f"trial 0 .* has no '{key}'"):
                read_trials(pickle.dumps([incomplete]))
    with pytest.raises(UsageError, match=r"trial -1 .* has a negative tid"):
        read_trials(pickle.dumps([document(-1)]))
    for entry in (5, {}, {"tid": True}, {"tid": "a"}):
        with pytest.raises(UsageError, match="entry 1 is not a trial document"):
            read_trials(pickle.dumps([document(0), entry]))


def test_a_file_is_read_or_named(tmp_path):
    """A file is read from its path; the error about an unreadable file names it."""
    path = tmp_path / "trials.pkl"
    path.write_bytes(dump_trials([document(0)]))
    assert_same(read_trials(path), ([document(0)], {}))
    assert_same(read_trials(str(path)), ([document(0)], {}))
    with pytest.raises(UsageError, match=r"missing.pkl cannot be read: No such file"):
        read_trials(tmp_path / "missing.pkl")
    with pytest.raises(UsageError, match="it is not a file"):
        read_trials(tmp_path)
    with path.open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(UsageError, match="larger than 1024 MiB"):
        read_trials(path)
    path.write_bytes(b"")
    with pytest.raises(UsageError, match=r"trials.pkl cannot be read as trials: it is damaged"):
        read_trials(path)
