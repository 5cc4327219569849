"""Voting ensemble of classifiers, like hyperas's."""

from collections.abc import Sequence
from typing import Any

from colab_drive_tuner.errors import UsageError


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
