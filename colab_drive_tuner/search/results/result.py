"""The result of a search: the best parameters, loss and model, and every trial."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from colab_drive_tuner.errors import SearchError, UnfinishedSearchWarning
from colab_drive_tuner.search.results.table import Table, evaluate_space, missing_labels, point_of
from colab_drive_tuner.user_warnings import warn_user

if TYPE_CHECKING:
    from colab_drive_tuner.search.drive_trials import DriveTrials

EXIT_FINISHED, EXIT_UNFINISHED = 0, 75


class SearchResult:
    """The result of `resume_search`; unpacks into `best_run, best_model`, as hyperas's does.

    Asked for its best while trials are left to run, it warns (`UnfinishedSearchWarning`), with
    counts.
    """

    def __init__(
        self,
        trials: "DriveTrials",
        *,
        done: int,
        max_evals: int,
        stopped: str = "",
        space: Any,
    ) -> None:
        self.trials = trials
        """The trials as hyperopt has them."""
        self.done, self.max_evals = done, max_evals
        """How many trials have ended (errors that were caught included), and how many shall."""
        self.stopped = stopped
        """Why the search ended before it had all its trials: "loss 0.01 < 0.5"; "": it did not."""
        self._space = space

    @property
    def name(self) -> str:
        """The search's name."""
        return self.trials.name

    @property
    def finished(self) -> bool:
        """Whether the search has ended: with all `max_evals` trials, or stopped by a rule."""
        return self.done >= self.max_evals or bool(self.stopped)

    @property
    def exit_code(self) -> int:
        """For a script that a scheduler runs: 0 finished, 75 more to do."""
        return EXIT_FINISHED if self.finished else EXIT_UNFINISHED

    @property
    def seed(self) -> int | None:
        """The seed that the search was created with; None where it was given a random state."""
        return self.trials.seed

    @property
    def best_trial(self) -> dict[str, Any]:
        """The trial with the lowest loss; raises `SearchError` where none has one."""
        self._warn()
        return self._best()

    @property
    def best_loss(self) -> float:
        """The lowest loss."""
        self._warn()
        return float(self._best()["result"]["loss"])

    @property
    def best_run(self) -> dict[str, Any]:
        """The best parameters as hyperopt and hyperas give them: a choice as its index."""
        self._warn()
        return point_of(self._best())

    @property
    def best_params(self) -> Any:
        """The best parameters as the objective got them: a choice as what was chosen."""
        self._warn()
        best = self._best()
        point = point_of(best)
        if missing := missing_labels(self._space, point):
            raise SearchError(
                f"Trial {best['tid']!r}, the best of search {self.name!r}, has no value for "
                f"{', '.join(map(repr, sorted(missing)))}: `best_run` gives those that it has."
            )
        return evaluate_space(self._space, point)

    @property
    def best_model(self) -> Any:
        """The Keras model of the best trial, from here or from the store; None if none was kept."""
        self._warn()
        return self.load_model(self._best()["tid"])

    def load_model(self, tid: int | None = None, **options: Any) -> Any:
        """The kept model of a trial, or the best kept one; None where there is none.

        Args:
            tid: The trial's number; None: that of the best kept model.
            **options: `custom_objects` and `safe_mode`, as `keras.models.load_model` has them.

        Raises:
            ModelError: The kept model cannot be loaded.
        """
        return self.trials.models.load(tid, **options)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each trial, as a dict of its columns.

        The columns are tid, state, status, loss, duration in seconds, and the runtime where it ran;
        each parameter as the objective got it (`layers.units` where dicts are nested; in a list, by
        its label; a choice among dicts as its index, with their entries below it); each number,
        text, time and None that the objective returned; and the `error` of a trial that failed.
        A parameter that the trial does not have, or a value that it did not return, is left out. A
        name that is taken gets a prefix: `params.loss`, `result.rate`.
        """
        return self._table().rows

    def to_dataframe(self) -> Any:
        """The rows as a pandas DataFrame, the same columns whatever trials there are.

        Numbers have pandas's types that know missing values (`Int64`, `Float64`, `boolean`). What a
        trial does not have is `pandas.NA`; a None that was chosen or returned stays None.
        """
        return self._table().to_dataframe()

    def _table(self) -> Table:
        return Table(self.trials._dynamic_trials, self._space)

    def history(self, tid: int | None = None) -> dict[str, list[float]]:
        """What `fit` reported epoch by epoch in a trial, by metric.

        That is the result's own `history` if the objective returned one, else that of the model it
        returned; empty where it returned neither.

        Args:
            tid: The trial's number; None: the best trial.

        Raises:
            SearchError: The search has no such trial.
        """
        if tid is None:
            self._warn()
            return _history(self._best())
        for document in self.trials._dynamic_trials:
            if document["tid"] == tid:
                return _history(document)
        raise SearchError(f"Search {self.name!r} has no trial {tid!r}: `rows` lists those it has.")

    def __iter__(self) -> Iterator[Any]:
        self._warn()
        best = self._best()
        yield point_of(best)
        yield self.load_model(best["tid"])

    def __repr__(self) -> str:
        try:
            best = f", best loss {float(self._best()['result']['loss']):.6g}"
        except SearchError:  # no trial has a loss, or each one's is NaN
            best = ""
        left = "" if self.finished else ", unfinished: run it again to go on"
        if self.stopped:
            left = f", stopped: {self.stopped}"
        return f"Search {self.name!r}: {self.done} of {self.max_evals} trials{best}{left}"

    def _best(self) -> dict[str, Any]:
        from hyperopt.exceptions import AllTrialsFailed

        try:
            best: dict[str, Any] | None = self.trials.best_trial
        except (AllTrialsFailed, KeyError):
            best = None
        if best is None:
            raise SearchError(
                f"No trial of search {self.name!r} has a loss yet ({self.done} of "
                f"{self.max_evals} have ended): run more, by a larger max_evals where all have."
            )
        return best

    def _warn(self) -> None:
        if not self.finished:
            warn_user(
                f"Search {self.name!r} is unfinished: {self.done} of {self.max_evals} trials have "
                f"ended. Run it again to go on.",
                UnfinishedSearchWarning,
            )


def _history(document: dict[str, Any]) -> dict[str, list[float]]:
    given = document["result"].get("history")
    found = given if isinstance(given, dict) else document["misc"].get("history")
    return dict(found or {})
