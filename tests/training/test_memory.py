"""Memory freed between trials, and separation of models from results, with real Keras models."""

import gc
import sys
import textwrap
import threading
import weakref
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from colab_drive_tuner.training.memory import (
    PacedCollections,
    free_memory,
    is_keras_model,
    keras_grew,
    keras_settings,
    split_result,
)
from colab_drive_tuner.training.seeding import seed_trial
from tests.processes import run_python
from tests.training.flaky_store import NUMPY_2

pytestmark = NUMPY_2


def small_model():
    """Return a model that is as small as possible."""
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


def test_names_start_again_after_memory_was_freed():
    """A layer made after `free_memory` has the name that it has in a new process."""
    free_memory()
    first = keras.layers.Dense(1).name
    assert keras.layers.Dense(1).name != first
    free_memory()
    assert keras.layers.Dense(1).name == first


def test_the_settings_of_a_cell_survive_and_those_of_a_trial_do_not():
    """Mixed precision set before the search holds in every trial; set by a trial, only in it."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    before = keras_settings()
    try:
        free_memory()
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        keras.config.set_dtype_policy("float16")
        keras.config.disable_interactive_logging()
        free_memory(before)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        assert keras.config.is_interactive_logging_enabled()
    finally:
        keras.config.set_dtype_policy("float32")


def test_keras_grew_detects_models_and_settings():
    """A trial that creates nothing in Keras needs no freeing; a model or a setting does."""
    free_memory()
    before = keras_settings()
    seed_trial(1, 2)
    assert not keras_grew(before)
    small_model()
    assert keras_grew(before)
    free_memory(before)
    assert not keras_grew(before)
    keras.config.disable_interactive_logging()
    assert keras_grew(before)
    keras.config.enable_interactive_logging()


def test_a_model_is_taken_out_of_a_result():
    """A model under any key is separated; the returned result itself is not changed."""
    model = small_model()
    result = {"loss": 1.0, "status": "ok", "model": model}
    assert split_result(result) == ({"loss": 1.0, "status": "ok"}, model)
    assert result["model"] is model
    assert split_result({"loss": 1.0, "net": model}) == ({"loss": 1.0}, model)


def test_what_is_no_model_stays_in_the_result():
    """A plain loss, another object and a second model stay in the result."""
    assert split_result(0.5) == (0.5, None)
    other = {"loss": 1.0, "model": object()}
    assert split_result(other) == (other, None)
    two = {"loss": 1.0, "model": small_model(), "second": small_model()}
    plain, taken = split_result(two)
    assert taken is two["model"]
    assert plain == {"loss": 1.0, "second": two["second"]}


def test_seeding_a_trial_repeats_initial_weights():
    """Weights drawn after `seed_trial` are the trial's own, in any order of trials."""

    def weights(tid):
        seed_trial(1, tid)
        return small_model().get_weights()[0].tolist()

    first = weights(0)
    assert weights(1) != first
    assert weights(0) == first


@pytest.mark.parametrize("call", ["free_memory()", "is_keras_model(3)", "seed_trial(1, 2)"])
def test_keras_is_not_imported_without_need(call):
    """Freeing memory, checking for a model and seeding a trial do not import Keras."""
    code = (
        f"import sys; "
        f"from colab_drive_tuner.training.memory import free_memory, is_keras_model; "
        f"from colab_drive_tuner.training.seeding import seed_trial; {call}; "
        "sys.exit('keras' in sys.modules)"
    )
    run_python("-c", code)
    assert not is_keras_model(3)


def traced():
    """Return the graphs that TensorFlow has traced in this process and still holds."""
    from tensorflow.python.framework.func_graph import FuncGraph

    return weakref.WeakSet(graph for graph in gc.get_objects() if isinstance(graph, FuncGraph))


def test_graphs_traced_by_fit_are_freed_after_the_trial():
    """Graphs that `fit` traced, which TensorFlow would keep forever, are freed after the trial."""
    free_memory()
    before, settings = traced(), keras_settings()
    model = small_model()
    model.compile("adam", "mse")
    model.fit(np.zeros((4, 3)), np.zeros((4, 2)), validation_split=0.5, verbose=0)
    of_trial = traced() - before
    assert len(of_trial) > 2
    del model
    free_memory(settings)
    assert not list(of_trial)


def test_a_model_that_the_user_holds_goes_on_working():
    """A model kept after its trial can still train, predict and differentiate."""
    import tensorflow as tf

    settings = keras_settings()
    model = small_model()
    model.compile("adam", "mse")
    x, y = np.ones((4, 3)), np.ones((4, 2))
    model.fit(x, y, verbose=0)
    free_memory(settings)
    before = model.get_weights()[0]
    model.fit(x, y, verbose=0)
    assert not np.array_equal(before, model.get_weights()[0])
    assert model.predict(x, verbose=0).shape == (4, 2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.function(model)(x))
    assert len(tape.gradient(loss, model.trainable_variables)) == 2


@pytest.mark.long
@pytest.mark.parametrize("free", [True, False])
def test_memory_stays_flat_over_a_hundred_trials(tmp_path, free):
    """Without `free_memory`, a hundred small models need more than 30 MB; with it they do not."""
    ended = run_python("-m", "tests.training.hundred_trials", tmp_path / "store", int(free))
    megabytes = [float(word) for word in ended.stdout.split()]
    grown = megabytes[-1] - megabytes[0]
    assert len(megabytes) == 91
    assert (grown < 30) is free, f"{grown:.1f} MB in 90 trials"


def test_keras_that_another_thread_is_importing_is_waited_for():
    """If another thread is importing Keras, its names are used only after the import."""
    program = """
        import sys, threading
        from colab_drive_tuner.training.memory import is_keras_model, keras_settings

        importing = threading.Thread(target=__import__, args=("keras",))
        importing.start()
        while "keras" not in sys.modules and importing.is_alive():
            pass
        assert not is_keras_model(1)
        assert keras_settings().dtype_policy is not None
        importing.join()
    """
    run_python("-c", textwrap.dedent(program))


def test_settings_are_read_while_another_thread_traces(monkeypatch):
    """Gradients that a thread registers meanwhile do no harm: Python allows no such change."""
    registry = {f"CustomGradient-{n}": n for n in range(3000)}
    ops = SimpleNamespace(gradient_registry=SimpleNamespace(_registry=registry))
    monkeypatch.setitem(sys.modules, "tensorflow.python.framework.ops", ops)
    ended = threading.Event()

    def trace():
        while not ended.is_set():
            for n in range(50):
                registry[f"CustomGradient-x{n}"] = n
            for n in range(50):
                del registry[f"CustomGradient-x{n}"]

    tracing = threading.Thread(target=trace)
    tracing.start()
    try:
        for _ in range(1000):
            assert len(keras_settings().gradients) >= 3000
    finally:
        ended.set()
        tracing.join()


def test_full_collections_take_a_hundredth_of_the_time():
    """After a full collection of two seconds there is none for 200; young objects are collected."""
    times = iter([0.0, 2.0, 201.9, 202.1])
    before = gc.get_threshold()
    gc.disable()  # no automatic collection
    try:
        with PacedCollections(lambda: next(times)) as paced:
            gc.collect()
            paced.tick()
            assert gc.get_threshold()[:2] == before[:2]
            assert gc.get_threshold()[2] > 1_000_000
            paced.tick()
            assert gc.get_threshold() == before
        assert gc.get_threshold() == before
    finally:
        gc.enable()


def test_full_collections_go_on_after_two_searches_at_once():
    """The threshold is restored after searches that overlap in one process, in either order."""
    before = gc.get_threshold()
    first, second = PacedCollections(), PacedCollections()
    gc.disable()  # no automatic collection
    try:
        first.__enter__()
        gc.collect()
        second.__enter__()
        first.__exit__()
        gc.collect()
        second.__exit__()
        assert gc.get_threshold() == before
    finally:
        gc.enable()
