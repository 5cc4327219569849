"""Reads trials out of a pickle that may come from anybody: plain data, or one clear error.

Three steps: a pickle machine that can only make data (`pickle_machine`), a walk that allows nothing
but what a trial may hold and bounds how deep and how large it becomes, and a check that every
document is one that hyperopt could have written. Nothing is imported or called on the way.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from colab_drive_tuner.checkpoint.pickle_machine import (
    Instance,
    Machine,
    Members,
    Name,
    Pairs,
    RefusedPickleError,
    Unbuilt,
)
from colab_drive_tuner.checkpoint.pickle_values import RECIPES
from colab_drive_tuner.checkpoint.plain_data import MAX_DEPTH
from colab_drive_tuner.errors import UsageError

Document = dict[str, Any]

_MAX_BYTES = 1 << 30
_EXPANSION = 100
"""A pickle can name one object many times: so many times its size may come out of it, and ..."""
_EXPANSION_FREE = 256 << 20
"""... this many bytes more."""
_ATOMS = frozenset({type(None), bool, float, complex, datetime, date, timedelta})
_STATES = frozenset(range(5))
_KEYS = ("state", "spec", "result", "misc", "owner", "book_time", "refresh_time", "exp_key")


def read_trials(source: str | Path | bytes) -> tuple[list[Document], dict[str, Any]]:
    """Return the trial documents and the attachments that a pickle holds, running none of its code.

    `source` is a file's path or a pickle's bytes: of a `hyperopt.Trials`, of an object of a
    subclass, or of a list of trial documents; written by pickle or cloudpickle, protocols 0 to 5.
    Raises UsageError, which names the class, the trial or the damage, for anything else.
    """
    name = "the pickle" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else _read_file(Path(source))
        tree = Machine(RECIPES).run(data)
        documents, attachments = _find_trials(tree, len(data))
        _check_documents(documents)
    except RefusedPickleError as error:
        raise UsageError(f"{name} cannot be read as trials: {error}.") from error
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}.") from error
    return documents, attachments


def _read_file(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise RefusedPickleError("it is not a file")
    if path.stat().st_size > _MAX_BYTES:
        raise RefusedPickleError(f"it is larger than {_MAX_BYTES >> 20} MiB")
    return path.read_bytes()


def _find_trials(tree: Any, size: int) -> tuple[Any, dict[str, Any]]:
    """The documents and attachments in what the machine made of a pickle of `size` bytes."""
    walk = _Walk(_EXPANSION * size + _EXPANSION_FREE)
    if type(tree) is list:
        return walk.plain(tree, "document"), {}
    if type(tree) is not Instance:
        raise RefusedPickleError(f"it holds {_kind(tree)}, not a hyperopt.Trials")
    state = tree.state[0] if type(tree.state) is tuple and tree.state else tree.state
    parts = {}
    if type(state) is Pairs:
        parts = {key: value for key, value in state.items if type(key) is str}
    if type(parts.get("_dynamic_trials")) is not list:
        raise RefusedPickleError(f"it holds a {tree.kind}, which is not a hyperopt.Trials")
    documents = walk.plain(parts["_dynamic_trials"], "document")
    attachments = walk.plain(parts.get("attachments", Pairs()), "attachment")
    if type(attachments) is not dict or any(type(key) is not str for key in attachments):
        raise RefusedPickleError("its attachments are not a dict with names as keys")
    return documents, attachments


class _Walk:
    """Turns what the machine made into plain data; objects named twice stay one object."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._done: dict[int, tuple[Any, int]] = {}
        self._open: set[int] = set()

    def plain(self, tree: Any, where: str) -> Any:
        """Return the plain value of `tree`; RefusedPickleError for what is no plain data."""
        return self._visit(tree, where, 0)[0]

    def _visit(self, node: Any, where: str, depth: int) -> tuple[Any, int]:
        """Its value, and how many bytes it takes, at least, when it is written out in full."""
        kind = type(node)
        if kind in (str, bytes):
            return node, len(node) + 1
        if kind in _ATOMS:
            return node, 8
        if kind is int:
            return node, 8 + node.bit_length() // 8
        if kind is Unbuilt and type(node.value) is np.ndarray:
            return self._visit(node.value, where, depth)
        if kind is np.ndarray or isinstance(node, np.generic):
            return node, 8 + node.nbytes
        if kind not in (list, tuple, Pairs, Members):
            raise RefusedPickleError(f"a {where} holds {_kind(node)}, which is not plain data")
        if id(node) not in self._done:
            if id(node) in self._open:
                raise RefusedPickleError(f"a {where} contains itself")
            if depth >= MAX_DEPTH:
                raise RefusedPickleError(f"a {where} is nested more than {MAX_DEPTH} levels deep")
            self._open.add(id(node))
            self._done[id(node)] = self._container(node, where, depth + 1)
            self._open.discard(id(node))
        return self._done[id(node)]

    def _container(self, node: Any, where: str, depth: int) -> tuple[Any, int]:
        members = node.items if type(node) in (Pairs, Members) else node
        if type(node) is Pairs:
            members = [part for pair in members for part in pair]
        visited = [self._visit(member, where, depth) for member in members]
        size = 8 + sum(size for _, size in visited)
        if size > self._limit:
            raise RefusedPickleError(f"a {where} would become absurdly large")
        values = [value for value, _ in visited]
        try:
            if type(node) is Pairs:
                return dict(zip(values[::2], values[1::2], strict=True)), size
            if type(node) is Members:
                return (frozenset(values) if node.frozen else set(values)), size
        except TypeError as error:
            raise RefusedPickleError(f"a {where} holds a key that cannot be one") from error
        return (tuple(values) if type(node) is tuple else values), size


def _kind(node: Any) -> str:
    if type(node) is Name:
        return f"the class or function {node}"
    if type(node) is Instance:
        return f"an object of {node.kind}"
    if type(node) is Unbuilt:
        return "an unfinished array"
    name = {Pairs: "dict", Members: "set"}.get(type(node), type(node).__name__)
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _check_documents(documents: list[Any]) -> None:
    seen = set()
    for place, document in enumerate(documents):
        if type(document) is not dict or type(document.get("tid")) is not int:
            raise RefusedPickleError(f"its entry {place} is not a trial document with a tid")
        tid = document["tid"]
        for wrong in _wrongs(document, tid):
            raise RefusedPickleError(f"trial {tid} {wrong}")
        if tid in seen:
            raise RefusedPickleError(f"trial {tid} is in it twice")
        seen.add(tid)


def _wrongs(document: Document, tid: int) -> Iterator[str]:
    """What is wrong with a document, as ends of a sentence; only the first is to be relied on."""
    if tid < 0:
        yield "has a negative tid"
    for key in _KEYS:
        if key not in document:
            yield f"has no {key!r}"
    state, misc = document["state"], document["misc"]
    if type(state) is not int or state not in _STATES:
        yield f"has an unknown state, {str(state)[:40]}"
    if type(document["result"]) is not dict:
        yield "has a result that is not a dict"
    if type(misc) is not dict or type(misc.get("tid")) is not int or misc["tid"] != tid:
        yield "has another tid in misc, or none"
    else:
        yield from _wrong_parameters(misc, tid)


def _wrong_parameters(misc: dict[Any, Any], tid: int) -> Iterator[str]:
    idxs, values = misc.get("idxs"), misc.get("vals")
    if type(idxs) is not dict or type(values) is not dict or idxs.keys() != values.keys():
        yield "has no parameters in misc, or misc.idxs and misc.vals differ in their labels"
        return
    for label, indices in idxs.items():
        chosen = values[label]
        if type(indices) is not list or type(chosen) is not list or len(indices) != len(chosen):
            yield f"has no proper value of {str(label)[:40]!r}"
        if len(indices) > 1 or any(type(i) is bool or i != tid for i in indices):
            yield f"has the value of {str(label)[:40]!r} under another tid, in misc.idxs"
