"""A model function with templates, with its data, as an objective that can travel to a worker."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colab_drive_tuner.templates import CompiledModel, DataArguments


class TemplatedObjective:
    """Calls a compiled model function with sampled values and its data.

    Pickled, it holds a data function and not what that returned: `prepare` runs it again, once per
    process.

    Args:
        model: The compiled model function.
        data: The data function, or the data itself.
        data_args: The arguments of the data function.
        load: Loads the data here; a worker does it by itself.
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
        """Load the data, unless that is done; return the arguments of the model function."""
        if self._arguments is None:
            from colab_drive_tuner.templates import bind_data, load_data, returned_names

            loaded = self._load() if self._load else load_data(self._data, self._data_args)
            function = self._data if callable(self._data) else None
            self._arguments = bind_data(self._model, loaded, returned=returned_names(function))
        return self._arguments

    def named(self) -> Mapping[str, Any]:
        """The data by the names of the model function's parameters."""
        arguments = self.prepare()
        if isinstance(arguments, Mapping):
            return arguments
        return dict(zip(self._model.signature.parameters, arguments, strict=False))

    def __call__(self, sampled: Mapping[str, Any]) -> Any:
        """What the model function returns."""
        return self._model.call(sampled, self.prepare())

    def __getstate__(self) -> dict[str, Any]:
        kept = None if callable(self._data) else self._arguments
        return vars(self) | {"_load": None, "_arguments": kept}
