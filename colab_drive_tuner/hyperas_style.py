"""Drop-in replacement for `hyperas.optim`: `from colab_drive_tuner.hyperas_style import minimize`.

The arguments are those of `hyperas.optim`; hyperopt runs the search, with any Trials. With
`trials=session.trials("name")` the search is stored in Drive and can be resumed. The arguments that
hyperas needs to rewrite notebooks (`functions`, `notebook_name`, `keep_temp`) are accepted and
ignored.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.search.spec.arguments import find_algorithm, whole_number
from colab_drive_tuner.search.spec.keyword_advice import explain_keywords
from colab_drive_tuner.search.trials.returned_models import best_returned_models, check_keep_models

if TYPE_CHECKING:
    from colab_drive_tuner.templates.data_cache import DataArguments
    from colab_drive_tuner.training.pruner import Pruner

_ELSEWHERE = "Those of a search belong to trials=DriveTrials(name); resume_search() has others."


@explain_keywords(_ELSEWHERE)
def minimize(
    model: Callable[..., Any],
    data: Callable[..., Any],
    algo: Callable[..., Any],
    max_evals: int,
    trials: Any,
    functions: Sequence[Any] | None = None,  # noqa: ARG001 - helpers are visible anyway
    rseed: int | None = 1337,
    notebook_name: str | None = None,  # noqa: ARG001 - no notebook is read
    verbose: bool = True,
    eval_space: bool = False,
    return_space: bool = False,
    keep_temp: bool = False,  # noqa: ARG001 - no file is written
    data_args: "DataArguments | None" = None,
    *,
    executor: Any = None,
    width: int | None = None,
    trial_timeout: float | None = None,
    pruner: "Pruner | None" = None,
) -> tuple[Any, ...]:
    """Search the templates of a model function, like `hyperas.optim.minimize`.

    Args:
        model: The model function with `{{...}}` templates.
        data: The data function; it runs at most once per process, and only if trials are to run.
        algo: A suggest function of hyperopt, such as `tpe.suggest`.
        max_evals: The total number of trials of the search, over all runs.
        trials: `session.trials(name)`, a `DriveTrials`, or hyperopt's own `Trials`.
        functions: Ignored: helpers are visible.
        rseed: The seed of a new search; None: a random one.
        notebook_name: Ignored: no notebook is read.
        verbose: Whether to print the space and show hyperopt's progress.
        eval_space: Whether a choice in `best_run` is the chosen option; otherwise it is its index.
        return_space: Whether to return the space as well. Printed, or by its `hyperas_names`, it
            shows the hyperas package's name next to a name that differs, such as `int` for
            `units=int({{...}})`.
        keep_temp: Ignored: no file is written.
        data_args: The arguments of `data`: a tuple, or a dict by name.
        executor: Runs the trials, as in `resume_search`; `trials` must be a `DriveTrials`.
        width: Number of trials that run at once; None: as many as the executor supports.
        trial_timeout: Seconds after which a running trial fails.
        pruner: Ends trials early that report values with `running_trial().report`; in `fit`, pass
            it as a callback. `trials` must be a `DriveTrials`.

    Returns:
        `best_run, best_model`, and with `return_space` the space as third. The model is None if the
        model function returned none.

    Raises:
        TemplateError: A template cannot be compiled; no trial has run.
        ObjectiveError: The model or data function does not fit; no trial has run.
        UsageError: `executor`, `width`, `trial_timeout` or `pruner` is invalid; no trial has run.
    """
    import numpy as np
    from hyperopt import Trials, fmin, space_eval

    from colab_drive_tuner.search.executors.adapters import check_workers
    from colab_drive_tuner.search.loop.pruning import check_pruner
    from colab_drive_tuner.search.spec.objectives import TemplatedObjective, check_callable
    from colab_drive_tuner.search.spec.user_objects import load_frameworks
    from colab_drive_tuner.search.trials.stored_trials import StoredTrials
    from colab_drive_tuner.training.seeding import reseed_outer_trial

    if not isinstance(trials, Trials):
        raise UsageError(
            "trials must be session.trials(name), DriveTrials(name) or hyperopt's Trials(), got "
            f"{trials!r:.60}."
        )
    check_workers(executor, width, trial_timeout)
    options = {"executor": executor, "width": width, "trial_timeout": trial_timeout}
    options["pruner"] = check_pruner(pruner)
    more = {option: value for option, value in options.items() if value is not None}
    if more and not isinstance(trials, StoredTrials):
        raise UsageError(
            f"{next(iter(more))}= goes with trials=session.trials(name) or DriveTrials(name), not "
            f"with {type(trials).__name__}."
        )
    max_evals, suggest = whole_number("max_evals", max_evals, least=1), find_algorithm(algo)
    if rseed is not None:
        rseed = whole_number("rseed", rseed, least=0)
    check_callable(model)
    objective = TemplatedObjective(model, data, data_args)
    compiled = objective.model
    space = NamedSpace(compiled.space, compiled.hyperas_names)
    if verbose:
        print(f"Search space of {compiled.name}():\n{space!r}")  # noqa: T201 - as hyperas shows it
    with reseed_outer_trial():
        if len(trials.trials) < max_evals:
            objective.prepare()
            load_frameworks(model)  # only what is loaded before a trial is seeded for it
        # hyperopt's fmin does not pass the further options on to trials.fmin.
        search = trials.fmin if more else partial(fmin, trials=trials)
        best_run = search(
            objective,
            space,
            algo=suggest,
            max_evals=max_evals,
            rstate=np.random.default_rng(rseed),
            show_progressbar=verbose,
            verbose=verbose,
            return_argmin=True,
            **more,
        )
    best_model = trials.best_trial["result"].get("model")
    if eval_space:
        best_run = space_eval(space, best_run)
    return (best_run, best_model, space) if return_space else (best_run, best_model)


@explain_keywords(_ELSEWHERE)
def best_models(
    nb_models: int,
    model: Callable[..., Any],
    data: Callable[..., Any],
    algo: Callable[..., Any],
    max_evals: int,
    trials: Any,
    functions: Sequence[Any] | None = None,  # noqa: ARG001 - as above
    keep_temp: bool = False,  # noqa: ARG001 - as above
) -> list[Any]:
    """Search, and return the models with the lowest losses, best first (hyperas: the highest).

    Args:
        nb_models: Number of models to return.
        model: The model function with `{{...}}` templates, which returns its Keras model.
        data: The data function.
        algo: A suggest function of hyperopt, such as `tpe.suggest`.
        max_evals: The total number of trials of the search, over all runs.
        trials: For example `session.trials(name, keep_models=3)`; it must keep `nb_models` models.
        functions: Ignored: helpers are visible.
        keep_temp: Ignored: no file is written.

    Raises:
        UsageError: `trials` keeps fewer than `nb_models` models; no trial has run.
        SearchError: One of the models was not kept.
    """
    check_keep_models(trials, nb_models)
    minimize(model, data, algo, max_evals, trials)
    return best_returned_models(trials, nb_models)


@explain_keywords(_ELSEWHERE)
def best_ensemble(
    nb_ensemble_models: int,
    model: Callable[..., Any],
    data: Callable[..., Any],
    algo: Callable[..., Any],
    max_evals: int,
    trials: Any,
    voting: str = "hard",
    weights: Sequence[float] | None = None,
    nb_classes: int | None = None,  # noqa: ARG001 - known from the shape of the predictions
    functions: Sequence[Any] | None = None,  # noqa: ARG001 - as above
) -> "VotingModel":
    """Search, and return a voting ensemble of the best models.

    Args:
        nb_ensemble_models: Number of models in the ensemble.
        model: The model function with `{{...}}` templates, which returns its Keras model.
        data: The data function.
        algo: A suggest function of hyperopt, such as `tpe.suggest`.
        max_evals: The total number of trials of the search, over all runs.
        trials: As for `best_models`.
        voting: "hard" or "soft", as in `VotingModel`.
        weights: The weight of each model, best first; None: equal weights.
        nb_classes: Ignored: known from the shape of the predictions.
        functions: Ignored: helpers are visible.

    Raises:
        UsageError: `voting` or `weights` is invalid, or `trials` keeps fewer than
            `nb_ensemble_models` models.
        SearchError: One of the models was not kept.
    """
    check_keep_models(trials, nb_ensemble_models)
    VotingModel([None] * nb_ensemble_models, voting, weights)  # checks both before the search
    models = best_models(nb_ensemble_models, model, data, algo, max_evals, trials)
    return VotingModel(models, voting, weights)


class VotingModel:
    """Ensemble of classifiers whose `predict` returns classes; the lower class wins a tie.

    Args:
        model_list: Models whose `predict` returns the probability of each class.
        voting: "hard": each model votes, with its weight, for its most probable class; "soft":
            the weighted probabilities are added up.
        weights: The weight of each model; None: equal weights.
    """

    def __init__(
        self,
        model_list: Sequence[Any],
        voting: str = "hard",
        weights: Sequence[float] | None = None,
    ) -> None:
        if voting not in ("hard", "soft"):
            raise UsageError(f"voting must be 'hard' or 'soft', got {voting!r}.")
        if weights is not None and len(weights) != len(model_list):
            raise UsageError(f"Got {len(weights)} weights for {len(model_list)} models.")
        self.model_list, self.voting, self.weights = list(model_list), voting, weights

    def predict(self, x: Any, batch_size: int = 128, verbose: int = 0) -> Any:
        """Return the class of each sample, an array of integers of shape (samples,).

        Args:
            x: The samples, in the format that the models take.
            batch_size: Number of samples that are predicted at once.
            verbose: As in Keras's `predict`.
        """
        import numpy as np

        predictions = np.stack(
            [
                np.asarray(model.predict(x, batch_size=batch_size, verbose=verbose))
                for model in self.model_list
            ]
        )  # models, samples, classes
        if predictions.shape[-1] == 1:  # one probability, that of the second of two classes
            predictions = np.concatenate([1 - predictions, predictions], axis=-1)
        if self.voting == "hard":
            predictions = np.eye(predictions.shape[-1])[predictions.argmax(axis=-1)]
        weights = np.ones(len(predictions)) if self.weights is None else np.asarray(self.weights)
        return np.tensordot(weights, predictions, axes=1).argmax(axis=-1)


class NamedSpace(dict[str, Any]):
    """A search space: the expression of each hyperparameter by its name.

    Args:
        space: The expressions.
        hyperas_names: The names that the hyperas package gives the hyperparameters, by name.
    """

    def __init__(self, space: Mapping[str, Any], hyperas_names: Mapping[str, str]) -> None:
        super().__init__(space)
        self.hyperas_names = dict(hyperas_names)

    def __reduce__(self) -> Any:
        return type(self), (dict(self), self.hyperas_names)

    def __repr__(self) -> str:
        from colab_drive_tuner.search.spec.fingerprints import describe_space

        lines = []
        for line in describe_space(dict(self)).split("\n"):
            name, colon, rest = line.partition(": ")
            theirs = self.hyperas_names.get(name, name)
            note = f" (hyperas: {theirs})" if theirs != name else ""
            lines.append(f"{name}{note}{colon}{rest}")
        return "\n".join(lines)
