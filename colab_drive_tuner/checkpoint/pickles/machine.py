"""A pickle machine that can make nothing but data: names stay names, and no call is made.

Python's own unpickler imports what a pickle names, calls it, patches objects through BUILD, and
allocates what a length claims. A `find_class` that finds nothing but inert stand-ins would not do:
a tuple in a tuple in a tuple, 200,000 deep, as the key of a dict ends the interpreter when its hash
is taken, in C and in Python alike. So this one uses the standard library only to cut the bytes into
opcodes. A class or function is a `Name`, which does nothing. A call, or an object of a class, is an
`Instance`, which remembers what was asked for; for a few names `pickle_values` has a recipe of ours
that makes the value. Dicts and sets stay lists until their keys have been checked. Every opcode is
charged for the memory that it takes.
"""

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from sys import getsizeof
from typing import IO, Any

_VALUES = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
_PYTHON_2 = frozenset({"STRING", "BINSTRING", "SHORT_BINSTRING", "INST", "OBJ"})
_UNMADE = "it is damaged, or is not a pickle: it uses what it never made"
_CALLS, _MAKES = "calls", "makes an object of"
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # protocols 0 to 2
_ITEM = 10
"""Bytes that a place on the stack, in the memo or in a list takes, with room to grow."""
_MEMBER: dict[type, int] = {list: 0, dict: 32, set: 112, frozenset: 112}
"""Bytes that a member takes beyond its place in a list: a key, a value, an element."""
_FREE = frozenset(
    (
        *("PROTO", "FRAME", "STOP", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"),
        *("POP", "POP_MARK", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BUILD"),
    )
)
"""Opcodes that push nothing; what they make grow is charged by their steps."""
_COSTS = {
    **dict.fromkeys(("EMPTY_LIST", "LIST", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "MARK"), 80),
    **dict.fromkeys(("EMPTY_DICT", "DICT"), 400),
    **dict.fromkeys(("EMPTY_SET", "FROZENSET"), 600),
    **dict.fromkeys(("GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "NEWOBJ_EX"), 160),
    **dict.fromkeys(
        ("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT"), -getsizeof(1)
    ),
}
"""Bytes that an opcode takes beyond that. A dict or set is made twice; a number of the memo is not
kept."""


class RefusedPickleError(ValueError):
    """The pickle holds something else than trials, or is damaged; the message says what."""


class UnplainError(Exception):
    """A value is not plain data, as the end of a sentence about what holds it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.path: list[Any] = []
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


Recipe = Callable[[tuple[Any, ...]], Any]
_Step = tuple[Callable[[Any], object], Callable[[IO[bytes]], Any] | None, int]


class Machine:
    """Runs one pickle; `recipes` are the only calls that it can make.

    What it makes takes at most about `memory` bytes.
    """

    def __init__(self, recipes: dict[str, Recipe], memory: int) -> None:
        self._recipes = recipes
        self._memory = self._left = memory
        self._stream = io.BytesIO()
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks under the marks
        self._memo: list[Any] = []

    def run(self, data: bytes) -> Any:
        """Return what the pickle leaves on the stack; RefusedPickleError for anything strange."""
        try:
            return self._run(data)
        except (IndexError, KeyError) as error:
            raise RefusedPickleError(_UNMADE) from error
        except RefusedPickleError:
            raise
        except UnplainError as error:
            raise RefusedPickleError(f"it {error}") from error
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise RefusedPickleError(f"it is damaged or crafted: {str(error)[:200]}") from error

    def _run(self, data: bytes) -> Any:
        stream = self._stream = io.BytesIO(data)
        steps, read = self._steps(), stream.read
        while code := read(1):
            step, reader, cost = steps[code]
            if reader is None:
                step(None)
            else:
                argument = reader(stream)
                cost += getsizeof(argument)
                step(argument)
            self._left -= cost
            if self._left < 0:
                raise RefusedPickleError(
                    f"it would take more than {self._memory >> 20} MiB of memory. If you trust it, "
                    "load it with hyperopt, take out what is large (attachments, long lists in the "
                    "results), pickle it again and import that"
                )
            if code == b".":
                return self._stack.pop()
        raise RefusedPickleError("it is damaged: it has no end")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _charged(self, value: Any) -> Any:
        """What a recipe or a long list became, which may be a copy of much."""
        size = getattr(value, "nbytes", 0) + getsizeof(value)
        if type(value) is Unhashed:
            size += (_ITEM + _MEMBER[value.kind]) * len(value.items)
        self._left -= size
        return value

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

    def _take(self, count: int) -> list[Any]:
        return [self._stack.pop() for _ in range(count)][::-1]

    def _extend(self, kind: type, items: list[Any]) -> None:
        """Add to the list, dict or set that lies below."""
        target: Any = self._stack[-1]
        self._left -= _MEMBER[kind] * len(items)
        if kind is list and type(target) is list:
            target.extend(items)
        elif type(target) is Unhashed and target.kind is kind:
            target.items.extend(items if kind is set else _in_pairs(items))
        elif type(target) is not Instance:  # which keeps nothing: it is refused, or not needed
            raise RefusedPickleError(
                f"it adds to {_what(target)} as if that were a {kind.__name__}"
            )

    def _put(self, index: int) -> None:
        missing = index - len(self._memo)
        if missing > self._stream.tell():  # no pickler leaves such a gap
            raise RefusedPickleError(_UNMADE)
        if missing >= 0:
            self._left -= _ITEM * (missing + 1)
            self._memo.extend([_MISSING] * missing + [self._stack[-1]])
        else:
            self._memo[index] = self._stack[-1]

    def _get(self, index: int) -> None:
        if index < 0 or self._memo[index] is _MISSING:
            raise RefusedPickleError(_UNMADE)
        self._stack.append(self._memo[index])

    def _global(self, lines: tuple[bytes, bytes]) -> None:
        module, name = (line.removesuffix(b"\n").decode() for line in lines)
        self._stack.append(Name(_RENAMED.get(module, module), name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(module) is not str or type(name) is not str:
            raise RefusedPickleError("it names a class by something else than text")
        self._stack.append(Name(_RENAMED.get(module, module), name))

    def _make(self, word: str, keywords: int = 0) -> None:
        """Call a function, or make an object of a class, with the arguments on the stack."""
        name, arguments, *_ = self._take(2 + keywords)
        if type(name) not in (Name, Instance) or type(arguments) is not tuple:
            raise RefusedPickleError(f"it {word} {_what(name)}")
        recipe = self._recipes.get(str(name).replace("numpy.core.", "numpy._core."))
        if recipe is None:
            self._push(Instance(name, word == _CALLS))
            return
        try:
            self._push(self._charged(recipe(arguments)))
        except UnplainError as error:
            self._push(Refused(str(error)))

    def _build(self, _: Any) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if type(target) is Unbuilt:
            try:
                target.value = target.build(state, self._stream)
            except UnplainError as error:
                target.value = Refused(str(error))
            self._left -= getattr(target.value, "nbytes", 0)
        elif type(target) is Instance and target.state is None:
            target.state = state
        elif type(target) not in (Unhashed, Refused):
            # A dict that was made for a class derived from dict has it all.
            raise RefusedPickleError(f"it wants to change {_what(target)} from inside")

    def _tuple(self, count: int) -> Callable[[Any], None]:
        return lambda _: self._push(tuple(self._take(count)))

    def _refuse(self, name: str) -> Callable[[Any], None]:
        def step(_: Any) -> None:
            if name in _PYTHON_2:
                raise RefusedPickleError(
                    f"opcode {name} is from Python 2: if you trust it, load it with "
                    "pickle.load(file, encoding='latin1') and pickle it again"
                )
            raise RefusedPickleError(f"trials need no opcode {name}")

        return step

    def _steps(self) -> dict[bytes, _Step]:
        """By opcode: what to do, what reads its argument, and how much memory it takes."""

        def push(make: Callable[[], Any]) -> Callable[[Any], None]:
            return lambda _: self._push(make())

        def collect(make: Callable[[list[Any]], Any]) -> Callable[[Any], None]:
            def step(_: Any) -> None:
                items = self._to_mark()
                self._push(make(items))

            return step

        def extend(kind: type, count: int = 0) -> Callable[[Any], None]:
            """Add the topmost `count` items, or where that is 0 those to the mark."""
            return lambda _: self._extend(kind, self._take(count) if count else self._to_mark())

        named: dict[str, Callable[[Any], object]] = {
            **dict.fromkeys(_VALUES, self._push),
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
            "STOP": lambda _: None,
            "NONE": push(lambda: None),
            "NEWTRUE": push(lambda: True),
            "NEWFALSE": push(lambda: False),
            "EMPTY_LIST": push(list),
            "EMPTY_TUPLE": push(tuple),
            "EMPTY_DICT": push(lambda: Unhashed(dict)),
            "EMPTY_SET": push(lambda: Unhashed(set)),
            "LIST": collect(list),
            "TUPLE": collect(tuple),
            "DICT": collect(lambda items: self._charged(Unhashed(dict, _in_pairs(items)))),
            "FROZENSET": collect(lambda items: self._charged(Unhashed(frozenset, items))),
            **{f"TUPLE{n}": self._tuple(n) for n in (1, 2, 3)},
            "APPEND": extend(list, 1),
            "APPENDS": extend(list),
            "SETITEM": extend(dict, 2),
            "SETITEMS": extend(dict),
            "ADDITEMS": extend(set),
            "MARK": self._mark,
            "POP": self._pop,
            "POP_MARK": lambda _: self._to_mark(),
            "DUP": lambda _: self._push(self._stack[-1]),
            **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), self._put),
            **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), self._get),
            "MEMOIZE": lambda _: self._put(len(self._memo)),
            "GLOBAL": self._global,
            "STACK_GLOBAL": self._stack_global,
            "REDUCE": lambda _: self._make(_CALLS),
            "NEWOBJ": lambda _: self._make(_MAKES),
            "NEWOBJ_EX": lambda _: self._make(_MAKES, keywords=1),
            "BUILD": self._build,
        }
        steps: dict[bytes, _Step] = {}
        for opcode in pickletools.opcodes:
            step = named.get(opcode.name)
            reader = opcode.arg.reader if step and opcode.arg else None
            if opcode.name == "GLOBAL":  # pickletools would look for escapes in it, and warn
                reader = _two_lines
            cost = _COSTS.get(opcode.name, 0) + (_ITEM if opcode.name not in _FREE else 0)
            steps[opcode.code.encode("latin-1")] = step or self._refuse(opcode.name), reader, cost
        return steps


_MISSING: Any = object()


def _two_lines(stream: IO[bytes]) -> tuple[bytes, bytes]:
    return stream.readline(), stream.readline()


def _in_pairs(items: list[Any]) -> list[Any]:
    if len(items) % 2:
        raise ValueError("a dict has a key without a value")
    return items


def _what(value: Any) -> str:
    """What a refused operation was about, in words."""
    if type(value) is Name:
        return str(value)
    if type(value) is Instance:
        return f"an object of {value}"
    return f"a {(value.kind if type(value) is Unhashed else type(value)).__name__}"
