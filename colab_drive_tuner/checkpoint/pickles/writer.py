"""A plain pickle of a plain `hyperopt.Trials`, put together from documents pickled one at a time.

Pickling 10,000 documents in one call holds the interpreter, and with it training, for a quarter of
a second and more, at thirty times the CPU that this takes. Here each document is pickled alone when
it changes, and a file is made by joining what is there. Two properties of the format make that
sound, and keep any unpickler content. A pickler in `fast` mode refers to nothing that it wrote
earlier, except to what was memoized before: a preamble of what all documents share (numpy's scalar
constructor, the usual dtypes, the names of the keys). And MEMOIZE is as long as the STOP that it
replaces, so every frame still ends where it says.
"""

import io
import pickle
import pickletools
import struct
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

_PROTOCOL = 5
"""Arrays pickled in earlier ones are native when they are loaded, big-endian or not."""
_SHOWN = frozenset({0, 1, 2})
"""States (new, running, done) of the documents in `Trials.trials`; errors and cancelled are not."""
_KEYS = (
    "state tid spec result misc exp_key owner version book_time refresh_time cmd workdir idxs vals"
    " domain_attachment FMinIter_Domain loss status ok"
)
_TRIALS = b"chyperopt.base\nTrials\n)\x81"  # GLOBAL, EMPTY_TUPLE, NEWOBJ
_POP, _MEMOIZE, _STOP = b"0", b"\x94", b"."


class TrialsPickle:
    """Documents, kept as pickled fragments by tid; `join` makes the file. For one thread at a time.

    Documents are plain data, as `codec.decode` returns them, and are pickled as they are at the
    time of the call: changing one later changes nothing here.
    """

    def __init__(self, exp_key: str | None = None) -> None:
        shared: list[Any] = [datetime]
        for kind in (np.float64, np.int64, np.float32):
            reduced: Any = kind(0).__reduce__()  # (constructor, (dtype, bytes))
            shared += [reduced[0], reduced[1][0]]
        shared += map(sys.intern, _KEYS.split())  # a pickler knows objects, not values
        self._exp_key = exp_key
        self._file = io.BytesIO()
        self._pickler = pickle.Pickler(self._file, _PROTOCOL)
        self._pickler.dump(shared)
        preamble = self._file.getvalue()
        self._head = preamble[:-1] + _POP + _TRIALS
        self._memoized = sum(op.name == "MEMOIZE" for op, _, _ in pickletools.genops(preamble))
        self._pickler.fast = True
        self._fragments: dict[int, tuple[bytes, bool]] = {}

    def __len__(self) -> int:
        return len(self._fragments)

    def replace(self, document: Mapping[str, Any]) -> None:
        """Add a trial's document, or put it in the place of the one with the same tid."""
        shown = document["state"] in _SHOWN and self._exp_key in (None, document["exp_key"])
        self._fragments[document["tid"]] = self._fragment(document), shown

    def join(self, attachments: Mapping[str, Any] | None = None) -> bytes:
        """Return the pickle of a Trials with all documents, in the order of their first coming.

        `pickle.load` makes of it, with hyperopt alone, what hyperopt has after running them: all
        tids in `_ids`, all documents in `_dynamic_trials`, and in `trials` the very same objects
        but those that ended in an error or were cancelled. Attachments (normally bytes) come along.
        """
        first = self._memoized + 1  # what MEMOIZE called the first document; `_ids` came before
        parts = [self._head, b"}("]
        parts += [_text("_ids"), self._fragment(set(self._fragments))]
        parts += [_text("_dynamic_trials"), b"]("]
        parts += [fragment for fragment, _ in self._fragments.values()]
        parts += [b"e", _text("_exp_key"), self._fragment(self._exp_key)]
        parts += [_text("attachments"), b"}("]
        for name, value in (attachments or {}).items():
            parts.append(_text(name))
            if type(value) is bytes:
                parts += [b"\x8e" + struct.pack("<Q", len(value)), value]  # BINBYTES8
            else:
                parts.append(self._fragment(value))
        parts += [b"u", _text("_trials"), b"]("]
        for place, (_, shown) in enumerate(self._fragments.values(), first):
            if shown:
                parts.append(b"j" + struct.pack("<I", place))  # LONG_BINGET
        parts += [b"eub", _STOP]
        return b"".join(parts)

    def _fragment(self, value: Any) -> bytes:
        """Opcodes that push `value` and memoize it under the next number."""
        self._file.seek(0)
        self._file.truncate()
        self._pickler.dump(value)
        return self._file.getvalue()[2:-1] + _MEMOIZE  # without PROTO and STOP


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data  # BINUNICODE
