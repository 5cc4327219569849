"""`TrialResult`: parameters, loss, history and model of one trial."""

from typing import TYPE_CHECKING, Any

from colab_drive_tuner.checkpoint.document_validation import TrialDocument
from colab_drive_tuner.errors import SearchError
from colab_drive_tuner.search.results.search_data import history_of
from colab_drive_tuner.search.spec.space_values import evaluate_space, plain, point_of
from colab_drive_tuner.search.trial_documents import float_of
from colab_drive_tuner.text import text_of, visible

if TYPE_CHECKING:
    from colab_drive_tuner.search.drive_trials import DriveTrials


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

    @property
    def tid(self) -> int:
        """The trial's number."""
        return int(self.document["tid"])

    @property
    def loss(self) -> float | None:
        """The trial's loss; None if it has none."""
        return float_of(self.document["result"].get("loss"))

    @property
    def params(self) -> Any:
        """The parameters as the objective got them: a choice as the chosen value."""
        try:
            return evaluate_space(self._space, point_of(self.document))
        except (
            Exception
        ) as error:  # a parameter is missing, or a user's function in the space raises
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
