"""Detection of the runtime and of a user who can answer prompts."""

import contextlib
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from colab_drive_tuner import runtime
from colab_drive_tuner.runtime import call_in_thread, detect
from tests.fakes import google_colab
from tests.fakes.bare_machine import bare_machine  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("bare_machine")


@pytest.fixture
def hasty(monkeypatch):
    """Time limits that are short enough for a test."""
    for limit in ("_BROWSER_SECONDS", "_GPU_SECONDS", "_GRACE_SECONDS"):
        monkeypatch.setattr(runtime, limit, 0.3)


def in_shell(monkeypatch, *, kernel=None, **variables):
    """Pretend that IPython runs this code, in a kernel or in a terminal."""
    shell = SimpleNamespace(kernel=kernel, user_ns=variables)
    module = ModuleType("IPython")
    module.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", module)


def nvidia_smi(monkeypatch, folder, script):
    """Put a `nvidia-smi` on the path that does what the shell script says."""
    tools = folder / "bin"
    tools.mkdir()
    tool = tools / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")


def test_plain_python_without_a_terminal_never_prompts():
    """A script without a shell or terminal has nobody to answer a prompt."""
    found = detect()
    assert (found.kind, found.label, found.is_colab) == ("python", "Python", False)
    assert not found.can_prompt
    assert not found.browser_attached


def test_continuous_integration_never_prompts_even_in_a_kernel(monkeypatch):
    """CI=true disables prompts, even if the kernel's client allows input."""
    monkeypatch.setenv("CI", "true")
    assert detect().kind == "ci"
    in_shell(monkeypatch, kernel=SimpleNamespace(_allow_stdin=True))
    assert not detect().can_prompt


@pytest.mark.parametrize("allowed", [True, False])
def test_a_kernel_prompts_only_where_its_client_can_show_the_question(monkeypatch, allowed):
    """A kernel prompts only if its client allows input: Jupyter does, papermill does not."""
    in_shell(monkeypatch, kernel=SimpleNamespace(_allow_stdin=allowed))
    found = detect()
    assert found.kind == "jupyter"
    assert found.can_prompt is allowed


def test_vs_code_is_known_by_its_variable_in_the_notebook(monkeypatch):
    """VS Code's Jupyter extension sets `__vsc_ipynb_file__` in the kernel (vscode-jupyter)."""
    kernel = SimpleNamespace(_allow_stdin=True)
    in_shell(monkeypatch, kernel=kernel, __vsc_ipynb_file__="/home/me/x.ipynb")
    assert detect().kind == "vscode"
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20260819-060000_RC00")
    found = detect()
    assert (found.kind, found.is_colab) == ("colab-vscode", True)
    assert found.can_prompt
    assert not found.browser_attached


def test_an_ipython_terminal_is_no_notebook(monkeypatch):
    """IPython without a kernel is a terminal, which does not prompt if its input is piped."""
    in_shell(monkeypatch)
    found = detect()
    assert found.kind == "ipython"
    assert not found.can_prompt


def test_kaggle_is_not_taken_for_colab(monkeypatch):
    """Kaggle's image is based on Colab's, yet it is detected as Kaggle.

    Its batch runs never prompt.
    """
    google_colab.install(monkeypatch, google_colab.Page({"cells": []}))
    in_shell(monkeypatch, kernel=SimpleNamespace(_allow_stdin=True))
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    found = detect()
    assert (found.kind, found.is_colab, found.can_prompt) == ("kaggle", False, False)
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    assert detect().can_prompt


def test_colab_in_the_browser_can_prompt(monkeypatch):
    """A page that answers `get_ipynb` means that somebody has the notebook open."""
    page = google_colab.install(monkeypatch, google_colab.Page({"cells": []}))
    found = detect()
    assert (found.kind, found.label) == ("colab", "Google Colab")
    assert found.browser_attached
    assert found.can_prompt
    assert page.calls == ["get_ipynb"]


def test_colab_driven_by_its_command_line_never_prompts(monkeypatch):
    """Without a page, Colab has no prompt and no sign-in, because nobody would ever answer."""
    page = google_colab.install(monkeypatch, google_colab.Page(attached=False))
    in_shell(monkeypatch, kernel=SimpleNamespace(_allow_stdin=True))
    found = detect()
    assert (found.kind, found.is_colab) == ("colab-cli", True)
    assert not found.browser_attached
    assert not found.can_prompt
    assert "authenticate_user" not in page.calls


def test_a_page_that_blocks_for_ever_is_no_page(monkeypatch, hasty):
    """A page that never answers is given up after its limit and listed as unanswered."""
    google_colab.install(monkeypatch, google_colab.Page(blocks=True))
    started = time.monotonic()
    found = detect()
    assert time.monotonic() - started < 60
    assert (found.kind, found.browser_attached, found.can_prompt) == ("colab-cli", False, False)
    assert found.unanswered == ("the browser page",)


def test_a_page_and_a_driver_that_block_are_waited_for_at_once(monkeypatch):
    """The time limits of the page and of the GPU driver run at the same time."""
    for limit, seconds in (("_BROWSER", 3.0), ("_GPU", 3.0), ("_GRACE", 0.1)):
        monkeypatch.setattr(runtime, f"{limit}_SECONDS", seconds)
    monkeypatch.setattr(runtime, "_gpu", threading.Event().wait)
    google_colab.install(monkeypatch, google_colab.Page(blocks=True))
    started = time.monotonic()
    assert detect().unanswered == ("the browser page", "the GPU driver")
    assert time.monotonic() - started < 6


@pytest.mark.parametrize(
    "answer",
    [
        *({}, [], "yes", {"ipynb": None}, {"ipynb": {"cells": "none"}}),
        *(RuntimeError("no"), SystemExit(3), KeyboardInterrupt()),
    ],
    ids=repr,
)
def test_a_page_that_answers_nonsense_is_no_page(monkeypatch, answer):
    """An invalid or failing answer counts as no page: no sign-in starts, the process continues."""
    page = google_colab.install(monkeypatch, google_colab.Page())

    def nonsense(*args, **kwargs):
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr("google.colab._message.blocking_request", nonsense)
    found = detect()
    assert (found.kind, found.browser_attached, found.can_prompt) == ("colab-cli", False, False)
    assert page.calls == []


def test_colab_without_its_package_is_still_colab(monkeypatch):
    """Without google.colab, as in a script on a Colab VM, Colab is detected by its variables.

    In a kernel the missing link to the browser is listed as unanswered.
    """
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20260819-060000_RC00")
    monkeypatch.setitem(sys.modules, "google.colab", None)
    found = detect()
    assert (found.kind, found.can_prompt) == ("colab-cli", False)
    assert found.unanswered == ()
    in_shell(monkeypatch, kernel=SimpleNamespace())
    assert detect().unanswered == ("Colab's link to the browser",)


def test_colab_enterprise_keeps_its_name_with_and_without_a_browser(monkeypatch):
    """VERTEX_PRODUCT=COLAB_ENTERPRISE means Colab Enterprise, which prompts only in a browser."""
    monkeypatch.setenv("VERTEX_PRODUCT", "COLAB_ENTERPRISE")
    google_colab.install(monkeypatch, google_colab.Page(attached=False))
    found = detect()
    assert (found.kind, found.is_colab, found.can_prompt) == ("colab-enterprise", True, False)
    google_colab.install(monkeypatch, google_colab.Page({"cells": []}))
    assert detect().can_prompt


def test_the_gpu_is_named_by_the_driver_tool(monkeypatch, tmp_path):
    """`nvidia-smi` names the GPU; TensorFlow is not imported for it."""
    nvidia_smi(monkeypatch, tmp_path, "echo 'Tesla T4'; echo 'Tesla T4'")
    before = "tensorflow" in sys.modules
    assert detect().gpu == "Tesla T4"
    assert ("tensorflow" in sys.modules) == before


def test_a_gpu_name_that_is_not_utf8_is_shown(monkeypatch, tmp_path):
    """A byte of the driver tool's output that cannot be decoded is replaced."""
    nvidia_smi(monkeypatch, tmp_path, r"printf 'Tesla \377\n'")
    assert detect().gpu == "Tesla \ufffd"


def test_a_driver_tool_that_fails_means_no_gpu(monkeypatch, tmp_path):
    """A failing `nvidia-smi`, as on Colab's CPU runtimes, means that there is no GPU."""
    nvidia_smi(monkeypatch, tmp_path, "echo 'NVIDIA-SMI has failed'; exit 9")
    assert detect().gpu is None


def test_a_driver_tool_that_hangs_is_killed(monkeypatch, tmp_path):
    """A hanging `nvidia-smi` is killed, and counts as no GPU."""
    monkeypatch.setattr(runtime, "_GPU_SECONDS", 5.0)  # enough for a shell to start another one
    monkeypatch.setattr(runtime, "_GRACE_SECONDS", 30.0)
    nvidia_smi(monkeypatch, tmp_path, f"echo $$ > {tmp_path}/child; exec sleep 600")
    started = time.monotonic()
    assert detect().gpu is None
    child = Path("/proc", (tmp_path / "child").read_text().strip(), "cmdline")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it is gone
        while child.read_bytes():  # empty for a zombie
            assert time.monotonic() - started < 60


def test_call_in_thread_returns_raises_or_times_out():
    """`call_in_thread` passes on a result or an exception, or times out at its limit."""
    assert call_in_thread(lambda: 42)(60) == 42
    with pytest.raises(ZeroDivisionError):
        call_in_thread(lambda: 1 // 0)(60)
    with pytest.raises(TimeoutError):
        call_in_thread(threading.Event().wait)(0.01)
