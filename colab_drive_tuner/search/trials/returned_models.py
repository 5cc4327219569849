"""Models that an objective returns: stored in `best/`, never in a record, and loaded when read.

hyperas and its users read `trial['result']['model']` of the best trial. The result of a trial that
returned a model is therefore a dict that loads `model` when it is read, from this process or from
the store, also in a session that did not train it.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.errors import NotPlainDataError, SearchError, TrainingWarning, UsageError
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.search.spec.arguments import whole_number
from colab_drive_tuner.search.trial_documents import ranked
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.training.memory import split_result
from colab_drive_tuner.warn_user import warn_user

if TYPE_CHECKING:
    from colab_drive_tuner.training.models.best_models import BestModels


class ModelResult(dict[str, Any]):
    """A trial's result that loads its `model` when it is read; pickles and copies omit it."""

    def __init__(self, result: dict[str, Any], load: Callable[[], Any]) -> None:
        super().__init__(result)
        super().__setitem__("model", None)  # so that `in`, `keys` and `len` show it
        self._load = load

    def __getitem__(self, key: str) -> Any:
        return self._load() if key == "model" else super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Like `dict.get`; loads the model."""
        return self[key] if dict.__contains__(self, key) else default

    def values(self) -> Any:
        """Like `dict.values`; loads the model."""
        return [self[key] for key in self]

    def items(self) -> Any:
        """Like `dict.items`; loads the model."""
        return [(key, self[key]) for key in self]

    def plain(self) -> dict[str, Any]:
        """Return the result without the model."""
        return {key: dict.__getitem__(self, key) for key in self if key != "model"}

    def __iter__(self) -> Iterator[str]:  # its presence makes `dict(result)` use `__getitem__`
        return super().__iter__()

    def __reduce__(self) -> Any:
        return dict, (self.plain(),)

    def __copy__(self) -> dict[str, Any]:
        return self.plain()

    copy = __copy__


@dataclass(frozen=True)
class ResultParts:
    """A trial's result, separated from the model in it."""

    result: dict[str, Any]
    """The result without the model."""
    had_model: bool = False
    keras: Any = None
    """The Keras model, or a `SavedModel`; None if there was none, or it need not be kept."""
    other: Any = None
    """A model of another library."""
    curves: dict[str, list[float]] = field(default_factory=dict)
    """The history of the model's last `fit`: values by metric, one per epoch."""

    @property
    def loss(self) -> float | None:
        """The loss by which models are ranked; None unless the status is ok."""
        return self.result.get("loss") if self.result.get("status") == "ok" else None


def separate_model(result: dict[str, Any]) -> ResultParts:
    """Separate a result from the model in it."""
    metrics = _metrics(result.get("history"))
    if metrics is not None:  # Keras's own History, which is not plain data
        result = result | {"history": metrics}
    plain, model = split_result(result)
    if model is not None:
        curves = _metrics(getattr(model, "history", None)) or {}
        return ResultParts(dict(plain), had_model=True, keras=model, curves=curves)
    if plain.get("model") is None or _is_plain(plain["model"]):
        return ResultParts(result)
    rest = {key: value for key, value in plain.items() if key != "model"}
    return ResultParts(rest, had_model=True, other=plain["model"])


class SavedModel:
    """A Keras model that a worker has saved as bytes; `save` writes them to a file."""

    def __init__(self, content: bytes, problem: str = "") -> None:
        self._content, self._problem = content, problem

    def save(self, path: Path) -> None:
        """Write the .keras file; raise `RuntimeError` if the worker could not save the model."""
        if self._problem:
            raise RuntimeError(self._problem)
        path.write_bytes(self._content)


class ReturnedModels:
    """The models returned by the trials of one search."""

    def __init__(self, store: Store, journal: Journal, keep: int) -> None:
        self._store, self._journal, self._keep = store, journal, keep
        self._epoch = ""
        """The history that the models below belong to."""
        self._best: BestModels | None = None
        self._other: tuple[float, int, Any] | None = None
        """Loss, trial and the best model of another library, kept in this process only."""

    def keep(self, parts: ResultParts, tid: int) -> dict[str, Any]:
        """Offer the model of a result to `best/`; return the result without the model itself."""
        if not parts.had_model:
            return parts.result
        best = self._models()
        if parts.other is not None:
            self._keep_in_process(parts.other, tid, parts.loss)
        elif parts.keras is not None and best is not None:
            best.offer(parts.keras, tid=tid, loss=parts.loss)
        return self.wrap(parts.result, tid)

    def wrap(self, result: dict[str, Any], tid: Any) -> ModelResult:
        """Return the result of a trial that had a model as a dict that loads it when read."""
        return ModelResult(result, lambda: self.load(tid))

    def load(self, tid: Any = None, **options: Any) -> Any:
        """Return the model of a trial, or the best one for `tid=None`; None if it was not kept."""
        best = self._models()
        if self._other is not None and tid in (None, self._other[1]):
            return self._other[2]
        return None if best is None else best.load(tid, **options)

    def close(self, timeout: float) -> None:
        """Wait until pending models are stored; warn of those that are not."""
        if self._best is None:
            return
        left = self._best.close(timeout)
        self._best = None
        if left:
            warn_user(
                f"The store did not take {', '.join(left)} in time: the model is lost with this "
                f"runtime, the trial's result is not.",
                TrainingWarning,
            )

    def _models(self) -> "BestModels | None":
        """Return the models in the store; forget those of a history before `delete_all`."""
        folder, epoch = self._journal.folder, self._journal.epoch
        if self._epoch != epoch:
            self._epoch, self._best, self._other = epoch, None, None
        if folder is not None and self._best is None:
            from colab_drive_tuner.training.models.best_models import BestModels

            self._best = BestModels(self._store, folder, keep=self._keep, epoch=epoch)
        return self._best

    def _keep_in_process(self, model: Any, tid: int, loss: float | None) -> None:
        if self._other is None:
            kind = type(model)
            warn_user(
                f"result['model'] of trial {tid} is a {kind.__module__}.{kind.__name__}, no Keras "
                "model: the best one is kept in this process only. To keep more, return plain "
                "data, or bytes as `attachments`.",
                TrainingWarning,
            )
        if loss is None or loss != loss:  # noqa: PLR0124 - NaN
            return
        if self._other is None or loss < self._other[0]:
            self._other = (loss, tid, model)


def _metrics(history: Any) -> dict[str, list[float]] | None:
    """Return the metrics of a `keras.callbacks.History`; None for any other value."""
    metrics = getattr(history, "history", None)
    if not isinstance(metrics, dict):
        return None
    curves = {}
    for name, values in metrics.items():
        # A metric whose value is a vector has no curve; RuntimeError: one of PyTorch.
        with suppress(TypeError, ValueError, RuntimeError):
            curves[str(name)] = [float(value) for value in values]
    return curves


def check_keep_models(trials: Any, number: int) -> None:
    """Raise `UsageError`, before any trial runs, if `trials` keeps fewer than `number` models."""
    number = whole_number("nb_models", number, least=1)
    if (keep := getattr(trials, "keep_models", number)) < number:
        raise UsageError(
            f"These trials keep {keep} of the best models, not {number}: make them by "
            f"session.trials(name, keep_models={number})."
        )


def best_returned_models(trials: Any, number: int) -> list[Any]:
    """Return the models with the lowest losses, best first; raise `SearchError` if one is lost."""
    best = ranked(trials.trials)[:number]
    models = [trial["result"].get("model") for trial in best]
    lost = [trial["tid"] for trial, kept in zip(best, models, strict=True) if kept is None]
    if lost:
        raise SearchError(
            f"No model was kept of trial {', '.join(map(str, lost))}: return the model as 'model', "
            f"and keep enough with trials=session.trials(name, keep_models={number})."
        )
    return models


def _is_plain(value: Any) -> bool:
    """Return whether `value` may stay in the record, such as a name under the key 'model'."""
    try:
        encode(value)
    except NotPlainDataError:
        return False
    return True
