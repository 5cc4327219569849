"""Runner on Colab Enterprise: each run is a notebook execution job of Vertex AI (see `vertex`)."""

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import NotebookRunError, UsageError
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
_INSTALL = "%pip install --quiet {package}\n"
_LIMIT = "import os, time\nos.environ[{variable!r}] = str(time.time() + {seconds:.0f})\n"


@dataclass(frozen=True)
class EnterpriseRunner:
    """A project of Google Cloud, and as whom the notebook runs there."""

    vertex: Vertex
    bucket: str
    """`gs://...`, where Enterprise leaves the executed notebook."""
    service_account: str | None = None
    user: str | None = None
    """The e-mail address of whoever the run acts as, instead of a service account."""
    gpu: str | None = None
    install: str = f"colab-drive-tuner=={__version__}"
    poll_seconds: float = 30.0
    sleep: Callable[[float], None] = time.sleep

    @property
    def name(self) -> str:
        """As the log of runs has it."""
        return f"enterprise {self.gpu}" if self.gpu else "enterprise"

    def check(self, task: RunTask) -> None:
        """Raise where the request would not be one; nothing is sent."""
        self.job(task.program, task.search, task.seconds_left)

    def notebook(self, program: Program, seconds: float | None) -> bytes:
        """The program, after a cell that installs and says how long the run may take."""
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
        """The body of the request that runs the program once; raises `UsageError`.

        The notebook is part of it, unless `source` says where it lies.
        """
        if (self.service_account is None) == (self.user is None):
            raise UsageError("Say who it runs as: either --service-account or --user.")
        if self.gpu is not None and self.gpu not in _GPUS:
            raise UsageError(f"--gpu {self.gpu}: Enterprise takes {', '.join(_GPUS)} here.")
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
        """See `Runner.run`; a run that we are stopped in is deleted."""
        body = self.job(task.program, task.search, task.seconds_left)
        call = self.vertex.call
        with task.stops.deferred():
            operation = call("POST", f"{self.vertex.parent}/notebookExecutionJobs", body)
        job = str(operation.get("name", "")).partition("/operations/")[0]
        if "/notebookExecutionJobs/" not in job:
            job = str(operation.get("metadata", {}).get("notebookExecutionJob", job))
        ended = False
        try:
            while True:
                found = call("GET", job)
                ended = found.get("jobState") in _ENDED
                if ended:
                    break
                self.sleep(self.poll_seconds)
        finally:
            if not ended:
                with task.stops.ignored():
                    call("DELETE", job)
        task.output.write_text(json.dumps(found, indent=1))
        if found["jobState"] == "JOB_STATE_SUCCEEDED":
            return None
        status = found.get("status", {})
        raise NotebookRunError(
            f"Colab Enterprise says {found['jobState']}: {status.get('message', 'no reason')}. The "
            f"executed notebook is in {self.bucket}."
        )
