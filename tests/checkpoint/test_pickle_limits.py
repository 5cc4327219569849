"""Limits of importing a pickle: memory and time stay proportional to the file's size."""

import bz2
import gzip
import io
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import hyperopt
import pytest

from colab_drive_tuner.checkpoint.codec.codec import CodecError, decode, encode
from colab_drive_tuner.checkpoint.pickles import compressed
from colab_drive_tuner.checkpoint.pickles import reader as pickle_reader
from colab_drive_tuner.checkpoint.pickles.interpreter import PickleInterpreter
from colab_drive_tuner.checkpoint.pickles.reader import read_trials
from colab_drive_tuner.errors import UsageError
from tests.checkpoint.attacks import tuples_alike
from tests.checkpoint.values import document

ROOT = Path(__file__).parents[2]

DENSE = {
    "None": b"N",
    "dicts": b"}",
    "sets": b"\x8f",
    "lists": b"]",
    "marks": b"(",
    "frozensets": b"(\x91",
    "remembered lists": b"]\x94",
    "dicts with an item": b"}NNs",
    "sets with an element": b"\x8f(N\x90",
    "tuples": b"N\x85",
    "pairs": b"2\x86",
    "names": b"ca\nb\n",
    "objects": b"ca\nb\n)\x81",
    "calls": b"ca\nb\n)R",
    "wide text": b"X\x05\x00\x00\x00a\xf0\x9f\x99\x82",
    "copied sets": b"cbuiltins\nset\n](NNNe\x85R",
}
"""The opcodes that create the largest objects per byte, to be repeated."""

CHILD = """
import resource, sys
from tests.checkpoint.test_pickle_limits import DENSE
from colab_drive_tuner.checkpoint.pickles.interpreter import PickleInterpreter
from colab_drive_tuner.checkpoint.pickles.reader import read_trials
from colab_drive_tuner.errors import UsageError
limit, size, *names = sys.argv[1:]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(limit),) * 2)
for name in names:
    data = b"](N" + DENSE[name] * (int(size) // len(DENSE[name])) + b"e."
    try:
        read_trials(data)
    except UsageError as error:
        print(name, "|", error, flush=True)
"""


def in_a_child_with(memory, size, *names):
    """Return what CHILD prints when it may allocate `memory` more bytes after its imports."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(memory), str(size), *names],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(line.split(" | ", 1) for line in done.stdout.splitlines())


LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@LINUX
def test_a_pickle_takes_at_most_its_bound():
    """Pickles of any dense opcode are refused before this machine's memory runs out."""
    size = 400_000
    bound = pickle_reader._GROWTH * size + pickle_reader._GROWTH_FREE
    refused = in_a_child_with(bound * 5 // 4, size, *DENSE)
    assert refused.keys() == DENSE.keys()
    assert not [name for name, words in refused.items() if "this machine" in words]
    assert "more than 102 MiB of memory. If you trust it, load it" in refused["sets"]


@LINUX
def test_a_machine_with_less_memory_says_so():
    """Without enough memory the error is one sentence, and the process continues."""
    for name in ("marks", "lists"):
        refused = in_a_child_with(24 << 20, 500_000, name, "names")
        assert "this machine has not enough memory" in refused[name]
        assert "class or function a.b" in refused["names"]


def test_no_file_may_take_more_than_the_limit_for_all(monkeypatch):
    """A large file is refused at the absolute limit, which the error names."""
    monkeypatch.setattr(pickle_reader, "_MAX_MEMORY", 8 << 20)
    with pytest.raises(UsageError, match="more than 8 MiB of memory"):
        read_trials(pickle.dumps([document(tid) for tid in range(5000)]))
    assert len(read_trials(pickle.dumps([document(tid) for tid in range(500)]))[0]) == 500


def test_ordinary_trials_take_little(monkeypatch):
    """Usual trials need less than 20 times their size, so files of 200 MB stay below the limit."""
    documents = [
        document(tid, history=[tid / (n + 7) for n in range(20)], more={"text": f"run {tid}"})
        for tid in range(800)
    ]
    data = pickle.dumps(hyperopt.trials_from_docs(documents, validate=False))
    tracemalloc.start()
    try:
        read_trials(data)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(data)
    finally:
        tracemalloc.stop()


ALIKE = {
    "ints": [12 + k * (2**61 - 1) for k in range(3000)],
    "complex": [complex(-1000003.0 * k, k) for k in range(3000)],
    "tuples": tuples_alike(3000),
}


@pytest.mark.parametrize("kind", ALIKE)
def test_keys_that_hash_alike_make_no_record_slow(kind):
    """A record with keys of equal hash is refused before a dict or set is built of them."""
    for value in (dict.fromkeys(ALIKE[kind]), set(ALIKE[kind])):
        with pytest.raises(CodecError, match="all hash alike"):
            decode(encode(value))


def test_many_usual_keys_are_accepted():
    """Numbers, powers of two, pairs and frozensets by the thousand are accepted."""
    honest = {
        **dict.fromkeys(range(20_000), 0),
        **{2.0**power: 1 for power in range(-1000, 1000)},
        **{2**power: 2 for power in range(2000)},
        **{(a, b): 3 for a in range(100) for b in range(100)},
        **{frozenset({a, -b}): 4 for a in range(60) for b in range(60)},
        **{complex(a, b): 5 for a in range(60) for b in range(60)},
    }
    assert decode(encode(honest)) == honest
    (read,), _ = read_trials(pickle.dumps([document(0, keys=honest, set=set(honest))]))
    assert read["result"]["keys"] == honest
    assert read["result"]["set"] == set(honest)


@pytest.mark.parametrize("kind", [dict.fromkeys, set, frozenset, list, tuple])
def test_containers_are_charged_for_their_size(kind):
    """The memory counted for a container is about what Python needs for it and its members."""
    memory, made = 1 << 30, kind(range(300, 5300))
    machine = PickleInterpreter({}, memory)
    machine.run(pickle.dumps(made, 4))
    assert memory - machine._left > 0.9 * (sys.getsizeof(made) + 5000 * sys.getsizeof(300))


def test_an_out_of_memory_error_keeps_nothing_alive(monkeypatch):
    """The error after running out of memory has no traceback with references to the data."""

    def parse(data):
        raise MemoryError

    monkeypatch.setattr(pickle_reader, "_parse", parse)
    with pytest.raises(UsageError, match="this machine has not enough memory") as it:
        read_trials(b"")
    assert it.value.__context__.__traceback__ is None


def zipped(content):
    """Return a zip file with this one member."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("trials.pkl", content)
    return file.getvalue()


@pytest.mark.parametrize("compress", [gzip.compress, zipped])
def test_a_decompression_bomb_is_refused(tmp_path, compress):
    """A small file that would unpack to 100 MiB is refused at a fraction of that."""
    path = tmp_path / "bomb.pkl"
    path.write_bytes(compress(b"\x80" + bytes(100 << 20)))
    with pytest.raises(UsageError, match=r"would unpack to more than 8\d MiB"):
        read_trials(path)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, zlib.compress])
def test_many_streams_take_time_in_proportion(compress, monkeypatch):
    """Each empty stream returns a limited part of the data after it, never all the rest."""
    kind, start = compressed._kind(compress(b""))
    handed_back = 0

    class Watched:
        def __init__(self):
            self._stream = start()

        def __getattr__(self, name):
            nonlocal handed_back
            value = getattr(self._stream, name)
            handed_back += len(value) if name == "unused_data" else 0
            return value

    monkeypatch.setattr(compressed, "_kind", lambda data: (kind, Watched))
    streams = 5000
    whole = compress(b"") * streams + compress(pickle.dumps([document(0)]))
    assert len(read_trials(whole)[0]) == 1
    assert handed_back < streams * 10_000
