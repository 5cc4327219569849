"""`hyperas_style`: hyperas's functions without the hyperas package."""

import pickle

import numpy as np
import pytest
from hyperopt import STATUS_OK, Trials, fmin, hp, rand, space_eval
from hyperopt.pyll import as_apply

from colab_drive_tuner.errors import (
    ObjectiveError,
    SearchChangedWarning,
    SearchError,
    UsageError,
)
from colab_drive_tuner.hyperas_style import VotingModel, best_ensemble, best_models, minimize
from colab_drive_tuner.search.drive_trials import DriveTrials
from colab_drive_tuner.search.executors.loky import loky_executor
from colab_drive_tuner.search.resume import resume_search
from colab_drive_tuner.training.pruner import Pruner

# ruff: noqa: F821 - distributions are known without an import


class Constant:
    """A classifier that always gives the same probabilities."""

    def __init__(self, *probabilities):
        self.probabilities = probabilities

    def predict(self, x, batch_size=None, verbose="auto"):
        return np.tile(self.probabilities, (len(x), 1))


def data(count=3):
    y = count
    x = 1
    return y, x


def model(x, y):
    rate = {{uniform(0, 1)}}
    units = {{choice([20, 30])}}
    return {
        "loss": rate + units + x + 100 * y,
        "status": STATUS_OK,
        "model": Constant(rate, 1 - rate, 0.4),
    }


def test_the_space_shows_the_name_that_hyperas_gives(capsys):
    """The space shows and keeps the name that the hyperas package gives a parameter.

    Users find earlier results of that package under this name.
    """

    def forest(x, y):
        n_estimators = int({{quniform(5, 40, 1)}})
        rate = {{uniform(0, 1)}}
        return {"loss": n_estimators * rate + x + y, "status": STATUS_OK}

    best_run, _, space = minimize(
        forest, data, rand.suggest, 2, Trials(), return_space=True, data_args=(7,)
    )
    assert set(best_run) == set(space) == {"n_estimators", "rate"}
    assert space.hyperas_names == {"n_estimators": "int", "rate": "rate"}
    first, second, _ = repr(space).split("\n")
    assert first.startswith("n_estimators (hyperas: int): quniform(5, 40")
    assert second.startswith("rate: uniform(0, 1")
    assert repr(space) in capsys.readouterr().out
    again = pickle.loads(pickle.dumps(space))
    assert again.hyperas_names == space.hyperas_names
    assert space_eval(space, best_run).keys() == space.keys()


def test_a_changed_model_or_data_is_a_warning(tmp_path):
    """Changed data or a changed model is a warning, as in `resume_search`.

    `resume_search` itself continues the same search without one.
    """

    def go(model, data, total):
        trials = DriveTrials("s", store=tmp_path, keep_models=0)
        minimize(model, data, rand.suggest, total, trials, verbose=False)

    def plain(x, y):
        rate = {{uniform(0, 1)}}
        return {"loss": rate + len(x), "status": STATUS_OK}

    def changed(x, y):
        rate = {{uniform(0, 1)}}
        return {"loss": rate - len(x), "status": STATUS_OK}

    def small():
        return [1, 2], [3, 4]

    def large():
        return [1, 2, 3], [4, 5, 6]

    go(plain, small, 1)
    go(plain, small, 2)
    resume_search(plain, small, name="s", max_evals=3, algo="rand", store=tmp_path, progress=False)
    with pytest.warns(SearchChangedWarning, match="shape or type of the data.*list of 3"):
        go(plain, large, 4)
    with pytest.warns(SearchChangedWarning, match=r"\+ .*rate - len\(x\)"):
        go(changed, large, 5)


def test_minimize_gives_what_hyperas_gives(capsys):
    """`minimize` gives best run, best model and space, with the points of fmin for `rseed`."""
    trials = Trials()
    best_run, best_model, space = minimize(
        model,
        data,
        rand.suggest,
        5,
        trials,
        functions=[data],
        rseed=3,
        notebook_name="any",
        return_space=True,
        keep_temp=True,
        data_args=(7,),
    )
    assert "units" in capsys.readouterr().out
    expected = Trials()
    written = {"rate": hp.uniform("rate", 0, 1), "units": hp.choice("units", [20, 30])}
    fmin(
        lambda values: values["rate"] + values["units"] + 701,
        written,
        algo=rand.suggest,
        max_evals=5,
        trials=expected,
        rstate=np.random.default_rng(3),
        verbose=False,
    )
    assert trials.losses() == expected.losses()
    assert str(as_apply(space)) == str(as_apply(written))
    assert best_run == expected.argmin
    assert best_model.probabilities[0] == best_run["rate"]
    values, _ = minimize(
        model, data, rand.suggest, 5, trials, rseed=3, verbose=False, eval_space=True
    )
    assert values == space_eval(written, expected.argmin)


def test_a_finished_search_loads_no_data():
    """data() is not called if no trial is left to run."""
    trials = Trials()
    minimize(model, data, rand.suggest, 2, trials, verbose=False)
    again = minimize(model, lambda: 1 / 0, rand.suggest, 2, trials, verbose=False)
    assert again[0] == trials.argmin


def test_data_that_does_not_fit_is_refused_before_a_trial():
    """Data that do not fit the model's arguments are an error before a trial is recorded."""
    trials = Trials()
    with pytest.raises(ObjectiveError, match="1 value"):
        minimize(model, lambda: 1, rand.suggest, 2, trials, verbose=False)
    assert len(trials) == 0


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ({"trials": None}, r"trials must be session.trials\(name\), .* got None"),
        ({"max_evals": None}, "max_evals must be an integer >= 1, got None"),
        ({"rseed": "7"}, "rseed must be an integer >= 0, got '7'"),
        ({"algo": "grid"}, "algo must be one of"),
    ],
    ids=str,
)
def test_wrong_arguments_are_named_before_the_data_is_loaded(argument, words):
    """A wrong argument is a UsageError before data() is called, not an error inside hyperopt."""
    given = {"algo": "rand", "max_evals": 2, "trials": Trials(), "verbose": False}
    with pytest.raises(UsageError, match=words):
        minimize(model, lambda: 1 / 0, **given | argument)


def test_an_async_model_function_is_refused_before_the_data_is_loaded():
    """A model function that does not run when it is called is an ObjectiveError."""

    async def waiting(x):
        return {{uniform(0, 1)}}

    with pytest.raises(ObjectiveError, match=r"waiting\(\) is async"):
        minimize(waiting, lambda: 1 / 0, "rand", 2, Trials(), verbose=False)


@pytest.mark.parametrize(("result", "words"), [(None, "NoneType"), ({"loss": 1}, "'status'")])
def test_a_result_that_hyperopt_cannot_use_is_explained(result, words):
    """A result that hyperopt cannot use raises ObjectiveError, also with hyperopt's own Trials."""

    def useless(x, y):
        rate = {{uniform(0, 1)}}
        return result if rate < 2 else 0.0

    with pytest.raises(ObjectiveError, match=rf"useless\(\) returned .*{words}.*: return"):
        minimize(useless, data, "rand", 2, Trials(), verbose=False)


def test_best_models_are_the_best(capsys):
    """`best_models` orders by loss; a model that was not kept is an error with the remedy."""
    trials = Trials()
    models = best_models(2, model, data, rand.suggest, 4, trials)
    losses = sorted(trials.losses())
    by_loss = {t["result"]["loss"]: t["result"]["model"] for t in trials.trials}
    assert models == [by_loss[loss] for loss in losses[:2]]
    trials.trials[0]["result"]["loss"] = float("nan")  # not the best of anything
    assert len(best_models(4, model, data, rand.suggest, 4, trials)) == 3
    del trials.best_trial["result"]["model"]
    with pytest.raises(SearchError, match="keep_models=2"):
        best_models(2, model, data, rand.suggest, 4, trials)
    with pytest.raises(UsageError, match="nb_models must be an integer >= 1, got 0"):
        best_models(0, model, data, rand.suggest, 4, trials)


def test_ensembles_vote(capsys):
    """Hard voting counts votes, soft voting adds probabilities; weights apply to both.

    Invalid arguments are refused before a trial runs.
    """
    models = [Constant(0.9, 0.1), Constant(0.4, 0.6), Constant(0.4, 0.6)]
    assert list(VotingModel(models).predict([0, 0])) == [1, 1]
    assert list(VotingModel(models, "soft").predict([0])) == [0]
    assert list(VotingModel(models, "hard", [5, 1, 1]).predict([0])) == [0]
    assert list(VotingModel(models, "soft", [0, 1, 1]).predict([0])) == [1]
    one_output = [Constant(0.9), Constant(0.4), Constant(0.3)]
    assert list(VotingModel(one_output).predict([0, 0])) == [0, 0]
    assert list(VotingModel(one_output, "soft").predict([0])) == [1]
    trials = Trials()
    with pytest.raises(UsageError, match="must be 'hard' or 'soft'"):
        best_ensemble(2, model, data, rand.suggest, 3, trials, voting="loud")
    with pytest.raises(UsageError, match="1 weights for 2 models"):
        best_ensemble(2, model, data, rand.suggest, 3, trials, weights=[1])
    assert len(trials) == 0
    vote = best_ensemble(2, model, data, rand.suggest, 3, trials, voting="soft")
    assert vote.predict([0, 0]).shape == (2,)


def plain_model(x, y):
    rate = {{uniform(0, 1)}}
    return {"loss": rate + x + y, "status": STATUS_OK}


def test_minimize_resumes_in_a_store(tmp_path):
    """A search over a DriveTrials continues with another object of the same name."""
    from colab_drive_tuner.search.drive_trials import DriveTrials

    first = DriveTrials("style", store=tmp_path)
    minimize(plain_model, data, rand.suggest, 2, first, verbose=False)
    first.close()
    second = DriveTrials("style", store=tmp_path)
    minimize(plain_model, data, rand.suggest, 4, second, verbose=False)
    plain = Trials()
    minimize(plain_model, data, rand.suggest, 4, plain, verbose=False)
    assert second.losses() == plain.losses()
    second.close()


def test_a_pruner_is_passed_on(tmp_path):
    """`pruner=` prunes trials of a DriveTrials and is refused with hyperopt's own Trials."""

    def reporting(x, y):
        from colab_drive_tuner.training.trial import running_trial

        trial = running_trial()
        rate = {{uniform(0, 1)}}
        for step in (1, 2, 3):
            trial.report(step, rate * x * y)
            if trial.should_prune():
                break
        return {"loss": rate, "status": STATUS_OK}

    pruner = Pruner(min_trials=1)
    common = {"algo": rand.suggest, "max_evals": 6, "verbose": False, "pruner": pruner}
    trials = DriveTrials("pruned", store=tmp_path)
    minimize(reporting, data, trials=trials, **common)
    assert {one.get("pruned_at") for one in trials.results} == {None, 2}
    with pytest.raises(UsageError, match="pruner= goes with"):
        minimize(reporting, data, trials=Trials(), **common)


def drawing(x, y):
    import keras

    rate = {{uniform(0, 1)}}
    return {"loss": rate + float(keras.random.uniform(())), "status": STATUS_OK}


def test_keras_is_seeded_in_the_first_trial_of_a_worker(tmp_path):
    """A model function that imports Keras while it runs gives the same losses on a worker."""

    def losses(name, **workers):
        trials = DriveTrials(name, store=tmp_path)
        minimize(drawing, data, rand.suggest, 2, trials, verbose=False, **workers)
        return trials.losses()

    with loky_executor(1) as workers:
        assert losses("worker", executor=workers) == losses("here")
