"""Colab Enterprise: requests match Google's API description; the outcome of a run."""

import base64
import http.server
import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from colab_drive_tuner.errors import NotebookRunError, UsageError
from colab_drive_tuner.rerun import enterprise
from colab_drive_tuner.rerun.enterprise import EnterpriseRunner, EnterpriseSchedule, Vertex
from colab_drive_tuner.rerun.program import load_program
from colab_drive_tuner.rerun.rerunner import Rerunner
from colab_drive_tuner.rerun.runs import ExitCode
from colab_drive_tuner.rerun.schedulers.plan import Plan
from colab_drive_tuner.rerun.stopping import StoppedError
from colab_drive_tuner.store import open_store
from tests.rerun import programs
from tests.rerun.vertex_schema import check_body

JOB = "projects/p/locations/us-central1/notebookExecutionJobs/17"


@pytest.fixture
def nb(tmp_path: Path) -> Path:
    """Return a notebook that runs a search."""
    return programs.notebook(tmp_path / "nb.ipynb", programs.source())


def place(**options: Any) -> EnterpriseRunner:
    """Return a runner without a user or service account, unless the options have one."""
    return EnterpriseRunner(
        options.pop("vertex", Vertex("p", "us-central1")), "gs://bucket", **options
    )


def test_a_job_has_the_notebook_and_only_known_fields(nb: Path) -> None:
    """A job has the notebook's cells after one that installs, and only fields that Google knows."""
    body = place(service_account="robot@p.iam.gserviceaccount.com", gpu="T4").job(
        load_program(str(nb)), "parabola", 7200.0
    )
    assert body["executionTimeout"] == "7800s"
    sent = json.loads(base64.b64decode(body["directNotebookSource"]["content"]))
    first = sent["cells"][0]["source"]
    assert "%pip install" in first
    assert "os.environ['COLAB_DRIVE_TUNER_DEADLINE'] = str(time.time() + 7200)" in first
    assert "resume_search" in "".join(sent["cells"][1]["source"])
    check_body(body, "NotebookExecutionJob")
    machine = body["customEnvironmentSpec"]["machineSpec"]
    assert machine["acceleratorType"] == "NVIDIA_TESLA_T4"
    assert machine["acceleratorCount"] == 1


def schedule(nb: Path, search: str = "parabola", vertex: Any = None) -> EnterpriseSchedule:
    """Return an hourly schedule."""
    plan = Plan(search, str(nb), "0 * * * *")
    where = place(user="me@example.com", **({"vertex": vertex} if vertex else {}))
    return EnterpriseSchedule(plan, where, load_program(str(nb)))


def test_a_schedule_runs_one_at_a_time(nb: Path) -> None:
    """`maxConcurrentRunCount` is "1" (a JSON int64 is text), and no run is queued."""
    body = schedule(nb).body()
    check_body(body, "Schedule")
    assert body["maxConcurrentRunCount"] == "1"
    assert body["allowQueueing"] is False
    request = body["createNotebookExecutionJobRequest"]
    assert request["parent"] == "projects/p/locations/us-central1"
    uri = request["notebookExecutionJob"]["gcsNotebookSource"]["uri"]
    assert uri.startswith("gs://bucket/colab-drive-tuner/parabola-")
    assert uri in schedule(nb).text()


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
def test_check_body_finds_invalid_fields(body: Any, words: str) -> None:
    """A typo, an output field, a wrong type and an unknown choice fail the check."""
    with pytest.raises(AssertionError, match=words):
        check_body(body, "NotebookExecutionJob")


@pytest.mark.parametrize("name", ["evil.example/", "a@evil.example", "", "a b", "x#", "x\\y"])
def test_a_region_cannot_lead_to_another_server(name: str) -> None:
    """A project or region with other characters, which could change the address, is refused."""
    for project, region in (("p", name), (name, "us-central1")):
        with pytest.raises(UsageError, match="project or region"):
            Vertex(project, region)


def test_a_job_needs_an_account_and_a_bucket(nb: Path) -> None:
    """A job without a user and a service account is refused, and one with an invalid bucket."""
    with pytest.raises(UsageError, match="either"):
        place().job(load_program(str(nb)), "parabola", None)
    with pytest.raises(UsageError, match="must be gs://BUCKET, got results"):
        replace(place(user="me@example.com"), bucket="results").job(
            load_program(str(nb)), "parabola", None
        )


class Service(http.server.ThreadingHTTPServer):
    """A simulated Vertex AI; the states of a job are answered one after another."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.states: list[str] = []
        self.asked: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.refusal: tuple[int, Any] | None = None
        """Status and body that answer every request, if set."""
        self.schedules: dict[str, Any] = {}
        """The schedules by resource name; a page lists one of them."""

    def schedule(self, method: str, path: str, content: bytes) -> dict[str, Any]:
        """Answer a request to the collection of schedules."""
        where, _, page = path.partition("?pageToken=")
        if method == "POST":
            name = f"{where.removeprefix('/v1/')}/{len(self.schedules)}"
            self.schedules[name] = {**json.loads(content), "name": name}
            return self.schedules[name]
        if method == "DELETE":
            del self.schedules[where.removeprefix("/v1/")]
            return {}
        listed, at = list(self.schedules.values()), int(page or 0)
        more = {"nextPageToken": str(at + 1)} if at + 1 < len(listed) else {}
        return {"schedules": listed[at : at + 1], **more}


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Service

    def _reply(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(f"{self.command} {self.path}")
        body: dict[str, Any] = {"name": f"{JOB}/operations/1"}
        status = 200
        if self.server.refusal:
            status, body = self.server.refusal
        elif self.path.startswith("/upload/"):
            self.server.objects[self.path] = sent
        elif "/schedules" in self.path:
            body = self.server.schedule(self.command, self.path, sent)
        elif self.command == "GET":
            state = self.server.states.pop(0)
            status, body = (
                int(state) if state.isdecimal() else 200,
                {"name": JOB, "jobState": state},
            )
        elif self.command == "POST" and not self.server.states:
            status, body = 403, {"error": {"message": "Permission denied on p"}}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _reply  # noqa: N815 - http.server's names

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def vertex() -> Iterator[Service]:
    """Run a simulated Vertex AI."""
    server = Service()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def at(vertex: Service) -> Vertex:
    """Return a project on the simulated Vertex AI."""
    with requests.Session() as session:
        session.trust_env = False
    return Vertex("p", "us-central1", session, f"http://127.0.0.1:{vertex.server_port}")


def rerunner(tmp_path: Path, nb: Path, vertex: Service, **options: Any) -> Rerunner:
    """Return a rerun on the simulated Vertex AI that does not wait between requests."""
    where = place(user="me@example.com", vertex=at(vertex), **{"sleep": lambda _: None, **options})
    store = open_store(tmp_path / "store")
    return Rerunner(store, str(nb), "parabola", where, notify=lambda _: None)


def test_a_job_is_watched_to_its_end(tmp_path: Path, nb: Path, vertex: Service) -> None:
    """The search's status decides a job's outcome; a failed or refused job is a failure."""
    vertex.states = ["JOB_STATE_QUEUED", "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED"]
    assert rerunner(tmp_path, nb, vertex).once().exit_code is ExitCode.UNFINISHED
    parent = "/v1/projects/p/locations/us-central1/notebookExecutionJobs"
    assert vertex.asked == [f"POST {parent}", *[f"GET /v1/{JOB}"] * 3]
    vertex.states = ["JOB_STATE_FAILED"]
    failed = rerunner(tmp_path, nb, vertex).once()
    assert failed.exit_code is ExitCode.FAILED
    assert "JOB_STATE_FAILED" in failed.message
    refused = rerunner(tmp_path, nb, vertex).once()
    assert "refused (403): Permission denied on p" in refused.message


def test_a_job_continues_if_polls_fail(tmp_path: Path, nb: Path, vertex: Service) -> None:
    """Polls may fail for some minutes; after that the job is deleted and the run is unfinished."""
    vertex.states = ["JOB_STATE_RUNNING", "503", "503", "JOB_STATE_SUCCEEDED"]
    assert rerunner(tmp_path, nb, vertex).once().exit_code is ExitCode.UNFINISHED
    assert not vertex.asked[-1].startswith("DELETE")
    vertex.states = ["JOB_STATE_RUNNING", *["503"] * 20]
    lost = rerunner(tmp_path, nb, vertex).once()
    assert (lost.exit_code, vertex.states) == (ExitCode.UNFINISHED, [])
    assert "refused (503)" in lost.message
    assert vertex.asked[-1] == f"DELETE /v1/{JOB}"


def test_a_job_continues_after_an_answer_of_something_else(
    tmp_path: Path, nb: Path, vertex: Service
) -> None:
    """An answer that is not a JSON object, such as a proxy's page, counts as none."""
    answers = iter([(200, "<html>"), None])
    vertex.states = ["JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED"]
    runs = rerunner(tmp_path, nb, vertex, sleep=lambda _: setattr(vertex, "refusal", next(answers)))
    assert runs.once().exit_code is ExitCode.UNFINISHED
    assert vertex.asked[-1].startswith("GET")


def test_a_lost_job_that_cannot_be_deleted_is_unfinished(
    tmp_path: Path, nb: Path, vertex: Service
) -> None:
    """If a job is lost because nothing answers, its deletion fails too; the run is unfinished."""
    vertex.states = ["JOB_STATE_RUNNING"]
    runs = rerunner(tmp_path, nb, vertex, sleep=lambda _: setattr(vertex, "refusal", (503, {})))
    assert runs.once().exit_code is ExitCode.UNFINISHED
    assert vertex.asked[-1] == f"DELETE /v1/{JOB}"


def test_the_job_of_an_interrupted_rerun_is_deleted(
    tmp_path: Path, nb: Path, vertex: Service
) -> None:
    """If the rerun is interrupted, its job is deleted."""

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    vertex.states = ["JOB_STATE_RUNNING"]
    with pytest.raises(KeyboardInterrupt):
        rerunner(tmp_path, nb, vertex, sleep=interrupted).once()
    assert vertex.asked[-1] == f"DELETE /v1/{JOB}"


def test_the_job_of_a_rerun_that_is_stopped_while_it_is_created_is_deleted(
    tmp_path: Path, nb: Path, vertex: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop signal during the request that creates the job does not leave the job behind."""
    runs = rerunner(tmp_path, nb, vertex)
    session = runs.runner.vertex.session
    send = session.request

    def stopped(method: str, url: str, **options: Any) -> Any:
        if method == "POST":
            os.kill(os.getpid(), signal.SIGTERM)
        return send(method, url, **options)

    monkeypatch.setattr(session, "request", stopped)
    vertex.states = ["JOB_STATE_RUNNING"]
    with pytest.raises(StoppedError):
        runs.once()
    assert vertex.asked[-1] == f"DELETE /v1/{JOB}"


def test_a_schedule_is_created_replaced_listed_and_removed(nb: Path, vertex: Service) -> None:
    """A schedule's notebook is uploaded to the bucket; schedules of other searches stay."""
    for search in ("third", "parabola", "other", "third"):
        assert "reruns search" in schedule(nb, search, at(vertex)).install()
    (path, content), *_ = vertex.objects.items()
    assert path.startswith(
        "/upload/storage/v1/b/bucket/o?uploadType=media&name=colab-drive-tuner%2F"
    )
    assert "resume_search" in content.decode()
    assert enterprise.installed(at(vertex)) == [
        ("parabola", "0 * * * *"), ("other", "0 * * * *"), ("third", "0 * * * *")
    ]  # fmt: skip
    assert enterprise.remove(at(vertex), "other")
    assert not enterprise.remove(at(vertex), "other")
    assert [search for search, _ in enterprise.installed(at(vertex))] == [
        "parabola", "third"
    ]  # fmt: skip


def test_errors_of_google_cloud_contain_no_token(vertex: Service) -> None:
    """A token in a refusal is removed, and a redirect is not followed."""

    class Signed(requests.Session):
        credentials = SimpleNamespace(token="ya29.planted-token-of-a-person-0123456789")

    with Signed() as session:
        session.trust_env = False
        project = Vertex("p", "us-central1", session, f"http://127.0.0.1:{vertex.server_port}")
        echo = base64.b64encode(session.credentials.token.encode()).decode()
        vertex.refusal = 403, {"error": {"message": f"Denied: {session.credentials.token} {echo}"}}
        with pytest.raises(NotebookRunError, match=r"refused \(403\): Denied: \[removed\]") as no:
            project.call("POST", f"{JOB}/x", {})
        assert "planted" not in str(no.value)
        assert echo[:20] not in str(no.value)
        vertex.refusal = 307, {}
        before = len(vertex.asked)
        with pytest.raises(NotebookRunError, match="307"):
            project.call("GET", JOB)
        assert len(vertex.asked) == before + 1
