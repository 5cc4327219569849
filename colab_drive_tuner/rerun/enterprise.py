"""Running on Colab Enterprise: the requests of Vertex AI, checked before they are sent.

They are made to the discovery document that google-api-python-client ships, and every field of
theirs is looked up in it. NOT CONFIRMED on the live service: what is tested is that document.
"""

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from colab_drive_tuner.errors import CredentialsError, UsageError
from colab_drive_tuner.rerun.outcome import NotebookRunError
from colab_drive_tuner.rerun.place import RunTask
from colab_drive_tuner.rerun.program import CellError, Program, with_first_cells
from colab_drive_tuner.search.resume import DEADLINE_VARIABLE
from colab_drive_tuner.version import __version__

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_PREFIX = "GoogleCloudAiplatformV1"
_ENDED = {
    "JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED",
    "JOB_STATE_PARTIALLY_SUCCEEDED",
}  # fmt: skip
_GPUS = {
    "T4": ("NVIDIA_TESLA_T4", "n1-standard-4"),
    "L4": ("NVIDIA_L4", "g2-standard-4"),
    "A100": ("NVIDIA_TESLA_A100", "a2-highgpu-1g"),
}
_INSTALL = """\
import os
%pip install --quiet {package}
os.environ[{variable!r}] = {deadline!r}
"""


@dataclass(frozen=True)
class EnterprisePlace:
    """A project of Google Cloud, and as whom the notebook runs there."""

    project: str
    region: str
    bucket: str
    """`gs://...`, where Enterprise leaves the executed notebook."""
    service_account: str | None = None
    user: str | None = None
    """The e-mail address of whoever the run acts as, instead of a service account."""
    gpu: str | None = None
    install: str = f"colab-drive-tuner=={__version__}"
    poll_seconds: float = 30.0
    session: Any = None
    """An authorized session of google-auth; None: application default credentials."""
    endpoint: str | None = None
    sleep: Callable[[float], None] = time.sleep

    @property
    def name(self) -> str:
        """As the log of runs has it."""
        return f"enterprise {self.gpu}" if self.gpu else "enterprise"

    @property
    def parent(self) -> str:
        """The location in which jobs and schedules are made."""
        return f"projects/{self.project}/locations/{self.region}"

    def check(self, task: RunTask) -> None:
        """Raise where the request would not be one; nothing is sent."""
        self.job(task.program, task.search, task.deadline)

    def job(self, program: Program, search: str, deadline: float | None) -> dict[str, Any]:
        """The body of the request that runs the program once; raises `UsageError`."""
        if (self.service_account is None) == (self.user is None):
            raise UsageError("Say who it runs as: either --service-account or --user.")
        if self.gpu is not None and self.gpu not in _GPUS:
            raise UsageError(f"--gpu {self.gpu}: Enterprise takes {', '.join(_GPUS)} here.")
        accelerator, machine = _GPUS[self.gpu] if self.gpu else ("", "e2-standard-4")
        hardware: dict[str, Any] = {"machineType": machine}
        if self.gpu:
            hardware |= {"acceleratorType": accelerator, "acceleratorCount": 1}
        stop = "" if deadline is None else f"{deadline:.0f}"
        first = _INSTALL.format(package=self.install, variable=DEADLINE_VARIABLE, deadline=stop)
        notebook = json.dumps(with_first_cells(program.notebook(), first)).encode()
        body: dict[str, Any] = {
            "displayName": f"colab-drive-tuner {search}"[:128],
            "directNotebookSource": {"content": base64.b64encode(notebook).decode()},
            "gcsOutputUri": self.bucket,
            "customEnvironmentSpec": {"machineSpec": hardware},
        }
        if deadline is not None:
            body["executionTimeout"] = f"{max(60.0, deadline - time.time() + 600):.0f}s"
        if self.service_account:
            body["serviceAccount"] = self.service_account
        if self.user:
            body["executionUser"] = self.user
        check_body(body, "NotebookExecutionJob")
        return body

    def schedule(self, program: Program, search: str, cron: str) -> dict[str, Any]:
        """The body of the request that makes a schedule, one run of it at a time."""
        body = {
            "displayName": f"colab-drive-tuner {search}"[:128],
            "cron": cron,
            "maxConcurrentRunCount": "1",
            "allowQueueing": False,
            "createNotebookExecutionJobRequest": {
                "parent": self.parent,
                "notebookExecutionJob": self.job(program, search, None),
            },
        }
        check_body(body, "Schedule")
        return body

    def run(self, task: RunTask) -> CellError | None:
        """See `Place.run`; a run that we are stopped in is deleted."""
        body = self.job(task.program, task.search, task.deadline)
        with task.stops.held_back():
            operation = self.call("POST", f"{self.parent}/notebookExecutionJobs", body)
        job = str(operation.get("name", "")).partition("/operations/")[0]
        if "/notebookExecutionJobs/" not in job:
            job = str(operation.get("metadata", {}).get("notebookExecutionJob", job))
        ended = False
        try:
            while True:
                found = self.call("GET", job)
                ended = found.get("jobState") in _ENDED
                if ended:
                    break
                self.sleep(self.poll_seconds)
        finally:
            if not ended:
                with task.stops.ignored():
                    self.call("DELETE", job)
        task.said.write_text(json.dumps(found, indent=1))
        if found["jobState"] == "JOB_STATE_SUCCEEDED":
            return None
        status = found.get("status", {})
        raise NotebookRunError(
            f"Colab Enterprise says {found['jobState']}: {status.get('message', 'no reason')}. The "
            f"executed notebook is in {self.bucket}."
        )

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One request; raises `NotebookRunError` with what the service said against it."""
        endpoint = self.endpoint or f"https://{self.region}-aiplatform.googleapis.com"
        response = self._session().request(method, f"{endpoint}/v1/{path}", json=body, timeout=60)
        try:
            answer = response.json()
        except ValueError:
            answer = {}
        if response.status_code >= 400:
            said = answer.get("error", {}).get("message", response.reason)
            raise NotebookRunError(
                f"Vertex AI refused ({response.status_code}): {said} ({method} {path})"
            )
        return dict(answer)

    def _session(self) -> Any:
        if self.session is not None:
            return self.session
        import google.auth
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import AuthorizedSession

        try:
            credentials, _ = google.auth.default(scopes=[_SCOPE])
        except GoogleAuthError:
            raise CredentialsError(
                "Vertex AI needs application default credentials: run `gcloud auth "
                "application-default login`."
            ) from None
        session: Any = AuthorizedSession
        return session(credentials)


def check_body(body: Mapping[str, Any], schema: str) -> None:
    """Raise `UsageError` unless the discovery document lets a client set every field."""
    _check(body, {"$ref": f"{_PREFIX}{schema}"}, schema)


def _check(value: Any, schema: Mapping[str, Any], where: str) -> None:
    if "$ref" in schema:
        schema = _schemas()[schema["$ref"]]
    kinds: dict[str, Any] = {
        "string": str, "integer": int, "boolean": bool, "object": Mapping, "array": list,
    }  # fmt: skip
    kind = schema.get("type", "any")
    if kind in kinds and not isinstance(value, kinds[kind]):
        raise UsageError(f"{where} must be of type {kind}, not {type(value).__name__}.")
    if "enum" in schema and value not in schema["enum"]:
        raise UsageError(f"{where} must be one of {', '.join(schema['enum'])}, not {value!r}.")
    if kind == "array":
        for item in value:
            _check(item, schema["items"], where)
    if kind != "object":
        return
    for key, item in value.items():
        field = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
        if field is None:
            raise UsageError(f"{where} has no field {key!r}.")
        if field.get("readOnly"):
            raise UsageError(f"{where}.{key} is set by the service only.")
        _check(item, field, f"{where}.{key}")


@lru_cache
def _schemas() -> dict[str, Any]:
    from importlib.resources import files

    documents = files("googleapiclient.discovery_cache") / "documents"
    document = json.loads((documents / "aiplatform.v1.json").read_text(encoding="utf-8"))
    schemas: dict[str, Any] = document["schemas"]
    return schemas
