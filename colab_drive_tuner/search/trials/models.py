"""Models that an objective returns: kept in `best/`, never in a record, and there when asked for.

hyperas reads `trial['result']['model']` of the best trial, and people do too. So the result of a
trial that had a model is a dict whose `model` is loaded when it is read, from here or from Drive,
also by a session that did not train it.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_drive_tuner.checkpoint.codec.codec import encode
from colab_drive_tuner.errors import NotPlainDataError, SearchError, TrainingWarning, UsageError
from colab_drive_tuner.journal import Journal
from colab_drive_tuner.store.protocol import Store
from colab_drive_tuner.training.memory import split_result
from colab_drive_tuner.user_warnings import warn_user

if TYPE_CHECKING:
    from colab_drive_tuner.training.models.best_models import BestModels


class ModelResult(dict[str, Any]):
    """A trial's result whose `model` is loaded when it is read; pickles and copies without it."""

    def __init__(self, result: dict[str, Any], load: Callable[[], Any]) -> None:
        super().__init__(result)
        super().__setitem__("model", None)  # so that `in`, `keys` and `len` show it
        self._load = load

    def __getitem__(self, key: str) -> Any:
        return self._load() if key == "model" else super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """As a dict's; the model is loaded."""
        return self[key] if dict.__contains__(self, key) else default

    def values(self) -> Any:
        """As a dict's; the model is loaded."""
        return [self[key] for key in self]

    def items(self) -> Any:
        """As a dict's; the model is loaded."""
        return [(key, self[key]) for key in self]

    def plain(self) -> dict[str, Any]:
        """The result without the model."""
        return {key: dict.__getitem__(self, key) for key in self if key != "model"}

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    def __reduce__(self) -> Any:
        return dict, (self.plain(),)

    def __copy__(self) -> dict[str, Any]:
        return self.plain()

    copy = __copy__


@dataclass(frozen=True)
class Parts:
    """A trial's result, and the model that it held."""

    result: dict[str, Any]
    """Without the model."""
    had_model: bool = False
    keras: Any = None
    """The Keras model, or what can `save` one; None: there was none, or it is not wanted."""
    other: Any = None
    """A model that is not Keras's."""
    curves: dict[str, list[float]] = field(default_factory=dict)
    """What the model was told by its last `fit`, epoch by epoch; mostly its metrics."""

    @property
    def loss(self) -> float | None:
        """Where the trial went well: the loss by which models are ranked."""
        return self.result.get("loss") if self.result.get("status") == "ok" else None


def take_apart(result: dict[str, Any]) -> Parts:
    """A result and its model, each for itself."""
    metrics = _metrics(result.get("history"))
    if metrics is not None:  # Keras's own History, which is not plain data
        result = result | {"history": metrics}
    plain, model = split_result(result)
    if model is not None:
        curves = _metrics(getattr(model, "history", None)) or {}
        return Parts(dict(plain), had_model=True, keras=model, curves=curves)
    if plain.get("model") is None or _is_plain(plain["model"]):
        return Parts(result)
    rest = {key: value for key, value in plain.items() if key != "model"}
    return Parts(rest, had_model=True, other=plain["model"])


class SavedModel:
    """A Keras model that a worker has saved: `save` writes it to a file."""

    def __init__(self, content: bytes, problem: str = "") -> None:
        self._content, self._problem = content, problem

    def save(self, path: Path) -> None:
        """Write the .keras file; raises where the worker could not make it."""
        if self._problem:
            raise RuntimeError(self._problem)
        path.write_bytes(self._content)


class Models:
    """The models of one search."""

    def __init__(self, store: Store, journal: Journal, keep: int) -> None:
        self._store, self._journal, self._keep = store, journal, keep
        self._best: BestModels | None = None
        self._best_of = ""
        self._other: tuple[float, int, Any] | None = None
        """The best model that is not Keras's: it lives as long as this process."""

    def keep(self, parts: Parts, tid: int) -> dict[str, Any]:
        """Offer the model of a result to `best/`; return the result, which holds it no more."""
        if not parts.had_model:
            return parts.result
        if parts.other is not None:
            self._hold(parts.other, tid, parts.loss)
        elif parts.keras is not None and (best := self._models()) is not None:
            best.offer(parts.keras, tid=tid, loss=parts.loss)
        return self.wrap(parts.result, tid)

    def wrap(self, result: dict[str, Any], tid: Any) -> ModelResult:
        """The result of a trial that had a model, whose model is loaded when it is read."""
        return ModelResult(result, lambda: self.load(tid))

    def load(self, tid: Any = None, **options: Any) -> Any:
        """The model of a trial, or the best one; None if it was not kept."""
        if self._other is not None and tid in (None, self._other[1]):
            return self._other[2]
        best = self._models()
        return None if best is None else best.load(tid, **options)

    def close(self, timeout: float) -> None:
        """Wait until what is on its way is stored; warn of what is not."""
        if self._best is None:
            return
        left = self._best.close(timeout)
        self._best = None
        if left:
            warn_user(
                f"Drive did not take {', '.join(left)} in time: the model is lost with this "
                f"runtime, the trial's result is not.",
                TrainingWarning,
            )

    def _models(self) -> "BestModels | None":
        folder, epoch = self._journal.folder, self._journal.epoch
        if folder is not None and (self._best is None or self._best_of != epoch):
            from colab_drive_tuner.training.models.best_models import BestModels

            self._best = BestModels(
                self._store, folder, keep=self._keep, epoch=epoch, room=self._store.free_space
            )
            self._best_of = epoch
        return self._best

    def _hold(self, model: Any, tid: int, loss: float | None) -> None:
        if self._other is None:
            warn_user(
                f"result['model'] of trial {tid} is a {type(model).__name__}, no Keras model: the "
                f"best one is kept in this process only. To keep more, return plain data, or bytes "
                f"as `attachments`.",
                TrainingWarning,
            )
        if loss is None or loss != loss:  # noqa: PLR0124 - NaN
            return
        if self._other is None or loss < self._other[0]:
            self._other = (loss, tid, model)


def _metrics(history: Any) -> dict[str, list[float]] | None:
    """What a `keras.callbacks.History` holds; None for what is none."""
    metrics = getattr(history, "history", None)
    if not isinstance(metrics, dict):
        return None
    curves = {}
    for name, values in metrics.items():
        with suppress(TypeError, ValueError):  # a metric that gives a vector has no curve
            curves[str(name)] = [float(value) for value in values]
    return curves


def check_kept(trials: Any, number: int) -> None:
    """Raise `UsageError` where `trials` would not keep so many models; nothing has run then."""
    if number < 1:
        raise UsageError(f"nb_models must be an integer >= 1, got {number!r}.")
    if (keep := getattr(trials, "keep_models", number)) < number:
        raise UsageError(
            f"These trials keep {keep} of the best models, not {number}: make them by "
            f"session.trials(name, keep_models={number})."
        )


def best_kept(trials: Any, number: int) -> list[Any]:
    """The models of the lowest losses, best first; `SearchError` where one was not kept."""
    ended = [trial for trial in trials.trials if trial["result"].get("status") == "ok"]
    ended.sort(key=lambda trial: float(trial["result"]["loss"]))
    models = [trial["result"].get("model") for trial in ended[:number]]
    lost = [trial["tid"] for trial, kept in zip(ended, models, strict=False) if kept is None]
    if lost:
        raise SearchError(
            f"The models of trials {', '.join(map(str, lost))} were not kept: return them as "
            f"'model', and keep enough with trials=session.trials(name, keep_models={number})."
        )
    return models


def _is_plain(value: Any) -> bool:
    """Whether `value` may stay in the record: a name, say, that happens to be called model."""
    try:
        encode(value)
    except NotPlainDataError:
        return False
    return True
