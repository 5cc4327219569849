"""Compilation of the model function with its templates replaced, also inside its decorators.

The tree of the whole file is compiled, and only the model function's code object is used: once with
each template replaced by a lookup of the sampled value, and once reduced to imports and templates.
Both run with the globals, closure cells, file name and line numbers of the user's function. Nothing
else in the file runs again.
"""

import ast
import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

from colab_drive_tuner.errors import TemplateError
from colab_drive_tuner.templates.function_source import (
    FunctionSource,
    cell_content,
    compile_file,
    first_line,
    is_recursive,
    nested_code_objects,
    read_source,
    source_changed,
)
from colab_drive_tuner.templates.parser import (
    Template,
    distribution,
    find_templates,
    imported_names,
    imports,
)

# Names of the sampled values and of hyperopt's `hp` in the compiled code. They are variables of an
# enclosing function, so that nested functions and comprehensions see them, the user's globals are
# not changed, and a traceback shows the parameters that the user wrote.
_VALUES = "__cdt_values__"
_HYPEROPT = "__cdt_hp__"

Wrap = Callable[[Any], Any]
"""Returns a copy of the wrapped callable with another function inside it."""

_MAX_DEPTH = 10  # decorators around a function; more is a cycle


def templated_function(model: Any) -> tuple[FunctionSource, Wrap]:
    """Find the function with templates inside `model`; also return how to wrap a replacement."""
    if not callable(model):
        raise TemplateError(f"The model must be a function, not {type(model).__name__}.")
    unreadable: list[TemplateError] = []
    found = _find_templated(model, unreadable, _MAX_DEPTH)
    if found:
        source, wrap = found
        wrap(source.function)  # raises if a wrapper cannot be copied, before anything runs
        return found
    if unreadable:
        raise unreadable[0]
    name = getattr(model, "__name__", type(model).__name__)
    raise TemplateError(
        f"{name}() contains no template such as units={{{{choice([32, 64])}}}}: without one, pass "
        "space= and take the values as the function's parameter."
    )


def _find_templated(
    model: Any, unreadable: list[TemplateError], depth: int
) -> tuple[FunctionSource, Wrap] | None:
    if isinstance(model, FunctionType):
        try:
            source = read_source(model)
        except TemplateError as error:
            unreadable.append(error)
        else:
            if find_templates(source):
                return source, lambda function: function
    if depth:
        for part, wrap_part in _inner_callables(model):
            found = _find_templated(part, unreadable, depth - 1)
            if found:
                source, wrap = found
                return source, lambda function: wrap_part(wrap(function))  # noqa: B023 - the loop ends
    return None


def _inner_callables(model: Any) -> Iterator[tuple[Any, Wrap]]:
    """Yield each callable inside a callable, with its `Wrap`."""
    if isinstance(model, FunctionType):
        for index, cell in enumerate(model.__closure__ or ()):
            content = cell_content(cell)
            if callable(content) and not isinstance(content, type):
                yield content, functools.partial(_with_cell, model, index)
    elif isinstance(model, MethodType):
        yield model.__func__, lambda function: MethodType(function, model.__self__)
    elif isinstance(model, functools.partial):
        yield (
            model.func,
            lambda function: functools.partial(function, *model.args, **model.keywords),
        )
    elif isinstance(call := inspect.getattr_static(type(model), "__call__", None), FunctionType):
        yield call, lambda function: MethodType(function, model)
        for value in list(getattr(model, "__dict__", {}).values()):
            if callable(value) and not isinstance(value, type):
                yield value, functools.partial(_with_attribute, model, value)
    if hasattr(model, "__wrapped__"):  # and it was not found where it can be replaced
        yield model.__wrapped__, functools.partial(_refuse, model)


def _with_cell(model: FunctionType, index: int, content: Any) -> FunctionType:
    cells = list(model.__closure__ or ())
    cells[index] = CellType(content)
    return _copy_function(model, model.__code__, cells)


def _with_attribute(model: Any, old: Any, new: Any) -> Any:
    """Return a copy of `model` with `old` replaced in all attributes, also in `__wrapped__`."""
    copied = copy.copy(model)
    if copied is model:
        _refuse(model, new)
    vars(copied).update((name, new) for name, value in vars(model).items() if value is old)
    return copied


def _refuse(model: Any, function: FunctionType) -> Any:
    raise TemplateError(
        f"{function.__name__}() is wrapped in a {type(model).__name__}, which cannot be copied "
        "with other values: pass the function without that decorator."
    )


def compile_with_values(
    source: FunctionSource, provided: Mapping[str, Any]
) -> Callable[[Mapping[str, Any]], FunctionType]:
    """Return a callable that creates the user's function; `provided` are variables it lacks."""
    code, recursive = source.function.__code__, is_recursive(source.function)
    copied = copy.deepcopy(source)
    lookups: dict[int, ast.expr] = {}
    for template in find_templates(copied):
        values = ast.Name(_VALUES, ast.Load())
        lookup = ast.Subscript(values, ast.Constant(template.label), ast.Load())
        lookups[id(template.node)] = _at_position_of(lookup, template.node)
    _Replace(lookups).visit(copied.node)
    node = copied.node
    # `_copy` takes over the defaults; a lambda among them could be mistaken for a lambda model.
    node.args.defaults, node.args.kw_defaults = [], [None for _ in node.args.kwonlyargs]
    if isinstance(node, ast.Lambda):
        node.body = copy.copy(node)
    else:
        node.body = [copy.copy(node)]
        node.decorator_list = []
        if not (recursive or node.name in (*provided, *code.co_freevars)):
            # The function's name in the enclosing function must not shadow a global variable.
            node.body.insert(0, ast.Global([node.name]))
    node.args = _keyword_parameters(_VALUES, *provided)
    outer = _compile(copied, _VALUES)
    new = next(
        nested
        for nested in _codes(outer)
        if nested is not outer
        and (nested.co_name, nested.co_firstlineno) == (code.co_name, first_line(source.node))
    )
    new = new.replace(co_qualname=code.co_qualname)  # IPython shows it
    itself = code.co_name if recursive else None
    return lambda values: _copy(source.function, new, {_VALUES: values, **provided}, itself)


def compile_expressions(
    source: FunctionSource, provided: Mapping[str, Any]
) -> Callable[[], dict[str, Callable[[], Any]]]:
    """Return a function that returns, by label, factories of the hyperopt expressions."""
    from hyperopt import hp

    copied = copy.deepcopy(source)
    factories = ast.Dict([], [])
    templates = find_templates(copied)
    for template in templates:
        call = template.call
        head = ast.Attribute(
            ast.Name(_HYPEROPT, ast.Load()), distribution(call.func) or "", ast.Load()
        )
        factory = ast.Lambda(_keyword_parameters(), template.expression)
        call.func = _at_position_of(head, call.func)
        call.args.insert(0, _at_position_of(ast.Constant(template.label), call))
        factories.keys.append(_at_position_of(ast.Constant(template.label), template.node))
        factories.values.append(_at_position_of(factory, template.node))
    node = copied.node
    _at_position_of(factories, node)
    node.args = _keyword_parameters(_HYPEROPT, *provided)
    if isinstance(node, ast.Lambda):
        node.body = factories
    else:
        returned = _at_position_of(ast.Return(factories), node)
        node.body = [*_imports_for(templates, node), returned]
        node.decorator_list = []
        node.returns = None
    function = _copy(source.function, _compile(copied, _HYPEROPT), {})
    function.__kwdefaults__ = {_HYPEROPT: hp, **provided}
    return function


def _imports_for(templates: list[Template], function: ast.AST) -> Iterator[ast.stmt]:
    """Yield the function's imports of names used by its templates; those in `try` may fail."""
    parts = [part for template in templates for part in ast.walk(template.expression)]
    used = {part.id for part in parts if isinstance(part, ast.Name)}
    blocks = [part for part in ast.walk(function) if isinstance(part, ast.Try | ast.If)]
    conditional = {id(statement) for block in blocks for statement in imports(block)}
    for statement in imports(function):
        if used.isdisjoint(imported_names(statement)):
            continue
        if id(statement) in conditional:
            failed = ast.ExceptHandler(ast.Name("ImportError", ast.Load()), None, [ast.Pass()])
            yield _at_position_of(ast.Try([statement], [failed], [], []), statement)
        else:
            yield statement


class _Replace(ast.NodeTransformer):
    def __init__(self, replacements: Mapping[int, ast.expr]) -> None:
        self.replacements = replacements

    def visit(self, node: ast.AST) -> Any:
        return self.replacements.get(id(node)) or self.generic_visit(node)


def _at_position_of(node: Any, other: ast.AST) -> Any:
    """Return `node` with the position of `other`, which a traceback then shows."""
    return ast.fix_missing_locations(ast.copy_location(node, other))


def _keyword_parameters(*names: str) -> ast.arguments:
    return ast.arguments([], [], None, [ast.arg(n) for n in names], [None for _ in names], None, [])


def _compile(source: FunctionSource, marker: str) -> CodeType:
    code = compile_file(ast.fix_missing_locations(source.tree), source.function)
    return next(nested for nested in _codes(code) if marker in nested.co_varnames)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for nested in nested_code_objects(code):
        yield from _codes(nested)


def _copy(
    original: FunctionType, code: CodeType, bound: Mapping[str, Any], itself: str | None = None
) -> FunctionType:
    """Return a copy of a function with other code and additional closure variables.

    `itself` is the name by which a recursive function calls itself.
    """
    cells = dict(zip(original.__code__.co_freevars, original.__closure__ or (), strict=True))
    cells |= {name: CellType(value) for name, value in bound.items()}
    if itself is not None:
        cells[itself] = CellType()
    missing = [name for name in code.co_freevars if name not in cells]
    if missing:
        raise source_changed(original)
    function = _copy_function(original, code, (cells[name] for name in code.co_freevars))
    if itself is not None:
        cells[itself].cell_contents = function
    return function


def _copy_function(original: FunctionType, code: CodeType, cells: Iterable[Any]) -> FunctionType:
    """Return a copy of a function with other code and another closure."""
    copied = FunctionType(
        code, original.__globals__, original.__name__, original.__defaults__, tuple(cells)
    )
    copied.__kwdefaults__ = original.__kwdefaults__
    copied.__qualname__ = original.__qualname__
    copied.__module__ = original.__module__
    copied.__doc__ = original.__doc__
    copied.__dict__.update(original.__dict__)
    return copied
