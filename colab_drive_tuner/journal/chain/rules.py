"""Decisions by content that the layer above makes: the folded state, the items that still count."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from colab_drive_tuner.journal.chain.record import Record


class State(Protocol):
    """What the records of a chain say, folded from the first to the last acknowledged one."""

    def apply(self, record: Record) -> None:
        """Take in the next record."""

    def dump(self) -> bytes:
        """The whole state as a snapshot's content."""


@dataclass(frozen=True)
class Rules:
    """The functions by which a journal serves payloads that it cannot read."""

    empty: Callable[[], Any]
    """The `State` before the first record."""
    load: Callable[[bytes], Any]
    """The `State` that `dump` wrote."""
    wanted: Callable[[Any, bytes], bool]
    """Whether the chain in this state still lacks this spooled item."""
    export: Callable[[Any], bytes] | None = None
    """The convenience copy (`trials.pkl`) of a state."""
