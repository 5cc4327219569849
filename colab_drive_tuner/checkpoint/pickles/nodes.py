"""Inert values found in a pickle: names, objects that were not created, unhashed dicts."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class RefusedPickleError(ValueError):
    """The file holds no pickle of trials, or is damaged; the message says why, after "it"."""


@dataclass(eq=False)
class UnplainError(Exception):
    """A value is not plain data."""

    reason: str
    """Predicate of a sentence whose subject is the value's container."""
    path: list[Any] = field(default_factory=list)
    """Path to the value, innermost step first."""


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """A class or function named by the pickle, which was not imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"[:120]


@dataclass(slots=True, eq=False)
class Instance:
    """An object that was not created: of an unknown class, or the result of an unknown call."""

    kind: Any
    """The `Name` of its class or function, or the `Instance` that the pickle would call."""
    called: bool = False
    state: Any = None
    """Argument of its BUILD opcode."""

    def __str__(self) -> str:
        return str(self.kind) if type(self.kind) is Name else "a class created by the pickle"


@dataclass(slots=True, eq=False)
class Unhashed:
    """A dict or set whose keys have not been checked or hashed."""

    kind: type
    items: list[Any] = field(default_factory=list)
    """Elements of a set; keys and values of a dict, alternating."""


@dataclass(slots=True, eq=False)
class Unbuilt:
    """A value between its call and its BUILD opcode, which sets `value`."""

    build: Callable[[Any, io.BytesIO], Any]
    """Return the value for BUILD's argument and the rest of the file."""
    value: Any = None


@dataclass(slots=True, eq=False)
class Refused:
    """A value that no trial may hold; see `UnplainError` for `reason`."""

    reason: str


def describe_node(node: Any) -> str:
    """Return a noun phrase for a value, for error messages."""
    if type(node) is Name:
        return f"the class or function {node}"
    if type(node) is Instance:
        return f"an object of {node}"
    if type(node) is Unbuilt:
        return "an unfinished array"
    name = (node.kind if type(node) is Unhashed else type(node)).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
