"""Every test has a docstring that states the behaviour in a sentence."""

import ast
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
            "test_"
        ):
            yield node


def test_every_test_states_a_behaviour() -> None:
    """Every test function has a docstring; one without is listed by name."""
    files = [*HERE.rglob("test_*.py"), HERE / "store" / "contract.py"]
    silent = [
        f"{path.relative_to(HERE)}::{test.name}"
        for path in files
        for test in functions_of(path)
        if not ast.get_docstring(test)
    ]
    assert files
    assert silent == []
