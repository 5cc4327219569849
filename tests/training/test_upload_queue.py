"""Background uploads: retried until they succeed, replaced while queued, and warned about."""

import threading
import warnings

import pytest

from colab_drive_tuner.errors import (
    NotPlainDataError,
    QuotaError,
    StoreError,
    TrainingWarning,
    UnavailableError,
)
from colab_drive_tuner.training import upload_queue
from colab_drive_tuner.training.upload_queue import UploadQueue


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """Retry almost at once."""
    monkeypatch.setattr(upload_queue, "PAUSES", (0.001, 0.002))


def failed(key, job, error):
    return f"{key} was not kept: {error}"


def test_a_job_is_tried_until_the_store_answers():
    """A job is retried during an outage, and no warning remains."""
    answers = [UnavailableError("away"), UnavailableError("away"), None]
    done = []

    def do(key, job):
        if error := answers.pop(0):
            raise error
        done.append((key, job))

    jobs = UploadQueue("test", do, failed)
    jobs.submit("a", 1)
    assert jobs.wait(200)
    assert done == [("a", 1)]
    with warnings.catch_warnings(action="error"):
        jobs.warn()


@pytest.mark.parametrize(
    "error",
    [
        *(QuotaError("full"), StoreError("no"), OSError("disk"), NotPlainDataError("odd")),
        MemoryError("none"),
    ],
)
def test_a_failed_job_warns_and_the_next_one_runs(error):
    """A failed job warns in the user's thread, and the queue runs the next one."""
    done = []

    def do(key, job):
        if key == "a":
            raise error
        done.append(key)

    jobs = UploadQueue("test", do, failed)
    jobs.submit("a", 1)
    jobs.submit("b", 2)
    assert jobs.wait(200)
    assert done == ["b"]
    with pytest.warns(TrainingWarning, match="a was not kept"):
        jobs.warn()


def test_a_replaced_or_removed_job_causes_no_warning():
    """The failure of a replaced job is ignored, and the newer job of its key is done."""
    begun, go_on, seen = threading.Event(), threading.Event(), []

    def do(key, job):
        seen.append(job)
        begun.set()
        go_on.wait(200)
        if job == "old":
            raise StoreError("no")

    jobs = UploadQueue("test", do, failed)
    jobs.submit("a", "old")
    assert begun.wait(200)
    jobs.submit("a", "new")
    jobs.submit("b", "unwanted")
    assert jobs.waiting == {"a": "new", "b": "unwanted"}
    del jobs.waiting["b"]
    go_on.set()
    assert jobs.wait(200)
    assert seen == ["old", "new"]
    with warnings.catch_warnings(action="error"):
        jobs.warn()
    jobs.submit("c", "old")
    jobs.cancel()
    assert jobs.wait(200)


def test_the_best_job_comes_first():
    """Waiting jobs run in the order that `first` selects."""
    seen, go_on = [], threading.Event()

    def do(key, job):
        go_on.wait(200)
        seen.append(key)

    jobs = UploadQueue("test", do, failed, first=lambda waiting: min(waiting, key=waiting.get))
    jobs.submit("first", 0)
    for key, job in {"worse": 3, "best": 1, "middle": 2}.items():
        jobs.submit(key, job)
    go_on.set()
    assert jobs.wait(200)
    assert seen[1:] == ["best", "middle", "worse"]


def test_a_thread_that_cannot_start_is_started_for_the_next_job(monkeypatch):
    """A process with too many threads: the error is raised, and the queue is usable afterwards."""
    done = []
    jobs = UploadQueue("test", lambda key, job: done.append(key), failed)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            jobs.submit("a", 1)
    jobs.submit("b", 1)
    assert jobs.wait(200)
    assert done == ["a", "b"]
