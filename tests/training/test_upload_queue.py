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
    """Another try comes at once."""
    monkeypatch.setattr(upload_queue, "PAUSES", (0.001, 0.002))


def failed(key, job, error):
    return f"{key} was not kept: {error}"


def test_a_job_is_tried_until_the_store_answers():
    """As often as it takes, and nobody is told."""
    answers = [UnavailableError("away"), UnavailableError("away"), None]
    done = []

    def do(key, job):
        if error := answers.pop(0):
            raise error
        done.append((key, job))

    jobs = UploadQueue("test", do, failed)
    jobs.submit("a", 1)
    assert jobs.wait(20)
    assert done == [("a", 1)]
    with warnings.catch_warnings(action="error"):
        jobs.warn()


@pytest.mark.parametrize(
    "error", [QuotaError("full"), StoreError("no"), OSError("disk"), NotPlainDataError("odd")]
)
def test_a_job_that_cannot_be_done_is_warned_about_and_the_next_goes_on(error):
    """What went wrong is said in the user's thread, and the background goes on."""
    done = []

    def do(key, job):
        if key == "a":
            raise error
        done.append(key)

    jobs = UploadQueue("test", do, failed)
    jobs.submit("a", 1)
    jobs.submit("b", 2)
    assert jobs.wait(20)
    assert done == ["b"]
    with pytest.warns(TrainingWarning, match="a was not kept"):
        jobs.warn()


def test_a_job_that_is_replaced_or_taken_out_is_not_missed():
    """Its failure is nobody's concern; the newer one of its key is done."""
    begun, go_on, seen = threading.Event(), threading.Event(), []

    def do(key, job):
        seen.append(job)
        begun.set()
        go_on.wait(20)
        if job == "old":
            raise StoreError("no")

    jobs = UploadQueue("test", do, failed)
    jobs.submit("a", "old")
    assert begun.wait(20)
    jobs.submit("a", "new")
    jobs.submit("b", "unwanted")
    assert jobs.waiting == {"a": "new", "b": "unwanted"}
    del jobs.waiting["b"]
    go_on.set()
    assert jobs.wait(20)
    assert seen == ["old", "new"]
    with warnings.catch_warnings(action="error"):
        jobs.warn()
    jobs.submit("c", "old")
    jobs.cancel()
    assert jobs.wait(20)


def test_the_best_job_comes_first():
    """By whatever order the owner has."""
    seen, go_on = [], threading.Event()

    def do(key, job):
        go_on.wait(20)
        seen.append(key)

    jobs = UploadQueue("test", do, failed, first=lambda waiting: min(waiting, key=waiting.get))
    jobs.submit("first", 0)
    for key, job in {"worse": 3, "best": 1, "middle": 2}.items():
        jobs.submit(key, job)
    go_on.set()
    assert jobs.wait(20)
    assert seen[1:] == ["best", "middle", "worse"]
