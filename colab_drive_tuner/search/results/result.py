"""The result of a search: the best parameters, loss and model, and every trial."""

import sys
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_drive_tuner.checkpoint.document_validation import TrialDocument
from colab_drive_tuner.errors import SearchError, UnfinishedSearchWarning
from colab_drive_tuner.search.results.exchange.import_export import write_file
from colab_drive_tuner.search.results.notebook_cards import result_card
from colab_drive_tuner.search.results.report_page import provenance, report_page
from colab_drive_tuner.search.results.search_data import SearchData, history_of, search_data
from colab_drive_tuner.search.results.table import Table
from colab_drive_tuner.search.results.trial_result import TrialResult
from colab_drive_tuner.search.spec.arguments import whole_number
from colab_drive_tuner.search.spec.space_values import point_of
from colab_drive_tuner.search.trial_documents import countable_loss, is_failed, is_pruned
from colab_drive_tuner.search.trials.search_status import without_result
from colab_drive_tuner.user_warnings import warn_user

if TYPE_CHECKING:
    from colab_drive_tuner.search.drive_trials import DriveTrials
    from colab_drive_tuner.search.results.plots import Plots

EXIT_FINISHED, EXIT_UNFINISHED = 0, 75


class SearchResult:
    """The result of `resume_search`; unpacks into `best_run, best_model`, as hyperas's does.

    Asked for its best while trials are left to run, it warns (`UnfinishedSearchWarning`), with
    counts.
    """

    def __init__(
        self, trials: "DriveTrials", *, done: int, max_evals: int, stopped: str = "", space: Any
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
    def best_trial(self) -> TrialDocument:
        """The trial with the lowest loss; raises `SearchError` where none has one."""
        return self._best()

    @property
    def best_loss(self) -> float:
        """The lowest loss."""
        return float(self._best()["result"]["loss"])

    @property
    def best_run(self) -> dict[str, Any]:
        """The best parameters as hyperopt and hyperas give them: a choice as its index."""
        return point_of(self._best())

    @property
    def best_params(self) -> Any:
        """The best parameters as the objective got them: a choice as what was chosen."""
        return self._trial(self._best()).params

    @property
    def best_model(self) -> Any:
        """The Keras model of the best trial, from here or from the store; None if none was kept."""
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

    def to_csv(self, path: str | Path) -> None:
        """Write the rows as a table of text.

        Args:
            path: The file to write; one that is there is replaced.

        Raises:
            UsageError: The file cannot be written.
        """
        write_file(path, self._table().to_csv())

    def to_parquet(self, path: str | Path) -> None:
        """Write `to_dataframe()` as a Parquet file; what it cannot hold is written as text.

        Args:
            path: The file to write; one that is there is replaced.

        Raises:
            MissingExtraError: pandas or pyarrow is not installed.
            UsageError: The file cannot be written.
        """
        write_file(path, self._table().to_parquet())

    def report(self, path: str | Path) -> None:
        """Write the search as one HTML page, which opens offline and loads nothing.

        Args:
            path: The file to write; one that is there is replaced.

        Raises:
            UsageError: The file cannot be written.
        """
        history = self.trials.log.history
        data = self._data()
        page = report_page(data, self._head(data), provenance(history, self.trials.url))
        write_file(path, page.encode())

    @property
    def plot(self) -> "Plots":
        """Pictures: `result.plot.history()`, `.timeline()`, `.parallel()` and others."""
        from colab_drive_tuner.search.results.plots import Plots

        return Plots(self._data(), self.to_optuna)

    def to_optuna(self) -> Any:
        """The search as an Optuna study in memory. Needs the extra `optuna`.

        A choice is categorical, by its numbers, texts of up to 30 letters, None and booleans; other
        options have short names. Each trial keeps its whole document in
        an attribute, so that `cdt.from_optuna` gives back equal trials.

        Raises:
            MissingExtraError: Optuna is not installed.
        """
        from colab_drive_tuner.search.results.exchange.to_optuna import to_study

        return to_study(self.name, self.trials._dynamic_trials, self._space)

    def trial(self, tid: int) -> TrialResult:
        """One trial: its parameters, loss and model.

        Args:
            tid: The trial's number.

        Raises:
            SearchError: The search has no such trial.
        """
        return self._trial(self._document(tid))

    def best(self, count: int = 10) -> list[TrialResult]:
        """The trials with the lowest losses, the best first.

        Args:
            count: How many at most.

        Raises:
            UsageError: `count` is not an integer of 0 or more.
        """
        count = whole_number("count", count, least=0)
        self._warn()
        with_loss = [
            (loss, document)
            for document in self.trials._dynamic_trials
            if (loss := countable_loss(document)) is not None
        ]
        leading = sorted(with_loss, key=itemgetter(0))[:count]
        return [self._trial(document) for _, document in leading]

    def _trial(self, document: TrialDocument) -> TrialResult:
        return TrialResult(self.trials, document, self._space)

    def _document(self, tid: Any) -> TrialDocument:
        for document in self.trials._dynamic_trials:
            if document["tid"] == tid:
                return document
        raise SearchError(f"Search {self.name!r} has no trial {tid!r}: `rows` lists those it has.")

    def _data(self) -> SearchData:
        timeline = self.trials.log.history.timeline
        return search_data(self.name, self.trials._dynamic_trials, self._space, timeline)

    def history(self, tid: int | None = None) -> dict[str, list[float]]:
        """What `fit` reported epoch by epoch in a trial, by metric.

        That is the result's own `history` if the objective returned one, else that of the model it
        returned; empty where it returned neither.

        Args:
            tid: The trial's number; None: the best trial.

        Raises:
            SearchError: The search has no such trial.
        """
        return history_of(self._best() if tid is None else self._document(tid))

    def __iter__(self) -> Iterator[Any]:
        best = self._best()
        yield point_of(best)
        yield self.load_model(best["tid"])

    def __repr__(self) -> str:
        try:
            best = f", best loss {float(self._find_best()['result']['loss']):.6g}"
        except SearchError:  # no trial has a loss, or each one's is NaN
            best = ""
        return f"Search {self.name!r}: {self._counts()}{best}{self._left()}"

    def _repr_html_(self) -> str:
        data = self._data()
        head, total = self._head(data), self._total()
        return result_card(data, head, done=self.done, total=total, link=self.trials.url)

    def _head(self, data: SearchData) -> str:
        best = data.best(1)
        loss = f", best loss {best[0].loss:.6g} in trial {best[0].tid}" if best else ""
        return f"{self._counts()}{loss}{self._left()}"

    def _counts(self) -> str:
        total = self._total()
        progress = f"{self.done}" if total is None else f"{self.done} of {total}"
        documents = self.trials._dynamic_trials
        pruned, failed = sum(map(is_pruned, documents)), sum(map(is_failed, documents))
        return f"{progress} trials{without_result(pruned=pruned, failed=failed)}"

    def _total(self) -> int | None:
        return None if self.max_evals >= sys.maxsize else self.max_evals

    def _left(self) -> str:
        if self.stopped:
            return f", stopped: {self.stopped}"
        return "" if self.finished else ", unfinished: run it again to go on"

    def _best(self) -> TrialDocument:
        self._warn()
        return self._find_best()

    def _find_best(self) -> TrialDocument:
        from hyperopt.exceptions import AllTrialsFailed

        try:
            best: TrialDocument | None = self.trials.best_trial
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
