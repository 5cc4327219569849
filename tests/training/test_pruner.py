"""`Pruner` as a Keras callback: with TrialBackup, after kills, used twice, without its metric."""

import signal
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras
import pytest

from colab_drive_tuner.errors import TrainingWarning, UsageError
from colab_drive_tuner.training.pruner import Pruner
from colab_drive_tuner.training.trial import IntermediateValues, RunningTrial, run_as
from tests.processes import run_python
from tests.search.sample_searches import trial_values
from tests.training.pruned_search import (
    EPOCHS,
    PRUNER,
    Objective,
    X,
    Y,
    run_pruned_search,
    small_model,
)
from tests.training.small_trainings import Killed

# numpy 2 warns about TensorFlow's tensors
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: Any) -> Any:
    """The result of an uninterrupted search."""
    return run_pruned_search(tmp_path_factory.mktemp("whole"), Objective())


@pytest.fixture(scope="module")
def pruned(whole: Any) -> Any:
    """The first trial, with its result, that is pruned after its second epoch or later."""
    results = whole.trials.results
    return next((tid, one) for tid, one in enumerate(results) if one.get("pruned_at", 0) > 1)


def test_a_worse_trial_ends_early(whole: Any) -> None:
    """A pruned `fit` returns the epochs so far, and the result has the epoch of the pruning."""
    results = whole.trials.results
    assert 2 <= sum(one["pruned"] for one in results) <= 6
    for one in results:
        assert one["epochs"] == one.get("pruned_at", EPOCHS) == len(one["reported"]["values"])
        assert one["loss"] == one["reported"]["values"][-1]
        assert one["reported"]["metric"] == "val_loss"


def test_a_killed_search_prunes_as_the_uninterrupted_one(
    tmp_path: Path, whole: Any, pruned: Any
) -> None:
    """A trial killed in the epoch after which it is pruned resumes and is pruned there."""
    tid, result = pruned
    last = result["pruned_at"] - 1
    program = ("-m", "tests.training.pruned_search", tmp_path, tid, last)
    run_python(*program, status=-signal.SIGKILL)
    objective = Objective()
    resumed = run_pruned_search(tmp_path, objective)
    assert trial_values(resumed.trials) == trial_values(whole.trials)
    assert objective.trained[0] == (tid, last), "it went on in the middle"


@pytest.mark.parametrize("order", ["backup, pruner", "pruner, backup", "pruner, backup, pruner"])
def test_the_order_of_the_callbacks_does_not_matter(
    tmp_path: Path, whole: Any, pruned: Any, order: str
) -> None:
    """Any order, or a pruner given twice, prunes alike, also in a trial that is resumed."""
    tid, result = pruned
    last = result["pruned_at"] - 1
    most = tid + 1
    with pytest.raises(Killed):
        run_pruned_search(tmp_path, Objective(order, kill=(tid, last, False)), max_evals=most)
    objective = Objective(order)
    resumed = run_pruned_search(tmp_path, objective, max_evals=most)
    assert trial_values(resumed.trials) == trial_values(whole.trials)[:most]
    assert objective.trained[0] == (tid, last)


def fit(pruner: Any, *, trial: RunningTrial | None, model: Any = None, **options: Any) -> Any:
    """Call `fit` within a trial; None: outside of a search."""
    given = {"epochs": 3, "verbose": 0, "validation_split": 0.25, "callbacks": [pruner]} | options
    with run_as(trial) if trial is not None else nullcontext():
        return (model or small_model(0.01)).fit(X, Y, **given)


def running(pruner: Any = None, limits: Any = None) -> RunningTrial:
    """Return a trial with thresholds for `PRUNER`."""
    return RunningTrial("search", 3, 0, reports=IntermediateValues(pruner, {PRUNER: limits or {}}))


def test_an_unknown_metric_is_an_error_that_lists_the_metrics() -> None:
    """An unknown metric is an error after the first epoch, which lists the known metrics.

    Without a validation it names `validation_data=`.
    """
    begun: list[int] = []
    counter = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: begun.append(epoch))
    callbacks = [Pruner(monitor="val_acc"), counter]
    with pytest.raises(UsageError, match=r"no metric 'val_acc'.*loss, mae, val_loss, val_mae"):
        fit(None, trial=running(), callbacks=callbacks)
    assert begun == [0]
    with pytest.raises(UsageError, match=r"no metric 'val_loss'.*validation_data="):
        fit(PRUNER, trial=running(), validation_split=0.0)


def test_epochs_that_are_not_validated_are_left_out() -> None:
    """With Keras's `validation_freq` only the validated epochs are reported and judged."""
    trial = running(limits={4: -1.0})
    fitted = fit(PRUNER, trial=trial, epochs=7, validation_freq=2)
    assert len(fitted.history["loss"]) == 4
    assert trial.reports.result()["reported"]["steps"] == [2, 4]


def test_fits_of_one_trial_count_on_and_end_together() -> None:
    """A second `fit` continues the count; after pruning, the next `fit` ends in its first epoch."""
    trial, model = running(limits={5: -1.0}), small_model(0.01)
    fit(PRUNER, trial=trial, model=model)
    assert not trial.reports.result()["pruned"]
    fitted = fit(PRUNER, trial=trial, model=model, epochs=9)
    assert len(fitted.history["loss"]) == 2
    assert trial.reports.result()["pruned_at"] == 5
    after = fit(PRUNER, trial=trial, model=model, epochs=9)
    assert len(after.history["loss"]) == 1
    assert len(trial.reports.result()["reported"]["values"]) == 5


@pytest.mark.parametrize("by_number", [False, True])
def test_fits_of_one_epoch_each_are_judged(by_number: bool) -> None:
    """The last epoch of a `fit` may prune the trial if another `fit` follows."""
    trial, model = running(limits={3: -1.0}), small_model(0.01)
    for epoch in range(6):
        options = {"initial_epoch": epoch, "epochs": epoch + 1} if by_number else {"epochs": 1}
        fit(PRUNER, trial=trial, model=model, **options)
    assert trial.reports.result()["pruned_at"] == 3
    assert len(trial.reports.result()["reported"]["values"]) == 3


def test_a_fit_that_goes_on_by_initial_epoch_is_one_curve() -> None:
    """Epochs of a `fit` with `initial_epoch` keep their numbers."""
    trial, model = running(), small_model(0.01)
    fit(PRUNER, trial=trial, model=model)
    fit(PRUNER, trial=trial, model=model, initial_epoch=3, epochs=5)
    assert trial.reports.last_step == 5


def test_the_last_epoch_prunes_nothing() -> None:
    """After its last epoch a trial is complete and is not pruned."""
    trial = running(limits={3: -1.0})
    fit(PRUNER, trial=trial)
    assert not trial.reports.result()["pruned"]


def test_a_trial_without_epochs_reports_nothing() -> None:
    """A `fit` with no epochs adds nothing to the result."""
    trial = running()
    fit(PRUNER, trial=trial, epochs=0)
    assert trial.reports.result() == {}


def test_a_loss_that_is_nan_is_worse_than_any_other() -> None:
    """A training with a NaN loss is pruned at the first epoch that is judged."""
    trial = running(limits={2: 100.0})
    fitted = fit(PRUNER, trial=trial, model=small_model(float("nan")), epochs=5)
    assert len(fitted.history["loss"]) == 2


@pytest.mark.parametrize("bad", ["low", [0.5, 0.4]])
def test_a_metric_that_is_no_number_is_an_error(bad: Any) -> None:
    """A training loop may log anything; the error names the metric."""
    callbacks = keras.callbacks.CallbackList([PRUNER], model=small_model(0.01), epochs=3)
    with run_as(running()), pytest.raises(UsageError, match="'val_loss' of the epoch must be"):
        callbacks.on_epoch_end(0, {"val_loss": bad})


def run_custom_loop(callbacks: Any, epochs: int = 4, model: Any = None) -> int:
    """Run a user's own training loop and return the number of its epochs."""
    callbacks.on_train_begin()
    for epoch in range(epochs):
        callbacks.on_epoch_begin(epoch)
        callbacks.on_epoch_end(epoch, {"val_loss": 1.0} if epoch != 2 else {"loss": 1.0})
        if model is not None and model.stop_training:
            return epoch + 1
    callbacks.on_train_end()
    return epochs


@pytest.mark.parametrize("limits", [{2: 0.5}, {4: 0.5}])
def test_a_custom_loop_without_epochs_is_judged(limits: Any) -> None:
    """A custom loop ends through its model; a warning names an epoch without the metric."""
    trial, model = running(limits=limits), small_model(0.01)
    callbacks = keras.callbacks.CallbackList([PRUNER], model=model)
    with run_as(trial), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run_custom_loop(callbacks, 9, model) == next(iter(limits))
    assert trial.reports.result()["pruned_at"] == next(iter(limits))
    assert [str(one.message).count("not judged") for one in caught] == [1] * (4 in limits)


def test_a_custom_loop_may_read_stop_training_of_a_model_that_was_not_compiled() -> None:
    """A custom loop has no need to compile its model, and only `compile` and `fit` set it."""
    model, trial = keras.Sequential([keras.layers.Dense(1)]), running(limits={2: 0.5})
    for expected in (2, 1):  # pruned; then a second loop of the same trial
        callbacks = keras.callbacks.CallbackList([PRUNER], model=model)
        assert model.stop_training is False
        with run_as(trial):
            assert run_custom_loop(callbacks, 9, model) == expected


@pytest.mark.parametrize("in_list", [True, False])
def test_a_custom_loop_without_a_model_warns_once(in_list: bool) -> None:
    """A custom loop without a model has its epochs reported and can call `should_prune` itself."""
    trial = running(limits={4: 0.5})
    callbacks = keras.callbacks.CallbackList([PRUNER]) if in_list else PRUNER
    with run_as(trial), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        assert run_custom_loop(callbacks) == 4
    assert ["has no model" in str(one.message) for one in caught] == [True, False]
    assert trial.reports.result()["reported"]["steps"] == [1, 2, 4]
    assert trial.reports.result()["pruned"] is False
    assert trial.should_prune()


def test_a_custom_loop_that_ignores_stop_training_is_not_pruned() -> None:
    """A trial that trains on despite `stop_training` is not recorded as pruned."""
    trial = running(limits={2: 0.5})
    callbacks = keras.callbacks.CallbackList([PRUNER], model=small_model(0.01), epochs=2)
    with run_as(trial), pytest.warns(TrainingWarning, match="not judged"):
        assert run_custom_loop(callbacks) == 4
    assert trial.reports.result()["pruned"] is False


def test_a_callback_list_without_a_model_is_judged_in_fit() -> None:
    """`fit` accepts a CallbackList that has neither its model nor its epochs."""
    trial = running(limits={2: -1.0, 3: -1.0})
    given = keras.callbacks.CallbackList([PRUNER])
    model = small_model(0.01)
    model.history = keras.callbacks.History()
    fit(None, trial=trial, model=model, callbacks=given)
    assert trial.reports.result()["pruned_at"] == 2


def test_two_pruners_are_an_error() -> None:
    """Two different pruners, in one `fit` or in it and the search, are refused."""
    other = Pruner("percentile")
    with pytest.raises(UsageError, match=r"Two pruners.*percentile"):
        fit(PRUNER, trial=running(), callbacks=[PRUNER, other])
    with pytest.raises(UsageError, match="Two pruners"):
        fit(PRUNER, trial=running(other))
    trial = running(Pruner(min_trials=2))
    fit(PRUNER, trial=trial)
    assert len(trial.reports.result()["reported"]["values"]) == 3


def test_a_pruner_outside_of_a_search_warns_and_does_nothing() -> None:
    """Outside of a search a pruner warns, and `fit` trains all of its epochs."""
    with pytest.warns(TrainingWarning, match="no search is running"):
        assert len(fit(PRUNER, trial=None).history["loss"]) == 3


def test_every_hook_of_keras_is_there() -> None:
    """Keras accepts a Pruner as a callback, although it does not derive from Callback."""
    hooks = [name for name in dir(keras.callbacks.Callback) if name.startswith(("on_", "set_"))]
    assert len(hooks) > 15
    assert all(callable(getattr(PRUNER, name)) for name in hooks)
    with pytest.raises(AttributeError, match="no attribute 'stop'"):
        PRUNER.stop  # noqa: B018 - the access is what is tested
