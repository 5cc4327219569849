"""Lag of listings: with the fault `list_lag`, lists show a change some seconds late."""

from collections.abc import Iterable

from ..faults import Faults
from ..state.database import Database
from ..state.model import Node


class ListLag:
    """Files whose latest change is not listed yet."""

    def __init__(self, database: Database, faults: Faults) -> None:
        self._database, self._faults = database, faults
        self._lagging: dict[str, tuple[float, Node | None]] = {}
        """By id: when lists show the change, and the file as it is listed until then."""

    def note_changes(self) -> None:
        """Let the changes made since the last call appear in lists late, if a rule says so."""
        changed, self._database.changed = self._database.changed, []
        now = self._database.clock.now()
        for before, after in changed:
            node = after or before
            lag = self._faults.lag(now)
            if lag is None or node is None:
                continue
            known = self._lagging.get(node.id)
            if known is None or known[0] <= now:
                self._lagging[node.id] = (now + lag, before)

    def apply(self, nodes: Iterable[Node]) -> list[Node]:
        """Return the files as a listing shows them now."""
        if not self._lagging:
            return list(nodes)
        now = self._database.clock.now()
        self._lagging = {k: v for k, v in self._lagging.items() if v[0] > now}
        shown = [node for node in nodes if node.id not in self._lagging]
        return shown + [old for _, old in self._lagging.values() if old is not None]
