"""Results of a search and of its trials: parameters, losses, histories and models."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.errors import SearchError, TrainingWarning, UnfinishedSearchWarning
from colab_drive_tuner.search.results.exchange.import_export import write_file
from colab_drive_tuner.search.results.notebook_cards import result_card
from colab_drive_tuner.search.results.report_page import provenance, report_page, write_report
from colab_drive_tuner.search.results.search_data import SearchData, history_of, search_data
from colab_drive_tuner.search.results.table import Table
from colab_drive_tuner.search.spec.arguments import whole_number
from colab_drive_tuner.search.spec.space_values import evaluate_space, plain, point_of
from colab_drive_tuner.search.trial_documents import float_of, ranked
from colab_drive_tuner.search.trials.pickled_trials import pickled
from colab_drive_tuner.search.trials.returned_models import ModelResult
from colab_drive_tuner.search.trials.search_status import progress_text, without_result
from colab_drive_tuner.text import text_of, visible
from colab_drive_tuner.warn_user import warn_user

if TYPE_CHECKING:
    from colab_drive_tuner.search.drive_trials import DriveTrials
    from colab_drive_tuner.search.results.plot_accessor import Plots


class TrialResult:
    """One trial of a search, returned by `SearchResult.trial` and `SearchResult.best`.

    Args:
        trials: The search's trials.
        document: The trial's hyperopt document.
        space: The search's space.
    """

    def __init__(self, trials: "DriveTrials", document: TrialDocument, space: Any) -> None:
        self._trials, self._space = trials, space
        self.document = document
        """The trial's hyperopt document."""

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_trials": pickled(self._trials, [self.document])}

    @property
    def tid(self) -> int:
        """The trial's number; of a document that you inserted, perhaps a text."""
        number: int = plain(self.document["tid"])
        return number

    @property
    def loss(self) -> float | None:
        """The trial's loss; None if it has none."""
        return float_of(self.document["result"].get("loss"))

    @property
    def params(self) -> Any:
        """The parameters as the objective got them: a choice as the chosen value."""
        try:
            return evaluate_space(self._space, point_of(self.document))
        except Exception as error:  # a missing parameter, or a user's function in the space
            raise SearchError(
                f"The space cannot be evaluated for trial {self.document['tid']!r} of search "
                f"{self._trials.name!r} ({type(error).__name__}: {visible(error)}): `run` (of the "
                "result: `best_run`) has its parameters."
            ) from error

    @property
    def run(self) -> dict[str, Any]:
        """The parameters as hyperopt and hyperas return them: a choice as its index."""
        return {label: plain(value) for label, value in point_of(self.document).items()}

    @property
    def history(self) -> dict[str, list[float]]:
        """Values that `fit` reported per epoch, by metric."""
        return history_of(self.document)

    @property
    def model(self) -> Any:
        """The trial's Keras model; None if it was not kept."""
        return self._trials.models.load(self.document["tid"])

    def __repr__(self) -> str:
        loss = "no loss" if self.loss is None else f"loss {self.loss:.6g}"
        try:
            shown = self.params
        except SearchError:
            shown = self.run
        return f"Trial {self.tid} of {self._trials.name!r}: {loss}, {text_of(shown, repr)}"


class SearchResult:
    """The result of `resume_search`; unpacks into `best_run, best_model`, as in hyperas.

    Reading the best trial of an unfinished search warns (`UnfinishedSearchWarning`), with counts.
    """

    def __init__(
        self, trials: "DriveTrials", *, done: int, max_evals: int, stopped: str = "", space: Any
    ) -> None:
        self.trials = trials
        """The trials, as hyperopt's `Trials`."""
        self.done, self.max_evals = done, max_evals
        """Number of trials that have ended, including caught errors, and target number."""
        self.stopped = stopped
        """Rule that stopped the search early, such as "loss 0.01 < 0.5"; "" if none did."""
        self._space = space

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"trials": pickled(self.trials)}

    @property
    def name(self) -> str:
        """The search's name."""
        return self.trials.name

    @property
    def finished(self) -> bool:
        """Whether the search has ended: all `max_evals` trials have, or a rule stopped it."""
        return self.done >= self.max_evals or bool(self.stopped)

    @property
    def exit_code(self) -> int:
        """Exit code for a scheduled script: 0 if finished, 75 if another run is needed.

        Another run is needed if trials are left, or results wait on this machine for the store.
        """
        recorded = self.trials.recorded.done >= self.done
        return 0 if self.finished and recorded else 75

    @property
    def seed(self) -> int | None:
        """The seed that the search was created with; None if it was given a random state."""
        return self.trials.seed

    @property
    def best_trial(self) -> TrialDocument:
        """The trial with the lowest loss; raises `SearchError` if no trial has a loss."""
        self._warn()
        if not (best := ranked(self.trials._dynamic_trials)):
            more = "raise max_evals" if self.done >= self.max_evals else "run it again"
            raise SearchError(
                f"No trial of search {self.name!r} has a loss that is a number "
                f"({progress_text(self.done, self.max_evals)} have ended): {more} to run more "
                "trials."
            )
        return best[0]

    @property
    def best_loss(self) -> float:
        """The lowest loss."""
        return float(self.best_trial["result"]["loss"])

    @property
    def best_run(self) -> dict[str, Any]:
        """The best parameters as hyperopt and hyperas return them: a choice as its index."""
        return point_of(self.best_trial)

    @property
    def best_params(self) -> Any:
        """The best parameters as the objective got them: a choice as the chosen value."""
        return self._trial(self.best_trial).params

    @property
    def best_model(self) -> Any:
        """The Keras model of the best trial; None if it was not kept."""
        return self._model_of(self.best_trial)

    def _model_of(self, best: TrialDocument) -> Any:
        """Return the model of the best trial; warn if it should be in the store and is not."""
        model = self.load_model(best["tid"])
        if model is None and isinstance(best["result"], ModelResult) and self.trials.keep_models:
            warn_user(
                f"The best trial, {best['tid']}, returned a model that is not in the store: its "
                "runtime ended before the upload, the store did not take it, somebody moved it, or "
                "it is no Keras model. load_model() returns the best model that is in the store, "
                "if there is one.",
                TrainingWarning,
            )
        return model

    def load_model(self, tid: int | None = None, **options: Any) -> Any:
        """Return the kept model of a trial, or the best kept one; None if there is none.

        Args:
            tid: The trial's number; None: the trial of the best kept model.
            **options: `custom_objects` and `safe_mode` of `keras.models.load_model`.

        Raises:
            SearchError: The search has no such trial.
            ModelError: The kept model cannot be loaded.
        """
        if tid is not None:
            self._document(tid)
        return self.trials.models.load(tid, **options)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each trial, as a dict by column.

        The columns are: tid, state, status, loss, duration in seconds, and the runtime that ran the
        trial; each parameter as the objective got it (`layers.units` for nested dicts; the label in
        a list; a choice among dicts as its index, followed by the entries of the dict); each
        number, text, time and None that the objective returned; and the `error` of a failed trial.
        Parameters that the trial does not have and values that it did not return are left out.
        Names that occur twice get a prefix: `params.loss`, `result.rate`.
        """
        return self._table().rows

    def to_dataframe(self) -> Any:
        """Return the rows as a pandas DataFrame; its column types do not depend on missing values.

        Numbers have pandas's nullable types (`Int64`, `Float64`, `boolean`). Missing values are
        `pandas.NA`; a None that was chosen or returned stays None.
        """
        return self._table().to_dataframe()

    def _table(self) -> Table:
        return Table(self.trials._dynamic_trials, self._space)

    def to_csv(self, path: str | Path) -> None:
        """Write the rows as CSV.

        Args:
            path: The file to write; an existing one is replaced.

        Raises:
            UsageError: The file cannot be written.
        """
        write_file(path, self._table().to_csv())

    def to_parquet(self, path: str | Path) -> None:
        """Write `to_dataframe()` as a Parquet file; unsupported values are written as text.

        Args:
            path: The file to write; an existing one is replaced.

        Raises:
            MissingExtraError: pandas or pyarrow is not installed.
            UsageError: The file cannot be written.
        """
        write_file(path, self._table().to_parquet())

    def report(self, path: str | Path) -> None:
        """Write a report of the search as a single HTML file that works offline.

        Args:
            path: The file to write; an existing one is replaced.

        Raises:
            UsageError: The file cannot be written, or its suffix is not `.html` or `.htm`.
        """
        facts = provenance(self.trials.recorded, self.trials.url)
        write_report(path, report_page(self._data(), self._summary(with_trial=True), facts))

    @property
    def plot(self) -> "Plots":
        """Plots: `result.plot.history()`, `.timeline()`, `.parallel()` and others."""
        from colab_drive_tuner.search.results.plot_accessor import Plots

        return Plots(self._data(), self.to_optuna)

    def to_optuna(self) -> Any:
        """Return the search as an Optuna study in memory. Requires the extra `optuna`.

        A choice becomes categorical: numbers, texts of up to 30 letters, None and booleans stay as
        they are, other options get short names. An attribute of each trial holds its whole
        document, so that `cdt.from_optuna` restores equal trials.

        Raises:
            MissingExtraError: Optuna is not installed.
        """
        from colab_drive_tuner.search.results.exchange.to_optuna import to_study

        return to_study(self.name, self.trials._dynamic_trials, self._space)

    def trial(self, tid: int) -> TrialResult:
        """Return one trial, with its parameters, loss and model.

        Args:
            tid: The trial's number.

        Raises:
            SearchError: The search has no such trial.
        """
        return self._trial(self._document(tid))

    def best(self, count: int = 10) -> list[TrialResult]:
        """Return the trials with the lowest losses, the best first.

        Args:
            count: Maximum number of trials.

        Raises:
            UsageError: `count` is not an integer >= 0.
        """
        count = whole_number("count", count, least=0)
        self._warn()
        return [self._trial(document) for document in ranked(self.trials._dynamic_trials)[:count]]

    def _trial(self, document: TrialDocument) -> TrialResult:
        return TrialResult(self.trials, document, self._space)

    def _document(self, tid: Any) -> TrialDocument:
        for document in self.trials._dynamic_trials:
            if document["tid"] == tid:
                return document
        raise SearchError(f"Search {self.name!r} has no trial {tid!r}: `rows` lists its trials.")

    def _data(self) -> SearchData:
        sessions = self.trials.recorded.sessions
        return search_data(self.name, self.trials._dynamic_trials, self._space, sessions)

    def history(self, tid: int | None = None) -> dict[str, list[float]]:
        """Return the values that `fit` reported per epoch in a trial, by metric.

        This is the `history` that the objective returned, or else the history of the model that it
        returned; empty if it returned neither.

        Args:
            tid: The trial's number; None: the best trial.

        Raises:
            SearchError: The search has no such trial.
        """
        return history_of(self.best_trial if tid is None else self._document(tid))

    def __iter__(self) -> Iterator[Any]:
        best = self.best_trial
        yield point_of(best)
        yield self._model_of(best)

    def __repr__(self) -> str:
        return f"Search {self.name!r}: {self._summary()}"

    def _repr_html_(self) -> str:
        head = self._summary(with_trial=True)
        total = None if self.max_evals >= sys.maxsize else self.max_evals
        return result_card(self._data(), head, done=self.done, total=total, link=self.trials.url)

    def _summary(self, *, with_trial: bool = False) -> str:
        """Return counts, best loss and state; `with_trial`: also the number of the best trial."""
        progress = progress_text(self.done, self.max_evals)
        status = self.trials.status()
        text = f"{progress} trials{without_result(pruned=status.pruned, failed=status.failed)}"
        if status.best_loss is not None:
            text += f", best loss {status.best_loss:.6g}"
            text += f" in trial {status.best_tid}" if with_trial else ""
        if self.stopped:
            return f"{text}, stopped: {self.stopped}"
        return text if self.finished else f"{text}, unfinished: run it again to continue"

    def _warn(self) -> None:
        if not self.finished:
            warn_user(
                f"Search {self.name!r} is unfinished: {self.done} of {self.max_evals} trials have "
                f"ended. Run it again to continue.",
                UnfinishedSearchWarning,
            )
