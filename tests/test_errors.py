"""The documented tree of errors and warnings matches the classes."""

import ast
import builtins
import inspect
import re
from pathlib import Path

import pytest

from colab_drive_tuner import errors

LINE = re.compile(
    r"^(?P<indent>[│ ]*[├└]── )?(?P<name>\w+(?:Error|Warning))\b(?: \((?P<builtin>\w+)\))?", re.M
)


def drawn() -> dict[str, tuple[str | None, str | None]]:
    """Return each error's parent and its bracketed built-in error, as the docstring draws them."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    above: list[str] = []
    for line in LINE.finditer(errors.__doc__ or ""):
        depth = len(line["indent"] or "") // 4
        del above[depth:]
        tree[line["name"]] = (above[-1] if above else None, line["builtin"])
        above.append(line["name"])
    return tree


DRAWN = drawn()
CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and value.__module__ == errors.__name__
}


def test_every_error_is_drawn() -> None:
    """The drawn tree has exactly the module's classes: one root for errors, one for warnings."""
    assert set(DRAWN) == {*CLASSES, "UserWarning"}
    roots = [name for name, (parent, _) in DRAWN.items() if parent is None]
    assert roots == ["ColabDriveTunerError", "UserWarning"]


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_is_where_it_is_drawn(name: str) -> None:
    """A class's first base is the error above it, its second the built-in error in brackets."""
    parent, builtin = DRAWN[name]
    bases = [base.__name__ for base in CLASSES[name].__bases__]
    assert bases == [base for base in (parent or "Exception", builtin) if base]
    if builtin:
        assert issubclass(getattr(builtins, builtin), Exception)


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "ColabDriveTunerError"])
def test_an_error_can_be_caught_as_a_builtin(name: str) -> None:
    """Each error but the root is also a built-in one, for code that does not know the package."""
    others = set(CLASSES[name].__mro__) - set(CLASSES.values())
    assert others - {Exception, BaseException, object}


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_says_what_it_is_about(name: str) -> None:
    """Each class has a docstring, and its message is the text it was raised with."""
    assert inspect.getdoc(CLASSES[name])
    assert str(CLASSES[name]("what happened")) == "what happened"


PACKAGE = Path(errors.__file__).parent


def names_in(node: ast.AST | None) -> set[str]:
    """Return the names that an expression uses, attributes included."""
    parts = ast.walk(node) if node else ()
    return {getattr(part, "id", None) or getattr(part, "attr", "") for part in parts}


def test_exception_classes_elsewhere_are_internal() -> None:
    """An exception class elsewhere derives from none of these and is caught in the package."""
    # The emulator is a separate program, which answers with Google's errors.
    files = [
        path for path in PACKAGE.rglob("*.py") if "emulator" not in path.relative_to(PACKAGE).parts
    ]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8")))]
    known = {name for name, value in vars(builtins).items() if is_exception(value)}
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    internal: dict[str, set[str]] = {}
    for node in classes:
        bases = set().union(*map(names_in, node.bases), set())
        if node.name not in CLASSES and bases & {*known, *CLASSES, *internal}:
            internal[node.name] = bases
    handlers = [node for node in nodes if isinstance(node, ast.ExceptHandler)]
    suppressed = [n for n in nodes if isinstance(n, ast.Call) and "suppress" in names_in(n.func)]
    caught = set().union(*(names_in(n.type) for n in handlers), *map(names_in, suppressed))
    assert "TryAgainError" in internal, "this test looks in the wrong place"
    assert [name for name, bases in internal.items() if bases & set(CLASSES)] == []
    assert [name for name, bases in internal.items() if not {name, *bases} & caught] == []


def is_exception(value: object) -> bool:
    """Whether this is a class that can be raised."""
    return isinstance(value, type) and issubclass(value, BaseException)
