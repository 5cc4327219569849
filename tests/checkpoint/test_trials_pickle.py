"""A pickle assembled from fragments is an ordinary pickle of ordinary hyperopt Trials."""

import pickle
import pickletools
import subprocess
import sys

import hyperopt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colab_drive_tuner.checkpoint.pickles.writer import TrialsPickle
from tests.checkpoint.values import PLAIN, assert_same, document, dump_trials, plain_values

RESULTS = [{}, *({name: value} for name, value in PLAIN.items()), {"text": "x" * 200_000}]
DOCUMENTS = [document(tid, **result) for tid, result in enumerate(RESULTS)]


def plain_trials(documents, **options):
    """Return a Trials that ran these documents."""
    trials = hyperopt.Trials(**options)
    trials._insert_trial_docs(documents)
    trials._ids.update(doc["tid"] for doc in documents)
    trials.refresh()
    return trials


@pytest.mark.parametrize("load", [pickle.loads, pickle._loads])
def test_the_pickle_equals_hyperopts_trials(load):
    """Every attribute equals that of a Trials with these documents that pickle itself copied."""
    documents = [*DOCUMENTS, document(98, state=3), document(99, state=0)]
    expected = plain_trials(documents)
    expected.attachments = {"FMinIter_Domain": b"\x80\x05", "ATTACH::0::big": b"z" * 100_000}
    loaded = load(dump_trials(documents, expected.attachments))
    assert type(loaded) is hyperopt.Trials
    assert vars(loaded).keys() == vars(expected).keys()
    for name, value in vars(pickle.loads(pickle.dumps(expected, 5))).items():
        assert_same(getattr(loaded, name), value)
    assert 98 in loaded._ids
    assert 98 not in loaded.tids


def test_documents_are_the_same_objects_in_both_lists():
    """Hyperopt changes documents in place, so `trials` and `_dynamic_trials` must share them."""
    documents = [document(0), document(1, state=3), document(2)]
    loaded = pickle.loads(dump_trials(documents))
    assert loaded._trials[1] is loaded._dynamic_trials[2]
    assert loaded._trials[0] is loaded._dynamic_trials[0]


@pytest.mark.parametrize("documents", [[], [document(5)]])
def test_few_documents(documents):
    """A pickle may have no document or one."""
    loaded = pickle.loads(dump_trials(documents))
    assert_same(loaded._dynamic_trials, documents)
    assert loaded.attachments == {}


def test_a_document_is_replaced_where_it_stands():
    """A replaced document keeps its position; later changes of the object are not pickled."""
    trials = TrialsPickle()
    for tid in (3, 1, 2):
        trials.replace(document(tid, state=1))
    ended = document(1, note=["now"])
    trials.replace(ended)
    ended["result"]["note"].append("later")
    loaded = pickle.loads(trials.join())
    assert loaded.tids == [3, 1, 2]
    assert loaded.trials[1]["result"]["note"] == ["now"]
    assert len(trials) == 3


@settings(max_examples=30, deadline=None)
@given(st.lists(plain_values, max_size=3), st.dictionaries(st.text(), st.binary()))
def test_any_documents_and_attachments(values, attachments):
    """Random documents and attachments survive, and pickletools accepts the stream."""
    documents = [document(tid, value=value) for tid, value in enumerate(values)]
    data = dump_trials(documents, attachments)
    loaded = pickle.loads(data)
    assert_same(loaded._dynamic_trials, pickle.loads(pickle.dumps(documents, 5)))
    assert_same(loaded.attachments, attachments)
    for _ in pickletools.genops(data):
        pass


def test_the_pickle_is_not_much_larger_than_hyperopts():
    """Values shared by documents are written once, although each is pickled alone."""
    documents = [document(tid) for tid in range(1000)]
    assert len(dump_trials(documents)) < 1.5 * len(pickle.dumps(plain_trials(documents), 5))


def test_the_pickle_opens_without_this_package(tmp_path):
    """A new interpreter loads the pickle with pickle and hyperopt alone."""
    path = tmp_path / "trials.pkl"
    path.write_bytes(dump_trials([document(0), document(1)]))
    code = (
        "import pickle, sys; trials = pickle.load(open(sys.argv[1], 'rb')); print(trials.losses());"
        "assert not any(name.startswith('colab_drive') for name in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[0.0, 0.125]"


def test_a_loaded_trials_can_be_continued():
    """`fmin` continues loaded trials from the next id."""
    loaded = pickle.loads(dump_trials([document(0), document(1)]))
    space = {"x": hyperopt.hp.uniform("x", 0, 1)}
    hyperopt.fmin(
        lambda point: point["x"],
        space,
        hyperopt.rand.suggest,
        3,
        trials=loaded,
        rstate=np.random.default_rng(1),
        show_progressbar=False,
    )
    assert loaded.tids == [0, 1, 2]
