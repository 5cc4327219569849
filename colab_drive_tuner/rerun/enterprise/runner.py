"""Runner on Colab Enterprise: each run is a notebook execution job of Vertex AI (see `vertex`)."""

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import NotebookRunError, RuntimeLostError, UsageError
from colab_drive_tuner.rerun.enterprise.vertex import Vertex
from colab_drive_tuner.rerun.program import CellError, Program, with_first_cells
from colab_drive_tuner.rerun.runners.runner import RunTask
from colab_drive_tuner.version import __version__

_ENDED = {
    "JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED",
    "JOB_STATE_PARTIALLY_SUCCEEDED",
}  # fmt: skip
_GPUS = {
    "T4": ("NVIDIA_TESLA_T4", "n1-standard-4"),
    "L4": ("NVIDIA_L4", "g2-standard-4"),
    "A100": ("NVIDIA_TESLA_A100", "a2-highgpu-1g"),
}
_MOST_MISSES = 20
"""Number of successive polls without an answer after which a job is given up."""
_INSTALL = "%pip install --quiet {package}\n"
_LIMIT = "import os, time\nos.environ[{variable!r}] = str(time.time() + {seconds:.0f})\n"


@dataclass(frozen=True)
class EnterpriseRunner:
    """Runs a notebook on Colab Enterprise, as a service account or as a user."""

    vertex: Vertex
    bucket: str
    """`gs://...` for the executed notebooks."""
    service_account: str | None = None
    user: str | None = None
    """The e-mail address of the user, instead of a service account."""
    gpu: str | None = None
    install: str = f"colab-drive-tuner=={__version__}"
    poll_seconds: float = 30.0
    sleep: Callable[[float], None] = time.sleep

    @property
    def name(self) -> str:
        """Its name in the log of runs."""
        return f"enterprise {self.gpu}" if self.gpu else "enterprise"

    def check(self, task: RunTask) -> None:
        """Raise if the request would be invalid; nothing is sent."""
        self.job(task.program, task.search, task.seconds_left)

    def notebook(self, program: Program, seconds: float | None) -> bytes:
        """Return the program as a notebook, with a first cell that installs and sets the limit."""
        first = _INSTALL.format(package=self.install)
        if seconds is not None:
            first += _LIMIT.format(variable=Variable.DEADLINE.value, seconds=seconds)
        return json.dumps(with_first_cells(program.notebook(), first)).encode()

    def job(
        self,
        program: Program,
        search: str,
        seconds: float | None,
        source: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the body of the request that runs the program once; raise `UsageError`.

        The body contains the notebook, unless `source` refers to it.
        """
        if not re.fullmatch(r"gs://[\w.-]+(/.*)?", self.bucket):
            raise UsageError(f"--bucket must be gs://BUCKET, got {self.bucket}.")
        if (self.service_account is None) == (self.user is None):
            raise UsageError("Give either --service-account or --user, as which the run acts.")
        if self.gpu is not None and self.gpu not in _GPUS:
            raise UsageError(
                f"--gpu must be one of {', '.join(_GPUS)} on Enterprise, got {self.gpu}."
            )
        accelerator, machine = _GPUS[self.gpu] if self.gpu else ("", "e2-standard-4")
        hardware: dict[str, Any] = {"machineType": machine}
        if self.gpu:
            hardware |= {"acceleratorType": accelerator, "acceleratorCount": 1}
        if source is None:
            content = base64.b64encode(self.notebook(program, seconds)).decode()
            source = {"directNotebookSource": {"content": content}}
        body: dict[str, Any] = {
            "displayName": f"colab-drive-tuner {search}"[:128],
            **source,
            "gcsOutputUri": self.bucket,
            "customEnvironmentSpec": {"machineSpec": hardware},
        }
        if seconds is not None:
            body["executionTimeout"] = f"{max(60.0, seconds + 600):.0f}s"
        if self.service_account:
            body["serviceAccount"] = self.service_account
        if self.user:
            body["executionUser"] = self.user
        return body

    def run(self, task: RunTask) -> CellError | None:
        """See `Runner.run`; if this process is stopped, the job is deleted."""
        body = self.job(task.program, task.search, task.seconds_left)
        call = self.vertex.call
        with task.stop_signals.deferred():
            operation = call("POST", f"{self.vertex.parent}/notebookExecutionJobs", body)
        job = str(operation.get("name", "")).partition("/operations/")[0]
        if "/notebookExecutionJobs/" not in job:
            job = str(operation.get("metadata", {}).get("notebookExecutionJob", job))
        ended, misses = False, 0
        try:
            while True:
                try:
                    found, misses = call("GET", job), 0
                except NotebookRunError as error:  # one lost answer must not end a job of hours
                    misses += 1
                    if misses == _MOST_MISSES:
                        raise RuntimeLostError(str(error)) from None
                    found = {}
                ended = found.get("jobState") in _ENDED
                if ended:
                    break
                self.sleep(self.poll_seconds)
        finally:
            if not ended:
                with task.stop_signals.ignored():
                    call("DELETE", job)
        task.output.write_text(json.dumps(found, indent=1))
        if found["jobState"] == "JOB_STATE_SUCCEEDED":
            return None
        status = found.get("status", {})
        raise NotebookRunError(
            f"Colab Enterprise reports {found['jobState']}: "
            f"{status.get('message', 'no reason')}. The executed notebook is in {self.bucket}."
        )
