"""Simulated Colab backend for Colab's official command line, which runs unmodified.

The command line talks to https://colab.research.google.com through the proxy in HTTPS_PROXY, which
is this server. Its certificate is trusted through REQUESTS_CA_BUNDLE. It answers what google-colab-
cli 0.7.5 requests (`colab_cli/client.py`: assign, unassign, assignments), and Google's token
endpoint. Each runtime that it assigns is a real Jupyter server with real kernels.
"""

import contextlib
import json
import os
import ssl
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.processes import ROOT, jupyter_server

HOSTS = (
    "colab.research.google.com",
    "colab.pa.googleapis.com",
    "oauth2.googleapis.com",
)
SECRET = "planted-refresh-token-5f2b61"
UNASSIGN = """
import os, pathlib, signal

def unassign():
    '''Source: colabtools `google/colab/runtime.py`: the runtime ends itself.'''
    pathlib.Path(os.environ["UNASSIGNED"]).touch()
"""


class Backend:
    """The assigned runtimes, and a log of the requests."""

    def __init__(self, folder: Path, jupyter: str) -> None:
        self.folder, self.jupyter = folder, jupyter
        self.taken: dict[str, str] = {}
        self.allocated = 0
        self.asked: list[str] = []
        self.slow = 0.0
        """Seconds before a runtime is handed out."""
        self.refuse_release = 0
        """Number of release requests to answer with 503."""
        self.refuse_assign = 0
        """Number of runtime requests to answer with 412: too many runtimes, or a limit reached."""
        self._make_certificate()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that direct the command line to this backend."""
        proxy = f"http://127.0.0.1:{self._server.server_port}"
        return {
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "NO_PROXY": "127.0.0.1,localhost",
            "REQUESTS_CA_BUNDLE": str(self.folder / "cert.pem"),
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, host: str, path: str) -> tuple[int, Any]:
        self.asked.append(f"{method} {host}{path.partition('?')[0]}")
        parts = path.partition("?")[0].split("/")
        if host == "oauth2.googleapis.com":
            return 200, {"access_token": "an-access-token", "expires_in": 3600}
        if host != "colab.research.google.com":
            return 404, {}
        if parts[-1] == "assignments":
            return 200, {"assignments": [self._runtime(name) for name in list(self.taken)]}
        if parts[-1] == "assign" and method == "GET":
            return 200, {"acc": "NONE", "nbh": "x", "token": "xsrf", "variant": "DEFAULT"}
        if parts[-1] == "assign":
            if self.refuse_assign:
                self.refuse_assign -= 1
                return 412, {}
            time.sleep(self.slow)
            name = f"m-{uuid.uuid4().hex[:8]}"
            self.taken[name] = path
            self.allocated += 1
            return 200, self._runtime(name)
        if method == "GET":
            return 200, {"token": "xsrf"}
        if self.refuse_release:
            self.refuse_release -= 1
            return 503, {}
        return (200, {}) if self.taken.pop(parts[-1], None) else (404, {})

    def _runtime(self, name: str) -> dict[str, Any]:
        gpu = "accelerator=T4" in self.taken[name]
        return {
            "accelerator": "T4" if gpu else "NONE",
            "endpoint": name,
            "variant": 1 if gpu else 0,
            "machineShape": 0,
            "runtimeProxyInfo": {
                "token": "", "tokenExpiresInSeconds": 3600, "url": self.jupyter,
            },
        }  # fmt: skip

    def _make_certificate(self) -> None:
        names = ",".join(f"DNS:{host}" for host in HOSTS)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=stand-in", "-addext", f"subjectAltName={names}",
             "-keyout", self.folder / "key.pem", "-out", self.folder / "cert.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")


def _handler(backend: Backend) -> type[BaseHTTPRequestHandler]:
    class Inner(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            host = self.headers["Host"].partition(":")[0]
            status, body = backend.answer(self.command, host, self.path)
            content = json.dumps(body).encode()
            if host == "colab.research.google.com":
                content = b")]}'\n" + content
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _reply  # noqa: N815 - http.server's names

        def log_message(self, *args: Any) -> None:
            pass

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError, ssl.SSLError):  # the client is gone
                secured = backend.tls.wrap_socket(self.connection, server_side=True)
                Inner(secured, self.client_address, self.server)
                secured.close()
            self.close_connection = True

        def log_message(self, *args: Any) -> None:
            pass

    return Proxy


@contextlib.contextmanager
def jupyter_of_colab(folder: Path) -> Iterator[str]:
    """Run a Jupyter server with root `/`, as on Colab; its kernels import this checkout."""
    package = folder / "site" / "google" / "colab"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "runtime.py").write_text(UNASSIGN)
    environment = {
        "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)]),
        "UNASSIGNED": str(folder / "unassigned"),
    }
    options = (
        "--ServerApp.root_dir=/", "--IdentityProvider.token=", "--ServerApp.password=",
        "--ServerApp.disable_check_xsrf=True",
    )  # fmt: skip
    with jupyter_server(folder, *options, environment=environment) as url:
        yield url.rstrip("/")
