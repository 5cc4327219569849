"""Names of templates: hyperas's rule, with clearer names for annotated and converted values.

hyperas's rule: the word before `=` or `(` in front of the template; without one, the previous
template's name; equal text gets the name of its first named occurrence; a repeated name gets `_1`,
`_2`, ... If that word is an annotation (`units: int = {{...}}`) or a conversion
(`units=int({{...}})`), the name is that of the variable, keyword or key, regardless of the text:
hyperas would name all of them `int`.
"""

import ast
import re

from colab_drive_tuner.errors import TemplateError
from colab_drive_tuner.templates.function_source import FunctionSource


def name_templates(source: FunctionSource, nodes: list[ast.Set]) -> list[tuple[str, str, str]]:
    """Return the label, hyperas's label and the text of each template; `nodes` are in order."""
    start = source.offset(source.node.lineno, source.node.col_offset)
    assigned = _converted_or_annotated(source.node)
    texts, words, own = [], [], []
    for node in nodes:
        begin = source.offset(node.lineno, node.col_offset)
        end = source.offset(node.end_lineno or 0, node.end_col_offset or 0)
        texts.append(source.text[begin:end])
        own.append(assigned.get(id(node)))
        words.append(_word_before(source.text[start:begin]) or own[-1])
    labels = _labels(texts, words, own, nodes, source)
    hyperas_labels = _labels(texts, words, [None] * len(nodes), nodes, source)
    return list(zip(labels, hyperas_labels, texts, strict=True))


def _word_before(text: str) -> str | None:
    text = text.rstrip()
    if not text.endswith(("=", "(")):
        return None
    word = re.search(r"\w+\Z", text[:-1].rstrip())
    return word.group() if word else None


def _converted_or_annotated(function: ast.AST) -> dict[int, str]:
    """Return names of annotated variables and of converted values, by id of the value's node."""
    named: list[tuple[ast.AST | None, ast.expr | None]] = []
    for node in ast.walk(function):
        match node:
            case ast.AnnAssign(target=target, value=value):
                named.append((target, value))
            case ast.Assign(targets=[target], value=ast.Call()):
                named.append((target, node.value))
            case ast.keyword(value=ast.Call()):
                named.append((node, node.value))
            case ast.Dict():
                pairs = zip(node.keys, node.values, strict=True)
                named += [(key, value) for key, value in pairs if isinstance(value, ast.Call)]
    return {id(_unconverted(value)): name for node, value in named if (name := _name_of(node))}


def _name_of(node: ast.AST | None) -> str | None:
    """Return the name of a variable, attribute, keyword or item key."""
    match node:
        case (
            ast.Name(name)
            | ast.Attribute(attr=name)
            | ast.keyword(arg=str(name))
            | ast.Constant(str(name))
            | ast.Subscript(slice=ast.Constant(str(name)))
        ) if name.isidentifier():
            return name
    return None


def _unconverted(value: ast.expr | None) -> ast.expr | None:
    """Return the argument inside `int(...)`, `float(...)` and similar calls."""
    while True:
        match value:
            case ast.Call(
                func=ast.Name(id="int" | "float" | "bool" | "str" | "round"), args=[value]
            ):
                continue
        return value


def _labels(
    texts: list[str],
    words: list[str | None],
    own: list[str | None],
    nodes: list[ast.Set],
    source: FunctionSource,
) -> list[str]:
    """Name each template: its own name, or by the word before it, its text or its predecessor."""
    first_names: dict[str, str] = {}
    for text, word, mine in zip(texts, words, own, strict=True):
        if word and not mine:
            first_names.setdefault(text, word)
    labels: list[str] = []
    met: dict[str, int] = {}
    previous: str | None = None
    for text, mine, node in zip(texts, own, nodes, strict=True):
        name = mine or first_names.get(text, previous)
        if name is None:
            raise TemplateError(
                f"The template {text}, {source.where(node.lineno)}, has no name: the first one "
                "must follow a name and `=` or `(`, such as units = {{choice([32, 64])}}."
            )
        previous = label = name
        met.setdefault(name, 0)
        while label in labels:  # in hyperas two different templates could both be named `x_1`
            met[name] += 1
            label = f"{name}_{met[name]}"
        labels.append(label)
    return labels
