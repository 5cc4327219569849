"""Values that the objective receives for a trial's point, by their path in the space."""

from collections.abc import Iterator, Mapping
from typing import Any

from colab_drive_tuner.checkpoint.document_schema import TrialDocument

Path = tuple[str, ...]
"""Keys that lead to a value in a space or result."""
PURE_FUNCTIONS = {
    *("add", "asarray", "cos", "dict", "eq", "exp", "float", "floordiv", "ge", "getitem", "gt"),
    *("int", "le", "len", "list", "log", "lt", "max", "maximum", "min", "minimum", "mul", "neg"),
    *("pos_args", "pow", "sin", "sqrt", "sub", "sum", "tan", "truediv"),
}
"""Functions without side effects whose value depends on their arguments only."""


def plain(value: Any) -> Any:
    """Convert numpy's numbers to Python's, so that a column has one type."""
    number = getattr(value, "shape", None) == () and hasattr(value, "item")
    return value.item() if number else value


def point_of(document: TrialDocument) -> dict[str, Any]:
    """Return the sampled values by label, without inactive parameters."""
    return {label: vals[0] for label, vals in document["misc"]["vals"].items() if len(vals)}


def parameters_of(space: Any) -> dict[Any, Any]:
    """Return the nodes of a space's parameters, by label."""
    from hyperopt.pyll import as_apply, dfs

    nodes = (node for node in dfs(as_apply(space)) if node.name == "hyperopt_param")
    return {_label_of(node): node for node in nodes}


def constants_of(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the path and value of each part that is no expression, but not options of a choice."""
    for key, part in _members(node):
        yield from constants_of(part, (*path, key))
    if _is_node(node, "switch"):
        for option in filter(_members, node.pos_args[1:]):
            yield from constants_of(option, path)
    elif _is_node(node, "literal"):
        yield path, node.obj
    elif not hasattr(node, "pos_args"):
        yield path, node


def parameter_values(
    node: Any, point: Mapping[str, Any] | None, path: Path
) -> Iterator[tuple[Path, Any]]:
    """Yield the path and value of each part of a point, as the objective receives it.

    Without a point (None), yield all paths and the types of their values, as far as known.
    """
    if members := _members(node):
        for key, part in members:
            yield from parameter_values(part, point, (*path, key))
        return
    own_path = path or (_label(node) or "value",)
    options = node.pos_args[1:] if _is_node(node, "switch") else ()
    nested = [bool(_members(option)) or _is_node(option, "switch") for option in options]
    if any(nested):
        chosen = _chosen(node, point) if point is not None else None
        if all(nested) and (point is None or chosen is not None):
            yield own_path, {int} if point is None else int(point[_label(node) or ""])
        for option, inner in zip(options, nested, strict=True):
            if point is None or option is chosen:
                yield from parameter_values(option, point, path if inner else own_path)
        return
    if point is None:
        yield own_path, _types(node)
        return
    try:
        value = plain(evaluate_space(node, point))
    except Exception:  # noqa: BLE001 - a parameter is missing, or a user's function in the space raises
        return
    yield own_path, value


def _types(node: Any) -> set[type]:
    """Return the possible types of a part of a space; empty if unknown."""
    if not hasattr(node, "pos_args"):
        return {type(plain(node))}
    if node.name == "literal":
        return {type(plain(node.obj))}
    if node.name == "hyperopt_param":
        return {int} if node.pos_args[1].name in ("randint", "categorical") else {float}
    if node.name == "switch":
        options = list(map(_types, node.pos_args[1:]))
        return set().union(*options) if all(options) else set()
    known: dict[str, set[type]] = {
        "int": {int},
        "float": {float},
        "pos_args": {tuple},
        "dict": {dict},
    }
    return known.get(node.name, set())


def evaluate_space(space: Any, point: Mapping[str, Any]) -> Any:
    """Evaluate a part of a space; the usual kinds without hyperopt's graph, which is slow."""
    from hyperopt.pyll.base import as_apply, scope

    return _value(as_apply(space), point, scope._impls)


def _value(node: Any, point: Mapping[str, Any], functions: Mapping[str, Any]) -> Any:
    name = node.name
    if name == "literal":
        return node.obj
    if name == "hyperopt_param":
        return point[_label_of(node)]
    if name == "switch":
        option = _chosen(node, point)
        if option is None:
            raise LookupError(f"no option of {_label(node)} is chosen")
        return _value(option, point, functions)
    if name in PURE_FUNCTIONS:
        arguments = [_value(part, point, functions) for part in node.pos_args]
        named = {key: _value(part, point, functions) for key, part in node.named_args}
        return functions[name](*arguments, **named)
    from hyperopt import space_eval

    return space_eval(node, dict(point))


def _members(node: Any) -> list[tuple[str, Any]]:
    """Return the parts of a dict, or of a list with parameters, by key or label."""
    if isinstance(node, dict):
        return [(str(key), part) for key, part in node.items()]
    if _is_node(node, "dict") and not node.pos_args:
        return [(str(key), part) for key, part in node.named_args]
    if isinstance(node, list | tuple):
        parts = node
    elif _is_node(node, "pos_args"):
        parts = node.pos_args
    else:
        return []
    if not any(map(parameters_of, parts)):
        return []
    labels = [_label(part) for part in parts]
    return [
        (str(number) if label is None or labels.count(label) > 1 else label, part)
        for number, (label, part) in enumerate(zip(labels, parts, strict=True))
    ]


def _is_node(node: Any, name: str) -> bool:
    return getattr(node, "name", None) == name and hasattr(node, "pos_args")


def _label_of(parameter: Any) -> Any:
    """Return a parameter's label, without the slow `arg`, which binds all arguments each time."""
    return (parameter.pos_args[0] if parameter.pos_args else parameter.arg["label"]).obj


def _label(node: Any) -> str | None:
    """Return the label of a parameter, a choice, or an expression of one parameter."""
    if _is_node(node, "hyperopt_param"):
        return str(_label_of(node))
    if _is_node(node, "switch"):
        return _label(node.pos_args[0])
    if not hasattr(node, "inputs") or _is_node(node, "dict") or _is_node(node, "pos_args"):
        return None
    labels = [label for label in map(_label, node.inputs()) if label is not None]
    return labels[0] if len(labels) == 1 else None


def _chosen(node: Any, point: Mapping[str, Any]) -> Any:
    """Return the option that a point chooses, by hyperopt's rule; None without a valid index."""
    try:
        index = evaluate_space(node.pos_args[0], point)
        number = int(index)
        return node.pos_args[1 + number] if number == index and number >= 0 else None
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None
