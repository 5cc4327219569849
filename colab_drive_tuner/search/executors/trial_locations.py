"""Locations of running trials: on which worker each has begun, told to the driver meanwhile.

They are shown and recorded, and decide nothing: one that is lost, or from which no way leads to the
driver for, leaves a trial without the name of its worker until it ends.
"""

import hashlib
import hmac
import json
import os
import queue
import re
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

NOWHERE = ("192.0.2.1", 9)
"""An address of the documentation: the way there tells this machine's own."""
_MAC_BYTES, _LARGEST = 16, 1024
_MOST_AT_ONCE = 1000
"""Datagrams that are read in one go: the rest waits for the next."""


class Location(NamedTuple):
    """On which worker a task has begun."""

    number: int
    """The task's, among those of its run."""
    worker: str


def worker_name() -> str:
    """Host, process and, beside others, thread of the worker that this is."""
    process = f"{socket.gethostname()}:{os.getpid()}"
    thread = threading.current_thread().name
    return process if thread == "MainThread" else f"{process}/{thread}"


def host_of(worker: object) -> str:
    """The host in the name of a worker; "" for the name of anything else."""
    found = re.match(r"([^\s:/]+):\d+(/|$)", worker) if isinstance(worker, str) else None
    return found[1] if found else ""


LocationSender = Callable[[Location], None]
"""The worker's end, which travels with each task; it neither waits for the driver nor fails."""


class Locations:
    """The driver's end; where the workers are threads of this process, it is theirs, too."""

    def __init__(self) -> None:
        self._arrived: queue.SimpleQueue[Location] = queue.SimpleQueue()
        self.sender: LocationSender = self._arrived.put

    def read(self) -> list[Location]:
        """What has arrived since this was called last."""
        return [self._arrived.get() for _ in range(self._arrived.qsize())]

    def close(self) -> None:
        """Take no more."""


@dataclass(frozen=True)
class Datagrams:
    """Locations as datagrams to a port of the driver, each signed with the key of the run."""

    host: str
    port: int
    key: bytes = field(repr=False)

    def __call__(self, location: Location) -> None:
        """See `LocationSender`."""
        body = json.dumps(location).encode()
        with (
            suppress(OSError),  # no way leads there: the driver learns it with the trial's end
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
        ):
            out.sendto(_signature(self.key, body) + body, (self.host, self.port))


class DatagramLocations(Locations):
    """Locations of processes on this machine; `anywhere`: also on those that reach this one."""

    def __init__(self, *, anywhere: bool) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("" if anywhere else "127.0.0.1", 0))
        self._socket.setblocking(False)
        self._key = secrets.token_bytes(32)
        host, port = _own_address() if anywhere else "127.0.0.1", self._socket.getsockname()[1]
        self.sender = Datagrams(host, port, self._key)

    def read(self) -> list[Location]:
        """See `Locations.read`; what is not signed with the key was sent by somebody else."""
        arrived = []
        with suppress(OSError):  # nothing more is there
            for _ in range(_MOST_AT_ONCE):
                datagram = self._socket.recv(_LARGEST)
                signature, body = datagram[:_MAC_BYTES], datagram[_MAC_BYTES:]
                if hmac.compare_digest(signature, _signature(self._key, body)):
                    arrived.append(Location(*json.loads(body)))
        return arrived

    def close(self) -> None:
        """See `Locations.close`."""
        self._socket.close()


@dataclass(frozen=True)
class DaskEvents:
    """Locations as events of a Dask cluster, by way of its scheduler."""

    topic: str

    def __call__(self, location: Location) -> None:
        """See `LocationSender`."""
        from distributed import get_worker

        get_worker().log_event(self.topic, list(location))


class DaskLocations(Locations):
    """Locations of a Dask cluster's workers, wherever they are."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        self._client, self._topic = client, f"colab-drive-tuner-{secrets.token_hex(8)}"
        self.sender = DaskEvents(self._topic)
        client.subscribe_topic(self._topic, lambda event: self._arrived.put(Location(*event[1])))

    def close(self) -> None:
        """See `Locations.close`."""
        if self._client.status == "running":
            self._client.unsubscribe_topic(self._topic)


def _signature(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, hashlib.sha256)[:_MAC_BYTES]


def _own_address() -> str:
    """The address of this machine by which others reach it; nothing is sent to find it out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(NOWHERE)
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address
