"""`trials.pkl`: the copy of a search as a plain pickle of hyperopt Trials, kept up to date."""

from collections.abc import Mapping
from typing import Any

from colab_drive_tuner.checkpoint.history import History
from colab_drive_tuner.checkpoint.pickles.writer import TrialsPickle
from colab_drive_tuner.search.trials.attachments import decode_attachment


class TrialsExport:
    """The convenience copy of one search: pickles what changed since the last time, joins all."""

    def __init__(self) -> None:
        self._pickle = TrialsPickle()
        self._taken: dict[Any, bytes] = {}

    def __call__(self, history: History, loaded: Mapping[str, Any] | None = None) -> bytes:
        """The pickle of a plain Trials that holds this history.

        Of large attachments it holds those that were `loaded`.
        """
        entries = list(history.trials.values())
        if not self._taken.keys() <= history.trials.keys():  # a reset came between
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
