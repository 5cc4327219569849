"""Values that a pickle describes, all of them inert: names, objects not made, unhashed dicts."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class RefusedPickleError(ValueError):
    """The pickle holds something else than trials, or is damaged; the message says what."""


@dataclass(eq=False)
class UnplainError(Exception):
    """A value is not plain data, as the end of a sentence about what holds it."""

    reason: str
    path: list[Any] = field(default_factory=list)
    """Where it is, innermost first."""


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """A class or function that the pickle names; nothing was imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"[:120]


@dataclass(slots=True, eq=False)
class Instance:
    """An object that was not made: of a class that we do not have, or the result of a call."""

    kind: Any
    """The `Name` of its class or function, or the `Instance` that was to be called."""
    called: bool = False
    state: Any = None
    """What BUILD would have given to it."""

    def __str__(self) -> str:
        return str(self.kind) if type(self.kind) is Name else "a class that the pickle makes"


@dataclass(slots=True, eq=False)
class Unhashed:
    """A dict or set whose keys have not been looked at."""

    kind: type
    items: list[Any] = field(default_factory=list)
    """The elements of a set; of a dict key, value, key, value, ..."""


@dataclass(slots=True, eq=False)
class Unbuilt:
    """A value between its call and its BUILD, which fills in `value`."""

    build: Callable[[Any, io.BytesIO], Any]
    """Makes it of what BUILD gives, and of what follows in the file."""
    value: Any = None


@dataclass(slots=True, eq=False)
class Refused:
    """A value that no trial may hold; `reason` ends a sentence about what holds it."""

    reason: str


def describe_node(node: Any) -> str:
    """What a value is, in words, for a sentence about what holds it or is done to it."""
    if type(node) is Name:
        return f"the class or function {node}"
    if type(node) is Instance:
        return f"an object of {node}"
    if type(node) is Unbuilt:
        return "an unfinished array"
    name = (node.kind if type(node) is Unhashed else type(node)).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
