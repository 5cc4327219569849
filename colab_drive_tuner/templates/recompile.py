"""The model function compiled again, with its templates replaced.

The tree of the whole file is compiled, and only the model function's code is taken from it: once
with a lookup of the sampled value where a template stood, once with nothing but its imports and its
templates. Both run as the user's function would: in its live globals and closure cells, under its
file name and line numbers. Nothing else of the file is run again.
"""

import __future__

import ast
import copy
from collections.abc import Callable, Iterator, Mapping
from types import CellType, CodeType, FunctionType
from typing import Any

from colab_drive_tuner.errors import TemplateError
from colab_drive_tuner.templates.free_names import is_recursive, nested_code_objects
from colab_drive_tuner.templates.function_source import FunctionSource
from colab_drive_tuner.templates.parser import (
    Template,
    distribution,
    find_templates,
    imported_names,
    imports,
)
from colab_drive_tuner.templates.suppress_warnings import suppress_warnings

# The names under which values and hyperopt's `hp` reach the compiled code: variables of a function
# around it, so that nested functions and comprehensions see them, nobody's globals are touched, and
# a traceback shows the parameters that the user wrote.
_VALUES = "__cdt_values__"
_HYPEROPT = "__cdt_hp__"


def compile_with_values(
    source: FunctionSource, offered: Mapping[str, Any]
) -> Callable[[Mapping[str, Any]], FunctionType]:
    """Return what makes of sampled values the user's function with these in place of templates."""
    code, recursive = source.function.__code__, is_recursive(source.function)
    copied = copy.deepcopy(source)
    lookups: dict[int, ast.expr] = {}
    for template in find_templates(copied):
        values = ast.Name(_VALUES, ast.Load())
        lookup = ast.Subscript(values, ast.Constant(template.label), ast.Load())
        lookups[id(template.node)] = _placed(lookup, template.node)
    _Replace(lookups).visit(copied.node)
    node = copied.node
    if isinstance(node, ast.Lambda):
        node.body = copy.copy(node)
    else:
        node.body = [copy.copy(node)]
        node.decorator_list = []
        if not (recursive or node.name in (*offered, *code.co_freevars)):
            # The name that it has here must not hide a global one from it.
            node.body.insert(0, ast.Global([node.name]))
    node.args = _keywords(_VALUES, *offered)
    outer = _compile(copied, _VALUES)
    new = next(
        nested
        for nested in _codes(outer)
        if nested is not outer
        and (nested.co_name, nested.co_firstlineno) == (code.co_name, code.co_firstlineno)
    )
    new = new.replace(co_qualname=code.co_qualname)  # IPython shows it
    itself = code.co_name if recursive else None
    return lambda values: _function(source.function, new, {_VALUES: values, **offered}, itself)


def compile_expressions(
    source: FunctionSource, offered: Mapping[str, Any]
) -> Callable[[], dict[str, Callable[[], Any]]]:
    """Return a function whose result maps each label to what makes its hyperopt expression.

    `offered` are names that it finds beside its own: parameters that templates read among them.
    """
    from hyperopt import hp

    copied = copy.deepcopy(source)
    thunks = ast.Dict([], [])
    templates = find_templates(copied)
    for template in templates:
        call = template.call
        head = ast.Attribute(
            ast.Name(_HYPEROPT, ast.Load()), distribution(call.func) or "", ast.Load()
        )
        call.func = _placed(head, call.func)
        call.args.insert(0, _placed(ast.Constant(template.label), call))
        thunks.keys.append(_placed(ast.Constant(template.label), template.node))
        thunks.values.append(_placed(ast.Lambda(_keywords(), template.expression), template.node))
    node = copied.node
    _placed(thunks, node)
    node.args = _keywords(_HYPEROPT, *offered)
    if isinstance(node, ast.Lambda):
        node.body = thunks
    else:
        node.body = [*_imports_for(templates, node), _placed(ast.Return(thunks), node)]
        node.decorator_list = []
        node.returns = None
    function = _function(source.function, _compile(copied, _HYPEROPT), {})
    function.__kwdefaults__ = {_HYPEROPT: hp, **offered}
    return function


def _imports_for(templates: list[Template], function: ast.AST) -> Iterator[ast.stmt]:
    """The function's imports of names that its templates use; what it tries may fail."""
    parts = [part for template in templates for part in ast.walk(template.expression)]
    used = {part.id for part in parts if isinstance(part, ast.Name)}
    blocks = [part for part in ast.walk(function) if isinstance(part, ast.Try | ast.If)]
    conditional = {id(statement) for block in blocks for statement in imports(block)}
    for statement in imports(function):
        if used.isdisjoint(imported_names(statement)):
            continue
        if id(statement) in conditional:
            failed = ast.ExceptHandler(ast.Name("ImportError", ast.Load()), None, [ast.Pass()])
            yield _placed(ast.Try([statement], [failed], [], []), statement)
        else:
            yield statement


class _Replace(ast.NodeTransformer):
    def __init__(self, replacements: Mapping[int, ast.expr]) -> None:
        self.replacements = replacements

    def visit(self, node: ast.AST) -> Any:
        return self.replacements.get(id(node)) or self.generic_visit(node)


def _placed(node: Any, place: ast.AST) -> Any:
    """The node at the position of another, so that a traceback shows that."""
    return ast.fix_missing_locations(ast.copy_location(node, place))


def _keywords(*names: str) -> ast.arguments:
    return ast.arguments([], [], None, [ast.arg(n) for n in names], [None for _ in names], None, [])


def _compile(source: FunctionSource, marker: str) -> CodeType:
    flags = source.function.__code__.co_flags & __future__.annotations.compiler_flag
    tree = ast.fix_missing_locations(source.tree)
    with suppress_warnings():
        code = compile(
            tree, source.filename, "exec", flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
        )
    return next(nested for nested in _codes(code) if marker in nested.co_varnames)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for nested in nested_code_objects(code):
        yield from _codes(nested)


def _function(
    original: FunctionType, code: CodeType, bound: Mapping[str, Any], itself: str | None = None
) -> FunctionType:
    """A function like the original, with other code, in which some more variables are given.

    Where it calls itself, `itself` is the variable that holds it.
    """
    cells = dict(zip(original.__code__.co_freevars, original.__closure__ or (), strict=True))
    cells |= {name: CellType(value) for name, value in bound.items()}
    if itself is not None:
        cells[itself] = CellType()
    missing = [name for name in code.co_freevars if name not in cells]
    if missing:
        raise TemplateError(
            f"{code.co_filename} no longer holds {original.__name__}() as it was when Python read "
            "it: run the cell that defines it again, or restart."
        )
    function = FunctionType(
        code,
        original.__globals__,
        original.__name__,
        original.__defaults__,
        tuple(cells[name] for name in code.co_freevars),
    )
    if itself is not None:
        cells[itself].cell_contents = function
    function.__kwdefaults__ = original.__kwdefaults__
    function.__qualname__ = original.__qualname__
    function.__module__ = original.__module__
    function.__doc__ = original.__doc__
    function.__dict__.update(original.__dict__)
    return function
