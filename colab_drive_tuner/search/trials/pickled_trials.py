"""Trials of a pickled result: the state of their search, without the store."""

from dataclasses import dataclass
from typing import Any

import hyperopt

from colab_drive_tuner.checkpoint.document_schema import TrialDocument
from colab_drive_tuner.errors import ModelError
from colab_drive_tuner.search.trials.returned_models import ModelResult
from colab_drive_tuner.search.trials.search_status import SearchStatus, status_of_documents
from colab_drive_tuner.search.trials.stored_trials import StoredTrials
from colab_drive_tuner.text import visible


@dataclass(frozen=True)
class PickledModels:
    """The models of pickled trials, which stay in the store."""

    place: str
    """The search's folder."""
    tids: frozenset[Any]
    """The trials that returned a model."""

    def load(self, tid: Any = None, **_options: Any) -> None:
        """Raise `ModelError` for a trial that returned a model; None: for any trial."""
        if tid in self.tids or (tid is None and self.tids):
            raise ModelError(
                "A pickled or copied result has no models: they stay in the search's folder, "
                f"{self.place}. The same call of resume_search() returns a result that loads them."
            )


class PickledTrials(hyperopt.Trials):  # type: ignore[misc]  # hyperopt is untyped
    """Trials in memory, with what a result shows of their search: its state at this moment."""

    def __init__(self, trials: StoredTrials, documents: list[TrialDocument] | None) -> None:
        super().__init__(refresh=False)
        if documents is None:
            self.__dict__.update(trials.plain_state())
        else:
            self._dynamic_trials = documents
        self.name, self.url, self.seed = trials.name, trials.url, trials.seed
        self.keep_models = trials.keep_models
        returned = (d["tid"] for d in self._dynamic_trials if isinstance(d["result"], ModelResult))
        self.models = PickledModels(trials.url, frozenset(returned))
        self.recorded = trials.recorded

    def __repr__(self) -> str:
        return visible(f"Trials of {self.name!r}, pickled without their store: {len(self)} trials")

    def status(self) -> SearchStatus:
        """Return the status at the time of the pickle."""
        return status_of_documents(self.name, self._dynamic_trials, self.recorded.settings)


def pickled(trials: Any, documents: list[TrialDocument] | None = None) -> PickledTrials:
    """Return the trials of a result, or only `documents` of them, as its pickle holds them."""
    return trials if isinstance(trials, PickledTrials) else PickledTrials(trials, documents)
