"""The retry policy, on a simulated clock that only its own pauses advance."""

import pytest

from colab_drive_tuner.drive.requests.retry_policy import RetryPolicy, TryAgainError
from colab_drive_tuner.errors import StoreError, UnavailableError


class Clock:
    def __init__(self):
        self.time = 0.0
        self.pauses = []

    def __call__(self):
        return self.time

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.time += seconds


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
    """What fails and then works, works; pauses grow, but never beyond the longest."""
    clock = Clock()
    assert policy(clock, 200).run(failing(12), "x") == "done"
    assert clock.pauses[0] <= 0.2
    assert clock.pauses[1] < clock.pauses[4]
    assert max(clock.pauses) <= 16


def test_pauses_are_not_the_same_for_everybody():
    """Two clients that fail together do not come back together."""
    one, other = Clock(), Clock()
    policy(one, 200).run(failing(10), "x")
    policy(other, 200).run(failing(10), "x")
    assert one.pauses != other.pauses


def test_gives_up_at_the_deadline_and_not_after():
    """No pause is begun that would end behind the deadline; the error says what was tried."""
    clock = Clock()
    with pytest.raises(UnavailableError, match=r"the mark.*it sneezed.*Try again") as caught:
        policy(clock).run(failing(1000), "the mark")
    assert 30 < clock.time <= 60
    assert caught.value.__cause__ is None


def test_retry_after_is_honoured():
    """The server's own wish is the least that is waited."""
    clock = Clock()
    assert policy(clock).run(failing(2, after=20.0), "x") == "done"
    assert all(pause >= 20 for pause in clock.pauses)


def test_a_retry_after_beyond_the_deadline_is_not_waited_for():
    """Waiting in vain helps nobody."""
    clock = Clock()
    with pytest.raises(UnavailableError):
        policy(clock).run(failing(1, after=3600.0), "x")
    assert clock.pauses == []


def test_an_address_where_nobody_listens_is_given_up_soon():
    """A failure may shorten the patience for itself."""
    clock = Clock()
    with pytest.raises(UnavailableError):
        policy(clock).run(failing(1000, patience=5.0), "x")
    assert clock.time <= 5


def test_definite_errors_are_not_repeated():
    """Anything but a TryAgainError goes straight to the caller."""
    clock = Clock()

    def refused():
        raise StoreError("no")

    with pytest.raises(StoreError, match="no"):
        policy(clock).run(refused, "x")
    assert clock.pauses == []


def test_the_hint_of_the_last_failure_is_told():
    """The words about the upload cap reach the user."""
    with pytest.raises(UnavailableError, match="wait a day"):
        policy(Clock()).run(failing(1000, hint="wait a day"), "x")
