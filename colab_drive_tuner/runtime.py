"""The runtime of this process and what works there: browser, prompts, GPU. Asked, not assumed.

Names of environments change and lie (Kaggle's image is built on Colab's; a Colab kernel may have no
browser), so whatever can be asked is asked. Every question is put in a thread of its own and given
a time limit: `detect` returns within about six seconds even where nothing answers.
"""

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, TypeVar

from colab_drive_tuner.environment_variables import Variable

T = TypeVar("T")


class Kind(StrEnum):
    """A kind of environment, with its name for people."""

    label: str

    def __new__(cls, name: str, label: str) -> Self:
        """A member; equal to its name."""
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
"""How much longer is waited for an answer than the one asked was told that it may take."""
_PROC_GPUS = Path("/proc/driver/nvidia/gpus")
_UPTIME = Path("/proc/uptime")
COLAB_HOURS, COLAB_MOST_HOURS = 12.0, 24.0
"""How long Colab lets a runtime live: usually, and with Pro+."""


@dataclass(frozen=True)
class Runtime:
    """What was found out about the place in which this process runs."""

    kind: Kind
    browser_attached: bool
    """Colab only: a page is open that answers the kernel, so sign-in by browser can work."""
    can_prompt: bool
    """Somebody could answer a question asked now; False means that asking might wait for ever."""
    gpu: str | None
    """Name of the first GPU, or None."""
    unanswered: tuple[str, ...] = ()
    """What was asked and gave no answer in time, in words for people."""

    @property
    def label(self) -> str:
        """The kind for people: "Google Colab", "Jupyter", ..."""
        return self.kind.label

    @property
    def is_colab(self) -> bool:
        """Whether it is Google Colab in any of its forms."""
        return self.kind.startswith("colab")


def detect() -> Runtime:
    """Find out where this process runs; never prompts, and takes six seconds at the very most."""
    kind = _kind()
    unanswered = []
    gpu_answer = call_in_thread(_gpu)
    page_answer = call_in_thread(open_notebook_content) if kind.startswith("colab") else None
    browser_attached = False
    if page_answer is not None:
        try:
            browser_attached = page_answer(_BROWSER_SECONDS + _GRACE_SECONDS) is not None
        except TimeoutError:
            unanswered.append("the browser page")
        except Exception:  # noqa: BLE001 - Colab's own module failed: then it cannot be used to ask
            if getattr(ipython(), "kernel", None) is not None:  # no script can ask, no `!command`
                unanswered.append("Colab's link to the browser")
    gpu = None
    try:
        gpu = gpu_answer(_GPU_SECONDS + _GRACE_SECONDS)
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
    """Where this process runs, for people, by what is known without asking anybody."""
    return _kind().label


def call_in_thread(question: Callable[[], T]) -> Callable[[float], T]:
    """Start `question()` in a thread; the function returned waits for its answer, so many seconds.

    It raises what the question raised (an exit as a `RuntimeError`), or `TimeoutError`; the thread
    is then left to itself, and does not keep the process alive.
    """
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
    context = copy_context()  # ipykernel keeps the cell that is running in a context variable

    def run() -> None:
        try:
            answers.put((context.run(question), None))
        except Exception as error:  # noqa: BLE001 - handed to the one who waits
            answers.put((None, error))
        except BaseException as error:  # noqa: BLE001 - an exit from there is none of the asker's
            answers.put((None, RuntimeError(f"the one asked wanted to end the process: {error!r}")))

    threading.Thread(target=run, name="colab-drive-tuner-probe", daemon=True).start()

    def wait(seconds: float) -> T:
        try:
            value, error = answers.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError(f"no answer within {seconds:g} seconds") from None
        if error is not None:
            raise error
        answer: T = value
        return answer

    return wait


def uptime_hours() -> float | None:
    """How long this machine has been up, in hours; None where it does not say."""
    try:
        return float(_UPTIME.read_text().split()[0]) / 3600
    except (OSError, ValueError, IndexError):
        return None


def ipython() -> Any:
    """The IPython shell that runs this code, or None; never starts one."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None


def open_notebook_content() -> dict[str, Any] | None:
    """The notebook as it stands in the browser right now, or None where no browser answers.

    Colab only. Call it through `ask`: it may block.
    """
    from google.colab import _message

    reply = _message.blocking_request("get_ipynb", request="", timeout_sec=_BROWSER_SECONDS)
    if not isinstance(reply, dict):
        return None
    content = reply.get("ipynb", reply)
    is_notebook = isinstance(content, dict) and isinstance(content.get("cells"), list)
    return content if is_notebook else None


def vscode_notebook() -> str | None:
    """Path of the notebook that VS Code runs, as VS Code names it; None outside of VS Code."""
    namespace = getattr(ipython(), "user_ns", {})
    path = namespace.get("__vsc_ipynb_file__") if isinstance(namespace, Mapping) else None
    return path if isinstance(path, str) and path else None


def _kind() -> Kind:
    shell = ipython()
    if Variable.KAGGLE_RUN.get():  # before Colab, whose variables its image inherits
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
        # What the client of the running cell said of itself; papermill and nbclient say no.
        return bool(getattr(kernel, "_allow_stdin", False))
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def _gpu() -> str | None:
    """Name of the first GPU that the NVIDIA driver shows: asks its tool, then the kernel's list."""
    tool = shutil.which("nvidia-smi")
    names = _output([tool, "--query-gpu=name", "--format=csv,noheader"]) if tool else ""
    if names:
        return names.splitlines()[0].strip()
    for description in sorted(_PROC_GPUS.glob("*/information")):
        for line in description.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "Model":
                return value.strip()
    return None


def _output(command: list[str]) -> str:
    """What the command prints; nothing where it fails or takes too long."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
    except OSError:
        return ""  # found on the path, yet not to be run here
    with process:
        try:
            printed, _ = process.communicate(timeout=_GPU_SECONDS)
        except subprocess.TimeoutExpired:
            if hasattr(os, "killpg"):  # its children hold the pipe open, too
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            return ""
    return printed.strip() if process.returncode == 0 else ""
