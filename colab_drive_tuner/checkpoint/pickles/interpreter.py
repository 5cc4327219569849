"""Interpreter of pickles that creates only data: it imports nothing and calls nothing.

Python's unpickler imports what a pickle names, calls it, patches objects through BUILD, and
allocates as much as a length field claims. Overriding `find_class` with inert stand-ins is not
enough: a tuple nested 200,000 deep as the key of a dict crashes Python when it is hashed, in both
the C and the Python unpickler. So this interpreter uses the standard library only to split the
bytes into opcodes. A class or function becomes a `Name`, which does nothing. A call, or an object
of a class, becomes an `Instance`; for a few names recipes.py has a recipe that builds the value.
Dicts and sets stay lists until their keys are checked. Every opcode is charged for its memory.
"""

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from sys import getsizeof
from typing import IO, Any

_VALUES = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
_PYTHON_2 = frozenset({"STRING", "BINSTRING", "SHORT_BINSTRING", "INST", "OBJ"})
_UNDEFINED = "it is damaged, or is not a pickle: it uses a value that it never created"
_CALLS, _MAKES = "calls", "makes an object of"
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # protocols 0 to 2
_ITEM = 10
"""Bytes per slot of the stack, the memo or a list, including spare capacity."""
_LIST, _DICT, _SET, _OBJECT = 80 + _ITEM, 400 + _ITEM, 600 + _ITEM, 160 + _ITEM
"""Bytes per empty object and its slot; dicts and sets are created twice."""
_NUMBER = -getsizeof(1)
"""Correction of the charge for a memo index, which is not kept."""
_MEMBER: dict[type, int] = {list: 0, dict: 32, set: 112, frozenset: 112}
"""Bytes per member (key, value, element) in addition to its slot in a list."""

Recipe = Callable[[tuple[Any, ...]], Any]
_Step = Callable[[Any], object]
_Reader = Callable[[IO[bytes]], Any]


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


class PickleInterpreter:
    """Interpreter for one pickle; `recipes` are the only functions that it can call.

    The values that it creates take at most about `memory` bytes.
    """

    def __init__(self, recipes: dict[str, Recipe], memory: int) -> None:
        self._recipes = recipes
        self._memory = self._left = memory
        self._stream = io.BytesIO()
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks below the marks
        self._memo: list[Any] = []

    def run(self, data: bytes) -> Any:
        """Return the pickle's value; raise RefusedPickleError for anything unusual."""
        try:
            return self._run(data)
        except (IndexError, KeyError) as error:
            raise RefusedPickleError(_UNDEFINED) from error
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
                    "load it with hyperopt, remove large values (attachments, long lists in the "
                    "results), pickle it again and import that"
                )
            if code == b".":
                return self._stack.pop()
        raise RefusedPickleError("it is damaged: its end is missing")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _charged(self, value: Any) -> Any:
        """Return a value after charging for its size, since it may be a copy of large data."""
        size = getattr(value, "nbytes", 0) + getsizeof(value)
        if type(value) is Unhashed:
            size += (_ITEM + _MEMBER[value.kind]) * len(value.items)
        self._left -= size
        return value

    def _mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _items(self, count: int | None) -> list[Any]:
        """Pop the topmost `count` items from the stack; None: all down to the mark."""
        if count is None:
            items, self._stack = self._stack, self._below.pop()
            return items
        return [self._stack.pop() for _ in range(count)][::-1]

    def _extend(self, kind: type, items: list[Any]) -> None:
        """Add items to the list, dict or set on top of the stack."""
        target: Any = self._stack[-1]
        self._left -= _MEMBER[kind] * len(items)
        if kind is list and type(target) is list:
            target.extend(items)
        elif type(target) is Unhashed and target.kind is kind:
            target.items.extend(items if kind is set else _in_pairs(items))
        elif type(target) is not Instance:  # an Instance ignores members: they are not needed
            raise RefusedPickleError(
                f"it adds to {describe_node(target)} as if that were a {kind.__name__}"
            )

    def _put(self, index: int) -> None:
        missing = index - len(self._memo)
        if missing > self._stream.tell():  # no pickler leaves such a gap
            raise RefusedPickleError(_UNDEFINED)
        if missing >= 0:
            self._left -= _ITEM * (missing + 1)
            self._memo.extend([_MISSING] * missing + [self._stack[-1]])
        else:
            self._memo[index] = self._stack[-1]

    def _get(self, index: int) -> None:
        if index < 0 or self._memo[index] is _MISSING:
            raise RefusedPickleError(_UNDEFINED)
        self._stack.append(self._memo[index])

    def _name(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise RefusedPickleError("it names a class by a value that is not text")
        self._push(Name(_RENAMED.get(module, module), name))

    def _make(self, word: str, keywords: int = 0) -> None:
        """Call a function, or create an object of a class, with the arguments on the stack."""
        name, arguments, *_ = self._items(2 + keywords)
        if type(name) not in (Name, Instance) or type(arguments) is not tuple:
            raise RefusedPickleError(f"it {word} {describe_node(name)}")
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
            # An Unhashed dict made for a subclass of dict needs no state.
            raise RefusedPickleError(f"it tries to set attributes of {describe_node(target)}")

    def _refuse(self, name: str) -> None:
        if name in _PYTHON_2:
            raise RefusedPickleError(
                f"opcode {name} is from Python 2: if you trust it, load it with "
                "pickle.load(file, encoding='latin1') and pickle it again"
            )
        raise RefusedPickleError(f"trials need no opcode {name}")

    def _steps(self) -> dict[bytes, tuple[_Step, _Reader | None, int]]:
        """Return, by opcode: its step, the reader of its argument, and its memory charge.

        Steps that extend existing values charge for that themselves.
        """

        def push(make: Callable[[], Any]) -> _Step:
            return lambda _: self._push(make())

        def collect(make: Callable[[list[Any]], Any], count: int | None = None) -> _Step:
            """Push the result of `make` for the topmost `count` items, or for those to the mark."""
            return lambda _: self._push(make(self._items(count)))

        def extend(kind: type, count: int | None = None) -> _Step:
            return lambda _: self._extend(kind, self._items(count))

        known: dict[str, tuple[_Step, int]] = {
            **dict.fromkeys(_VALUES, (self._push, _ITEM)),
            **dict.fromkeys(("PROTO", "FRAME", "STOP"), (lambda _: None, 0)),
            "NONE": (push(lambda: None), _ITEM),
            "NEWTRUE": (push(lambda: True), _ITEM),
            "NEWFALSE": (push(lambda: False), _ITEM),
            "EMPTY_TUPLE": (push(tuple), _ITEM),
            "EMPTY_LIST": (push(list), _LIST),
            "EMPTY_DICT": (push(lambda: Unhashed(dict)), _DICT),
            "EMPTY_SET": (push(lambda: Unhashed(set)), _SET),
            "LIST": (collect(list), _LIST),
            "TUPLE": (collect(tuple), _LIST),
            **{f"TUPLE{n}": (collect(tuple, n), _LIST) for n in (1, 2, 3)},
            "DICT": (collect(lambda found: self._charged(Unhashed(dict, _in_pairs(found)))), _DICT),
            "FROZENSET": (collect(lambda found: self._charged(Unhashed(frozenset, found))), _SET),
            "APPEND": (extend(list, 1), 0),
            "APPENDS": (extend(list), 0),
            "SETITEM": (extend(dict, 2), 0),
            "SETITEMS": (extend(dict), 0),
            "ADDITEMS": (extend(set), 0),
            "MARK": (self._mark, _LIST),
            "POP": (lambda _: self._items(1 if self._stack else None), 0),
            "POP_MARK": (lambda _: self._items(None), 0),
            "DUP": (lambda _: self._push(self._stack[-1]), _ITEM),
            **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), (self._put, _NUMBER)),
            **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), (self._get, _ITEM + _NUMBER)),
            "MEMOIZE": (lambda _: self._put(len(self._memo)), 0),
            "GLOBAL": (lambda names: self._name(*names), _OBJECT),
            "STACK_GLOBAL": (lambda _: self._name(*self._items(2)), _OBJECT),
            "REDUCE": (lambda _: self._make(_CALLS), _OBJECT),
            "NEWOBJ": (lambda _: self._make(_MAKES), _OBJECT),
            "NEWOBJ_EX": (lambda _: self._make(_MAKES, keywords=1), _OBJECT),
            "BUILD": (self._build, 0),
        }
        steps: dict[bytes, tuple[_Step, _Reader | None, int]] = {}
        for opcode in pickletools.opcodes:
            name, code = opcode.name, opcode.code.encode("latin-1")
            if name not in known:
                steps[code] = partial(lambda name, _: self._refuse(name), name), None, 0
                continue
            reader = opcode.arg.reader if opcode.arg else None
            # pickletools would interpret escapes in the lines of a name, and warn.
            steps[code] = known[name][0], _two_lines if name == "GLOBAL" else reader, known[name][1]
        return steps


_MISSING: Any = object()


def _two_lines(stream: IO[bytes]) -> list[str]:
    return [stream.readline().removesuffix(b"\n").decode() for _ in range(2)]


def _in_pairs(items: list[Any]) -> list[Any]:
    if len(items) % 2:
        raise ValueError("a dict has a key without a value")
    return items
