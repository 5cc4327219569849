"""Colab Enterprise: a runner and schedules, by requests to Vertex AI and Cloud Storage.

Each run is a notebook execution job. The requests follow the discovery document that
google-api-python-client ships; the tests check every field against it. NOT CONFIRMED on the live
service.
"""

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

from colab_drive_tuner.credentials import cloud_credentials
from colab_drive_tuner.drive.requests.retry_and_refusal import Refusal
from colab_drive_tuner.environment_variables import Variable
from colab_drive_tuner.errors import NotebookRunError, RuntimeLostError, UsageError
from colab_drive_tuner.rerun.program import CellError, Program, RunTask, with_first_cell
from colab_drive_tuner.rerun.schedulers.plan import Plan
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
_PREFIX = "colab-drive-tuner "
"""Beginning of the displayed names of schedules."""


@dataclass(frozen=True)
class Vertex:
    """A Google Cloud project and region."""

    project: str
    region: str
    session: Any = None
    """An authorized session of google-auth; None: application default credentials."""
    endpoint: str | None = None
    """Address of both services; None: Google's."""

    def __post_init__(self) -> None:
        for name in (self.project, self.region):  # used in addresses
            if not re.fullmatch(r"[A-Za-z0-9.:-]*[A-Za-z0-9]", name):
                raise UsageError(f"{name!r} is not a valid project or region of Google Cloud.")

    @property
    def parent(self) -> str:
        """Resource name of the location that holds jobs and schedules."""
        return f"projects/{self.project}/locations/{self.region}"

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send one request; raise `NotebookRunError` with the service's message if refused."""
        endpoint = self.endpoint or f"https://{self.region}-aiplatform.googleapis.com"
        return self._request(method, f"{endpoint}/v1/{path}", json=body)

    def put_object(self, uri: str, content: bytes) -> None:
        """Write `gs://bucket/name`; raises `NotebookRunError`."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        endpoint = self.endpoint or "https://storage.googleapis.com"
        path = f"upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
        headers = {"Content-Type": "application/x-ipynb+json"}
        self._request("POST", f"{endpoint}/{path}", data=content, headers=headers)

    def _request(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        session = self._signed
        try:
            response = session.request(method, url, timeout=60, allow_redirects=False, **options)
        except (GoogleAuthError, RequestException) as error:  # its text may hold secrets
            raise NotebookRunError(
                f"Google Cloud did not answer ({type(error).__name__}; {method} {url})."
            ) from None
        token = getattr(getattr(session, "credentials", None), "token", None)
        refusal = Refusal.read(response.status_code, response.content, [str(token or "")])
        if response.status_code >= 300:
            raise NotebookRunError(
                f"Google Cloud refused ({refusal.status}): {refusal.message} ({method} {url})"
            )
        try:
            return dict(response.json())
        except (ValueError, TypeError):  # such as a proxy's page
            raise NotebookRunError(
                f"Google Cloud's answer is not a JSON object ({method} {url})."
            ) from None

    @cached_property
    def _signed(self) -> Any:
        """The given session, else one with application default credentials."""
        if self.session is not None:
            return self.session
        from google.auth.transport.requests import AuthorizedSession

        return AuthorizedSession(cloud_credentials().credentials)


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
        return json.dumps(with_first_cell(program.notebook(), first)).encode()

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
        with task.stop_signals.ignored():
            operation = call("POST", f"{self.vertex.parent}/notebookExecutionJobs", body)
            job = str(operation.get("name", "")).partition("/operations/")[0]
            if "/notebookExecutionJobs/" not in job:
                job = str(operation.get("metadata", {}).get("notebookExecutionJob", job))
        try:
            task.stop_signals.check()  # one that arrived meanwhile
            found = self._wait(job)
        except BaseException:  # also KeyboardInterrupt and StoppedError
            # If the job cannot be deleted, this first error still counts.
            with task.stop_signals.ignored(), suppress(NotebookRunError):
                call("DELETE", job)
            raise
        task.output.write_text(json.dumps(found, indent=1))
        if found["jobState"] == "JOB_STATE_SUCCEEDED":
            return None
        status = found.get("status", {})
        raise NotebookRunError(
            f"Colab Enterprise reports {found['jobState']}: "
            f"{status.get('message', 'no reason')}. The executed notebook is in {self.bucket}."
        )

    def _wait(self, job: str) -> dict[str, Any]:
        """Poll the job until it has ended; one lost answer must not end a job of hours."""
        misses = 0
        while True:
            try:
                found, misses = self.vertex.call("GET", job), 0
            except NotebookRunError as error:
                found, misses = {}, misses + 1
                if misses == _MOST_MISSES:
                    raise RuntimeLostError(str(error)) from None
            if found.get("jobState") in _ENDED:
                return found
            self.sleep(self.poll_seconds)


@dataclass(frozen=True)
class EnterpriseSchedule:
    """The schedule of one search and its program."""

    plan: Plan
    runner: EnterpriseRunner
    program: Program
    max_seconds: float | None = None

    @property
    def uri(self) -> str:
        """The notebook's address in the bucket."""
        return f"{self.runner.bucket.rstrip('/')}/colab-drive-tuner/{self.plan.slug}.ipynb"

    def body(self) -> dict[str, Any]:
        """Return the request that creates it: one run at a time, without queueing."""
        source = {"gcsNotebookSource": {"uri": self.uri}}
        job = self.runner.job(self.program, self.plan.search, self.max_seconds, source)
        return {
            "displayName": _name(self.plan.search),
            "cron": self.plan.cron,
            "maxConcurrentRunCount": "1",
            "allowQueueing": False,
            "createNotebookExecutionJobRequest": {
                "parent": self.runner.vertex.parent,
                "notebookExecutionJob": job,
            },
        }

    def text(self) -> str:
        """Return the request for display."""
        path = f"v1/{self.runner.vertex.parent}/schedules"
        return f"# the notebook: {self.uri}\nPOST {path}\n{json.dumps(self.body(), indent=2)}"

    def install(self) -> str:
        """Upload the notebook and replace the search's schedule; return a message for the user."""
        body, vertex = self.body(), self.runner.vertex
        vertex.put_object(self.uri, self.runner.notebook(self.program, self.max_seconds))
        replaced = _schedules_of(vertex, self.plan.search)
        made = vertex.call("POST", f"{vertex.parent}/schedules", body)
        for item in replaced:
            vertex.call("DELETE", item["name"])
        return f"{made.get('name', 'A schedule')} reruns search {self.plan.search!r}."


def installed(vertex: Vertex) -> list[tuple[str, str]]:
    """List the schedules of this project and region: search and cron fields."""
    return [(item["displayName"].removeprefix(_PREFIX), item.get("cron", "?"))
            for item in _schedules(vertex)]  # fmt: skip


def remove(vertex: Vertex, search: str) -> bool:
    """Delete every schedule of a search; return whether there was one."""
    found = _schedules_of(vertex, search)
    for item in found:
        vertex.call("DELETE", item["name"])
    return bool(found)


def _name(search: str) -> str:
    return f"{_PREFIX}{search}"[:128]


def _schedules_of(vertex: Vertex, search: str) -> list[dict[str, Any]]:
    return [item for item in _schedules(vertex) if item["displayName"] == _name(search)]


def _schedules(vertex: Vertex) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page = ""
    while True:
        answer = vertex.call("GET", f"{vertex.parent}/schedules{page}")
        found += [
            item
            for item in answer.get("schedules", [])
            if str(item.get("displayName", "")).startswith(_PREFIX)
        ]
        token = answer.get("nextPageToken")
        if not token:
            return found
        page = f"?pageToken={quote(str(token), safe='')}"
