"""Compiled model functions: the space of their templates, and calls with sampled values."""

import ast
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from colab_drive_tuner.errors import ObjectiveError, TemplateError
from colab_drive_tuner.templates.data_arguments import (
    bind_data,
    local_names,
    named_arguments,
    returned_names,
)
from colab_drive_tuner.templates.fresh_options import rebuild_options, try_sampling
from colab_drive_tuner.templates.function_source import (
    FunctionSource,
    global_names,
    read_source,
    undefined_names,
)
from colab_drive_tuner.templates.parser import (
    DISTRIBUTIONS,
    Template,
    distribution,
    find_templates,
    has_template,
)
from colab_drive_tuner.templates.recompile import (
    compile_expressions,
    compile_with_values,
    templated_function,
)

# hyperas's generated module imports these names, and models written for hyperas rely on that.
_HYPERAS_NAMES = (*DISTRIBUTIONS, "hp", "fmin", "tpe", "Trials", "STATUS_OK")


@dataclass(frozen=True)
class CompiledModel:
    """A model function with compiled templates."""

    name: str
    signature: inspect.Signature
    space: Mapping[str, Any]
    """Hyperopt expressions by label, in the order of the source."""
    hyperas_names: Mapping[str, str]
    """The names that the hyperas package gives the hyperparameters, by label."""
    source: str
    """The function's source, normalized: without comments and layout."""
    _returned: tuple[str, ...] | None = field(repr=False)
    """The names that the data function returns, if they are known."""
    _run: Callable[[Mapping[str, Any]], Callable[..., Any]] = field(repr=False)
    _expressions: Mapping[str, Callable[[], Any]] = field(repr=False)

    def bind(self, loaded: Any) -> tuple[Any, ...] | dict[str, Any]:
        """Return the function's arguments from the data function's result."""
        return bind_data(self.name, self.signature, loaded, returned=self._returned)

    def call(self, values: Mapping[str, Any], data: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """Call the function with `values` for its templates, and `data` as returned by `bind`."""
        model = self._run(rebuild_options(values, self.space, self._expressions))
        return model(**data) if isinstance(data, Mapping) else model(*data)


def compile_model(
    model: Callable[..., Any], data: Any = None, load: Callable[[], Any] = lambda: None
) -> CompiledModel:
    """Compile the templates of a model function without running its body.

    Raises `TemplateError` if a template cannot be compiled, if there is none, or if the source
    cannot be read; `ObjectiveError` if the model uses a local variable of the data function, which
    hyperas makes visible to it.

    The model function may be decorated, a method, a closure or a `functools.partial`. `load` loads
    `data`; it is called only if a template reads an argument of the model function.
    """
    source, wrap = templated_function(model)
    templates = find_templates(source)
    _refuse_templates_in_helpers(source)
    undefined = undefined_names(source.function)
    provided = {name: _hyperas_value(name) for name in _HYPERAS_NAMES if name in undefined}
    _refuse_data_names(source, undefined, local_names(data) - provided.keys())
    run = compile_with_values(source, provided)
    name, signature = source.function.__name__, inspect.signature(model)
    returned = returned_names(data)

    def arguments() -> dict[str, Any]:
        if data is None:
            return {}
        return named_arguments(signature, bind_data(name, signature, load(), returned=returned))

    read = _read_arguments(source, templates, arguments)
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
    return CompiledModel(
        name=name,
        signature=signature,
        space=space,
        hyperas_names={template.label: template.hyperas_label for template in templates},
        source=source.expression,
        _returned=returned,
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
    source: FunctionSource, templates: Iterable[Template], arguments: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return the values of the parameters that templates read."""
    readers = {name: template for template in templates for name in sorted(template.reads)}
    values = arguments() if readers else {}
    for name, template in readers.items():
        if name not in values:
            raise TemplateError(
                f"The template {template.text}, {source.where(template.line)}, reads {name!r}, "
                f"a parameter of {source.function.__name__}() that no data function gives a value: "
                "return it from the data function, or use a name from outside the model function."
            )
    return {name: values[name] for name in readers}


def _hyperas_value(name: str) -> Any:
    import hyperopt
    from hyperopt import hp

    return getattr(hp, name, None) or getattr(hyperopt, name)


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
