"""Fake of Colab's sessions endpoint: a small real HTTP server; also a script, for the demo.

Shape of the answer: docs/facts.md ("Google Colab"), and listings that public notebooks print, such
as `[{"name": "X.ipynb", "path": "fileId=<id>", "notebook": {"name", "path"}, "kernel": {...},
"type": "notebook"}]`. Names are URL-quoted. As a script:

    python tests/fakes/colab_sessions.py --name "quickstart.ipynb" --id DRIVE_ID [--port PORT]

prints `listening on PORT` and serves until it is killed; point COLAB_JUPYTER_IP (127.0.0.1) and
KMP_TARGET_PORT at it.
"""

import argparse
import contextlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote


def entry(name, path, *, kernel="6fd9c8b4-6573-4ffa-a7d6-f56803a0092c"):
    """Return a session as Colab lists it; `path` is `fileId=<id>` for a notebook from Drive."""
    quoted = quote(name, safe="")
    return {
        "id": "0d7b3b6e-2f0a-4c57-9a43-1f6f4a2a7c11",
        "kernel": {"id": kernel, "name": "python3", "execution_state": "busy", "connections": 1},
        "name": quoted,
        "notebook": {"name": quoted, "path": path},
        "path": path,
        "type": "notebook",
    }


class SessionsServer(ThreadingHTTPServer):
    """Answers `GET /api/sessions` with `entries`.

    With `blocks` it takes the request and never answers, with `drips` it never ends its answer;
    `status` and `body` replace those of the normal answer.
    """

    daemon_threads = True

    def __init__(self, entries=(), *, blocks=False, drips=False, port=0, token=None):
        super().__init__(("127.0.0.1", port), _Handler)
        self.entries, self.token = list(entries), token
        self.blocks, self.drips = blocks, drips
        self.status, self.body = 200, None
        self.closing = threading.Event()

    @property
    def port(self):
        """Port on 127.0.0.1."""
        return self.server_address[1]

    def __enter__(self):
        threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *exception):
        self.closing.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: SessionsServer

    def do_GET(self):
        if self.server.blocks:
            self.server.closing.wait()
            return
        if self.server.drips:
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            with contextlib.suppress(OSError):  # until the client disconnects
                while not self.server.closing.wait(0.02):
                    self.wfile.write(b" ")
            return
        refused = (
            self.server.token and self.headers["Authorization"] != f"token {self.server.token}"
        )
        found = self.server.status if self.path == "/api/sessions" else 404
        status = 403 if refused else found
        listed = json.dumps(self.server.entries if status == 200 else {"message": "no"}).encode()
        body = listed if self.server.body is None else self.server.body
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Print nothing: the output belongs to the test."""


def main():
    """Serve one notebook's session until killed."""
    parser = argparse.ArgumentParser(description="Colab's sessions endpoint, for tests and demo")
    parser.add_argument("--name", required=True, help="the notebook's name, with .ipynb")
    parser.add_argument("--id", required=True, help="its id in Drive")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    server = SessionsServer([entry(options.name, f"fileId={options.id}")], port=options.port)
    sys.stdout.write(f"listening on {server.port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
