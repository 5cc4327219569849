"""Objectives: validation of functions and their results; model functions with templates."""

import ast
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from numbers import Real
from types import FunctionType
from typing import TYPE_CHECKING, Any

from colab_drive_tuner.errors import ObjectiveError, TemplateError, UsageError
from colab_drive_tuner.search.spec.arguments import check_space
from colab_drive_tuner.search.spec.fingerprints import describe_data, describe_source
from colab_drive_tuner.search.spec.space_values import parameters_of
from colab_drive_tuner.templates.compiled_model import compile_model
from colab_drive_tuner.templates.data_cache import load_data
from colab_drive_tuner.templates.function_source import own_nodes, read_source
from colab_drive_tuner.text import text_of

if TYPE_CHECKING:
    from colab_drive_tuner.templates.data_cache import DataArguments

_HINT = "return {'loss': ..., 'status': STATUS_OK}"


def check_callable(objective: Any) -> None:
    """Raise `ObjectiveError` if the objective is no callable that runs when it is called."""
    if not callable(objective):
        raise ObjectiveError(f"The model or objective must be a function, got {objective!r:.60}.")
    kinds = inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction
    if any(is_kind(objective) for is_kind in kinds):
        name = getattr(objective, "__name__", "The objective")
        raise ObjectiveError(
            f"{name}() is async or a generator: an objective must run when it is called, and "
            f"{_HINT}."
        )


def check_signature(objective: Callable[..., Any]) -> None:
    """Raise `ObjectiveError` if the objective cannot be called with a point as only argument."""
    try:
        signature = inspect.signature(objective)
    except ValueError:  # written in C: only a call can show it
        return
    try:
        signature.bind(None)
    except TypeError as error:
        name = getattr(objective, "__name__", type(objective).__name__)
        raise ObjectiveError(
            f"{name}{signature} does not take what hyperopt passes, a point of the space as its "
            f"only argument: {error}."
        ) from error


def validated(result: Any, name: str) -> Any:
    """Return a result of objective `name`; raise `ObjectiveError` if hyperopt cannot use it."""
    from hyperopt import STATUS_STRINGS

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


def _check_loss(loss: Any, name: str) -> None:
    if loss is None:
        raise ObjectiveError(f"{name}() returned a result without 'loss': {_HINT}.")
    try:
        float(loss)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # the last: PyTorch
        raise ObjectiveError(
            f"{name}() returned the loss {text_of(loss, repr):.40}, which is not a number "
            f"({error}): {_HINT}."
        ) from error


def check_return_statements(function: Callable[..., Any]) -> None:
    """Raise `ObjectiveError` if the source shows that no `return` of the function is a result.

    If any `return` may be valid, or the source is not available, the first trial decides.
    """
    if not isinstance(function, FunctionType):
        return
    try:
        source = read_source(function)
    except TemplateError:
        return
    if isinstance(source.node, ast.Lambda):
        returned: list[ast.expr | None] = [source.node.body]
    else:
        returned = [part.value for part in own_nodes(source.node) if isinstance(part, ast.Return)]
    problems = [_problem(value) for value in returned]
    if problems and all(problems):
        raise ObjectiveError(
            f"{function.__name__}(), {source.where(source.node.lineno)}, returns {problems[0]}: "
            f"{_HINT}."
        )


def _problem(value: ast.expr | None) -> str | None:
    """Return what is certainly wrong with the value of a `return`, or None."""
    if value is None or (isinstance(value, ast.Constant) and value.value is None):
        return "None"
    if isinstance(value, ast.Tuple | ast.List):
        return f"a {type(value).__name__.lower()}"
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
    status: Any = items["status"]  # "ok", STATUS_OK or hyperopt.STATUS_OK
    ok = {getattr(status, name, None) for name in ("value", "id", "attr")} & {"ok", "STATUS_OK"}
    return "a result without 'loss'" if ok and "loss" not in items else None


def make_objective(
    objective: Callable[..., Any],
    data: Any,
    space: Any,
    data_args: "DataArguments | None",
    *,
    again: bool,
) -> tuple[Callable[[Any], Any], Any]:
    """Return the objective and the space as hyperopt takes them; `again` loads the data anew."""
    check_callable(objective)
    check_return_statements(objective)
    if space is None:
        templated = TemplatedObjective(objective, data, data_args, again=again)
        sampled = dict(templated.model.space)
        check_space(sampled)  # a label within an option may be that of another template
        return templated, sampled
    if data is not None or data_args is not None:
        raise UsageError(
            f"{'data_args' if data is None else 'data'}= goes with a model function that has "
            "{{...}} templates; an objective with space= takes its data from where it is defined."
        )
    check_space(space)
    if not parameters_of(space):
        raise UsageError(
            f"space={space!r:.200} has no parameter: lists, ranges and objects of other libraries "
            "in a space are constants. Write hp.choice('x', [1, 2]) for a list, and hp.uniform, "
            "hp.loguniform or hp.uniformint for a range or distribution."
        )
    if getattr(objective, "fmin_pass_expr_memo_ctrl", False):
        return objective, space
    check_signature(objective)
    name = getattr(objective, "__name__", type(objective).__name__)
    return lambda sampled: validated(objective(sampled), name), space


class TemplatedObjective:
    """A compiled model function together with its data, as an objective.

    A pickle contains the data function rather than the loaded data: `prepare` runs it again, once
    per process.
    """

    def __init__(
        self,
        written: Callable[..., Any],
        data: Any,
        data_args: "DataArguments | None",
        *,
        again: bool = False,
    ) -> None:
        self.written: Callable[..., Any] | None = written
        """The model function as the user wrote it; a pickle has none."""
        self._data, self._data_args = data, data_args
        # Cached: a template may need the data at once, the objective needs it only for a run.
        self._load: Callable[[], Any] | None = cache(
            lambda: load_data(data, data_args, again=again)
        )
        self.model = compile_model(written, data, self._load)
        self._arguments: tuple[Any, ...] | dict[str, Any] | None = None

    def prepare(self) -> "tuple[Any, ...] | dict[str, Any]":
        """Load the data on the first call; return the arguments of the model function."""
        if self._arguments is None:
            loaded = self._load() if self._load else load_data(self._data, self._data_args)
            self._arguments = self.model.bind(loaded)
        return self._arguments

    def describe_data(self) -> str | None:
        """Return the shapes and types of the data; None until it is loaded."""
        if (given := self._arguments) is None:
            return None
        if isinstance(given, Mapping):
            return describe_data(given.keys(), given.values())
        return describe_data(self.model.signature.parameters, given)

    def __call__(self, sampled: Mapping[str, Any]) -> Any:
        """Call the model function."""
        return validated(self.model.call(sampled, self.prepare()), self.model.name)

    def __getstate__(self) -> dict[str, Any]:
        kept = None if callable(self._data) else self._arguments
        return vars(self) | {"written": None, "_load": None, "_arguments": kept}


def describe_objective(
    fn: Callable[..., Any], written: Callable[..., Any]
) -> tuple[str, str | None]:
    """Return the normalized source of an objective, and the description of its data if loaded."""
    if isinstance(fn, TemplatedObjective):
        return fn.model.source, fn.describe_data()
    return describe_source(written), None
