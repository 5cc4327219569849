"""Claims that the project makes about itself, checked against its code."""

import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "colab_drive_tuner"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of each file of the package, by its path."""
    return {
        str(path.relative_to(PACKAGE)): ast.parse(path.read_text("utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def names_of_others(tree: ast.Module) -> set[str]:
    """Return the names that a file imports from other packages."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if not node.module.startswith("colab_drive_tuner"):
                names |= {alias.asname or alias.name for alias in node.names}
    return names


def changed_attributes(tree: ast.Module) -> Iterator[str]:
    """Yield attributes of other packages' modules and classes that a file sets or deletes."""
    others = names_of_others(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or isinstance(node.ctx, ast.Load):
            continue
        owner: ast.expr = node
        while isinstance(owner, ast.Attribute):
            owner = owner.value
        if isinstance(owner, ast.Name) and owner.id in others:
            yield ast.unparse(node)


def test_the_hyperas_package_is_the_only_one_that_is_patched() -> None:
    """Only hyperas and Keras are patched, besides hooks of Python and a flag of loky."""
    changed = {name: sorted(set(changed_attributes(tree))) for name, tree in modules().items()}
    assert {name: attributes for name, attributes in changed.items() if attributes} == {
        "cli/__init__.py": ["warnings.formatwarning"],
        "hyperas/compat.py": ["models.model_from_yaml"],
        "search/executors/loky.py": ["process_executor._USE_PSUTIL"],
        "search/loop/interrupts.py": ["sys.excepthook"],
    }
    setters = {
        name: [ast.unparse(call.args[0]) for call in ast.walk(tree) if is_setter(call)]
        for name, tree in modules().items()
    }
    assert {name: targets for name, targets in setters.items() if targets} == {
        "hyperas/compat.py": ["optim", "self._optim"],
        "search/loop/interrupts.py": ["stopped"],
    }


def is_setter(node: ast.AST) -> bool:
    """Return whether this sets or deletes an attribute by its name."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("setattr", "delattr")
    )


def test_a_module_begins_with_what_it_is() -> None:
    """A module's first line is no question, so that it can serve as a table of contents entry."""
    first = {
        name: (ast.get_docstring(tree) or "").partition(" ")[0] for name, tree in modules().items()
    }
    asking = {"", "What", "Where", "How", "Which", "Why", "Whether", "Who", "Whose"}
    assert [name for name, word in first.items() if word in asking] == []


def test_the_files_that_contributing_names_are_there() -> None:
    """Every file that CONTRIBUTING.md names exists."""
    named = set(re.findall(r"`([\w.]+(?:/[\w.]+)+|\w+\.(?:py|md|toml|yml))`", CONTRIBUTING))
    places = [ROOT, PACKAGE, PACKAGE / "store", ROOT / "tests"]
    assert len(named) > 20
    assert [
        path for path in sorted(named) if not any((place / path).exists() for place in places)
    ] == []


def test_the_files_that_docstrings_name_are_there() -> None:
    """Every `.py` file that a docstring or comment of the package names is one of its files."""
    elsewhere = {"temp_model.py", "optuna/storages/journal/_storage.py"}
    files = [f"/{path.relative_to(PACKAGE).as_posix()}" for path in PACKAGE.rglob("*.py")]
    named = set()
    for path in PACKAGE.rglob("*.py"):
        code = path.read_text("utf-8")
        for text in re.findall(r'"""[\s\S]*?"""|#[^\n]*', code):
            named |= {(path.name, name) for name in re.findall(r"(?<![\w./])[\w/]+\.py\b", text)}
    assert len(named) > 10
    assert [
        (place, name)
        for place, name in sorted(named)
        if name not in elsewhere and not any(file.endswith(f"/{name}") for file in files)
    ] == []


def test_the_names_that_contributing_sends_to_are_in_the_code() -> None:
    """Constants, functions and classes that CONTRIBUTING.md names are defined in the code."""
    named = set(re.findall(r"`(_?[A-Za-z]\w*(?:_\w+)+|[A-Z]\w{3,}|_[a-z]+)`", CONTRIBUTING))
    places = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    code = "\n".join(path.read_text("utf-8") for path in places if path != Path(__file__))
    known = {*vars(builtins), "LIVE_DRIVE"}
    assert len(named) > 15
    assert [
        n for n in sorted(named - known) if not re.search(rf"\b{n}\b\s*[:=(]|\bclass {n}\b", code)
    ] == []
