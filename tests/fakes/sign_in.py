"""Fake of Google's sign-in on loopback: a token endpoint and a metadata server.

The metadata server is that of a Colab runtime: it knows a project's service account, and answers
its token with 404 until somebody has signed in (docs/facts.md, "A real Colab kernel"). Paths and
the flavor header are those that google-auth asks for (`google/auth/compute_engine/_metadata.py`).
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ACCOUNT = "/computeMetadata/v1/instance/service-accounts/default/"
SECRET = "1//a-refresh-token-that-nobody-may-see"
USER = {
    "type": "authorized_user",
    "client_id": "an-id.apps.googleusercontent.com",
    "client_secret": SECRET,
    "refresh_token": SECRET,
}
"""The content of a person's credentials file."""
TOKEN = {"access_token": "a-fresh-token-of-the-stand-in", "expires_in": 3600}


class SignInServer(ThreadingHTTPServer):
    """Both servers at one address, as a context manager.

    `asked` are the requests as "METHOD path", with the body of a POST behind it. `answer` is what
    the token endpoint says, `busy` a status with which the metadata server answers all but its
    front door, and `signed_in` whether it has a token.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = []
        self.answer = (200, TOKEN)
        self.headers = {}
        self.busy = None
        self.signed_in = False

    @property
    def host(self):
        """Value for GCE_METADATA_HOST and GCE_METADATA_IP."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def token_uri(self):
        """URL of the token endpoint, which also exchanges federated tokens."""
        return f"http://{self.host}/token"

    @property
    def environment(self):
        """Environment in which google-auth, in a new process, detects a machine at Google."""
        return {
            "GCE_METADATA_HOST": self.host,
            "GCE_METADATA_IP": self.host,
            "NO_GCE_CHECK": "false",
        }

    def be_this_machine(self, monkeypatch):
        """Patch google-auth in this process, which read its environment when imported."""
        from google.auth.compute_engine import _metadata

        monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", self.host)
        monkeypatch.setattr(_metadata, "_NO_GCE_CHECK", False)
        monkeypatch.setenv("GCE_METADATA_IP", self.host)

    def tokens_asked(self):
        """Number of token requests to either server."""
        return sum("/token" in one for one in self.asked)

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: SignInServer

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.asked.append(f"POST {self.path} {body}")
        status, answer = self.server.answer
        self._say(status, answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def do_GET(self):
        self.server.asked.append(f"GET {self.path}")
        path = self.path.partition("?")[0]
        if self.server.busy is not None and path != "/":
            self._say(self.server.busy, b"busy")
        elif path == "/":
            self._say(200, b"computeMetadata/")
        elif path == "/computeMetadata/v1/project/project-id":
            self._say(200, b"a-project", "application/text")
        elif path == ACCOUNT:
            known = {"email": "robot@a-project.iam.gserviceaccount.com", "scopes": ["cloud"]}
            self._say(200, json.dumps(known).encode())
        elif path == f"{ACCOUNT}token" and self.server.signed_in:
            self._say(200, json.dumps(TOKEN).encode())
        else:
            self._say(404, b"not found", "text/html")

    def _say(self, status, body, kind="application/json"):
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Metadata-Flavor": "Google",
            "Content-Length": str(len(body)),
            **self.server.headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Print nothing: the output belongs to the test."""
