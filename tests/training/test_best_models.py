"""The best models of a search: stored, limited in number, loaded, refused where unsafe."""

import math

import keras
import numpy as np
import pytest

from colab_drive_tuner.errors import ModelError, TrainingWarning
from colab_drive_tuner.training.models import best_models
from colab_drive_tuner.training.models.best_models import BestModels
from tests.training.flaky_store import NUMPY_2, create_search_folder, entry_names

pytestmark = NUMPY_2


def model(value=1.0):
    """Return a tiny model that is recognized by its weights."""
    made = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    made.set_weights([np.full((2, 1), value), np.zeros(1)])
    return made


def weight(loaded):
    """Return the value with which `model` was called."""
    return float(loaded.get_weights()[0][0, 0])


def keep(store, folder, offers, keep=1):
    """Offer models one after another, each after the last upload; return the names in `best/`."""
    kept = BestModels(store, folder, keep=keep)
    for tid, loss in offers:
        kept.offer(model(float(tid)), tid=tid, loss=loss)
        assert kept._uploads.wait(200)
    assert kept.close(20) == []
    (home,) = [e.id for e in store.list(folder, name="best")] or [None]
    return entry_names(store, home) if home else []


def test_only_the_best_stays_in_the_folder(store, folder):
    """A better model replaces the previous one; a worse one is never uploaded."""
    left = keep(store, folder, [(0, 0.5), (1, -0.25), (2, 0.75)])
    assert left == ["trial-00001-loss--0.25.keras"]
    assert store.calls.count("create") == 1 + 1 + 2  # the search's folder, best/ and two models


def test_the_best_few_stay_over_several_runs(store, folder):
    """A later run counts the models of an earlier one; of equal losses the earlier trial stays."""
    keep(store, folder, [(0, 0.5), (1, 0.4)], keep=2)
    left = keep(store, folder, [(2, 0.5), (3, 0.45)], keep=2)
    assert left == ["trial-00001-loss-0.4.keras", "trial-00003-loss-0.45.keras"]


def test_the_best_model_is_loaded_in_a_later_run(store, folder):
    """`load` returns the best model, or the one of a trial, or None if that was not kept."""
    keep(store, folder, [(4, 0.5), (7, 0.4)], keep=2)
    later = BestModels(store, folder)
    assert weight(later.load()) == 7.0
    assert weight(later.load(4)) == 4.0
    assert later.load(5) is None
    assert BestModels(store, create_search_folder(store, "empty")).load() is None


def test_a_model_can_be_loaded_before_its_upload(store, folder):
    """During an outage a model offered in this process can be loaded; `close` names it."""
    kept = BestModels(store, folder)
    assert kept.load() is None
    store.away = True
    assert kept.offer(model(3.0), tid=3, loss=0.1)
    assert weight(kept.load(3)) == 3.0
    assert kept.close(0.05) == ["best/trial-00003-loss-0.1.keras (0.0 MB)"]


def test_an_outage_is_waited_out(store, folder):
    """A model offered during an outage is uploaded after it."""
    kept = BestModels(store, folder)
    store.away = True
    kept.offer(model(), tid=0, loss=0.5)
    kept.offer(model(), tid=1, loss=0.4)
    store.away = False
    assert kept.close(20) == []
    assert [(m.tid, m.loss) for m in kept.stored] == [(1, 0.4)]


def test_a_lost_answer_makes_no_second_file(store, folder):
    """A create whose answer was lost is repeated with the same id, so that no file is doubled."""
    store.lose_answers = 2
    assert keep(store, folder, [(0, 0.5)]) == ["trial-00000-loss-0.5.keras"]


def test_a_better_model_that_is_not_listed_yet_is_not_trashed(store, folder):
    """Because of a lagging listing a worse model may stay too long, but the better one stays."""
    keep(store, folder, [(0, 0.1)])
    (home,) = [e.id for e in store.list(folder, name="best")]
    store.unlisted = {home, *(e.id for e in store.list(home))}
    keep_late = BestModels(store, folder)
    keep_late.offer(model(), tid=1, loss=0.5)
    keep_late.close(20)
    assert entry_names(store, home) == ["trial-00000-loss-0.1.keras", "trial-00001-loss-0.5.keras"]
    store.unlisted = set()
    assert keep(store, folder, [(2, 0.3)]) == [
        "trial-00000-loss-0.1.keras",
        "trial-00001-loss-0.5.keras",
    ]
    assert keep(store, folder, [(3, 0.01)]) == ["trial-00003-loss-0.01.keras"]


def test_nothing_is_trashed_for_a_better_model_in_the_trash(store, folder):
    """A trashed model that a stale listing still shows replaces no other model."""
    kept = BestModels(store, folder, keep=1)
    keep(store, folder, [(0, 0.1)])
    kept._list()
    (first,) = kept.stored
    store.trash(first.id)
    kept._stored["worse"] = best_models.KeptModel(0.2, 9, "worse", 1)
    kept._trash_worse("worse")
    assert [m.id for m in kept.stored] == ["worse"]


def test_files_of_the_user_in_the_folder_are_left_alone(store, folder):
    """Files without this package's properties, or with invalid ones, are never touched."""
    keep(store, folder, [(0, 0.5)])
    (home,) = [e.id for e in store.list(folder, name="best")]
    store.create(store.reserve(1)[0], b"mine", name="mine.keras", parent=home)
    marks = {"cdt_kind": "model", "cdt_tid": "x", "cdt_loss": "nan"}
    store.create(store.reserve(1)[0], b"odd", name="odd.keras", parent=home, properties=marks)
    assert keep(store, folder, [(1, 0.4)]) == [
        "mine.keras",
        "odd.keras",
        "trial-00001-loss-0.4.keras",
    ]


@pytest.mark.parametrize("loss", [None, math.nan, math.inf, -math.inf])
def test_a_loss_that_cannot_be_compared_keeps_no_model(store, folder, loss):
    """A trial with a missing, NaN or infinite loss is never the best one."""
    assert not BestModels(store, folder).offer(model(), tid=0, loss=loss)


def test_keeping_none_stores_none(store, folder):
    """`keep=0` stores no model."""
    assert keep(store, folder, [(0, 0.5)], keep=0) == []


def test_a_model_too_large_for_the_store_warns_with_sizes(store, folder, monkeypatch):
    """The warning about a model that is too large gives its size and the space left."""
    monkeypatch.setattr(store, "free_space", lambda: 1000)
    kept = BestModels(store, folder)
    kept.offer(model(), tid=0, loss=0.5)
    with pytest.warns(TrainingWarning, match=r"best/trial-00000-loss-0.5.keras \(0.0 MB\).*left"):
        assert kept.close(20) == []


@pytest.mark.parametrize("error", [NotImplementedError, ValueError, RuntimeError])
def test_a_model_that_keras_cannot_save_warns(store, folder, error):
    """If Keras cannot save a model, a warning names the trial and the error of its code."""

    class Unsavable(keras.Model):
        def save(self, path):
            raise error("\nno get_config:\nclass A")

    with pytest.warns(
        TrainingWarning, match=f"trial 3 .*{error.__name__}: no get_config:\nclass A"
    ):
        assert not BestModels(store, folder).offer(Unsavable(), tid=3, loss=0.1)


@keras.saving.register_keras_serializable(package="tests")
class Known(keras.layers.Layer):
    def call(self, x):
        return x + 1


class Unknown(keras.layers.Layer):
    def call(self, x):
        return x + 1


def own_loss(truth, guess):
    """Return a loss that Keras does not have."""
    return keras.ops.mean(truth - guess)


def stored(store, folder, layer=None, **compiled):
    """Store a model with the layer as the best one; return what a later run opens."""
    made = keras.Sequential([keras.Input((2,)), *([layer] if layer else [])])
    if compiled:
        made.compile(**compiled)
        made.optimizer.build(made.trainable_variables)
    kept = BestModels(store, folder)
    kept.offer(made, tid=0, loss=0.5)
    assert kept.close(20) == []
    return BestModels(store, folder)


def test_a_model_without_a_temporary_folder_warns(store, folder, monkeypatch, tmp_path):
    """A local disk that takes no folder, as when it is full, does not end the training."""
    monkeypatch.setattr(best_models.tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.warns(TrainingWarning, match="trial 3 .*cannot be saved. FileNotFoundError"):
        assert not BestModels(store, folder).offer(model(), tid=3, loss=0.1)


def test_a_lambda_layer_needs_safe_mode_false(store, folder):
    """A Lambda layer would run code from the file, so it is loaded only with `safe_mode=False`."""
    kept = stored(store, folder, keras.layers.Lambda(lambda x: x * 2))
    with pytest.raises(ModelError, match=r"Lambda layer.*safe_mode=False"):
        kept.load()
    assert kept.load(safe_mode=False) is not None


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_a_lambda_that_keras_saves_but_cannot_load_is_named(store, folder):
    """The error says what to do, instead of Keras's, which shows the lambda's bytecode."""
    kept = stored(store, folder, keras.layers.Dense(2, activation=lambda x: x * 2))
    for safe_mode in (True, False):
        with pytest.raises(ModelError, match=r"its activation function.*load_weights") as caught:
            kept.load(safe_mode=safe_mode)
        assert "register_keras_serializable" in str(caught.value)


def test_an_unknown_class_is_named_with_the_decorator(store, folder):
    """A class that is neither registered nor passed in is named with the decorator to use."""
    assert stored(store, folder, Known()).load() is not None
    kept = stored(store, create_search_folder(store, "other"), Unknown())
    with pytest.raises(ModelError, match=r"class 'Unknown'.*register_keras_serializable"):
        kept.load()
    assert kept.load(custom_objects={"Unknown": Unknown}) is not None


def test_an_unknown_loss_function_is_named(store, folder):
    """A user's own loss is named in an error unless it is registered or passed in."""
    kept = stored(store, folder, keras.layers.Dense(1), loss=own_loss)
    with pytest.raises(ModelError, match="function 'own_loss'"):
        kept.load()
    assert kept.load(custom_objects={"own_loss": own_loss}) is not None


def test_a_hostile_file_is_refused(store, folder):
    """A foreign file with this package's properties raises an error that names the trial."""
    keep(store, folder, [(0, 0.5)])
    (home,) = [e.id for e in store.list(folder, name="best")]
    marks = {"cdt_kind": "model", "cdt_tid": "1", "cdt_loss": "0.1"}
    store.create(store.reserve(1)[0], b"no zip", name="x.keras", parent=home, properties=marks)
    with pytest.raises(
        ModelError, match=r"model of trial 1 \(best/.*\) is not a readable .keras file"
    ):
        BestModels(store, folder).load()
