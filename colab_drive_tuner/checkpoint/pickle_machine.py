"""A pickle machine that can make nothing but data: names stay names, and calls are looked up here.

Python's own unpickler imports what a pickle names, calls it, patches objects through BUILD, hashes
what is nested without end, and allocates what a length claims. This one uses the standard library
only to cut the bytes into opcodes. A class or function is a `Name`, which does nothing; a call is
made only where `pickle_values` has a recipe of ours for that name; dicts and sets stay lists until
their keys have been checked.
"""

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_PUSHES = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_UNMADE = "it is damaged, or is no pickle: it uses what it never made"
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # protocols 0 to 2


class RefusedPickleError(ValueError):
    """The pickle holds something else than trials, or is damaged; the message says what."""


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """A class or function that the pickle names; nothing was imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"[:120]


@dataclass(slots=True, eq=False)
class Instance:
    """An object of a class that we do not have; `state` is what BUILD would have given to it."""

    kind: Name
    state: Any = None


@dataclass(slots=True, eq=False)
class Pairs:
    """A dict whose keys have not been looked at."""

    items: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Members:
    """A set whose elements have not been looked at."""

    items: list[Any] = field(default_factory=list)
    frozen: bool = False


@dataclass(slots=True, eq=False)
class Unbuilt:
    """An array or dtype of numpy between its call and its BUILD, which fills in `value`."""

    build: Callable[[Any], Any]
    value: Any = None


Recipe = Callable[[tuple[Any, ...]], Any]


class Machine:
    """Runs one pickle; `recipes` are the only calls that it can make."""

    def __init__(self, recipes: dict[str, Recipe]) -> None:
        self._recipes = recipes
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks under the marks
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """Return what the pickle leaves on the stack; RefusedPickleError for anything strange."""
        steps, stream = self._steps(), io.BytesIO(data)
        try:
            while code := stream.read(1):
                opcode = _OPCODES[code]
                if opcode.name == "STOP":
                    return self._stack.pop()
                step = steps.get(opcode.name)
                if step is None:
                    raise RefusedPickleError(f"trials need no opcode {opcode.name}")
                if opcode.name == "GLOBAL":  # pickletools would look for escapes in it, and warn
                    step((stream.readline(), stream.readline()))
                else:
                    step(opcode.arg.reader(stream) if opcode.arg else None)
        except (IndexError, KeyError) as error:
            raise RefusedPickleError(_UNMADE) from error
        except RefusedPickleError:
            raise
        except (ValueError, TypeError, OverflowError, MemoryError, RecursionError) as error:
            raise RefusedPickleError(f"it is damaged or crafted: {str(error)[:200]}") from error
        raise RefusedPickleError("it is damaged: it has no end")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _to_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._to_mark()

    def _pop_mark(self, _: Any) -> None:
        self._to_mark()

    def _take(self, count: int) -> list[Any]:
        return [self._stack.pop() for _ in range(count)][::-1]

    def _append(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise RefusedPickleError(f"it appends to {_what(self._stack[-1])}")
        self._stack[-1].extend(items)

    def _set_items(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not Pairs:
            raise RefusedPickleError(f"it sets items of {_what(self._stack[-1])}")
        self._stack[-1].items.extend(_in_pairs(items))

    def _add_items(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not Members:
            raise RefusedPickleError(f"it adds elements to {_what(self._stack[-1])}")
        self._stack[-1].items.extend(items)

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _global(self, lines: tuple[bytes, bytes]) -> None:
        module, name = (line.removesuffix(b"\n").decode() for line in lines)
        self._stack.append(Name(_RENAMED.get(module, module), name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(module) is not str or type(name) is not str:
            raise RefusedPickleError("it names a class by something else than text")
        self._stack.append(Name(_RENAMED.get(module, module), name))

    def _call(self, _: Any) -> None:
        arguments, name = self._stack.pop(), self._stack.pop()
        if type(name) is not Name or type(arguments) is not tuple:
            raise RefusedPickleError(f"it calls {_what(name)}")
        recipe = self._recipes.get(str(name).replace("numpy.core.", "numpy._core."))
        if recipe is None:
            raise RefusedPickleError(f"it wants to call {name}, which trials do not need")
        self._stack.append(recipe(arguments))

    def _new(self, _: Any) -> None:
        arguments, kind = self._stack.pop(), self._stack.pop()
        if type(kind) is not Name or type(arguments) is not tuple or arguments:
            raise RefusedPickleError(f"it makes an object of {_what(kind)}")
        self._stack.append(Instance(kind))

    def _build(self, _: Any) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if type(target) is Unbuilt:
            target.value = target.build(state)
        elif type(target) is Instance and target.state is None:
            target.state = state
        else:
            raise RefusedPickleError(f"it wants to change {_what(target)} from inside")

    def _steps(self) -> dict[str, Callable[[Any], None]]:
        """What to do at each opcode, given its argument."""

        def push(make: Callable[[], Any]) -> Callable[[Any], None]:
            return lambda _: self._push(make())

        def collect(make: Callable[[list[Any]], Any]) -> Callable[[Any], None]:
            def step(_: Any) -> None:
                items = self._to_mark()
                self._push(make(items))

            return step

        def extend(step: Callable[[list[Any]], None], count: int) -> Callable[[Any], None]:
            """`step` with the topmost `count` items, or where `count` is 0 those to the mark."""
            return lambda _: step(self._take(count) if count else self._to_mark())

        return dict.fromkeys(_PUSHES, self._push) | {
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
            "NONE": push(lambda: None),
            "NEWTRUE": push(lambda: True),
            "NEWFALSE": push(lambda: False),
            "EMPTY_LIST": push(list),
            "EMPTY_TUPLE": push(tuple),
            "EMPTY_DICT": push(Pairs),
            "EMPTY_SET": push(Members),
            "LIST": collect(list),
            "TUPLE": collect(tuple),
            "DICT": collect(lambda items: Pairs(_in_pairs(items))),
            "FROZENSET": collect(lambda items: Members(items, frozen=True)),
            "TUPLE1": lambda _: self._push(tuple(self._take(1))),
            "TUPLE2": lambda _: self._push(tuple(self._take(2))),
            "TUPLE3": lambda _: self._push(tuple(self._take(3))),
            "APPEND": extend(self._append, 1),
            "APPENDS": extend(self._append, 0),
            "SETITEM": extend(self._set_items, 2),
            "SETITEMS": extend(self._set_items, 0),
            "ADDITEMS": extend(self._add_items, 0),
            "MARK": self._mark,
            "POP": self._pop,
            "POP_MARK": self._pop_mark,
            "DUP": lambda _: self._push(self._stack[-1]),
            **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), self._put),
            **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), self._get),
            "MEMOIZE": lambda _: self._put(len(self._memo)),
            "GLOBAL": self._global,
            "STACK_GLOBAL": self._stack_global,
            "REDUCE": self._call,
            "NEWOBJ": self._new,
            "BUILD": self._build,
        }


def _in_pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(items[::2], items[1::2], strict=True))


def _what(value: Any) -> str:
    """What a refused operation was about, in words."""
    if type(value) is Name:
        return str(value)
    return f"an object of {value.kind}" if type(value) is Instance else f"a {type(value).__name__}"
