"""The server's clock as learned from Date headers."""

from colab_drive_tuner.drive.requests.transport import ServerClock

NOON = "Mon, 23 Nov 2026 12:00:00 GMT"
NOON_SECONDS = 1795435200.0
LATER = "Mon, 23 Nov 2026 12:00:10 GMT"
AN_HOUR_BEFORE = "Mon, 23 Nov 2026 11:00:00 GMT"


class Monotonic:
    time = 500.0

    def __call__(self):
        return self.time


def test_advances_by_the_monotonic_clock():
    """Between answers the clock advances; before the first one the time is unknown."""
    mono = Monotonic()
    clock = ServerClock(mono)
    assert clock.now() is None
    clock.learn(NOON, sent=500.0)
    mono.time += 42.5
    assert clock.now() == NOON_SECONDS + 42.5


def test_a_slow_answer_does_not_turn_the_clock_back():
    """The Date of a slow answer tells when it was sent, so it is ignored."""
    mono = Monotonic()
    clock = ServerClock(mono)
    clock.learn(NOON, sent=500.0)
    mono.time += 20
    before = clock.now()
    clock.learn(LATER, sent=500.0)
    assert clock.now() == before


def test_follows_when_the_server_really_differs():
    """A quick answer with another time sets the clock, forwards or backwards."""
    mono = Monotonic()
    clock = ServerClock(mono)
    clock.learn(NOON, sent=500.0)
    clock.learn(AN_HOUR_BEFORE, sent=499.9)
    assert clock.now() == NOON_SECONDS - 3600


def test_an_invalid_date_is_ignored():
    """A missing or unreadable Date header changes nothing."""
    clock = ServerClock(Monotonic())
    clock.learn(None, sent=500.0)
    clock.learn("yesterday", sent=500.0)
    clock.learn("Mon, 23 Nov 99999999999999999999 12:00:30 GMT", sent=500.0)
    assert clock.now() is None
