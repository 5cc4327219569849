"""Colab Enterprise: requests that agree with Google's own description; what becomes of a run."""

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from colab_drive_tuner.errors import UsageError
from colab_drive_tuner.rerun import Outcome, Rerunner
from colab_drive_tuner.rerun.enterprise import EnterprisePlace, check_body
from colab_drive_tuner.rerun.program import load_program
from colab_drive_tuner.store import open_store
from tests.rerun import programs

JOB = "projects/p/locations/us-central1/notebookExecutionJobs/17"


@pytest.fixture
def nb(tmp_path: Path) -> Path:
    """A notebook."""
    return programs.notebook(tmp_path / "nb.ipynb", programs.source())


def place(**options: Any) -> EnterprisePlace:
    """A place that does not say who runs there, unless told."""
    return EnterprisePlace("p", "us-central1", "gs://bucket", **options)


def test_a_job_holds_the_notebook_and_every_field_is_known(nb: Path) -> None:
    """The notebook's own cells, after one that installs; GPU and account where they belong."""
    body = place(service_account="robot@p.iam.gserviceaccount.com", gpu="T4").job(
        load_program(str(nb)), "parabola", None
    )
    sent = json.loads(base64.b64decode(body["directNotebookSource"]["content"]))
    assert "%pip install" in sent["cells"][0]["source"]
    assert "resume_search" in "".join(sent["cells"][1]["source"])
    machine = body["customEnvironmentSpec"]["machineSpec"]
    assert machine["acceleratorType"] == "NVIDIA_TESLA_T4"
    assert machine["acceleratorCount"] == 1


def test_a_schedule_runs_one_at_a_time(nb: Path) -> None:
    """`maxConcurrentRunCount` is "1" (a JSON int64 is text), and nothing queues behind it."""
    body = place(user="me@example.com").schedule(load_program(str(nb)), "parabola", "0 * * * *")
    assert body["maxConcurrentRunCount"] == "1"
    assert body["allowQueueing"] is False
    request = body["createNotebookExecutionJobRequest"]
    assert request["parent"] == "projects/p/locations/us-central1"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"gcsOutputURI": "gs://b"}, "no field 'gcsOutputURI'"),
        ({"jobState": "JOB_STATE_FAILED"}, "set by the service only"),
        ({"displayName": 3}, "must be of type string"),
        (
            {"customEnvironmentSpec": {"machineSpec": {"acceleratorType": "T4"}}},
            "must be one of",
        ),
    ],
)
def test_a_field_that_google_does_not_describe_is_refused(body: Any, words: str) -> None:
    """A typo, a field of answers, a wrong type, an unknown choice: by name, before it is sent."""
    with pytest.raises(UsageError, match=words):
        check_body(body, "NotebookExecutionJob")


def test_who_runs_must_be_said(nb: Path) -> None:
    """Neither or both of service account and user is refused."""
    with pytest.raises(UsageError, match="either"):
        place().job(load_program(str(nb)), "parabola", None)


class Vertex(http.server.ThreadingHTTPServer):
    """Answers as Vertex AI's reference has it; the states of a job come one after the other."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.states: list[str] = []
        self.asked: list[str] = []


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Vertex

    def _reply(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(f"{self.command} {self.path}")
        body: dict[str, Any] = {"name": f"{JOB}/operations/1"}
        status = 200
        if self.command == "GET":
            body = {"name": JOB, "jobState": self.server.states.pop(0)}
        if self.command == "POST" and not self.server.states:
            status, body = 403, {"error": {"message": "Permission denied on p"}}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _reply  # noqa: N815 - http.server's names

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def vertex() -> Iterator[Vertex]:
    """A stand-in for Vertex AI."""
    server = Vertex()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def rerunner(tmp_path: Path, nb: Path, vertex: Vertex, **options: Any) -> Rerunner:
    """A rerun on the stand-in; its clock is not waited for."""
    with requests.Session() as session:
        session.trust_env = False
    where = place(
        user="me@example.com",
        session=session,
        endpoint=f"http://127.0.0.1:{vertex.server_port}",
        **{"sleep": lambda _: None, **options},
    )
    store = open_store(tmp_path / "store")
    return Rerunner(store, str(nb), "parabola", where, say=lambda _: None)


def test_a_job_is_watched_to_its_end(tmp_path: Path, nb: Path, vertex: Vertex) -> None:
    """What the search says counts; a job that failed, or was refused, is a failure with reasons."""
    vertex.states = ["JOB_STATE_QUEUED", "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED"]
    assert rerunner(tmp_path, nb, vertex).once().outcome is Outcome.UNFINISHED
    parent = "/v1/projects/p/locations/us-central1/notebookExecutionJobs"
    assert vertex.asked == [f"POST {parent}", *[f"GET /v1/{JOB}"] * 3]
    vertex.states = ["JOB_STATE_FAILED"]
    failed = rerunner(tmp_path, nb, vertex).once()
    assert failed.outcome is Outcome.FAILED
    assert "JOB_STATE_FAILED" in failed.words
    refused = rerunner(tmp_path, nb, vertex).once()
    assert "refused (403): Permission denied on p" in refused.words


def test_a_job_that_nobody_waits_for_is_deleted(tmp_path: Path, nb: Path, vertex: Vertex) -> None:
    """Where the rerun is broken off, so is its job."""

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    vertex.states = ["JOB_STATE_RUNNING"]
    with pytest.raises(KeyboardInterrupt):
        rerunner(tmp_path, nb, vertex, sleep=interrupted).once()
    assert vertex.asked[-1] == f"DELETE /v1/{JOB}"
