"""A running emulator, in a thread or as a process, and its control."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .front.browser_origins import parse_origin
from .server import DEFAULT_TOKENS, check_latency, listen, make_server, require_packages
from .state.tokens import parse_grant


class DriveEmulator:
    """A running emulator, as a context manager.

    Args:
        data_dir: The folder that keeps all data; None: a temporary folder, deleted at the end.
        tokens: `TOKEN=ACCOUNT[,client=ID][,scopes=SCOPE+SCOPE]`; by default the token `emulator`
            belongs to owner@example.com.
        latency: Seconds to wait before each request is processed.
        port: The port; 0 chooses a free one.
        process: Whether to run in a separate process instead of a thread. A process can be killed
            with `kill()` and restarted with `start()`, with the same data and port.
        seed: Seed of the faults' random choices.
        origins: Origins of other sites' web pages that may call the API, such as
            "https://app.example"; pages of this machine may call it anyway.
    """

    def __init__(
        self,
        data_dir: str | Path | None = None,
        *,
        tokens: Sequence[str] = (),
        latency: float = 0.0,
        port: int = 0,
        process: bool = False,
        seed: int = 0,
        origins: Sequence[str] = (),
    ) -> None:
        check_latency(latency)
        self._tokens = list(tokens or DEFAULT_TOKENS)
        self._grants = dict(map(parse_grant, self._tokens))
        self._origins = list(map(parse_origin, origins))
        self._own = None if data_dir else tempfile.TemporaryDirectory(prefix="drive-emulator-")
        # Absolute, because the working directory may be another one when it starts again.
        self.data_dir = Path(data_dir or (self._own.name if self._own else "")).absolute()
        self._latency = latency
        self._seed = seed
        self._in_process = process
        self.port = port
        self.token = next(iter(self._grants))
        """A valid token: the first one given."""
        self.process: subprocess.Popen[str] | None = None
        self._server: Any = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address, `http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that point clients at the emulator."""
        return {"DRIVE_EMULATOR_HOST": self.url, "DRIVE_EMULATOR_TOKEN": self.token}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if self._own is not None:
            self._own.cleanup()

    def start(self) -> None:
        """Start the emulator; on return it answers requests."""
        if self._thread is not None or (self.process is not None and self.process.poll() is None):
            raise RuntimeError(f"the emulator is already running on {self.url}")
        self._reap()
        require_packages()
        if self._in_process:
            self._start_process()
        else:
            self._start_thread()

    def _start_process(self) -> None:
        values = {
            "port": self.port,
            "data": str(self.data_dir),
            "tokens": self._tokens,
            "latency": self._latency,
            "seed": self._seed,
            "origins": self._origins,
        }
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", __package__, json.dumps(values)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            self._reap()
            raise RuntimeError("the emulator did not start; see the error that it printed")
        self.port = int(line.rpartition(":")[2])

    def _start_thread(self) -> None:
        from .dispatch import Service

        listening = listen(self.port)
        try:
            service = Service(self.data_dir, self._grants, self._seed)
        except BaseException:  # also an interrupt must leave the port free
            listening.close()
            raise
        self.port = listening.getsockname()[1]
        server = self._server = make_server(service, self._latency, self._origins)

        def run() -> None:
            try:
                # Not server.run(): where nest_asyncio was applied, as in many notebooks, it fails.
                with asyncio.Runner() as runner:
                    runner.run(server.serve(sockets=[listening]))
            finally:
                listening.close()
                service.close()

        self._thread = threading.Thread(target=run, name="drive-emulator", daemon=True)
        self._thread.start()
        # The socket already listens: connections made before the event loop runs are queued.
        self.call("GET", "")

    def stop(self) -> None:
        """Stop the emulator and wait until it has released its data."""
        if self.process is not None:
            self.process.terminate()
            self._reap()
        if self._thread is not None:
            self._server.should_exit = True
            self._thread.join(timeout=60)
            self._thread = None

    def kill(self) -> None:
        """Kill the process with SIGKILL; `start()` restarts it with the same data and port."""
        if not self._in_process:
            raise RuntimeError("only an emulator with process=True can be killed")
        if self.process is not None:
            self.process.kill()
            self._reap()

    def _reap(self) -> None:
        if self.process is not None:
            self.process.communicate(timeout=60)  # closes its pipes, too
            self.process = None

    def call(self, verb: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the admin endpoint `path` and return its JSON; raise ValueError if it refuses."""
        if self._thread is None and self.process is None:
            raise RuntimeError(
                "the emulator is not running: use it in a `with` block, or start() it"
            )
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 our own server on the loopback interface
            f"{self.url}/_emulator/{path}",
            data=data,
            headers={"Content-Type": "application/json"},
            method=verb,
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(json.load(error)["error"]["message"]) from None

    @property
    def log(self) -> list[dict[str, Any]]:
        """The logged requests, oldest first: method, path, query, status, bytes_in, account, ..."""
        entries: list[dict[str, Any]] = self.call("GET", "log")["entries"]
        return entries

    def clear_log(self) -> None:
        """Clear the request log."""
        self.call("DELETE", "log")

    @property
    def faults(self) -> "RemoteFaults":
        """The fault rules."""
        return RemoteFaults(self)

    def allow(self, token: str, account: str, **more: Any) -> None:
        """Accept a token; options: `client`, `scopes`, `expires_in` and `refresh_token`."""
        self.call("POST", "tokens", {"token": token, "account": account, **more})

    def expire(self, token: str | None = None) -> None:
        """Expire a token, or every token, now."""
        self.call("POST", "tokens/expire", {"token": token or ""})

    def set_quota(self, account: str, limit: int | None) -> None:
        """Set how many bytes an account may store; None: unlimited."""
        self.call("POST", "accounts", {"email": account, "limit": limit})

    def advance_clock(self, seconds: float) -> float:
        """Advance the service's clock; return its new time in seconds since 1970."""
        return float(self.call("POST", "clock", {"advance": seconds})["now"])


class RemoteFaults:
    """The fault rules of a running emulator."""

    def __init__(self, emulator: DriveEmulator) -> None:
        self._emulator = emulator

    def add(self, do: str, **values: Any) -> int:
        """Add a fault rule (see `faults.KINDS` and `faults.Rule`); return its number."""
        return int(self._emulator.call("POST", "faults", {"do": do, **values})["id"])

    def remove(self, rule: int) -> None:
        """Remove one fault rule."""
        self._emulator.call("DELETE", f"faults/{rule}")

    def clear(self) -> None:
        """Remove all fault rules."""
        self._emulator.call("DELETE", "faults")

    def seed(self, seed: int) -> None:
        """Restart the random streams of all faults from this seed."""
        self._emulator.call("POST", "faults", {"seed": seed})

    @property
    def rules(self) -> list[dict[str, Any]]:
        """The active rules, each with the number of calls it has seen and struck."""
        found: list[dict[str, Any]] = self._emulator.call("GET", "faults")["rules"]
        return found
