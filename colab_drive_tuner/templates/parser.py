"""Parser of the templates in a function: positions, distributions and the names they read.

`{{choice([1, 2])}}` is valid Python: a set in a set. It can never run, because a set is not
hashable, so every set in a set is a template, also with spaces between the braces. A template that
does not contain exactly one expression is refused.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from colab_drive_tuner.errors import TemplateError
from colab_drive_tuner.templates.function_source import FunctionSource, parameters
from colab_drive_tuner.templates.template_names import name_templates

DISTRIBUTIONS = (
    "choice",
    "randint",
    "uniformint",
    "pchoice",
    "uniform",
    "quniform",
    "loguniform",
    "qloguniform",
    "normal",
    "qnormal",
    "lognormal",
    "qlognormal",
)
"""The distributions of hyperas, and `uniformint`, which its development version adds."""

# In an f-string, pairs of braces are text; before a distribution they are meant as a template.
_IN_F_STRING = re.compile(
    r"(?<!\{)(?:\{\{)+\s*(?:hp\s*\.\s*)?(?:" + "|".join(DISTRIBUTIONS) + r")\s*\("
)
_SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
    ast.ClassDef,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


@dataclass(frozen=True)
class Template:
    """A template in a function."""

    label: str
    hyperas_label: str
    """The name that the hyperas package gives the hyperparameter."""
    text: str
    line: int
    node: ast.Set
    """The outer braces."""
    call: ast.Call
    """The call of the distribution, which takes the label as its first argument."""
    reads: frozenset[str]
    """The function's parameters that the template reads; the data function provides them."""

    @property
    def expression(self) -> ast.expr:
        """The expression between the braces."""
        return _inner_set(self.node).elts[0]


def _inner_set(node: ast.Set) -> ast.Set:
    inner = node.elts[0]
    assert isinstance(inner, ast.Set)  # noqa: S101 - for the type checker
    return inner


def find_templates(source: FunctionSource) -> list[Template]:
    """Return the templates of a function in the order of the source; an error names the line."""
    body = source.node.body if isinstance(source.node.body, list) else [source.node.body]
    found = sorted(
        (found for part in body for found in _find(part, source, frozenset())),
        key=lambda found: (found[0].lineno, found[0].col_offset),
    )
    calls = [_distribution_call(node, source) for node, _ in found]
    reads = [_parameters_read(node, nested, source) for node, nested in found]
    names = name_templates(source, [node for node, _ in found])
    return [
        Template(*name, node.lineno, node, call, read)
        for name, (node, _), call, read in zip(names, found, calls, reads, strict=True)
    ]


def _find(
    node: ast.AST, source: FunctionSource, nested: frozenset[str]
) -> Iterator[tuple[ast.Set, frozenset[str]]]:
    """Yield each template with the names that are local to functions and loops around it."""
    if _is_template(node):
        assert isinstance(node, ast.Set)  # noqa: S101 - for the type checker
        _check_shape(node, source)
        yield node, nested
        return
    if isinstance(node, ast.JoinedStr):
        meant = _IN_F_STRING.search(ast.get_source_segment(source.text, node) or "")
        if meant or has_template(node):
            raise TemplateError(
                f"A template in an f-string, {source.where(node.lineno)}: there Python reads "
                "{{ as one brace. Assign the template to a variable first and use that."
            )
    if isinstance(node, _SCOPES):
        nested |= names_bound_in(node)
    for child in ast.iter_child_nodes(node):
        yield from _find(child, source, nested)


def _is_template(node: ast.AST) -> bool:
    """Return whether a node is a set in a set; a set of templates, `{ {{...}} }`, is not one."""
    return isinstance(node, ast.Set) and any(
        isinstance(part, ast.Set) and not _is_template(part) for part in node.elts
    )


def has_template(node: ast.AST) -> bool:
    """Return whether `node` contains a template, well-formed or not."""
    return any(_is_template(part) for part in ast.walk(node))


def _check_shape(node: ast.Set, source: FunctionSource) -> None:
    inner = node.elts[0]
    if len(node.elts) != 1 or not isinstance(inner, ast.Set) or len(inner.elts) != 1:
        raise TemplateError(
            f"The template {ast.unparse(node)}, {source.where(node.lineno)}, must contain one "
            "distribution and nothing else, such as {{uniform(0, 1)}}."
        )
    if has_template(inner.elts[0]):
        raise TemplateError(
            f"A template within a template, {source.where(node.lineno)}: write the inner one as a "
            "hyperopt call with its own name, such as {{choice([0, hp.uniform('rate', 0, 1)])}}."
        )


def _distribution_call(node: ast.Set, source: FunctionSource) -> ast.Call:
    inner = _inner_set(node)
    calls = list(_outermost_calls(inner.elts[0]))
    if len(calls) == 1:
        match calls[0].args:
            case [ast.Constant(value=str(label)), *_]:
                raise TemplateError(
                    f"The template {ast.unparse(node)}, {source.where(node.lineno)}, names itself "
                    f"{label!r}: leave that out, the name comes from the code before the template."
                )
        return calls[0]
    called = [ast.unparse(part.func) for part in ast.walk(inner) if isinstance(part, ast.Call)]
    raise TemplateError(
        f"The template {ast.unparse(node)}, {source.where(node.lineno)}, must call exactly one of "
        f"{', '.join(DISTRIBUTIONS)}; it calls {', '.join(called) or 'nothing'}."
    )


def _outermost_calls(node: ast.AST) -> Iterator[ast.Call]:
    if isinstance(node, ast.Call) and distribution(node.func):
        yield node
    elif not isinstance(node, ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _outermost_calls(child)


def distribution(head: ast.expr) -> str | None:
    """Return the distribution named by `choice`, `hp.choice` or `distributions.choice`; or None."""
    match head:
        case (
            ast.Name(id=name)
            | ast.Attribute(ast.Name(id="hp" | "distributions"), name)
            | ast.Attribute(ast.Attribute(attr="hp" | "distributions"), name)
        ) if name in DISTRIBUTIONS:
            return name
    return None


def _parameters_read(
    node: ast.Set, nested: frozenset[str], source: FunctionSource
) -> frozenset[str]:
    """Return the parameters that a template reads; raise for other names local to the function."""
    inner = _inner_set(node)
    own = frozenset().union(*(names_bound_in(n) for n in ast.walk(inner) if isinstance(n, _SCOPES)))
    imported = {name for statement in imports(source.node) for name in imported_names(statement)}
    calls = {id(call.func) for call in _outermost_calls(inner)}
    names = {
        part.id for part in ast.walk(inner) if isinstance(part, ast.Name) and id(part) not in calls
    }
    usable = {argument.arg for argument in parameters(source.node.args)}
    usable -= nested | names_bound_in(source.node, with_parameters=False)
    for name in sorted(names & (nested | names_bound_in(source.node)) - own - imported - usable):
        raise TemplateError(
            f"The template {ast.unparse(node)}, {source.where(node.lineno)}, uses {name!r}, which "
            f"exists only while {source.function.__name__}() runs; the space must be known before: "
            "use constants, names from outside the function, or its parameters."
        )
    return frozenset(names & usable - own)


def names_bound_in(scope: ast.AST, *, with_parameters: bool = True) -> frozenset[str]:
    """Return the names local to a function, class or comprehension, without nested scopes."""
    bound: set[str] = set()
    outside: set[str] = set()
    if with_parameters and isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        bound.update(argument.arg for argument in parameters(scope.args))
    waiting = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                bound.add(name)
            case ast.Import() | ast.ImportFrom():
                bound.update(imported_names(node))
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                bound.add(name)
            case ast.ClassDef(name=name):
                bound.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                bound.add(name)
            case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                bound.add(name)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                outside.update(names)
        if not isinstance(node, _SCOPES):
            waiting.extend(ast.iter_child_nodes(node))
    return frozenset(bound - outside)


def imports(node: ast.AST) -> list[ast.Import | ast.ImportFrom]:
    """Return all import statements in a function."""
    return [part for part in ast.walk(node) if isinstance(part, ast.Import | ast.ImportFrom)]


def imported_names(statement: ast.Import | ast.ImportFrom) -> list[str]:
    """Return the names that an import statement binds."""
    return [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
