"""The retry policy, on a simulated clock that only its own pauses advance."""

import pytest

from colab_drive_tuner.drive.requests.retry_and_refusal import RetryPolicy, TryAgainError
from colab_drive_tuner.errors import StoreError, UnavailableError
from tests.drive.conftest import Clock


def policy(clock, patience=60.0):
    return RetryPolicy(patience, sleep=clock.sleep, clock=clock)


def failing(times, **details):
    left = [times]

    def attempt():
        if left[0]:
            left[0] -= 1
            raise TryAgainError("it sneezed", **details)
        return "done"

    return attempt


def test_repeats_until_it_works():
    """A call is repeated until it succeeds; pauses grow up to the longest."""
    clock = Clock()
    assert policy(clock, 200).run(failing(12), "x") == "done"
    assert clock.pauses[0] <= 0.2
    assert clock.pauses[1] < clock.pauses[4]
    assert max(clock.pauses) <= 16


def test_repeats_for_days():
    """With unlimited patience a call is repeated thousands of times, with the longest pause."""
    clock = Clock()
    assert policy(clock, float("inf")).run(failing(2000), "x") == "done"
    assert 8 <= clock.pauses[-1] <= 16


def test_pauses_are_random():
    """Two clients that fail together do not retry together."""
    one, other = Clock(), Clock()
    policy(one, 200).run(failing(10), "x")
    policy(other, 200).run(failing(10), "x")
    assert one.pauses != other.pauses


def test_gives_up_at_the_deadline_and_not_after():
    """No pause begins that would end after the deadline; the error names what was tried."""
    clock = Clock()
    with pytest.raises(UnavailableError, match=r"the mark.*it sneezed.*Try again") as caught:
        policy(clock).run(failing(1000), "the mark")
    assert 30 < clock.time <= 60
    assert caught.value.__cause__ is None


def test_retry_after_is_honoured():
    """A pause is at least as long as the server's Retry-After."""
    clock = Clock()
    assert policy(clock).run(failing(2, after=20.0), "x") == "done"
    assert all(pause >= 20 for pause in clock.pauses)


def test_a_retry_after_beyond_the_deadline_is_not_waited_for():
    """A Retry-After beyond the deadline is an error without a pause."""
    clock = Clock()
    with pytest.raises(UnavailableError):
        policy(clock).run(failing(1, after=3600.0), "x")
    assert clock.pauses == []


def test_a_failure_may_shorten_the_patience():
    """A failure may shorten the patience for itself, as for an address where nothing listens."""
    clock = Clock()
    with pytest.raises(UnavailableError):
        policy(clock).run(failing(1000, patience=5.0), "x")
    assert clock.time <= 5


def test_definite_errors_are_not_repeated():
    """An exception other than TryAgainError is raised at once."""
    clock = Clock()

    def refused():
        raise StoreError("no")

    with pytest.raises(StoreError, match="no"):
        policy(clock).run(refused, "x")
    assert clock.pauses == []


def test_the_hint_of_the_last_failure_is_shown():
    """The final error has the hint of the last failure, such as the one about the upload cap."""
    with pytest.raises(UnavailableError, match="wait a day"):
        policy(Clock()).run(failing(1000, hint="wait a day"), "x")
