"""Detection of this process's runtime (Colab, Jupyter, Kaggle ...): its browser, prompts and GPU.

Environment names are unreliable (Kaggle's image is built on Colab's; a Colab kernel may have no
browser), so capabilities are tested. Each test runs in a thread with a time limit: `detect` returns
within about six seconds even if nothing answers.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, TypeVar

from colab_drive_tuner.environment_variables import Variable

T = TypeVar("T")


class Kind(StrEnum):
    """A kind of runtime, with a label for display."""

    label: str

    def __new__(cls, name: str, label: str) -> Self:
        """Create a member that is equal to its name."""
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.label = label
        return kind

    COLAB = "colab", "Google Colab"
    COLAB_CLI = (
        "colab-cli",
        "Google Colab without a browser (driven from outside, or its tab is closed)",
    )
    COLAB_VSCODE = "colab-vscode", "Google Colab in VS Code"
    COLAB_ENTERPRISE = "colab-enterprise", "Colab Enterprise"
    KAGGLE = "kaggle", "Kaggle"
    VSCODE = "vscode", "VS Code"
    JUPYTER = "jupyter", "Jupyter"
    IPYTHON = "ipython", "IPython"
    CI = "ci", "continuous integration"
    PYTHON = "python", "Python"


_BROWSER_SECONDS = 5.0
_GPU_SECONDS = 4.0
_GRACE_SECONDS = 1.0
"""Time to wait for an answer beyond the timeout that was passed to the function that is asked."""
_UPTIME = Path("/proc/uptime")
COLAB_HOURS, COLAB_MOST_HOURS = 12.0, 24.0
"""Lifetime of a Colab runtime: the usual one, and the one with Pro+."""


@dataclass(frozen=True)
class Runtime:
    """The detected runtime and its capabilities."""

    kind: Kind
    browser_attached: bool
    """Colab only: an open page answers the kernel, so sign-in by browser can work."""
    can_prompt: bool
    """Whether a user could answer a prompt now; if False, a prompt might block for ever."""
    gpu: str | None
    """Name of the first GPU, or None."""
    unanswered: tuple[str, ...] = ()
    """Capabilities whose test timed out, in words for display."""

    @property
    def label(self) -> str:
        """Name of the kind for display: "Google Colab", "Jupyter", ..."""
        return self.kind.label

    @property
    def is_colab(self) -> bool:
        """Whether this is any form of Google Colab."""
        return self.kind.startswith("colab")


def detect() -> Runtime:
    """Detect the runtime of this process; never prompts, and takes at most six seconds."""
    kind = _detect_kind()
    unanswered = []
    gpu_answer = call_in_thread(_gpu)
    gpu_deadline = time.monotonic() + _GPU_SECONDS + _GRACE_SECONDS
    page_answer = call_in_thread(request_notebook_from_page) if kind.startswith("colab") else None
    browser_attached = False
    if page_answer is not None:
        try:
            browser_attached = page_answer(_BROWSER_SECONDS + _GRACE_SECONDS) is not None
        except TimeoutError:
            unanswered.append("the browser page")
        except Exception:  # noqa: BLE001 - errors of Colab's module are undocumented
            # In scripts and `!command` it always fails, so that means nothing there.
            if getattr(ipython(), "kernel", None) is not None:
                unanswered.append("Colab's link to the browser")
    gpu = None
    try:
        gpu = gpu_answer(max(0.0, gpu_deadline - time.monotonic()))
    except TimeoutError:
        unanswered.append("the GPU driver")
    if kind is Kind.COLAB and not browser_attached:
        kind = Kind.COLAB_CLI
    return Runtime(
        kind=kind,
        browser_attached=browser_attached,
        can_prompt=_can_prompt(kind, browser_attached),
        gpu=gpu,
        unanswered=tuple(unanswered),
    )


def runtime_name() -> str:
    """Return the name of this runtime for display, without testing its capabilities."""
    return _detect_kind().label


def call_in_thread(function: Callable[[], T]) -> Callable[[float], T]:
    """Start `function()` in a daemon thread; return `wait`, which takes a timeout in seconds.

    `wait` returns the result or raises the function's exception (an exit as a `RuntimeError`).
    After the timeout it raises `TimeoutError`, and the thread is abandoned.
    """
    future: Future[T] = Future()
    context = copy_context()  # ipykernel keeps the running cell in a context variable

    def run() -> None:
        try:
            future.set_result(context.run(function))
        except Exception as error:  # noqa: BLE001 - raised again by `wait`
            future.set_exception(error)
        except BaseException as error:  # noqa: BLE001 - an exit must not end the caller's process
            future.set_exception(RuntimeError(f"the call tried to end the process: {error!r}"))

    threading.Thread(target=run, name="colab-drive-tuner-probe", daemon=True).start()
    return future.result


def uptime_hours() -> float | None:
    """Return how long this machine has been up, in hours; None if unknown."""
    try:
        return float(_UPTIME.read_text().split()[0]) / 3600
    except (OSError, ValueError, IndexError):
        return None


def ipython() -> Any:
    """Return the IPython shell that runs this code, or None; never starts one."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None


def request_notebook_from_page() -> dict[str, Any] | None:
    """Return the notebook as Colab's browser page shows it, or None if none answers; may block."""
    from google.colab import _message

    reply = _message.blocking_request("get_ipynb", request="", timeout_sec=_BROWSER_SECONDS)
    if not isinstance(reply, dict):
        return None
    content = reply.get("ipynb", reply)
    is_notebook = isinstance(content, dict) and isinstance(content.get("cells"), list)
    return content if is_notebook else None


def vscode_notebook() -> str | None:
    """Return the path of the notebook that VS Code runs; None outside of VS Code."""
    namespace = getattr(ipython(), "user_ns", {})
    path = namespace.get("__vsc_ipynb_file__") if isinstance(namespace, Mapping) else None
    return path if isinstance(path, str) and path else None


def _detect_kind() -> Kind:
    shell = ipython()
    if Variable.KAGGLE_RUN.get():  # first: Kaggle's image inherits Colab's variables
        return Kind.KAGGLE
    if Variable.VERTEX_PRODUCT.get() == "COLAB_ENTERPRISE":
        return Kind.COLAB_ENTERPRISE
    if Variable.COLAB_RELEASE.get() or Variable.COLAB_ADDRESS.get():
        return Kind.COLAB_VSCODE if vscode_notebook() else Kind.COLAB
    if vscode_notebook():
        return Kind.VSCODE
    if getattr(shell, "kernel", None) is not None:
        return Kind.JUPYTER
    if _in_ci():
        return Kind.CI
    return Kind.PYTHON if shell is None else Kind.IPYTHON


def _in_ci() -> bool:
    return Variable.CI.get().lower() not in ("", "0", "false")


def _can_prompt(kind: Kind, browser_attached: bool) -> bool:
    if _in_ci():
        return False
    if kind in (Kind.COLAB, Kind.COLAB_CLI, Kind.COLAB_ENTERPRISE):
        return browser_attached
    if kind is Kind.KAGGLE and Variable.KAGGLE_RUN.get() != "Interactive":
        return False
    kernel = getattr(ipython(), "kernel", None)
    if kernel is not None:
        # Set by the client of the running cell; papermill and nbclient set it to False.
        return bool(getattr(kernel, "_allow_stdin", False))
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def _gpu() -> str | None:
    """Return the name of the first GPU, from `nvidia-smi`; None if that fails or times out."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],  # noqa: S607
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GPU_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):  # not there, not executable, or hanging
        return None
    names = done.stdout.strip() if done.returncode == 0 else ""
    return names.splitlines()[0].strip() if names else None
