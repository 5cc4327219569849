"""A minimal journal state for tests: the list of the items in its records."""

import json
from typing import Any

import msgpack

from colab_drive_tuner.journal import PayloadRules
from colab_drive_tuner.journal.chain.record import Record, split_items


class ListState:
    """The items of a chain since its last reset, and the files that its records name."""

    def __init__(self, items: list[Any] | None = None, files: dict[str, str] | None = None) -> None:
        self.items = items or []
        self.files = {} if files is None else files

    def apply(self, record: Record) -> None:
        if record.kind == "reset":
            self.items = []
        elif record.kind == "trials":
            self.files.update(record.files)
            self.items += [msgpack.unpackb(item) for item in split_items(record.payload)]

    def dump(self) -> bytes:
        return json.dumps(self.items).encode()


def item(value: object) -> bytes:
    """Encode a value as an item."""
    return msgpack.packb(value)


RULES = PayloadRules(
    empty=ListState,
    load=lambda content: ListState(json.loads(content)),
    wanted=lambda state, content: msgpack.unpackb(content) not in state.items,
    export=lambda state: json.dumps(state.items).encode(),
)
