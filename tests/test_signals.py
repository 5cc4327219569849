"""Signal handlers: installed within a block and restored after it."""

import os
import signal
import threading

import pytest

from colab_drive_tuner.machine import TERMINATION_SIGNALS, signal_handlers


def test_within_the_block_signals_are_handed_over_and_then_they_do_as_before():
    """Each of them, also where the block ends by an error; what was set before is set again."""
    before = {signum: signal.getsignal(signum) for signum in TERMINATION_SIGNALS}
    got: list[int] = []

    def fail_after_all_of_them() -> None:
        for signum in TERMINATION_SIGNALS:
            os.kill(os.getpid(), signum)
        raise ValueError("the block")

    with pytest.raises(ValueError, match="the block"), signal_handlers(got.append):
        fail_after_all_of_them()
    assert got == list(TERMINATION_SIGNALS)
    assert {signum: signal.getsignal(signum) for signum in TERMINATION_SIGNALS} == before


def test_a_handler_may_raise_what_ends_the_block():
    """Such as an exception that means: somebody wants this process to end."""

    def stop(signum: int) -> None:
        raise InterruptedError(signum)

    with pytest.raises(InterruptedError), signal_handlers(stop, [signal.SIGTERM]):
        os.kill(os.getpid(), signal.SIGTERM)


def test_another_thread_than_the_main_one_catches_nothing():
    """Python lets only that one set handlers: the block runs all the same."""
    before, ran = signal.getsignal(signal.SIGTERM), []

    def run() -> None:
        with signal_handlers(lambda _: None):
            ran.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ran == [before]
