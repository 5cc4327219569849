"""Vote of several classifiers, as hyperas's ensembles have it."""

from collections.abc import Sequence
from typing import Any

from colab_drive_tuner.errors import UsageError


class VotingModel:
    """Classifiers that decide together; `predict` as each of them has it, but for classes.

    The lower class wins a tie.

    Args:
        model_list: Models whose `predict` gives the probability of each class.
        voting: "hard": each model has one vote (or its weight) for its likeliest class; "soft":
            their probabilities are added up, each times its weight.
        weights: The weight of each model; None: all weigh the same.
    """

    def __init__(
        self,
        model_list: Sequence[Any],
        voting: str = "hard",
        weights: Sequence[float] | None = None,
    ) -> None:
        if voting not in ("hard", "soft"):
            raise UsageError(f"voting={voting!r} is neither 'hard' nor 'soft'.")
        if weights is not None and len(weights) != len(model_list):
            raise UsageError(f"{len(weights)} weights do not fit {len(model_list)} models.")
        self.model_list, self.voting, self.weights = list(model_list), voting, weights

    def predict(self, x: Any, batch_size: int = 128, verbose: int = 0) -> Any:
        """The class of each sample, an array of integers of shape (samples,).

        Args:
            x: The samples, as the models take them.
            batch_size: How many samples are predicted at once.
            verbose: As Keras's `predict` has it.
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
