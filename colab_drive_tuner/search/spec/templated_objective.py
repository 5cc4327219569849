"""Objectives made of a model function with templates, and the description of any objective."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from colab_drive_tuner.search.spec.objective_validation import validated

if TYPE_CHECKING:
    from colab_drive_tuner.templates import CompiledModel, DataArguments


class TemplatedObjective:
    """A compiled model function together with its data, as an objective.

    A pickle contains the data function rather than the loaded data: `prepare` runs it again, once
    per process.

    Args:
        model: The compiled model function.
        data: The data function, or the data itself.
        data_args: The arguments of the data function.
        load: Loads the data in this process; None in a worker, which calls `data` itself.
    """

    def __init__(
        self,
        model: "CompiledModel",
        data: Any,
        data_args: "DataArguments | None",
        load: Callable[[], Any] | None = None,
    ) -> None:
        self._model, self._data, self._data_args = model, data, data_args
        self._load = load
        self._arguments: tuple[Any, ...] | dict[str, Any] | None = None

    def prepare(self) -> "tuple[Any, ...] | dict[str, Any]":
        """Load the data on the first call; return the arguments of the model function."""
        if self._arguments is None:
            from colab_drive_tuner.templates import bind_data, load_data, returned_names

            loaded = self._load() if self._load else load_data(self._data, self._data_args)
            function = self._data if callable(self._data) else None
            self._arguments = bind_data(self._model, loaded, returned=returned_names(function))
        return self._arguments

    @property
    def source(self) -> str:
        """The source of the model function, normalized: comments and layout removed."""
        return self._model.source

    def describe_data(self) -> str | None:
        """Return the shapes and types of the data; None until it is loaded."""
        from colab_drive_tuner.search.spec.fingerprints import describe_data

        if (given := self._arguments) is None:
            return None
        if isinstance(given, Mapping):
            return describe_data(given.keys(), given.values())
        return describe_data(self._model.signature.parameters, given)

    def __call__(self, sampled: Mapping[str, Any]) -> Any:
        """Call the model function."""
        return validated(self._model.call(sampled, self.prepare()), self._model.name)

    def __getstate__(self) -> dict[str, Any]:
        kept = None if callable(self._data) else self._arguments
        return vars(self) | {"_load": None, "_arguments": kept}


def describe_objective(objective: Callable[..., Any]) -> tuple[str, str | None]:
    """Return the normalized source of an objective, and the description of its data if loaded."""
    from colab_drive_tuner.search.spec.fingerprints import describe_source

    if isinstance(objective, TemplatedObjective):
        return objective.source, objective.describe_data()
    return describe_source(objective), None
