"""The tree of errors: what its drawing says is what the classes are."""

import builtins
import inspect
import re

import pytest

from colab_drive_tuner import errors

LINE = re.compile(r"^(?P<indent>[│ ]*[├└]── )?(?P<name>\w+Error)\b(?: \((?P<builtin>\w+)\))?", re.M)


def drawn() -> dict[str, tuple[str | None, str | None]]:
    """Of each error in the drawing: its parent, and the builtin error in brackets."""
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
    """The drawing and the module have the same errors, and one root."""
    of_ours = {name for name, value in CLASSES.items() if not issubclass(value, Warning)}
    assert set(DRAWN) == of_ours
    assert [name for name, (parent, _) in DRAWN.items() if parent is None] == [
        "ColabDriveTunerError"
    ]


@pytest.mark.parametrize("name", DRAWN)
def test_an_error_is_where_it_is_drawn(name: str) -> None:
    """Its first base is the error above it, its second the builtin in brackets, if there is one."""
    parent, builtin = DRAWN[name]
    bases = [base.__name__ for base in CLASSES[name].__bases__]
    assert bases == [base for base in (parent or "Exception", builtin) if base]
    if builtin:
        assert issubclass(getattr(builtins, builtin), Exception)


@pytest.mark.parametrize("name", [name for name in DRAWN if name != "ColabDriveTunerError"])
def test_an_error_can_be_caught_as_a_builtin(name: str) -> None:
    """Code that knows nothing of this package can catch what it knows."""
    others = set(CLASSES[name].__mro__) - set(CLASSES.values())
    assert others - {Exception, BaseException, object}


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_says_what_it_is_about(name: str) -> None:
    """Each class has a docstring; its message is the text it was raised with."""
    assert inspect.getdoc(CLASSES[name])
    assert str(CLASSES[name]("what happened")) == "what happened"
