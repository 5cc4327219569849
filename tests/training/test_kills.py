"""Trials with unusual Keras features, killed in mid-epoch, end as if uninterrupted.

Three processes share the start of the framework: one runs every case uninterrupted, one is killed
in the middle of an epoch of all cases, and one, with another disk, resumes them.
"""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.training.keras_features import CASES, EPOCHS, TENSORFLOW

ANEW = {"cannot_be_saved"}
"""Cases that start again from their first epoch, with a warning."""
NOT_IN_TORCH = {"several_steps_at_once"}
"""Cases that Keras does not support with PyTorch, besides stateful layers."""
SMALL = ("schedules", "own_layer", "metric_that_never_resets", "containers_in_callbacks")
"""Cases that always run with other backends, too; with --long all cases do."""


def children(root, backend, names, kills):
    """Run the cases in separate processes; return the folders of both outcomes."""
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def start(store, out, disk, *how):
        (root / out).mkdir(exist_ok=True)
        paths = [str(root / part) for part in (store, out, disk)]
        command = [
            sys.executable,
            "-m",
            "tests.training.keras_features",
            *paths,
            *map(str, how),
            *names,
        ]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    def end(process, code):
        _, errors = process.communicate(timeout=1700)
        assert process.returncode == code, errors[-3000:]

    whole = start("alone", "whole", "disk", "whole", 0)
    try:
        for epoch in kills:
            end(start("store", "killed", f"disk-{epoch}", "killed", epoch), -9)
        end(start("store", "resumed", "disk-resumed", "resumed", 0), 0)
        end(whole, 0)
    finally:
        whole.kill()
        whole.wait()
    return root / "whole", root / "resumed"


def available(names, backend):
    """Return the cases that this machine can run with a backend."""
    names = [name for name in names if backend == "tensorflow" or name not in TENSORFLOW]
    if backend == "torch":
        names = [n for n in names if n not in NOT_IN_TORCH and not n.startswith("stateful")]
    if importlib.util.find_spec("tensorboard") is None:
        names = [name for name in names if name != "tensorboard"]
    return names


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The outcomes with TensorFlow of an uninterrupted run and of one killed in the third epoch."""
    root = tmp_path_factory.mktemp("kills")
    return children(root, "tensorflow", available(CASES, "tensorflow"), [2])


def compare(ended, name, first):
    """Assert that both outcomes are equal and that the resumed one trained from epoch `first`."""
    whole, resumed = ((folder / f"{name}.ended").read_text() for folder in ended)
    trained = (ended[1] / f"{name}.trained").read_text()
    assert resumed == whole
    if name in ANEW:
        assert trained.startswith("[0, 1, 2")
        assert "no backup is made" in trained
    else:
        assert trained.startswith(f"[{first}")
        assert "Trial" not in trained, trained


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", CASES)
def test_a_killed_trial_ends_as_the_uninterrupted_one(ended, name):
    """History, weights, optimizer, files and callbacks are equal after a kill and a resumption."""
    if name == "tensorboard":
        pytest.importorskip("tensorboard")
    compare(ended, name, 2)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_killed_trial_ends_as_the_uninterrupted_one_with_another_backend(tmp_path, backend):
    """A few of the cases run with JAX and PyTorch where they are installed."""
    pytest.importorskip(backend)
    ended = children(tmp_path, backend, SMALL, [2])
    for name in SMALL:
        compare(ended, name, 2)


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_a_trial_killed_in_each_epoch_ends_as_the_uninterrupted_one(tmp_path, backend):
    """Every case is killed in each of its epochs, one after the other."""
    pytest.importorskip(backend)
    # EarlyStopping ends `patience` before the last epochs.
    names = [name for name in available(CASES, backend) if name != "patience"]
    ended = children(tmp_path, backend, names, range(EPOCHS))
    for name in names:
        compare(ended, name, EPOCHS - 1)
