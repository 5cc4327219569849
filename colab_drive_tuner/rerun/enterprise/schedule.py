"""Schedules of Colab Enterprise: Vertex AI runs a notebook that is kept in the bucket.

Google's own clients schedule only notebooks in Cloud Storage, so ours is uploaded there.
"""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from colab_drive_tuner.rerun.enterprise.runner import EnterpriseRunner
from colab_drive_tuner.rerun.enterprise.vertex import Vertex
from colab_drive_tuner.rerun.program import Program
from colab_drive_tuner.rerun.schedulers.plan import Plan

_PREFIX = "colab-drive-tuner "


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
