"""Objectives: checked for what they take and return, or made of a model with templates."""

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from numbers import Real
from types import FunctionType
from typing import TYPE_CHECKING, Any

from colab_drive_tuner.errors import ObjectiveError, TemplateError
from colab_drive_tuner.text import text_of

if TYPE_CHECKING:
    from colab_drive_tuner.templates import CompiledModel, DataArguments

_HINT = "return {'loss': ..., 'status': STATUS_OK}"


def refuse_parameters(objective: Callable[..., Any]) -> None:
    """Raise `ObjectiveError` where the objective cannot be called with a point alone."""
    if inspect.iscoroutinefunction(objective) or inspect.isasyncgenfunction(objective):
        raise ObjectiveError(
            f"{getattr(objective, '__name__', 'The objective')}() is async: an objective must run "
            f"when it is called, and {_HINT}."
        )
    try:
        signature = inspect.signature(objective)
    except ValueError:  # written in C: the first trial tells
        return
    try:
        signature.bind(None)
    except TypeError as error:
        name = getattr(objective, "__name__", type(objective).__name__)
        raise ObjectiveError(
            f"{name}{signature} does not take what hyperopt passes, a point of the space as its "
            f"only argument: {error}."
        ) from error


def checked(function: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
    """The objective, with plain words where it returns what hyperopt cannot use."""
    from hyperopt import STATUS_STRINGS

    def call(sampled: Any) -> Any:
        result = function(sampled)
        if isinstance(result, Real):
            _check_loss(result, name)
            return float(result)
        if not isinstance(result, Mapping):
            raise ObjectiveError(f"{name}() returned {type(result).__name__}: {_HINT}.")
        if "status" not in result:
            raise ObjectiveError(f"{name}() returned a result without 'status': {_HINT}.")
        if result["status"] not in STATUS_STRINGS:
            raise ObjectiveError(
                f"{name}() returned the status {result['status']!r:.40}, which hyperopt does not "
                f"know: {_HINT}."
            )
        if result["status"] == "ok":
            _check_loss(result.get("loss"), name)
        return result

    if hasattr(function, "prepare"):  # what a worker does before its first trial
        vars(call)["prepare"] = function.prepare
    return call


def _check_loss(loss: Any, name: str) -> None:
    if loss is None:
        raise ObjectiveError(f"{name}() returned a result without 'loss': {_HINT}.")
    try:
        float(loss)
    except (TypeError, ValueError, OverflowError) as error:
        large = isinstance(error, OverflowError)
        raise ObjectiveError(
            f"{name}() returned the loss {text_of(loss, repr):.40}, which is "
            f"{'too large for a float' if large else 'not a number'}: {_HINT}."
        ) from error


def refuse_returns(function: Callable[..., Any]) -> None:
    """Raise `ObjectiveError` where the function's text shows that nothing it returns is a result.

    Only what is certain is refused: where one `return` may be right, or the text is not at hand,
    the first trial tells.
    """
    from colab_drive_tuner.templates import read_source

    if not isinstance(function, FunctionType):
        return
    try:
        source = read_source(function)
    except TemplateError:
        return
    if isinstance(source.node, ast.Lambda):
        returned: list[ast.expr | None] = [source.node.body]
    else:
        returned = [part.value for part in _own(source.node) if isinstance(part, ast.Return)]
    problems = [_problem(value) for value in returned]
    if problems and all(problems):
        raise ObjectiveError(
            f"{function.__name__}(), {source.where(source.node.lineno)}, returns {problems[0]}: "
            f"{_HINT}."
        )


def _own(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function, without those of functions and classes inside it."""
    for part in ast.iter_child_nodes(function):
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield part
            yield from _own(part)


def _problem(value: ast.expr | None) -> str | None:
    """What is certainly wrong with the value of a `return`; None: nothing is."""
    if value is None or (isinstance(value, ast.Constant) and value.value is None):
        return "None"
    if isinstance(value, ast.Tuple | ast.List | ast.JoinedStr):
        return {ast.Tuple: "a tuple", ast.List: "a list"}.get(type(value), "text")
    if isinstance(value, ast.Constant) and isinstance(value.value, str | bytes):
        return "text"
    if not isinstance(value, ast.Dict):
        return None
    items = {
        key.value if isinstance(key, ast.Constant) else None: part
        for key, part in zip(value.keys, value.values, strict=True)
    }
    if None in items:  # a key that is computed, or **more
        return None
    if "status" not in items:
        return "a result without 'status'"
    if "loss" not in items and _is_ok(items["status"]):
        return "a result without 'loss'"
    return None


def _is_ok(status: ast.expr) -> bool:
    if isinstance(status, ast.Constant):
        return bool(status.value == "ok")
    return getattr(status, "id", getattr(status, "attr", None)) == "STATUS_OK"


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

    @property
    def source(self) -> str:
        """The text of the model function, without comments and layout."""
        return self._model.fingerprint_source

    def describe_data(self) -> str | None:
        """The shapes and types of the data; None as long as it is not loaded."""
        from colab_drive_tuner.search.spec.fingerprints import describe_data

        if (given := self._arguments) is None:
            return None
        if isinstance(given, Mapping):
            return describe_data(given.keys(), given.values())
        return describe_data(self._model.signature.parameters, given)

    def __call__(self, sampled: Mapping[str, Any]) -> Any:
        """What the model function returns."""
        return self._model.call(sampled, self.prepare())

    def __getstate__(self) -> dict[str, Any]:
        kept = None if callable(self._data) else self._arguments
        return vars(self) | {"_load": None, "_arguments": kept}


def describe_objective(objective: Callable[..., Any]) -> tuple[str, str | None]:
    """The text of an objective's function; and what describes its data, where that is loaded."""
    from colab_drive_tuner.search.spec.fingerprints import describe_source

    if isinstance(objective, TemplatedObjective):
        return objective.source, objective.describe_data()
    return describe_source(objective), None
