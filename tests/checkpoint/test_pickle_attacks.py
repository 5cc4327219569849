"""The pickle reader imports, calls and patches nothing, and uses bounded memory and time."""

import random
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import hyperopt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colab_drive_tuner.checkpoint.pickles.reader import read_trials
from colab_drive_tuner.errors import UsageError
from tests.checkpoint.attacks import ATTACKS, INERT, MARKER

ROOT = Path(__file__).parents[2]

WATCHED = """
import os, pickle, random, sys
from colab_drive_tuner.checkpoint.pickles.reader import read_trials
from colab_drive_tuner.errors import UsageError
from tests.checkpoint.attacks import ATTACKS, INERT
from tests.checkpoint.values import PLAIN, document

whole = []
for protocol in range(6):
    values = {k: PLAIN[k] for k in ("dtypes", "scalars", "sets", "utc", "offset", "spans", "ints")}
    for name, value in values.items():
        whole.append(pickle.dumps([document(0, value=value)], protocol))
        read_trials(whole[-1])
attacks = [data for data, _ in ATTACKS.values() if len(data) < 10_000]

def watch(event, arguments):
    if event != "builtins.id":
        os.write(2, f"{event} {arguments}".encode())
        os._exit(9)

chance = random.Random(int(sys.argv[1]))
data = [*(data for data, _ in ATTACKS.values()), *INERT.values()]
read = refused = 0
sys.addaudithook(watch)
for attempt in range(len(data) + 1500):
    if attempt < len(data):
        mutated = data[attempt]
    else:
        mutated = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 2)):
            place = chance.randrange(len(mutated) + 1)
            step = chance.randrange(4)
            if step == 0:
                mutated[place : place + 1] = bytes([chance.randrange(256)])
            elif step == 1:
                del mutated[place : place + chance.randint(1, 9)]
            elif step == 2:
                mutated[place:place] = chance.choice(attacks)
            else:
                start = chance.randrange(len(mutated) + 1)
                mutated[place:place] = mutated[start : start + chance.randint(1, 40)]
    try:
        read_trials(bytes(mutated))
        read += 1
    except UsageError:
        refused += 1
print(read, refused, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_by_name(name, tmp_path, monkeypatch):
    """One short error says what the pickle tried, and nothing was run or patched."""
    monkeypatch.chdir(tmp_path)
    data, words = ATTACKS[name]
    with pytest.raises(UsageError, match=f"the pickle cannot be read as trials: .*({words})") as it:
        read_trials(data)
    assert len(str(it.value)) < 500
    assert not (tmp_path / MARKER).exists()
    assert hyperopt.Trials.refresh is not None


@pytest.mark.parametrize("name", INERT)
def test_a_call_outside_of_the_trials_is_not_run(name, tmp_path, monkeypatch):
    """The trials are read, and a call elsewhere in the pickle is not made."""
    monkeypatch.chdir(tmp_path)
    assert read_trials(INERT[name])[1] == {}
    assert not (tmp_path / MARKER).exists()


@pytest.mark.parametrize("name", [name for name, (data, _) in ATTACKS.items() if len(data) < 999])
def test_a_small_attack_takes_little_memory(name):
    """A short pickle takes at most 2 MiB of memory, whatever sizes it claims."""
    tracemalloc.start()
    try:
        with pytest.raises(UsageError):
            read_trials(ATTACKS[name][0])
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.randoms(use_true_random=False))
def test_any_bytes_are_read_or_refused(noise, chance):
    """Noise, alone or spliced into attacks, is read or raises a UsageError."""
    data, _ = ATTACKS[chance.choice([n for n, (data, _) in ATTACKS.items() if len(data) < 999])]
    place = chance.randrange(len(data))
    for whole in (noise, data[:place] + noise + data[place:]):
        try:
            read_trials(whole)
        except UsageError:
            continue


PYTHONS_OWN = """
import io, pickle, sys
from tests.checkpoint.attacks import ATTACKS
class Careful(getattr(pickle, sys.argv[1])):
    def find_class(self, module, name):
        return type("Inert", (), {})
    def persistent_load(self, pid):
        raise pickle.UnpicklingError
Careful(io.BytesIO(ATTACKS["deep key"][0])).load()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="another stack, another depth")
@pytest.mark.parametrize("unpickler", ["Unpickler", "_Unpickler"])
def test_the_standard_unpickler_is_not_safe_enough(unpickler):
    """`pickle.Unpickler` with inert classes crashes the interpreter, so the package has its own."""
    command = [sys.executable, "-c", PYTHONS_OWN, unpickler]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": ""}, check=False)
    assert done.returncode == -signal.SIGSEGV


def test_nothing_is_imported_or_executed(tmp_path):
    """All attacks and many mutants run under an audit hook that ends the process at any event.

    CPython raises an audit event when it imports or compiles, opens a file, starts a process, looks
    up a class or patches an object.
    """
    seed = str(random.Random().randrange(2**32))
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, seed],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        check=False,
    )
    assert done.returncode == 0, (seed, done.stderr[-2000:])
    read, refused = map(int, done.stdout.split())
    assert read + refused > 1500
    assert read > 20
    assert list(tmp_path.iterdir()) == []
