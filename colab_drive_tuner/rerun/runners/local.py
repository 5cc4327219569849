"""Runner on this machine: a notebook with papermill in a kernel, a script with this Python."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from colab_drive_tuner.credentials import account_variables
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import (
    MissingExtraError,
    NotebookError,
    NotebookRunError,
    RuntimeLostError,
    UsageError,
)
from colab_drive_tuner.rerun.program import CellError, RunTask, find_error
from colab_drive_tuner.rerun.runs import ExitCode
from colab_drive_tuner.rerun.stopping import run_command

_GRACE_SECONDS = 600.0
"""Time after its deadline in which a run may still save its results."""


@dataclass(frozen=True)
class LocalRunner:
    """Runs a program on this machine."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Notebook parameters, set after the cell tagged `parameters` or before the first cell."""
    name: str = "local"

    def check(self, task: RunTask) -> None:
        """Raise if this machine cannot run the program; nothing is started."""
        if task.program.is_script:
            if self.parameters:
                raise UsageError("Only notebooks have parameters: leave out -p for a script.")
            return
        if importlib.util.find_spec("papermill") is None:
            raise MissingExtraError(
                "Running a notebook needs papermill: pip install 'colab-drive-tuner[rerun]'."
            )
        if unknown := [name for name in self.parameters if not task.program.mentions(name)]:
            raise UsageError(
                f"{task.program.name} has no parameter {' or '.join(map(repr, unknown))}: no cell "
                "contains this name. Check -p."
            )
        from jupyter_client.kernelspec import KernelSpecManager  # papermill requires it

        kernel = task.program.kernel
        if kernel and kernel.lower() not in KernelSpecManager().find_kernel_specs():
            raise NotebookError(
                f"{task.program.name} asks for the kernel {kernel!r}, which this machine does not "
                "have (`jupyter kernelspec list` shows those it has): choose another one in "
                "Jupyter and save the notebook, or install this one."
            )

    def run(self, task: RunTask) -> CellError | None:
        """See `Runner.run`."""
        account = {item.value: item.get_absolute() for item in account_variables() if item.get()}
        environ = {**os.environ, **account, **task.environment}
        if task.deadline is not None:
            environ[Variable.DEADLINE] = f"{task.deadline:.0f}"
        run = self._run_script if task.program.is_script else self._run_notebook
        left = task.seconds_left
        seconds = None if left is None else max(1.0, left + _GRACE_SECONDS)
        with task.output.open("wb") as output:
            try:
                return run(
                    task, partial(run_command, output=output, environ=environ, timeout=seconds)
                )
            except subprocess.TimeoutExpired:
                raise NotebookRunError(
                    f"{task.program.name} was terminated: it was still running "
                    f"{_GRACE_SECONDS / 60:.0f} minutes after its time limit."
                ) from None

    def _run_notebook(self, task: RunTask, run: Callable[..., int]) -> CellError | None:
        import yaml  # papermill requires it

        given = task.folder / "given.ipynb"
        given.write_text(json.dumps(task.program.notebook()))  # papermill reads only plain UTF-8
        parameters = task.folder / "parameters.yaml"  # not JSON, whose 1e-05 is a text in YAML
        parameters.write_text(yaml.safe_dump(dict(self.parameters)))
        spec, language = map(task.program.metadata, ("kernelspec", "language_info"))
        command = [
            sys.executable, "-m", "papermill", str(given), str(task.executed),
            "--parameters_file", str(parameters), "--no-progress-bar", "--no-log-output",
            "--cwd", str(task.program.folder), "--log-level", "ERROR",
            *([] if task.program.kernel else ["--kernel", "python3"]),
            *([] if "language" in spec or "name" in language else ["--language", "python"]),
        ]  # fmt: skip
        code = run(command)
        error = None
        with suppress(FileNotFoundError, ValueError):  # then papermill has failed
            error = find_error(task.executed)
        tail = task.output_tail()
        if code and error is None and "PapermillExecutionError" not in tail:
            if "DeadKernelError" in tail:
                raise RuntimeLostError(f"The kernel died while it ran {task.program.name}.")
            raise NotebookRunError(f"papermill failed ({code}):\n{tail}")
        return error

    def _run_script(self, task: RunTask, run: Callable[..., int]) -> CellError | None:
        script = task.program.file  # run in place: it may need files in its folder
        if script is None:
            script = task.folder / "script.py"
            script.write_bytes(task.program.content)
        code = run([sys.executable, str(script)], cwd=task.program.folder)
        if code in (ExitCode.FINISHED, ExitCode.UNFINISHED):
            return None
        if code < 0:
            raise RuntimeLostError(f"{task.program.name} was killed by signal {-code}.")
        message = f"{task.program.name} ended with exit code {code}:\n{task.output_tail()}"
        return CellError(message, ExitCode.BUSY if code == ExitCode.BUSY else ExitCode.FAILED)
