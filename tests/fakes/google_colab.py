"""Fake of the `google.colab` package, with only the functions that this package calls.

Shapes are taken from github.com/googlecolab/colabtools (`google/colab/_message.py`, `auth.py`,
`errors.py`) and from docs/facts.md, "Google Colab".
Every function has a variant that blocks for ever, as on a runtime whose page is closed.
"""

import sys
import threading
from types import ModuleType


def _for_ever(*args, **kwargs):
    """Wait for ever, as a call into a closed page does."""
    threading.Event().wait()


class Page:
    """A browser tab that answers the kernel's requests; `calls` is their log."""

    def __init__(self, notebook=None, *, attached=True, blocks=False):
        self.notebook, self.attached, self.blocks = notebook, attached, blocks
        self.calls = []

    def blocking_request(self, request_type, request="", timeout_sec=5, parent=None):
        """Source: colabtools `google/colab/_message.py`, `blocking_request`.

        The page's reply, or None when the time is up; `timeout_sec=None` waits for ever. The reply
        to `get_ipynb` is `{"ipynb": {...}}`, as its many users in public notebooks read it.
        """
        self.calls.append(request_type)
        if self.blocks:
            _for_ever()
        if not self.attached:
            if timeout_sec is None:
                _for_ever()
            return None  # as the real one does after `timeout_sec`
        return {"ipynb": self.notebook} if request_type == "get_ipynb" else None

    def authenticate_user(self, clear_output=True):
        """Source: colabtools `google/colab/auth.py`, `authenticate_user`.

        On today's runtimes (USE_AUTH_EPHEM=1) it is `blocking_request('request_auth', ...,
        timeout_sec=None)`: without a page it never returns.
        """
        self.calls.append("authenticate_user")
        if self.blocks or not self.attached:
            _for_ever()


def install_userdata(monkeypatch, answer):
    """Source: colabtools `google/colab/userdata.py`: `get(key)` returns text, raises, or waits.

    Returns the list of the secrets that were asked for.
    """
    asked = []

    def get(key):
        asked.append(key)
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    module = ModuleType("google.colab.userdata")
    module.get = get
    monkeypatch.setitem(sys.modules, "google.colab.userdata", module)
    monkeypatch.setattr("google.colab.userdata", module, raising=False)
    return asked


def secret_not_found():
    """Source: colabtools `google/colab/userdata.py`, the class of that name."""
    return type("SecretNotFoundError", (Exception,), {})("there is none")


def install(monkeypatch, page):
    """Install the fake as `google.colab`, with the environment variables of a Colab runtime."""
    import google

    colab, message, auth, errors = (
        ModuleType(name)
        for name in (
            "google.colab",
            "google.colab._message",
            "google.colab.auth",
            "google.colab.errors",
        )
    )
    # Source: colabtools `google/colab/errors.py`.
    errors.Error = type("Error", (Exception,), {})
    errors.AuthorizationError = type("AuthorizationError", (errors.Error,), {})
    # Source: colabtools `google/colab/_message.py`.
    message.MessageError = type("MessageError", (errors.Error,), {})
    message.blocking_request = page.blocking_request
    auth.authenticate_user = page.authenticate_user
    colab._message, colab.auth, colab.errors = message, auth, errors
    colab.__path__ = []
    for module in (colab, message, auth, errors):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(google, "colab", colab, raising=False)
    # Source: docs/facts.md, "Google Colab": the tag means Colab, the other two the consumer
    # service.
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20260819-060000_RC00")
    monkeypatch.setenv("USE_AUTH_EPHEM", "1")
    monkeypatch.setenv("TBE_RUNTIME_ADDR", "172.28.0.1:8011")
    return page
