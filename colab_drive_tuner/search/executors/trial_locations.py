"""Locations of running trials: each worker reports to the driver which trial it has started.

Locations are displayed and recorded, and a silent worker's time limit begins with them. If a report
is lost or cannot reach the driver, the worker's name stays unknown until the trial ends.
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

UNROUTED_ADDRESS = ("192.0.2.1", 9)
"""Reserved for documentation (TEST-NET-1): "connecting" to it reveals this machine's address."""
_MAC_BYTES, _MAX_DATAGRAM_BYTES = 16, 1024
_MAX_DATAGRAMS = 1000
"""Datagrams read by one call; the rest waits for the next call."""


class Location(NamedTuple):
    """The worker on which a task has started."""

    number: int
    """Number of the task within its run."""
    worker: str


def worker_name() -> str:
    """Return host, process and, unless it is the main thread, thread of this worker."""
    process = f"{socket.gethostname()}:{os.getpid()}"
    thread = threading.current_thread().name
    return process if thread == "MainThread" else f"{process}/{thread}"


def host_of(worker: object) -> str:
    """Return the host part of a worker's name; "" if this is not a worker's name."""
    found = re.match(r"([^\s:/]+):\d+(/|$)", worker) if isinstance(worker, str) else None
    return found[1] if found else ""


LocationSender = Callable[[Location], None]
"""The worker's end, sent with each task; it never waits for the driver and never raises."""


class LocationReceiver:
    """The driver's end; `sender` works for threads of this process."""

    def __init__(self) -> None:
        self._received: queue.SimpleQueue[Location] = queue.SimpleQueue()
        self.sender: LocationSender = self._received.put

    def read(self) -> list[Location]:
        """Return the locations received since the last call."""
        return [self._received.get() for _ in range(self._received.qsize())]

    def close(self) -> None:
        """Stop receiving."""


@dataclass(frozen=True)
class DatagramSender:
    """Sends locations as datagrams to a port of the driver, signed with the run's key."""

    host: str
    port: int
    key: bytes = field(repr=False)

    def __call__(self, location: Location) -> None:
        """See `LocationSender`."""
        body = json.dumps(location).encode()
        with (
            suppress(OSError),  # unreachable: the driver learns the worker when the trial ends
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
        ):
            out.sendto(_signature(self.key, body) + body, (self.host, self.port))


class DatagramReceiver(LocationReceiver):
    """Receives datagrams from processes of this machine; with `anywhere`, also from others."""

    def __init__(self, *, anywhere: bool) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("" if anywhere else "127.0.0.1", 0))
        self._socket.setblocking(False)
        self._key = secrets.token_bytes(32)
        host, port = _own_address() if anywhere else "127.0.0.1", self._socket.getsockname()[1]
        self.sender = DatagramSender(host, port, self._key)

    def read(self) -> list[Location]:
        """See `LocationReceiver.read`; datagrams without a valid signature are ignored."""
        received = []
        with suppress(OSError):  # nothing left to read
            for _ in range(_MAX_DATAGRAMS):
                datagram = self._socket.recv(_MAX_DATAGRAM_BYTES)
                signature, body = datagram[:_MAC_BYTES], datagram[_MAC_BYTES:]
                if hmac.compare_digest(signature, _signature(self._key, body)):
                    received.append(Location(*json.loads(body)))
        return received

    def close(self) -> None:
        """See `LocationReceiver.close`."""
        self._socket.close()


@dataclass(frozen=True)
class DaskSender:
    """Sends locations as events of a Dask cluster, through its scheduler."""

    topic: str

    def __call__(self, location: Location) -> None:
        """See `LocationSender`."""
        from distributed import get_worker

        with suppress(Exception):  # such as a worker that is closing: the trial decides its end
            get_worker().log_event(self.topic, list(location))


class DaskReceiver(LocationReceiver):
    """Receives the events of a Dask cluster's workers, on any machine."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        self._client, self._topic = client, f"colab-drive-tuner-{secrets.token_hex(8)}"
        self.sender = DaskSender(self._topic)
        client.subscribe_topic(self._topic, lambda event: self._received.put(Location(*event[1])))

    def close(self) -> None:
        """See `LocationReceiver.close`."""
        if self._client.status == "running":
            self._client.unsubscribe_topic(self._topic)


def _signature(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, hashlib.sha256)[:_MAC_BYTES]


def _own_address() -> str:
    """Return the address at which other machines reach this one; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(UNROUTED_ADDRESS)
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address
