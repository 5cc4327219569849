"""Writer of a plain pickle of `hyperopt.Trials`, joined from documents pickled one at a time.

Pickling 10,000 documents in one call blocks the interpreter, and with it training, for a quarter of
a second or more, and takes thirty times the CPU. Here each document is pickled separately when it
changes, and the file is joined from these fragments. Two properties of the format make that valid
for any unpickler. A pickler in `fast` mode refers to nothing that it wrote earlier, except what was
memoized before: a preamble with what all documents share (numpy's scalar constructor, the usual
dtypes, the names of the keys). And MEMOIZE is as long as the STOP that it replaces, so every frame
has the length that it states.
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
"""Earlier protocols would load big-endian arrays with native byte order."""
_SHOWN = frozenset({0, 1, 2})
"""States (new, running, done) of documents in `Trials.trials`; error and cancelled are left out."""
_KEYS = (
    "state tid spec result misc exp_key owner version book_time refresh_time cmd workdir idxs vals"
    " domain_attachment FMinIter_Domain loss status ok"
)
_TRIALS = b"chyperopt.base\nTrials\n)\x81"  # GLOBAL, EMPTY_TUPLE, NEWOBJ
_POP, _MEMOIZE, _STOP = b"0", b"\x94", b"."


class TrialsPickle:
    """Pickled documents by tid, from which `join` makes the file. Not thread-safe.

    Documents are plain data, as returned by `codec.decode`, and are pickled immediately: later
    changes to them have no effect.
    """

    def __init__(self) -> None:
        shared: list[Any] = [datetime]
        for kind in (np.float64, np.int64, np.float32):
            reduced: Any = kind(0).__reduce__()  # (constructor, (dtype, bytes))
            shared += [reduced[0], reduced[1][0]]
        shared += map(sys.intern, _KEYS.split())  # a pickler memoizes objects, not values
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
        """Add a trial's document, or replace the one with the same tid."""
        self._fragments[document["tid"]] = self._fragment(document), document["state"] in _SHOWN

    def join(self, attachments: Mapping[str, Any] | None = None) -> bytes:
        """Return the pickle of a Trials with all documents, in the order of their first addition.

        `pickle.load`, with only hyperopt installed, restores what hyperopt has after running them:
        all tids in `_ids`, all documents in `_dynamic_trials`, and in `trials` the same objects
        except errors and cancelled ones. Attachments (normally bytes) are included.
        """
        first = self._memoized + 1  # memo index of the first document; `_ids` comes before it
        parts = [self._head, b"}("]
        parts += [_text("_ids"), self._fragment(set(self._fragments))]
        parts += [_text("_dynamic_trials"), b"]("]
        parts += [fragment for fragment, _ in self._fragments.values()]
        parts += [b"e", _text("_exp_key"), self._fragment(None)]
        parts += [_text("attachments"), b"}("]
        for name, value in (attachments or {}).items():
            parts.append(_text(name))
            if type(value) is bytes:
                parts += [b"\x8e" + struct.pack("<Q", len(value)), value]  # BINBYTES8
            else:
                parts.append(self._fragment(value))
        parts += [b"u", _text("_trials"), b"]("]
        for index, (_, shown) in enumerate(self._fragments.values(), first):
            if shown:
                parts.append(b"j" + struct.pack("<I", index))  # LONG_BINGET
        parts += [b"eub", _STOP]
        return b"".join(parts)

    def _fragment(self, value: Any) -> bytes:
        """Return opcodes that push `value` and memoize it under the next index."""
        self._file.seek(0)
        self._file.truncate()
        self._pickler.dump(value)
        return self._file.getvalue()[2:-1] + _MEMOIZE  # without PROTO and STOP


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data  # BINUNICODE
