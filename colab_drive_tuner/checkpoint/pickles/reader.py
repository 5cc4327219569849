"""Reader of trials from an untrusted pickle: plain data, or one clear error.

There are four steps: bounded decompression (compressed.py), an interpreter that only creates data
(interpreter.py), a walk that allows only what a trial may hold and limits depth and size, and a
check that hyperopt could have written each document. Nothing is imported or called.
"""

from pathlib import Path
from sys import getsizeof
from typing import Any, cast

import numpy as np

from colab_drive_tuner.checkpoint.codec.plain_data import ATOMS, MAX_DEPTH, keys_collide
from colab_drive_tuner.checkpoint.document_schema import (
    TrialDocument,
    TrialMisc,
    check_document,
)
from colab_drive_tuner.checkpoint.pickles.compressed import decompress
from colab_drive_tuner.checkpoint.pickles.interpreter import (
    Instance,
    PickleInterpreter,
    Refused,
    RefusedPickleError,
    Unbuilt,
    Unhashed,
    UnplainError,
    describe_node,
)
from colab_drive_tuner.checkpoint.pickles.recipes import RECIPES
from colab_drive_tuner.checkpoint.record_items import MAX_TID
from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.local_files import read_file
from colab_drive_tuner.text import text_of

_MAX_BYTES = 1 << 30
_MAX_MEMORY = 4 << 30
"""Upper limit of the memory for a pickle's values."""
_GROWTH, _GROWTH_FREE = 100, 64 << 20
"""The memory is also limited to `_GROWTH` times the pickle's size plus `_GROWTH_FREE`; empty lists,
frequent in the trials of a space with many conditions, grow most."""
_EXPANSION_FREE = 256 << 20
"""A pickle can refer to one object many times. Written out in full, its values may take `_GROWTH`
times the size of the file plus `_EXPANSION_FREE`."""
_SMALL = 1 << 10
"""Smaller objects are visited again at each reference; the sizes of larger ones are cached."""
_TEXT = frozenset({str, bytes})
"""Types whose hashes Python randomizes, so that they cannot be crafted to collide."""
_CONVERT = (
    "if you trust the file, load it, replace that with numbers, text, lists or arrays, and pickle "
    "it again"
)


def read_trials(source: str | Path | bytes) -> tuple[list[TrialDocument], dict[str, Any]]:
    """Return the trial documents and attachments in a pickle, without running its code.

    `source` is a file's path or a pickle's bytes: of a `hyperopt.Trials`, of an object of a
    subclass, or of a list of trial documents; written by pickle, cloudpickle, dill or joblib,
    protocols 0 to 5, plain or compressed. If a tid occurs twice, as in merged Trials, the later
    documents get new tids. Raises UsageError, which names the class, the trial or the damage, for
    anything else.
    """
    name = "the pickle" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else read_file(Path(source), _MAX_BYTES)
        return _parse(decompress(data, _MAX_BYTES))
    except RefusedPickleError as error:
        raise UsageError(f"{name} cannot be read as trials: {error}.") from error
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}.") from error
    except MemoryError as error:
        error.__traceback__ = None  # it refers to all values created so far
        raise UsageError(f"{name} cannot be read: this machine has not enough memory.") from None


def _parse(data: bytes) -> tuple[list[TrialDocument], dict[str, Any]]:
    growth = _GROWTH * len(data)
    tree = PickleInterpreter(RECIPES, min(_MAX_MEMORY, growth + _GROWTH_FREE)).run(data)
    documents, attachments = _find_trials(tree, _Walk(growth + _EXPANSION_FREE))
    _check_documents(documents)
    return _renumber(documents), attachments


def _find_trials(tree: Any, walk: "_Walk") -> tuple[Any, dict[str, Any]]:
    if type(tree) is list:
        return walk.plain(tree, "document"), {}
    if type(tree) is Refused:
        raise RefusedPickleError(f"it {tree.reason}")
    if type(tree) is not Instance:
        raise RefusedPickleError(f"it holds {describe_node(tree)}, not a hyperopt.Trials")
    state = tree.state[0] if type(tree.state) is tuple and tree.state else tree.state
    parts = {}
    if type(state) is Unhashed and state.kind is dict:
        pairs = zip(state.items[::2], state.items[1::2], strict=True)
        parts = {key: value for key, value in pairs if type(key) is str}
    if type(parts.get("_dynamic_trials")) is not list:
        if tree.called:
            raise RefusedPickleError(f"it tries to call {tree}, which trials do not need")
        raise RefusedPickleError(f"it holds an object of {tree}, which is not a hyperopt.Trials")
    documents = walk.plain(parts["_dynamic_trials"], "document")
    attachments = walk.plain(parts.get("attachments", Unhashed(dict)), "attachment")
    if type(attachments) is not dict or any(type(key) is not str for key in attachments):
        raise RefusedPickleError("its attachments are not a dict with names as keys")
    return documents, attachments


class _Walk:
    """Conversion of the interpreter's result to plain data, in place and preserving identity.

    `limit` bounds the size of the data written out in full, with shared objects repeated.
    """

    def __init__(self, limit: int) -> None:
        self._limit = self._left = limit
        self._done: dict[int, tuple[Any, Any, int]] = {}  # keeps the node, so its id stays unique

    def plain(self, tree: Any, where: str) -> Any:
        """Return the plain value of `tree`; raise RefusedPickleError if it is not plain data."""
        try:
            return self._visit(tree, 0)[0]
        except UnplainError as error:
            steps = [step for step in reversed(error.path) if type(step) in (str, int)]
            at = "".join(f"[{text_of(step, repr):.40}]" for step in steps)
            raise RefusedPickleError(f"{where}{at[:200]} {error}") from error
        except RecursionError as error:
            raise RefusedPickleError(f"a {where} is nested too deeply") from error

    def _visit(self, node: Any, depth: int) -> tuple[Any, int]:
        """Return a node's value and its approximate size in bytes, written out in full."""
        kind = type(node)
        if kind is Unbuilt and type(node.value) in (np.ndarray, str, Refused):
            node = node.value
            kind = type(node)
        if kind in ATOMS or isinstance(node, np.generic):
            return node, getsizeof(node)
        if kind is np.ndarray:
            return node, 128 + node.nbytes
        if kind not in (list, tuple, Unhashed):
            raise UnplainError(_unplain(node))
        if depth >= MAX_DEPTH:
            raise UnplainError(f"is nested more than {MAX_DEPTH} levels deep, or contains itself")
        if id(node) in self._done:
            return self._done[id(node)][1:]
        items = node if kind in (list, tuple) else node.items
        leaves = ATOMS.issuperset(map(type, items))
        size = 64 + sum(map(getsizeof, items)) if leaves else 64
        if not leaves:
            items, size = self._members(node, items, depth + 1)
        self._left -= len(items)
        if size > self._limit or self._left < 0:
            raise UnplainError("would become too large")
        value = self._built(node, items, size)
        if size > _SMALL or not leaves or kind is Unhashed:
            self._done[id(node)] = node, value, size
        return value, size

    def _members(self, node: Any, items: Any, depth: int) -> tuple[Any, int]:
        size, values = 64, list(items) if type(items) is tuple else items
        for place, item in enumerate(values):
            if type(item) in ATOMS:
                size += getsizeof(item)
                continue
            try:
                value, more = self._visit(item, depth)
            except UnplainError as error:
                error.path.append(_step(node, items, place))
                raise
            size += more
            if value is not item:
                values[place] = value
        return values, size

    def _built(self, node: Any, items: Any, size: int) -> Any:
        """Return the container for `node` with `items`, which are plain."""
        if type(node) is list:
            return items
        if type(node) is tuple:
            return tuple(items)
        is_dict = node.kind is dict
        keys = items[::2] if is_dict else items
        if not _TEXT.issuperset(map(type, keys)):
            self._left -= size  # the cost of hashing
            try:
                if keys_collide(keys):
                    raise UnplainError("has keys with equal hashes, as only an attack does")
            except TypeError as error:
                raise UnplainError("has a key that cannot be hashed") from error
        node.items = []
        return dict(zip(keys, items[1::2], strict=True)) if is_dict else node.kind(items)


def _step(node: Any, items: Any, place: int) -> Any:
    """Return the step of a path from a container to its member."""
    if type(node) is not Unhashed:
        return place
    if node.kind is dict:
        return items[place - 1] if place % 2 else "a key"
    return "an element"


def _unplain(node: Any) -> str:
    """Return the reason of `UnplainError` for a node that is not plain data."""
    if type(node) is Refused:
        return f"{node.reason}: {_CONVERT}"
    if type(node) is Instance and node.called:
        return f"tries to call {node}, which trials do not need: {_CONVERT}"
    return f"holds {describe_node(node)}, which is not plain data: {_CONVERT}"


def _check_documents(documents: list[Any]) -> None:
    for place, document in enumerate(documents):
        tid = document.get("tid") if type(document) is dict else None
        if type(tid) is not int or abs(tid) > MAX_TID:
            raise RefusedPickleError(f"its entry {place} is not a trial document with a tid")
        try:
            _check_indices(check_document(document, tid)["misc"], tid)
        except (TypeError, ValueError) as error:
            raise RefusedPickleError(f"trial {tid} is not a trial document: {error}") from error


def _check_indices(misc: TrialMisc, tid: int) -> None:
    if tid < 0:
        raise ValueError("it has a negative tid")
    values = misc["vals"]
    if misc["idxs"].keys() != values.keys():
        raise ValueError("its misc.idxs and misc.vals differ in their labels")
    for label, indices in misc["idxs"].items():
        if type(indices) is not list or len(indices) != len(values[label]):
            raise ValueError(f"it has an invalid index of {label!r:.40}")
        if any(not isinstance(index, int | np.integer) or index != tid for index in indices):
            raise ValueError(f"it has the value of {label!r:.40} under another tid, in misc.idxs")


def _renumber(documents: list[TrialDocument]) -> list[TrialDocument]:
    """Return the documents with new, higher tids for those whose tid occurred before."""
    seen: set[int] = set()
    new = max((document["tid"] for document in documents), default=0)
    result = []
    for document in documents:
        if document["tid"] not in seen:
            seen.add(document["tid"])
            result.append(document)
            continue
        new += 1
        idxs = {label: [new] * len(idx) for label, idx in document["misc"]["idxs"].items()}
        misc = {**document["misc"], "tid": new, "idxs": idxs}
        result.append(cast(TrialDocument, {**document, "tid": new, "misc": misc}))
    return result
