"""Workers of running trials: shown as soon as they are known, recorded of trials that take long."""

import math
import time
from collections.abc import Mapping

from hyperopt.utils import coarse_utcnow

from colab_drive_tuner.search.executors.crew import Crew, Flight
from colab_drive_tuner.search.loop.inline import Started
from colab_drive_tuner.search.trials.logbook import Logbook

LISTEN_PAUSE = 0.1
"""How long after workers were heard they are heard again."""
NOTE_SECONDS, NOTE_PAUSE = 1.0, 3.0
"""The worker of a trial that has run for so long is recorded; how long after others were."""


class TrialWorkers:
    """Which worker runs which trial, for progress here and for `status` elsewhere.

    Whoever starts and ends trials keeps `started` up to date.
    """

    def __init__(self, crew: Crew, log: Logbook, started: Mapping[Flight, Started]) -> None:
        self._crew, self._log, self._started = crew, log, started
        self._since: dict[Flight, float] = {}
        """Trials whose worker is known and not recorded yet, and since when."""
        self._heard = self._noted = -math.inf

    def update(self) -> None:
        """Hear what workers tell, and record what is due; does nothing more often than that."""
        now = time.monotonic()
        if now - self._heard < LISTEN_PAUSE:
            return
        self._heard = now
        for flight, worker in self._crew.begun():
            document = self._started[flight].document
            document["owner"], document["book_time"] = worker, coarse_utcnow()
            self._since[flight] = now
        if now - self._noted < NOTE_PAUSE:
            return
        self._since = {one: since for one, since in self._since.items() if one in self._started}
        due = [one for one, since in self._since.items() if now - since >= NOTE_SECONDS]
        for flight in due:
            del self._since[flight]
            started = self._started[flight]
            self._log.note_worker(started.document, progress=started.progress)
        if due:
            self._noted = now
