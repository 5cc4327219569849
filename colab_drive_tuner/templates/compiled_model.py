"""Compiled model functions: the space of their templates, and calls with sampled values."""

import ast
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from colab_drive_tuner.errors import ObjectiveError, TemplateError
from colab_drive_tuner.templates.free_names import global_names, undefined_names
from colab_drive_tuner.templates.function_source import FunctionSource, read_source
from colab_drive_tuner.templates.parser import (
    DISTRIBUTIONS,
    Template,
    distribution,
    find_templates,
    has_template,
)
from colab_drive_tuner.templates.rebuild_options import rebuild_options
from colab_drive_tuner.templates.recompile import compile_expressions, compile_with_values
from colab_drive_tuner.templates.suppress_warnings import try_sampling
from colab_drive_tuner.templates.unwrap import templated_function

# hyperas's generated module imports these names, and models written for hyperas rely on that.
_HYPERAS_NAMES = (*DISTRIBUTIONS, "hp", "fmin", "tpe", "Trials", "STATUS_OK")


@dataclass(frozen=True)
class Callee:
    """Name and signature of a model function."""

    name: str
    signature: inspect.Signature


@dataclass(frozen=True)
class CompiledModel(Callee):
    """A model function with compiled templates."""

    space: Mapping[str, Any]
    """Hyperopt expressions by label, in the order of the source."""
    hyperas_names: Mapping[str, str]
    """The names that the hyperas package gives the hyperparameters, by label."""
    source: str
    """The function's source, normalized: without comments and layout."""
    _run: Callable[[Mapping[str, Any]], Callable[..., Any]] = field(repr=False)
    _expressions: Mapping[str, Callable[[], Any]] = field(repr=False)

    def call(self, values: Mapping[str, Any], data: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """Call the function with `values` in place of its templates.

        `data` are its arguments, as returned by `bind_data`. Objects among the options of a choice,
        such as layers, are created for each call, so that no weights or random state of one trial
        reach the next.
        """
        model = self._run(rebuild_options(values, self.space, self._expressions))
        return model(**data) if isinstance(data, Mapping) else model(*data)


def compile_model(
    model: Callable[..., Any],
    *,
    data_names: Iterable[str] | None = None,
    arguments: Callable[[Callee], Mapping[str, Any]] | None = None,
) -> CompiledModel:
    """Compile the templates of a model function without running its body.

    `model` may be decorated, a method, a closure or a `functools.partial`. `data_names` are the
    names local to the data function (`local_names`), which hyperas makes visible to a model; here a
    model that uses one raises `ObjectiveError`. `arguments` returns the model's arguments by name;
    it is called only if a template reads one of them. Raises `TemplateError` if a template cannot
    be compiled, if there is none, or if the source cannot be read.
    """
    from hyperopt.base import Domain, DuplicateLabel

    source, wrap = templated_function(model)
    templates = find_templates(source)
    _refuse_async_and_generator(source)
    _refuse_templates_in_helpers(source)
    undefined = undefined_names(source.function)
    provided = {name: _hyperas_value(name) for name in _HYPERAS_NAMES if name in undefined}
    _refuse_data_names(source, undefined, frozenset(data_names or ()) - provided.keys())
    run = compile_with_values(source, provided)
    callee = Callee(source.function.__name__, inspect.signature(model))
    read = _read_arguments(source, templates, callee, arguments)
    expressions = compile_expressions(source, provided | read)()
    space = {}
    for template in templates:
        try:
            space[template.label] = expressions[template.label]()
            try_sampling(space[template.label])
        except Exception as error:
            raise TemplateError(
                f"The template {template.text}, {source.where(template.line)}, cannot be "
                f"evaluated: {type(error).__name__}: {error}{_advice(template, error)}"
            ) from error
    try:
        Domain(None, space)
    except DuplicateLabel as error:
        raise TemplateError(
            f"{source.function.__name__}() has two hyperparameters named {str(error)!r}: give the "
            "nested one another name."
        ) from error
    return CompiledModel(
        name=callee.name,
        signature=callee.signature,
        space=space,
        hyperas_names={template.label: template.hyperas_label for template in templates},
        source=source.expression,
        _run=lambda values: wrap(run(values)),
        _expressions=expressions,
    )


def _advice(template: Template, error: Exception) -> str:
    """Return advice where Python's or hyperopt's own error does not explain the mistake."""
    match template.expression:
        case ast.Call(head, [argument, *more], named) if argument is template.call:
            values = ast.Set([ast.Set([template.call])])
            return (
                ". Inside the braces there is no value yet: convert it outside of them, "
                f"{ast.unparse(ast.Call(head, [values, *more], named))}."
            )
    if distribution(template.call.func) == "choice" and isinstance(error, TypeError | ValueError):
        return ". choice takes one list of options, at least one: choice([32, 64])."
    return ""


def _read_arguments(
    source: FunctionSource,
    templates: Iterable[Template],
    callee: Callee,
    arguments: Callable[[Callee], Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """Return the values of the parameters that templates read."""
    values: Mapping[str, Any] | None = None
    found = {}
    for template in templates:
        for name in sorted(template.reads):
            if values is None:
                values = {} if arguments is None else arguments(callee)
            if name not in values:
                raise TemplateError(
                    f"The template {template.text}, {source.where(template.line)}, reads {name!r}, "
                    f"a parameter of {callee.name}() that no data function gives a value: return "
                    "it from the data function, or use a name from outside the model function."
                )
            found[name] = values[name]
    return found


def _hyperas_value(name: str) -> Any:
    import hyperopt
    from hyperopt import hp

    return getattr(hp, name, None) or getattr(hyperopt, name)


def _refuse_async_and_generator(source: FunctionSource) -> None:
    function, node = source.function, source.node
    kind = "async" if isinstance(node, ast.AsyncFunctionDef) else ""
    kind = kind or ("a generator" if inspect.isgeneratorfunction(function) else "")
    if kind:
        raise ObjectiveError(
            f"{function.__name__}(), {source.where(node.lineno)}, is {kind}: a model function must "
            "run when it is called, and return its result."
        )


def _refuse_templates_in_helpers(source: FunctionSource) -> None:
    """Raise `TemplateError` for a template in a helper, where it would fail during the search."""
    model = source.function
    waiting, known = [model], {model.__name__}
    while waiting:
        names = global_names(waiting.pop().__code__) - known
        known |= names
        for name in sorted(names):
            helper = model.__globals__.get(name)
            if not isinstance(helper, FunctionType) or helper.__globals__ is not model.__globals__:
                continue
            waiting.append(helper)
            read = None
            with suppress(TemplateError):  # a helper without source cannot contain templates
                read = read_source(helper)
            if read is not None and has_template(read.node):
                raise TemplateError(
                    f"{name}(), {read.where(read.node.lineno)}, contains a template, but only "
                    f"{model.__name__}() may: choose there, and pass the value on."
                )


def _refuse_data_names(
    source: FunctionSource, undefined: Mapping[str, int], data_names: frozenset[str]
) -> None:
    name = source.function.__name__
    for used, line in undefined.items():
        if used in data_names:
            raise ObjectiveError(
                f"{name}() uses {used!r} in {source.where(line)}, which exists only inside the "
                f"data function: return it from there and take it as a parameter of {name}()."
            )
