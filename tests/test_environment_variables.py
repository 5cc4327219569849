"""The list of environment variables is complete: no other module names one."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import colab_drive_tuner
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import UsageError

PACKAGE = Path(colab_drive_tuner.__file__).parent
LIST = PACKAGE / "environment_variables.py"
OF_THE_SYSTEM = {"PATH", "PYTHONPATH"}
"""Passed on to started programs; they do not configure this package."""


def sources() -> list[Path]:
    """Return the package's files but the list and the emulator, which imports nothing of it."""
    files = [path for path in PACKAGE.rglob("*.py") if "emulator" not in path.parts]
    return [path for path in files if path != LIST]


def names_read(source: str) -> Iterator[str]:
    """Yield the names in `environ[...]`, `environ.get(...)`, `in environ` and `getenv`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Subscript(value=place, slice=ast.Constant(str(name))):
                pass
            case ast.Call(
                func=ast.Attribute(value=place, attr="get" | "pop" | "setdefault"),
                args=[ast.Constant(str(name)), *_],
            ):
                pass
            case ast.Compare(left=ast.Constant(str(name)), comparators=[place]):
                pass
            case ast.Call(
                func=ast.Attribute(attr="getenv") as place, args=[ast.Constant(str(name)), *_]
            ):
                pass
            case _:
                continue
        if "env" in ast.unparse(place):
            yield name


def test_no_other_file_names_a_variable():
    """Outside the list no file names a listed variable or reads an unlisted one."""
    listed = {variable.value for variable in Variable}
    found = {}
    for path in sources():
        source = path.read_text("utf-8")
        constants = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
        named = listed.intersection(node.value for node in constants)
        named |= set(names_read(source)) - OF_THE_SYSTEM
        if named:
            found[str(path.relative_to(PACKAGE))] = named
    assert found == {}


def test_every_way_of_reading_a_variable_is_noticed():
    """`names_read` finds each way of reading a variable that the package has used."""
    source = (
        "os.environ['A']; os.environ.get('B', ''); os.getenv('C'); 'D' in os.environ\n"
        "environ.get('E'); lookup.environ['F']; environment['G']; other['H']; os.environ[I]"
    )
    assert sorted(names_read(source)) == list("ABCDEFG")


@pytest.mark.parametrize("variable", Variable)
def test_every_variable_is_read_and_explained(variable):
    """Each listed variable has a meaning and is read somewhere in the package."""
    assert variable.meaning.endswith(".")
    assert any(f"Variable.{variable.name}" in path.read_text("utf-8") for path in sources())


@pytest.mark.parametrize("variable", Variable)
def test_a_variable_named_like_a_secret_is_marked_as_one(variable):
    """A variable named like a secret is marked as one, so that no schedule contains its value.

    One that only names the secret's file is marked as a path.
    """
    named_like_a_secret = {"TOKEN", "KEY", "SECRET", "PASSWORD"} & set(variable.split("_"))
    marked = variable.is_secret or variable.is_path
    assert marked or not named_like_a_secret, "add _SECRET or _PATH to it in Variable"


def test_a_variable_is_its_name(monkeypatch):
    """A Variable equals its name as a key and in messages; unset, its value is an empty text."""
    monkeypatch.setenv("COLAB_DRIVE_TUNER_STORE", "folder")
    assert (Variable.STORE, f"{Variable.STORE}") == ("COLAB_DRIVE_TUNER_STORE",) * 2
    assert (Variable.STORE.get(), os.environ[Variable.STORE]) == ("folder", "folder")
    monkeypatch.delenv("COLAB_DRIVE_TUNER_STORE")
    assert Variable.STORE.get() == ""


def test_a_variable_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that no run can use is an error with name and value; unset, it is None."""
    for value in ("in two hours", "inf", "nan", "-1"):
        monkeypatch.setenv("COLAB_DRIVE_TUNER_DEADLINE", value)
        with pytest.raises(UsageError, match=f"TUNER_DEADLINE must be a number.*{value}"):
            Variable.DEADLINE.number(float)
    monkeypatch.setenv("COLAB_DRIVE_TUNER_DEADLINE", "12.5")
    assert Variable.DEADLINE.number(float) == 12.5
    monkeypatch.delenv("COLAB_DRIVE_TUNER_DEADLINE")
    assert Variable.DEADLINE.number(float) is None
