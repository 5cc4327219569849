"""`trials.pkl`: a copy of the search as a pickle of plain hyperopt Trials, updated step by step."""

from collections.abc import Mapping
from typing import Any

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.pickles.writer import TrialsPickle
from colab_drive_tuner.search.trials.attachments import decode_attachment


class TrialsExport:
    """The `trials.pkl` of one search; a call pickles only what has changed since the last one."""

    def __init__(self) -> None:
        self._pickle = TrialsPickle()
        self._taken: dict[Any, bytes] = {}

    def __call__(self, history: History, loaded: Mapping[str, Any] | None = None) -> bytes:
        """Return a pickle of plain Trials with this history.

        Large attachments are included only if `loaded` has them.
        """
        entries = list(history.trials.values())
        if not self._taken.keys() <= history.trials.keys():  # the search was reset
            self._pickle, self._taken = TrialsPickle(), {}
        for entry in entries:
            if self._taken.get(entry.tid) is not entry.document:
                self._pickle.replace(entry.decoded())
                self._taken[entry.tid] = entry.document
        inline = {
            name: decode_attachment(name, value)
            for name, value in history.attachments.items()
            if isinstance(value, bytes)
        }
        return self._pickle.join(inline | dict(loaded or {}))
