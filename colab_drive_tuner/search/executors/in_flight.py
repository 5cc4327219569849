"""The trials in flight: submitted, waited for, sent again, and missed where a worker is silent."""

import itertools
import pickle
import queue
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from hyperopt.base import Domain

from colab_drive_tuner.errors import ExecutorError
from colab_drive_tuner.search.executors.engine import Engine
from colab_drive_tuner.search.executors.executor_arguments import Workers
from colab_drive_tuner.search.executors.payload import Payload
from colab_drive_tuner.search.executors.trial_locations import Locations
from colab_drive_tuner.search.executors.worker import Ended, Outcome, Task, run_here, run_task
from colab_drive_tuner.search.executors.worker_deaths import Death, death_of
from colab_drive_tuner.trial import Artifacts

SENT_ALONG = 64 * 1024
"""An objective of so many bytes is sent with each task: to ask for it would take longer."""
FRESH_WORKER_SECONDS = 120.0
"""How long a worker may take to start, to import Keras and to load the data."""
SILENCE_SECONDS = 10.0
"""How much later than `trial_timeout` a worker must have answered that has run trials before."""
LOOK_SECONDS = 5.0
"""How often it is looked whether there are workers."""


@dataclass(eq=False)
class Flight:
    """One attempt of a trial, on its way."""

    task: Task
    artifacts: Artifacts | None = None
    future: "Future[Any] | None" = None
    submitted: float = 0.0
    with_content: bool = False


@dataclass(frozen=True)
class Landing:
    """What became of a flight."""

    flight: Flight
    outcome: Outcome | None = None
    death: Death | None = None
    error: BaseException | None = None
    """What the engine raised, which is no death."""


class Crew:
    """The workers, and what they have at work.

    They have the objective by `payload`; None: they are threads, and have it by `domain`.
    """

    def __init__(self, workers: Workers, payload: Payload | None, domain: Domain) -> None:
        self.engine: Engine = workers.engine
        self.timeout = workers.trial_timeout
        self._width, self._payload, self._domain = workers.width, payload, domain
        self._landed: queue.SimpleQueue[tuple[Flight, Future[Any]]] = queue.SimpleQueue()
        self._flights: dict[Flight, None] = {}
        self._silent: set[Future[Any]] = set()
        """Given up, and perhaps still on a worker."""
        self._known: set[str] = set()
        """The workers that have answered."""
        self._sent = 0
        self._numbers = itertools.count()
        self._locations: Locations | None = None
        self._looked = time.monotonic()
        self._absent_since: float | None = None

    @property
    def in_flight(self) -> list[Flight]:
        """What is at work, in the order in which it was submitted."""
        return list(self._flights)

    @property
    def room(self) -> int:
        """How many more trials may be submitted."""
        self._silent = {future for future in self._silent if not future.done()}
        return self._width - len(self._flights) - len(self._silent)

    @property
    def all_silent(self) -> bool:
        """Whether every worker is taken by a trial that was given up."""
        return len(self._silent) >= self._width

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block workers tell where a trial has begun."""
        self._locations = self.engine.locations()
        try:
            yield
        finally:
            self._locations.close()
            self._locations = None

    def begun(self) -> list[tuple[Flight, str]]:
        """What has been seen to begin since this was asked last, and on which worker."""
        arrived = self._locations.read() if self._locations is not None else []
        if not arrived:
            return []
        flights = {flight.task.number: flight for flight in self._flights}
        return [(flights[one.number], one.worker) for one in arrived if one.number in flights]

    def submit(self, flight: Flight) -> None:
        """Send a trial to a worker; raises what the engine raises."""
        sender = None if self._locations is None else self._locations.sender
        flight.task = replace(flight.task, number=next(self._numbers), sender=sender)
        small = self._payload is not None and len(self._payload.content) <= SENT_ALONG
        self._send(flight, with_content=small or self._sent < self._width)
        self._sent += 1

    def _send(self, flight: Flight, *, with_content: bool) -> None:
        if self._payload is None:
            future = self.engine.submit(run_here, self._domain, flight.task, flight.artifacts)
        else:
            content = self._payload.content if with_content else None
            future = self.engine.submit(run_task, self._payload.sha, content, flight.task)
        flight.future, flight.submitted = future, time.monotonic()
        flight.with_content = with_content
        future.add_done_callback(lambda done: self._landed.put((flight, done)))
        self._flights[flight] = None

    def wait(self, timeout: float) -> list[Landing]:
        """What has landed, in the order in which it came; waits for the first, at most so long."""
        landings: list[Landing] = []
        until = time.monotonic() + timeout
        while not landings:
            try:
                landed = self._landed.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            landings += self._land(*landed)
            while not self._landed.empty():
                landings += self._land(*self._landed.get())
        return landings + self._overdue()

    def _land(self, flight: Flight, future: "Future[Any]") -> list[Landing]:
        if flight not in self._flights or flight.future is not future:
            return []  # given up before, or from a pool that was made anew
        del self._flights[flight]
        flight.future = None  # no circle: Dask keeps, and computes anew, what somebody refers to
        if future.cancelled():
            return [Landing(flight, death=Death.CANCELLED)]
        error = future.exception()
        if error is not None:
            return [Landing(flight, death=death_of(error), error=error)]
        outcome = _outcome(future.result())
        self._known.add(outcome.worker)
        if outcome.ended == Ended.UNKNOWN and not flight.with_content:
            self._send(flight, with_content=True)
            return []
        return [Landing(flight, outcome)]

    def _overdue(self) -> list[Landing]:
        """Trials whose worker does not even say that they have timed out."""
        if self.timeout is None:
            return []
        known = len(self._known) >= self._width
        limit = self.timeout + (SILENCE_SECONDS if known else FRESH_WORKER_SECONDS)
        late = [one for one in self._flights if time.monotonic() - one.submitted > limit]
        for flight in late:
            del self._flights[flight]
            if flight.future is not None and not flight.future.cancel():
                self._silent.add(flight.future)
        return [Landing(one, Outcome(Ended.TIMED_OUT, seconds=self.timeout)) for one in late]

    def absent_seconds(self) -> float:
        """For how long there have been no workers at all; 0 where that is not so, or not known."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            if self.engine.workers() != 0:
                self._absent_since = None
            elif self._absent_since is None:
                self._absent_since = now
        return 0.0 if self._absent_since is None else now - self._absent_since

    def cancel(self) -> list[Flight]:
        """Take back what has not begun; return it."""
        cancelled = [one for one in self._flights if one.future is not None and one.future.cancel()]
        for flight in cancelled:
            del self._flights[flight]
        return cancelled

    def renew(self) -> None:
        """End the workers, and have new ones for what comes."""
        self._flights.clear()
        self._silent.clear()
        self._known.clear()
        self._sent = 0
        self.engine.renew()


def _outcome(answer: Any) -> Outcome:
    if isinstance(answer, Outcome):
        return answer
    try:
        outcome: Outcome = pickle.loads(answer)  # noqa: S301 - of this search's own worker
    except Exception as error:  # noqa: BLE001 - a class that only the worker knows, say
        problem = ExecutorError(f"What the objective returned cannot be read here: {error}")
        return Outcome(
            Ended.RAISED, error=problem, error_type=str(type(problem)), error_text=str(problem)
        )
    return outcome
